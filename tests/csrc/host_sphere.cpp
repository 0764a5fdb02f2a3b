// Runs the kernels of products on the sphere on inputs from a file, under sanitizers, and compares with the outputs there.
//
// The file holds float64 numbers: for each case its kind, four numbers, items channels one_x one_y, the sizes of the five
// arrays that follow, and the arrays: table, x, y, g, out. Kind 0: a product, with l1 l2 l3 curl. Kinds 1 and 2: powers and
// what is pulled back through them, with L, l of the result, powers and other functions (y). tests/csrc/test_sphere.py
// writes it.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cpu/sphere.h"

using namespace equitools;

static int failures = 0, comparisons = 0;

struct Case {
  int kind, numbers[4];
  int64_t items, channels;
  bool one_x, one_y;
  std::vector<double> table, x, y, g, out;
};

// On the heap and exactly as long as they must be: a read beyond is an error.
template <typename T>
static std::vector<T> cast(const std::vector<double>& v) {
  return std::vector<T>(v.begin(), v.end());
}

template <typename T>
struct Memory {
  T* at;
  explicit Memory(int64_t size) : at(static_cast<T*>(std::aligned_alloc(64, (size * int64_t(sizeof(T)) + 63) / 64 * 64))) {
    for (int64_t i = 0; i < size; ++i) at[i] = T(NAN);
  }
  ~Memory() { std::free(at); }
};

template <typename T>
static void run(const SphereOf<T>& kernels, const Case& c, const std::string& name) {
  const auto table = cast<T>(c.table), x = cast<T>(c.x), y = cast<T>(c.y), g = cast<T>(c.g);
  std::vector<T> out(c.out.size(), T(NAN));
  const int* n = c.numbers;
  const int lmax[3] = {n[0], n[1], c.kind ? 0 : n[2]};
  const int64_t degree = c.kind ? n[2] * n[0] + n[1] : n[0] + n[1] + n[2];
  const bool curl = !c.kind && n[3];
  const SphereShape shape{{lmax[0], lmax[1], lmax[2]}, degree / 2 + 1, degree + 1, curl};
  const SpherePowerShape powers{n[0], n[1], n[2], n[3], degree / 2 + 1, degree + 1};
  SphereTables<T> tables;
  const int64_t wanted = tables.set(lmax, degree / 2 + 1, degree + 1, curl, table.data());
  if (wanted != int64_t(table.size())) {
    std::printf("failed: %s a table of %zu numbers, not %lld\n", name.c_str(), table.size(), (long long)wanted);
    ++failures;
    return;
  }
  const Memory<T> memory(c.kind ? kernels.power_scratch(powers) : kernels.scratch(shape));
  const int64_t blocks = (c.items + kernels.lanes - 1) / kernels.lanes;
  for (int64_t block = blocks - 1; block >= 0; --block) {
    if (c.kind == 0)
      kernels.product(shape, tables, x.data(), y.data(), c.items, c.channels, c.one_x, c.one_y, out.data(), memory.at, block,
                      block + 1);
    else if (c.kind == 1)
      kernels.powers(powers, tables, x.data(), y.data(), c.items, c.channels, out.data(), memory.at, block, block + 1);
    else
      kernels.powers_pull(powers, tables, x.data(), y.data(), g.data(), c.items, c.channels, out.data(), memory.at, block,
                          block + 1);
  }
  double error = 0, scale = 1e-30;
  for (size_t i = 0; i < out.size(); ++i) {
    error = std::isfinite(out[i]) ? std::fmax(error, std::fabs(out[i] - c.out[i])) : INFINITY;
    scale = std::fmax(scale, std::fabs(c.out[i]));
  }
  ++comparisons;
  if (error > (sizeof(T) == 4 ? 3e-6 : 1e-12) * std::fmax(scale, 1.0)) {
    std::printf("failed: %s kind %d of %d %d %d %d: error %g of %g\n", name.c_str(), c.kind, n[0], n[1], n[2], n[3], error,
                scale);
    ++failures;
  }
}

int main(int, char** arguments) {
  std::FILE* file = std::fopen(arguments[1], "rb");
  if (!file) return 2;
  std::vector<std::pair<std::string, const Sphere*>> sets = {{"baseline", &sphere_baseline()}};
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) sets.push_back({"avx2", &sphere_avx2()});
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    sets.push_back({"avx512", &sphere_avx512()});
#endif
  double head[14];
  while (std::fread(head, sizeof(double), 14, file) == 14) {
    Case c{int(head[0]), {int(head[1]), int(head[2]), int(head[3]), int(head[4])}, int64_t(head[5]), int64_t(head[6]),
           head[7] != 0, head[8] != 0, {}, {}, {}, {}, {}};
    std::vector<double>* arrays[5] = {&c.table, &c.x, &c.y, &c.g, &c.out};
    for (int i = 0; i < 5; ++i) {
      arrays[i]->resize(size_t(head[9 + i]));
      if (std::fread(arrays[i]->data(), sizeof(double), arrays[i]->size(), file) != arrays[i]->size()) return 2;
    }
    for (const auto& [name, kernels] : sets) {
      run<double>(kernels->f64, c, name + " f64");
      run<float>(kernels->f32, c, name + " f32");
    }
  }
  std::fclose(file);
  std::printf("%zu instruction sets, %d comparisons, %d failures\n", sets.size(), comparisons, failures);
  return failures != 0 || comparisons == 0;
}
