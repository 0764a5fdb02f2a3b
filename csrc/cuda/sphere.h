// Products of functions on the sphere through their values on a grid, on the device. No torch.
#pragma once

#include "../core/sphere_plan.h"

namespace equitools {
namespace gpu {

// All pointers, those of the tables included, are of the device; x and y are [rows, components, channels], or one channel.
template <typename T>
struct SphereOf {
  static void product(const SphereShape& s, const SphereTables<T>& tables, const T* x, const T* y, int64_t items,
                      int64_t channels, bool one_x, bool one_y, T* out, void* stream);
};

extern template struct SphereOf<float>;
extern template struct SphereOf<double>;

}  // namespace gpu
}  // namespace equitools
