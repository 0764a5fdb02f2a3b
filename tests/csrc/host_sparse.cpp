// Runs the kernels of sparse products on inputs from a file, under sanitizers, and compares with the outputs there.
//
// The file holds float64 numbers: for each case l1 l2 l3 sums rows channels one_x one_y one_z weighted (0: none, 1: one for
// all channels, 2: each its own), the sizes of the seven arrays that follow, and the arrays: table, x, y, z, weight, product,
// gradient of the weights with z. tests/csrc/test_sparse.py writes it.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/sparse_program.h"
#include "cpu/sparse.h"

using namespace equitools;

static int failures = 0, comparisons = 0;

template <typename T>
static void compare(const std::vector<T>& found, const std::vector<double>& exact, const std::string& name) {
  double error = found.size() == exact.size() ? 0 : INFINITY, scale = 1.0;
  for (size_t i = 0; i < found.size() && i < exact.size(); ++i) {
    error = std::isfinite(found[i]) ? std::fmax(error, std::fabs(found[i] - exact[i])) : INFINITY;
    scale = std::fmax(scale, std::fabs(exact[i]));
  }
  ++comparisons;
  if (error <= (sizeof(T) == 4 ? 3e-6 : 1e-12) * scale) return;
  std::printf("failed: %s: error %g of %g\n", name.c_str(), error, scale);
  ++failures;
}

template <typename T>
static void run(const SparseOf<T>& kernels, const double* head, const std::vector<std::vector<double>>& given,
                const std::string& set) {
  const SparseShape s{{int(head[0]), int(head[1]), int(head[2])}, int(head[3])};
  const int64_t items = int64_t(head[4] * head[5]);
  // On the heap and exactly as long as they must be: a read beyond is an error.
  std::vector<std::vector<T>> a;
  for (const auto& array : given) a.emplace_back(array.begin(), array.end());
  std::vector<int32_t> numbers(s.at(s.lmax[0], s.lmax[1], s.lmax[2]) + 1), program;
  const int64_t paths = sparse_paths(s, numbers.data());
  sparse_program(s, numbers.data(), int(kernels.lanes), [&](int number) { program.push_back(number); });
  program.shrink_to_fit();
  const std::string name = set + " degrees " + std::to_string(s.lmax[0]) + " " + std::to_string(s.lmax[1]) + " " +
                           std::to_string(s.lmax[2]) + " sums " + std::to_string(s.sums);
  if (sparse_table_size(s) != int64_t(a[0].size())) {
    std::printf("failed: %s: a table of %zu numbers, not %lld\n", name.c_str(), a[0].size(), (long long)sparse_table_size(s));
    ++failures;
    return;
  }
  const bool weighted = head[9] != 0;
  const SparseCall<T> call{a[1].data(), a[2].data(), a[3].data(), {head[6] != 0, head[7] != 0, head[8] != 0},
                           items, int64_t(head[5]), a[0].data(), weighted ? a[4].data() : nullptr, head[9] == 1,
                           paths, program.data(), int64_t(program.size())};
  const int64_t blocks = (items + kernels.lanes - 1) / kernels.lanes;
  const auto with_memory = [&](int64_t numbers_in, auto&& f) {
    const int64_t bytes = (kernels.scratch(s, numbers_in) * int64_t(sizeof(T)) + 63) / 64 * 64;
    T* memory = static_cast<T*>(std::aligned_alloc(64, bytes));
    for (int64_t i = 0; i < kernels.scratch(s, numbers_in); ++i) memory[i] = T(NAN);
    f(memory);
    std::free(memory);
  };
  std::vector<T> out(a[5].size(), T(NAN)), gradient(a[6].size(), T(0));
  for (int64_t block = blocks - 1; block >= 0; --block)
    with_memory(weighted ? paths : 0, [&](T* memory) { kernels.product(s, call, out.data(), memory, block, block + 1); });
  compare(out, given[5], name + " product");
  with_memory(paths, [&](T* memory) { kernels.weights(s, call, gradient.data(), memory, 0, blocks); });
  compare(gradient, given[6], name + " weights");
}

int main(int, char** arguments) {
  std::FILE* file = std::fopen(arguments[1], "rb");
  if (!file) return 2;
  std::vector<std::pair<std::string, const Sparse*>> sets = {{"baseline", &sparse_baseline()}};
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) sets.push_back({"avx2", &sparse_avx2()});
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    sets.push_back({"avx512", &sparse_avx512()});
#endif
  double head[17];
  while (std::fread(head, sizeof(double), 17, file) == 17) {
    std::vector<std::vector<double>> arrays;
    for (int i = 10; i < 17; ++i) {
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
