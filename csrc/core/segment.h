// Micro-kernels of the segment reductions. No torch, no standard templates; compiled once for each instruction set.
//
// Segment n holds the edges order[e], or e itself where order is null, for first[n] <= e < first[n + 1]. Values are rows
// of `width` numbers. The edges of a segment are visited in their order, so that the result is reproducible.
#pragma once

#include <cstdint>

#ifndef EQUITOOLS_ISA
#error "compile through csrc/cpu/kernels_*.cpp, which name the instruction set"
#endif

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static inline T exponential(T v);
template <>
inline float exponential<float>(float v) {
  return __builtin_expf(v);
}
template <>
inline double exponential<double>(double v) {
  return __builtin_exp(v);
}

template <typename T>
static void segment_sum(const T* values, const int64_t* order, const int64_t* first, int64_t width, T* out,
                        int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    T* __restrict row = out + n * width;
    for (int64_t d = 0; d < width; ++d) row[d] = T(0);
    for (int64_t e = first[n]; e < first[n + 1]; ++e) {
      const T* __restrict v = values + (order ? order[e] : e) * width;
      for (int64_t d = 0; d < width; ++d) row[d] += v[d];
    }
  }
}

// The largest entry of each segment and the edge it stands at; 0 and -1 for an empty one. Of equal entries the first is
// taken; a NaN counts as larger than any number.
template <typename T>
static void segment_max(const T* values, const int64_t* order, const int64_t* first, int64_t width, T* out,
                        int64_t* where, int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    T* __restrict row = out + n * width;
    int64_t* __restrict at = where + n * width;
    for (int64_t d = 0; d < width; ++d) {
      row[d] = T(0);
      at[d] = -1;
    }
    for (int64_t e = first[n]; e < first[n + 1]; ++e) {
      const int64_t edge = order ? order[e] : e;
      const T* __restrict v = values + edge * width;
      for (int64_t d = 0; d < width; ++d) {
        const bool larger = (v[d] > row[d]) | ((v[d] != v[d]) & (row[d] == row[d]));
        const bool take = larger | (at[d] < 0);
        row[d] = take ? v[d] : row[d];
        at[d] = take ? edge : at[d];
      }
    }
  }
}

// exp(v - largest) / sum of the same, within each segment. `scratch` holds 2 * width numbers.
template <typename T>
static void segment_softmax(const T* values, const int64_t* order, const int64_t* first, int64_t width, T* out,
                            T* scratch, int64_t begin, int64_t end) {
  T* __restrict largest = scratch;
  T* __restrict total = scratch + width;
  for (int64_t n = begin; n < end; ++n) {
    if (first[n] == first[n + 1]) continue;
    const T* head = values + (order ? order[first[n]] : first[n]) * width;
    for (int64_t d = 0; d < width; ++d) {
      largest[d] = head[d];
      total[d] = T(0);
    }
    for (int64_t e = first[n]; e < first[n + 1]; ++e) {
      const T* v = values + (order ? order[e] : e) * width;
      for (int64_t d = 0; d < width; ++d) largest[d] = v[d] > largest[d] ? v[d] : largest[d];
    }
    for (int64_t e = first[n]; e < first[n + 1]; ++e) {
      const int64_t at = (order ? order[e] : e) * width;
      for (int64_t d = 0; d < width; ++d) {
        const T x = exponential(values[at + d] - largest[d]);
        out[at + d] = x;
        total[d] += x;
      }
    }
    for (int64_t d = 0; d < width; ++d) total[d] = T(1) / total[d];
    for (int64_t e = first[n]; e < first[n + 1]; ++e) {
      const int64_t at = (order ? order[e] : e) * width;
      for (int64_t d = 0; d < width; ++d) out[at + d] *= total[d];
    }
  }
}

// gradient = out (grad - sum of out grad over the segment), for the softmax `out`. `scratch` holds `width` numbers.
template <typename T>
static void segment_softmax_vjp(const T* out, const T* grad, const int64_t* order, const int64_t* first, int64_t width,
                                T* gradient, T* scratch, int64_t begin, int64_t end) {
  T* __restrict inner = scratch;
  for (int64_t n = begin; n < end; ++n) {
    for (int64_t d = 0; d < width; ++d) inner[d] = T(0);
    for (int64_t e = first[n]; e < first[n + 1]; ++e) {
      const int64_t at = (order ? order[e] : e) * width;
      for (int64_t d = 0; d < width; ++d) inner[d] += out[at + d] * grad[at + d];
    }
    for (int64_t e = first[n]; e < first[n + 1]; ++e) {
      const int64_t at = (order ? order[e] : e) * width;
      for (int64_t d = 0; d < width; ++d) gradient[at + d] = out[at + d] * (grad[at + d] - inner[d]);
    }
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
