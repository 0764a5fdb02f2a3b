// The kernels of one instruction set as a table of functions, and the choice among the sets at run time. No torch.
#pragma once

#include <cstdint>

#include "../core/spherical_harmonics_table.h"

namespace equitools {

template <typename T>
struct KernelsOf {
  void (*sh_value)(const Table<T>&, const ShSpec&, const T*, T*, int64_t, int64_t);
  void (*sh_vjp)(const Table<T>&, const ShSpec&, const T*, const T*, T*, int64_t, int64_t);
  void (*sh_vjp_vjp)(const Table<T>&, const ShSpec&, const T*, const T*, const T*, T*, T*, int64_t, int64_t);
  void (*segment_sum)(const T*, const int64_t*, const int64_t*, int64_t, T*, int64_t, int64_t);
  void (*segment_max)(const T*, const int64_t*, const int64_t*, int64_t, T*, int64_t*, int64_t, int64_t);
  void (*segment_softmax)(const T*, const int64_t*, const int64_t*, int64_t, T*, T*, int64_t, int64_t);
  void (*segment_softmax_vjp)(const T*, const T*, const int64_t*, const int64_t*, int64_t, T*, T*, int64_t, int64_t);
};

struct Kernels {
  KernelsOf<float> f32;
  KernelsOf<double> f64;
};

const Kernels& kernels_baseline();
const Kernels& kernels_avx2();    // only where the build has x86-64
const Kernels& kernels_avx512();  // only where the build has x86-64

// 0 baseline, 1 AVX2 with FMA, 2 AVX-512 (F, DQ, VL, BW). The environment variable EQUITOOLS_CPU_CAPABILITY
// (default, avx2, avx512) can lower it; it is read once.
int cpu_capability();
const Kernels& kernels();

template <typename T>
const KernelsOf<T>& kernels_of();
template <>
inline const KernelsOf<float>& kernels_of<float>() {
  return kernels().f32;
}
template <>
inline const KernelsOf<double>& kernels_of<double>() {
  return kernels().f64;
}

}  // namespace equitools
