// The radial basis's kernels of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include "../core/radial_spec.h"

namespace equitools {

// Edges [begin, end) of r [E], out and grad [E, num], rows contiguous.
template <typename T>
struct RadialOf {
  // out[e, n] and, where slope is not null, slope[e, n] = d out[e, n] / d r[e].
  void (*value)(const RadialSpec&, const T* r, T* out, T* slope, int64_t begin, int64_t end);
  // gradient[e] = sum_n grad[e, n] d out[e, n] / d r[e].
  void (*vjp)(const RadialSpec&, const T* r, const T* grad, T* gradient, int64_t begin, int64_t end);
  // The gradients of cotangent · gradient.
  void (*vjp_vjp)(const RadialSpec&, const T* r, const T* grad, const T* cotangent, T* grad_r, T* grad_grad,
                  int64_t begin, int64_t end);
};

struct Radial {
  RadialOf<float> f32;
  RadialOf<double> f64;
};

const Radial& radial_baseline();
const Radial& radial_avx2();    // only where the build has x86-64
const Radial& radial_avx512();  // only where the build has x86-64
const Radial& radial();

template <typename T>
const RadialOf<T>& radial_of();
template <>
inline const RadialOf<float>& radial_of<float>() {
  return radial().f32;
}
template <>
inline const RadialOf<double>& radial_of<double>() {
  return radial().f64;
}

}  // namespace equitools
