// Where the entries of M stand in the list of a path: the pattern of coupling_pattern.h, counted by the compiler.
#pragma once

#include "coupling_pattern.h"
#include "portable.h"

namespace equitools {

constexpr int count_bits(unsigned v) { return v ? int(v & 1) + count_bits(v >> 1) : 0; }

template <int L1, int L2, int L3>
struct Pairs {
  static constexpr int A = 2 * L1 + 1, B = 2 * L3 + 1;

  static constexpr bool has(int m1, int m3) { return kCouplingPattern[L1][L2][L3][m1] >> m3 & 1; }

  // The number of entries before (m1, m3).
  static constexpr int before(int m1, int m3) {
    int n = 0;
    for (int i = 0; i < m1; ++i) n += count_bits(kCouplingPattern[L1][L2][L3][i]);
    return n + count_bits(kCouplingPattern[L1][L2][L3][m1] & ((1u << m3) - 1));
  }

  static constexpr int count = before(A - 1, B);

  // The (k + 1)-th entry.
  static constexpr int m1_of(int k) {
    int m1 = 0;
    while (before(m1, B) <= k) ++m1;
    return m1;
  }
  static constexpr int m3_of(int k) {
    const int m1 = m1_of(k);
    int m3 = 0;
    while (!has(m1, m3) || before(m1, m3) < k) ++m3;
    return m3;
  }
};

constexpr bool triangle_rule(int l1, int l2, int l3) {
  return l3 >= (l1 > l2 ? l1 - l2 : l2 - l1) && l3 <= l1 + l2;
}

// M[m1, m3] of one edge: sum over its entries of coupling times y. Both compilers see this one form.
template <typename T>
EQUITOOLS_HD T matrix_entry(const T* coupling, const int32_t* column, int begin, int end, const T* y) {
  T sum = T(0);
  for (int i = begin; i < end; ++i) sum += coupling[i] * y[column[i]];
  return sum;
}

}  // namespace equitools
