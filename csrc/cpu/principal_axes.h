// The kernels of eigenvectors and principal axes of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include "../core/axes_shape.h"

namespace equitools {

// Blocks [begin, end) of `lanes` matrices or clouds each; the last one may be part of a block.
template <typename T>
struct PrincipalAxesOf {
  int64_t lanes;
  void (*eigh3)(int64_t rows, const T* a, T* values, T* vectors, int64_t begin, int64_t end);
  void (*eigh3_vjp)(int64_t rows, const T* values, const T* vectors, const T* grad_values, const T* grad_vectors, T* grad,
                    int64_t begin, int64_t end);
  // mask [clouds, points], or null where all points count.
  void (*axes)(const CloudShape&, const T* points, const uint8_t* mask, const AxesOf<T>& out, int64_t begin, int64_t end);
  void (*axes_vjp)(const CloudShape&, const T* points, const uint8_t* mask, const AxesOf<const T>& axes,
                   const AxesOf<const T>& grad, T* gradient, int64_t begin, int64_t end);
  // Clouds [begin, end).
  void (*signed_axes)(const SignedShape<T>&, const T* mean, const T* vectors, T* out, int64_t begin, int64_t end);
  void (*signed_axes_vjp)(const SignedShape<T>&, const T* grad, T* grad_mean, T* grad_vectors, int64_t begin, int64_t end);
};

struct PrincipalAxes {
  PrincipalAxesOf<float> f32;
  PrincipalAxesOf<double> f64;
};

const PrincipalAxes& principal_axes_baseline();
const PrincipalAxes& principal_axes_avx2();    // only where the build has x86-64
const PrincipalAxes& principal_axes_avx512();  // only where the build has x86-64
const PrincipalAxes& principal_axes();

template <typename T>
const PrincipalAxesOf<T>& principal_axes_of();
template <>
inline const PrincipalAxesOf<float>& principal_axes_of<float>() {
  return principal_axes().f32;
}
template <>
inline const PrincipalAxesOf<double>& principal_axes_of<double>() {
  return principal_axes().f64;
}

}  // namespace equitools
