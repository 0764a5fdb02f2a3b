// Spherical harmonics on the device, one thread a point. No torch.
#pragma once

#include "../core/spherical_harmonics_table.h"

namespace equitools {
namespace gpu {

// The table and all pointers are of the device. `scratch` has scratch_size() numbers and is not used to degree 4.
template <typename T>
struct HarmonicsOf {
  static int64_t scratch_size(int lmax, int64_t E);
  static void value(const Table<T>* t, ShSpec spec, const T* xyz, T* out, int64_t E, void* stream);
  static void vjp(const Table<T>* t, ShSpec spec, const T* xyz, const T* grad, T* gradient, T* scratch, int64_t E,
                  void* stream);
  static void vjp_vjp(const Table<T>* t, ShSpec spec, const T* xyz, const T* grad, const T* cotangent, T* grad_xyz,
                      T* grad_grad, T* scratch, int64_t E, void* stream);
};

extern template struct HarmonicsOf<float>;
extern template struct HarmonicsOf<double>;

}  // namespace gpu
}  // namespace equitools
