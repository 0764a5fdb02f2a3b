// Reductions over the edges of each segment, on the device. No torch.
#pragma once

#include "graph.h"

namespace equitools {
namespace gpu {

// Values are rows of `width` numbers. If *outside, nothing is read and nothing written, except that `where` is -1.
template <typename T>
struct SegmentOf {
  static void sum(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width, T* out, void* stream);
  // As the CPU kernels: the first of equal entries; NaN is larger than any number; 0 and -1 for an empty segment.
  static void max(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width, T* out,
                  int64_t* where, void* stream);
  static void softmax(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width, T* out,
                      void* stream);
  // out (grad - sum of out grad over the segment), for the softmax `out`.
  static void softmax_vjp(const T* out, const T* grad, Order order, const int64_t* outside, int64_t N, int64_t width,
                          T* gradient, void* stream);
  static void gather(const T* values, const int64_t* index, const int64_t* outside, int64_t E, int64_t width, T* out,
                     void* stream);
};

extern template struct SegmentOf<float>;
extern template struct SegmentOf<double>;

}  // namespace gpu
}  // namespace equitools
