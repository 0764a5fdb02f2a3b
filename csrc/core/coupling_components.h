// Which components m2 a real Clebsch-Gordan tensor couples to a pair (m1, m3), by the selection rules of real harmonics,
// so that the compiler knows where the gradient of an entry of M goes. No torch.
#pragma once

#include "convolution_plan.h"
#include "coupling_pattern.h"

namespace equitools {

// At most two: of orders |m1| + |m3| (which = 0) and ||m1| - |m3|| (which = 1). Counted from 0 to 2 l2, as m1 and m3 are;
// -1: none. Orders below zero are odd in the azimuth: l1 + l2 + l3 even couples an even number of those, odd an odd one.
constexpr int component_of(int l1, int l2, int l3, int m1, int m3, int which) {
  const int a = m1 - l1, b = m3 - l3, high = a < 0 ? -a : a, low = b < 0 ? -b : b;
  if (which && (high == 0 || low == 0)) return -1;  // the same as the first
  const int order = which == 0 ? high + low : high < low ? low - high : high - low;
  const bool negative = (a < 0) ^ (b < 0) ^ ((l1 + l2 + l3) % 2 != 0);
  if (order > l2 || (order == 0 && negative)) return -1;
  return l2 + (negative ? -order : order);
}

// Whether the pairs of a path are those of the pattern.
inline bool matches_pattern(const ConvPath& p, const int32_t* m1, const int32_t* m3) {
  if (p.l1 > kPatternDegree || p.l2 > kPatternDegree || p.l3 > kPatternDegree) return false;
  if (p.pair_begin == p.pair_end) return false;  // degrees that do not couple have no unrolled kernel
  int k = p.pair_begin;
  for (int i = 0; i < 2 * p.l1 + 1; ++i)
    for (int j = 0; j < 2 * p.l3 + 1; ++j)
      if (kCouplingPattern[p.l1][p.l2][p.l3][i] >> j & 1) {
        if (k == p.pair_end || m1[k] != i || m3[k] != j) return false;
        ++k;
      }
  return k == p.pair_end;
}

// Column of y at which the components of such a path begin, where all its entries are components that the rules name, each
// once; else -1.
inline int64_t first_column(const ConvPath& p, const int32_t* m1, const int32_t* m3, const int32_t* entry_begin,
                            const int32_t* entry_m2, int64_t dim2) {
  for (int64_t column = 0; column + 2 * p.l2 + 1 <= dim2; ++column) {
    bool fits = true;
    for (int k = p.pair_begin; k < p.pair_end && fits; ++k) {
      int taken = 0;  // bit `which`
      for (int i = entry_begin[k]; i < entry_begin[k + 1] && fits; ++i) {
        int which = 0;
        while (which < 2 && entry_m2[i] - column != component_of(p.l1, p.l2, p.l3, m1[k], m3[k], which)) ++which;
        fits = which < 2 && entry_m2[i] >= column && !(taken >> which & 1);
        taken |= 1 << which;
      }
    }
    if (fits) return column;
  }
  return -1;
}

// The coefficients of such a path by pair and component: [pairs][2], zero where there is none.
template <typename T>
void spread_coupling(const ConvPlan& plan, const ConvPath& p, const T* coupling, T* to) {
  for (int k = p.pair_begin; k < p.pair_end; ++k, to += 2) {
    to[0] = to[1] = T(0);
    for (int i = plan.entry_begin[k]; i < plan.entry_begin[k + 1]; ++i) {
      const int64_t m2 = plan.entry_m2[i] - p.column;
      to[m2 == component_of(p.l1, p.l2, p.l3, plan.pair_m1[k], plan.pair_m3[k], 0) ? 0 : 1] = coupling[i];
    }
  }
}

}  // namespace equitools
