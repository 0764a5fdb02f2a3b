// Runs the kernels of products on the sphere on inputs from a file, under sanitizers, and compares with the outputs there.
//
// The file holds float64 numbers: for each case l1 l2 l3 curl items channels one_x one_y, the sizes of the four arrays that
// follow, and the arrays: table, x, y, out. tests/csrc/test_sphere.py writes it.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cpu/sphere.h"

using namespace equitools;

static int failures = 0, comparisons = 0;

template <typename T>
static void run(const SphereOf<T>& kernels, const double* head, const std::vector<std::vector<double>>& arrays,
                const std::string& name) {
  const int lmax[3] = {int(head[0]), int(head[1]), int(head[2])};
  const bool curl = head[3] != 0, one_x = head[6] != 0, one_y = head[7] != 0;
  const int64_t items = int64_t(head[4]), channels = int64_t(head[5]), degree = lmax[0] + lmax[1] + lmax[2];
  const SphereShape shape{{lmax[0], lmax[1], lmax[2]}, degree / 2 + 1, degree + 1, curl};
  // On the heap and exactly as long as they must be: a read beyond is an error.
  const std::vector<T> table(arrays[0].begin(), arrays[0].end()), x(arrays[1].begin(), arrays[1].end()),
      y(arrays[2].begin(), arrays[2].end());
  std::vector<T> out(arrays[3].size(), T(NAN));
  SphereTables<T> tables;
  const int64_t wanted = tables.set(lmax, shape.rings, shape.angles, curl, table.data());
  if (wanted != int64_t(table.size())) {
    std::printf("failed: %s a table of %zu numbers, not %lld\n", name.c_str(), table.size(), (long long)wanted);
    ++failures;
    return;
  }
  const int64_t bytes = (kernels.scratch(shape) * int64_t(sizeof(T)) + 63) / 64 * 64;
  T* memory = static_cast<T*>(std::aligned_alloc(64, bytes));
  for (int64_t i = 0; i < kernels.scratch(shape); ++i) memory[i] = T(NAN);
  const int64_t blocks = (items + kernels.lanes - 1) / kernels.lanes;
  for (int64_t block = blocks - 1; block >= 0; --block)
    kernels.product(shape, tables, x.data(), y.data(), items, channels, one_x, one_y, out.data(), memory, block, block + 1);
  std::free(memory);
  double error = 0, scale = 1e-30;
  for (size_t i = 0; i < out.size(); ++i) {
    error = std::isfinite(out[i]) ? std::fmax(error, std::fabs(out[i] - arrays[3][i])) : INFINITY;
    scale = std::fmax(scale, std::fabs(arrays[3][i]));
  }
  ++comparisons;
  if (error > (sizeof(T) == 4 ? 3e-6 : 1e-12) * std::fmax(scale, 1.0)) {
    std::printf("failed: %s degrees %d %d %d curl %d: error %g of %g\n", name.c_str(), lmax[0], lmax[1], lmax[2], curl, error,
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
  double head[12];
  while (std::fread(head, sizeof(double), 12, file) == 12) {
    std::vector<std::vector<double>> arrays;
    for (int i = 8; i < 12; ++i) {
      arrays.emplace_back(size_t(head[i]));
      if (std::fread(arrays.back().data(), sizeof(double), arrays.back().size(), file) != arrays.back().size()) return 2;
    }
    for (const auto& [name, kernels] : sets) {
      run<double>(kernels->f64, head, arrays, name + " f64");
      run<float>(kernels->f32, head, arrays, name + " f32");
    }
  }
  std::fclose(file);
  std::printf("%zu instruction sets, %d comparisons, %d failures\n", sets.size(), comparisons, failures);
  return failures != 0 || comparisons == 0;
}
