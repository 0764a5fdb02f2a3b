// Eigenvectors of symmetric 3x3 matrices and principal axes of clouds on the device. No torch.
#pragma once

#include "../core/axes_shape.h"

namespace equitools {
namespace gpu {

// All pointers, those in the shapes included, are of the device; as in csrc/cpu/principal_axes.h.
template <typename T>
struct PrincipalAxesOf {
  static void eigh3(int64_t rows, const T* a, T* values, T* vectors, void* stream);
  static void eigh3_vjp(int64_t rows, const T* values, const T* vectors, const T* grad_values, const T* grad_vectors,
                        T* grad, void* stream);
  static void axes(const CloudShape& s, const T* points, const uint8_t* mask, const AxesOf<T>& out, void* stream);
  static void axes_vjp(const CloudShape& s, const T* points, const uint8_t* mask, const AxesOf<const T>& axes,
                       const AxesOf<const T>& grad, T* gradient, void* stream);
  static void signed_axes(const SignedShape<T>& s, const T* mean, const T* vectors, T* out, void* stream);
  static void signed_axes_vjp(const SignedShape<T>& s, const T* grad, T* grad_mean, T* grad_vectors, void* stream);
};

extern template struct PrincipalAxesOf<float>;
extern template struct PrincipalAxesOf<double>;

}  // namespace gpu
}  // namespace equitools
