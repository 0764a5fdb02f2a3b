// The kernels of products on the sphere of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include "../core/sphere_plan.h"

namespace equitools {

template <typename T>
struct SphereOf {
  int64_t lanes;
  int64_t (*scratch)(const SphereShape&);  // numbers that a thread works in
  // Blocks [begin, end) of `lanes` items. one_x: x has one channel, that of all items of a row.
  void (*product)(const SphereShape&, const SphereTables<T>&, const T* x, const T* y, int64_t items, int64_t channels,
                  bool one_x, bool one_y, T* out, T* memory, int64_t begin, int64_t end);
  int64_t (*power_scratch)(const SpherePowerShape&);
  void (*powers)(const SpherePowerShape&, const SphereTables<T>&, const T* x, const T* others, int64_t items,
                 int64_t channels, T* out, T* memory, int64_t begin, int64_t end);
  void (*powers_pull)(const SpherePowerShape&, const SphereTables<T>&, const T* x, const T* others, const T* g,
                      int64_t items, int64_t channels, T* out, T* memory, int64_t begin, int64_t end);
};

struct Sphere {
  SphereOf<float> f32;
  SphereOf<double> f64;
};

const Sphere& sphere_baseline();
const Sphere& sphere_avx2();    // only where the build has x86-64
const Sphere& sphere_avx512();  // only where the build has x86-64
const Sphere& sphere();

template <typename T>
const SphereOf<T>& sphere_of();
template <>
inline const SphereOf<float>& sphere_of<float>() {
  return sphere().f32;
}
template <>
inline const SphereOf<double>& sphere_of<double>() {
  return sphere().f64;
}

}  // namespace equitools
