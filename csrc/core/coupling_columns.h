// How the tables of a plan fit the unrolled kernels. Not for the sources of an instruction set: the linker keeps one copy of an
// inline function, which would then be any set's. No torch.
#pragma once

#include "convolution_plan.h"
#include "coupling_components.h"
#include "coupling_pattern.h"

namespace equitools {

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

// Whether all entries of such a path are components that the rules name, each once, of the columns of y from `column` on.
inline bool fits_column(const ConvPath& p, int64_t column, const int32_t* m1, const int32_t* m3,
                        const int32_t* entry_begin, const int32_t* entry_m2, int64_t dim2) {
  if (column < 0 || column + 2 * p.l2 + 1 > dim2) return false;
  for (int k = p.pair_begin; k < p.pair_end; ++k) {
    int taken = 0;  // bit `which`
    for (int i = entry_begin[k]; i < entry_begin[k + 1]; ++i) {
      int which = 0;
      while (which < 2 && (entry_m2[i] < column ||
                           entry_m2[i] - column != component_of(p.l1, p.l2, p.l3, m1[k], m3[k], which)))
        ++which;
      if (which == 2 || (taken >> which & 1)) return false;
      taken |= 1 << which;
    }
  }
  return true;
}

// The column at which the components of such a path begin, or -1. The first entry leaves two to try.
inline int64_t first_column(const ConvPath& p, const int32_t* m1, const int32_t* m3, const int32_t* entry_begin,
                            const int32_t* entry_m2, int64_t dim2) {
  for (int k = p.pair_begin; k < p.pair_end; ++k) {
    if (entry_begin[k] == entry_begin[k + 1]) continue;
    for (int which = 0; which < 2; ++which) {
      const int component = component_of(p.l1, p.l2, p.l3, m1[k], m3[k], which);
      if (component < 0) continue;
      const int64_t column = entry_m2[entry_begin[k]] - component;
      if (fits_column(p, column, m1, m3, entry_begin, entry_m2, dim2)) return column;
    }
    return -1;
  }
  return 2 * p.l2 + 1 <= dim2 ? 0 : -1;  // no entry at all
}

// The coefficients of all such paths by pair and component, [num_pairs][2], zero where there is none.
template <typename T>
void spread_coupling(const ConvPlan& plan, const T* coupling, T* to) {
  for (int64_t k = 0; k < 2 * plan.num_pairs; ++k) to[k] = T(0);
  for (int64_t n = 0; n < plan.num_paths; ++n) {
    const ConvPath& p = plan.paths[n];
    if (p.column < 0) continue;
    for (int k = p.pair_begin; k < p.pair_end; ++k)
      for (int i = plan.entry_begin[k]; i < plan.entry_begin[k + 1]; ++i) {
        const int64_t m2 = plan.entry_m2[i] - p.column;
        to[2 * k + (m2 != component_of(p.l1, p.l2, p.l3, plan.pair_m1[k], plan.pair_m3[k], 0))] = coupling[i];
      }
  }
}

}  // namespace equitools
