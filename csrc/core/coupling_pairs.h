// Where the entries of M stand in the list of a path: the pattern of coupling_pattern.h, counted by the compiler.
#pragma once

#include "coupling_pattern.h"
#include "portable.h"

namespace equitools {

constexpr int kMaxPatternPairs = (2 * kPatternDegree + 1) * (2 * kPatternDegree + 1);

// The entries of a path, m1 ascending, then m3.
struct PairList {
  int count = 0;
  int8_t m1[kMaxPatternPairs] = {}, m3[kMaxPatternPairs] = {};
};

constexpr PairList list_pairs(int l1, int l2, int l3) {
  PairList list;
  for (int i = 0; i < 2 * l1 + 1; ++i)
    for (int j = 0; j < 2 * l3 + 1; ++j)
      if (kCouplingPattern[l1][l2][l3][i] >> j & 1) {
        list.m1[list.count] = int8_t(i);
        list.m3[list.count] = int8_t(j);
        ++list.count;
      }
  return list;
}

template <int L1, int L2, int L3>
struct Pairs {
  static constexpr int A = 2 * L1 + 1, B = 2 * L3 + 1;
  static constexpr PairList list = list_pairs(L1, L2, L3);
  static constexpr int count = list.count;
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
