// Shapes of products of functions on the sphere by their coefficients that are not zero. No torch.
#pragma once

#include "portable.h"

namespace equitools {

constexpr int kSparseBlock = 5;  // degrees of the product that are done together at most
constexpr int kMaxSparseDegree = 64;

struct SparseShape {
  int lmax[3];  // of both factors and of the product
  int sums;     // of degrees that couple: even (0), odd (1) or any (2)

  EQUITOOLS_HD int64_t components(int i) const { return int64_t(lmax[i] + 1) * (lmax[i] + 1); }
  // Of a table of numbers of triples of degrees.
  EQUITOOLS_HD int64_t at(int l1, int l2, int l3) const {
    return (int64_t(l1) * (lmax[1] + 1) + l2) * (lmax[2] + 1) + l3;
  }
};

EQUITOOLS_HD int smaller(int a, int b) { return a < b ? a : b; }
EQUITOOLS_HD int larger(int a, int b) { return a > b ? a : b; }

// What a pair of degrees gives at order m of the product: degrees first, first + step, ..., `count` of them.
struct SparseDegrees {
  int first, step, count;
};

EQUITOOLS_HD SparseDegrees sparse_degrees(const SparseShape& s, int l1, int l2, int m) {
  const int last = smaller(l1 + l2, s.lmax[2]), step = s.sums == 2 ? 1 : 2;
  int first = larger(l1 > l2 ? l1 - l2 : l2 - l1, m);
  if (step == 2 && (l1 + l2 + first) % 2 != s.sums) ++first;
  return {first, step, last < first ? 0 : (last - first) / step + 1};
}

// How many of n degrees are done next: about equally many each time.
EQUITOOLS_HD int sparse_take(int n) {
  const int times = (n + kSparseBlock - 1) / kSparseBlock;
  return (n + times - 1) / times;
}

// How many pairs of orders m1, m2 >= 0 give order m.
EQUITOOLS_HD int sparse_pairs(int l1, int l2, int m) {
  if (m == 0) return 1 + smaller(l1, l2);
  return (m <= l1) + (m <= l2) + larger(0, smaller(l1, m - 1) - larger(1, m - l2) + 1) + larger(0, smaller(l2, l1 - m)) +
         larger(0, smaller(l1, l2 - m));
}

// How many numbers the table of a product has; equitools/ops/sparse_tables.py writes it in the order of the program.
EQUITOOLS_HD int64_t sparse_table_size(const SparseShape& s) {
  int64_t size = 0;
  for (int l1 = 0; l1 <= s.lmax[0]; ++l1)
    for (int l2 = 0; l2 <= s.lmax[1]; ++l2)
      for (int m = 0; m <= l1 + l2 && m <= s.lmax[2]; ++m)
        size += int64_t(sparse_degrees(s, l1, l2, m).count) * sparse_pairs(l1, l2, m);
  return size;
}

// Numbers the paths (l1, l2, l3) in the order of nested loops; returns their number. numbers: null, or for each at().
EQUITOOLS_HD int64_t sparse_paths(const SparseShape& s, int32_t* numbers) {
  int32_t n = 0;
  for (int l1 = 0; l1 <= s.lmax[0]; ++l1)
    for (int l2 = 0; l2 <= s.lmax[1]; ++l2) {
      const SparseDegrees d = sparse_degrees(s, l1, l2, 0);
      for (int i = 0; i < d.count; ++i, ++n)
        if (numbers) numbers[s.at(l1, l2, d.first + i * d.step)] = n;
    }
  return n;
}

// The arguments of a call. x, y and z are [rows, components, channels], each with one channel for all where `one` says so.
template <typename T>
struct SparseCall {
  const T *x, *y, *z;     // z only for the gradient of the weights
  bool one[3];
  int64_t items, channels;  // rows times channels
  const T* table;
  const T* weight;  // null, or [paths, channels]; with one_weight [paths]
  bool one_weight;
  int64_t paths;
  const int32_t* program;  // of sparse_program, for the lanes of the kernel
  int64_t program_size;
};

}  // namespace equitools
