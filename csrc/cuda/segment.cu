#include "segment.h"

#include <cmath>

#include "device.h"

namespace equitools {
namespace gpu {
namespace {

constexpr int kThreads = 128;

// One thread a (segment, column): columns of a row are neighbours, and the edges pass in their order.

template <typename T>
EQUITOOLS_KERNEL sum_kernel(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width, T* out) {
  if (*outside) return;
  for (int64_t i = global_thread(); i < N * width; i += global_threads()) {
    const int64_t n = i / width, column = i - n * width;
    T sum = T(0);
    for (int64_t k = order.first[n]; k < order.first[n + 1]; ++k) sum += values[order.order[k] * width + column];
    out[i] = sum;
  }
}

template <typename T>
EQUITOOLS_KERNEL max_kernel(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width, T* out,
                            int64_t* where) {
  const bool good = !*outside;
  for (int64_t i = global_thread(); i < N * width; i += global_threads()) {
    const int64_t n = i / width, column = i - n * width;
    T largest = T(0);
    int64_t at = -1;
    for (int64_t k = good ? order.first[n] : 0; k < (good ? order.first[n + 1] : 0); ++k) {
      const int64_t edge = order.order[k];
      const T v = values[edge * width + column];
      if (at < 0 || v > largest || (v != v && largest == largest)) {
        largest = v;
        at = edge;
      }
    }
    out[i] = largest;
    where[i] = at;
  }
}

EQUITOOLS_DEVICE float exponential(float v) { return expf(v); }
EQUITOOLS_DEVICE double exponential(double v) { return exp(v); }

template <typename T>
EQUITOOLS_KERNEL softmax_kernel(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width,
                                T* out) {
  if (*outside) return;
  for (int64_t i = global_thread(); i < N * width; i += global_threads()) {
    const int64_t n = i / width, column = i - n * width;
    const int64_t begin = order.first[n], end = order.first[n + 1];
    if (begin == end) continue;
    T largest = values[order.order[begin] * width + column];
    for (int64_t k = begin + 1; k < end; ++k) {
      const T v = values[order.order[k] * width + column];
      largest = v > largest ? v : largest;
    }
    T total = T(0);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t at = order.order[k] * width + column;
      const T v = exponential(values[at] - largest);
      out[at] = v;
      total += v;
    }
    const T inverse = T(1) / total;
    for (int64_t k = begin; k < end; ++k) out[order.order[k] * width + column] *= inverse;
  }
}

template <typename T>
EQUITOOLS_KERNEL softmax_vjp_kernel(const T* out, const T* grad, Order order, const int64_t* outside, int64_t N,
                                    int64_t width, T* gradient) {
  if (*outside) return;
  for (int64_t i = global_thread(); i < N * width; i += global_threads()) {
    const int64_t n = i / width, column = i - n * width;
    T inner = T(0);
    for (int64_t k = order.first[n]; k < order.first[n + 1]; ++k) {
      const int64_t at = order.order[k] * width + column;
      inner += out[at] * grad[at];
    }
    for (int64_t k = order.first[n]; k < order.first[n + 1]; ++k) {
      const int64_t at = order.order[k] * width + column;
      gradient[at] = out[at] * (grad[at] - inner);
    }
  }
}

template <typename T>
EQUITOOLS_KERNEL gather_kernel(const T* values, const int64_t* index, const int64_t* outside, int64_t E, int64_t width,
                               T* out) {
  if (*outside) return;
  for (int64_t i = global_thread(); i < E * width; i += global_threads()) {
    const int64_t e = i / width, column = i - e * width;
    out[i] = values[index[e] * width + column];
  }
}

}  // namespace

template <typename T>
void SegmentOf<T>::sum(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width, T* out,
                       void* stream) {
  launch("segment_sum", sum_kernel<T>, blocks_for(N * width, kThreads), 1, kThreads, 0, stream, values, order, outside,
         N, width, out);
}

template <typename T>
void SegmentOf<T>::max(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width, T* out,
                       int64_t* where, void* stream) {
  launch("segment_max", max_kernel<T>, blocks_for(N * width, kThreads), 1, kThreads, 0, stream, values, order, outside,
         N, width, out, where);
}

template <typename T>
void SegmentOf<T>::softmax(const T* values, Order order, const int64_t* outside, int64_t N, int64_t width, T* out,
                           void* stream) {
  launch("segment_softmax", softmax_kernel<T>, blocks_for(N * width, kThreads), 1, kThreads, 0, stream, values, order,
         outside, N, width, out);
}

template <typename T>
void SegmentOf<T>::softmax_vjp(const T* out, const T* grad, Order order, const int64_t* outside, int64_t N,
                               int64_t width, T* gradient, void* stream) {
  launch("segment_softmax_vjp", softmax_vjp_kernel<T>, blocks_for(N * width, kThreads), 1, kThreads, 0, stream, out,
         grad, order, outside, N, width, gradient);
}

template <typename T>
void SegmentOf<T>::gather(const T* values, const int64_t* index, const int64_t* outside, int64_t E, int64_t width,
                          T* out, void* stream) {
  launch("segment_gather", gather_kernel<T>, blocks_for(E * width, kThreads), 1, kThreads, 0, stream, values, index,
         outside, E, width, out);
}

template struct SegmentOf<float>;
template struct SegmentOf<double>;

}  // namespace gpu
}  // namespace equitools
