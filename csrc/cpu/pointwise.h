// The activations' kernels of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include <cstdint>

namespace equitools {

// scale x / (1 + exp(-x)), entries [begin, end).
template <typename T>
struct PointwiseOf {
  void (*silu_value)(const T* x, T scale, T* out, int64_t begin, int64_t end);
  void (*silu_vjp)(const T* x, const T* grad, T scale, T* gradient, int64_t begin, int64_t end);
  void (*silu_vjp_vjp)(const T* x, const T* grad, const T* cotangent, T scale, T* grad_x, T* grad_grad, int64_t begin,
                       int64_t end);
};

struct Pointwise {
  PointwiseOf<float> f32;
  PointwiseOf<double> f64;
};

const Pointwise& pointwise_baseline();
const Pointwise& pointwise_avx2();    // only where the build has x86-64
const Pointwise& pointwise_avx512();  // only where the build has x86-64
const Pointwise& pointwise();

template <typename T>
const PointwiseOf<T>& pointwise_of();
template <>
inline const PointwiseOf<float>& pointwise_of<float>() {
  return pointwise().f32;
}
template <>
inline const PointwiseOf<double>& pointwise_of<double>() {
  return pointwise().f64;
}

}  // namespace equitools
