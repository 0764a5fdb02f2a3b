// What lets one header serve g++ and nvcc: functions that run on the host and on a GPU, and loops unrolled for certain.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define EQUITOOLS_HD __host__ __device__ __forceinline__
#else
#define EQUITOOLS_HD inline __attribute__((always_inline))
#endif

namespace equitools {

template <int N>
struct Number {
  static constexpr int value = N;
};

// Calls f(Number<begin>), ..., f(Number<end - 1>): arrays that are indexed inside stay in registers.
template <int I, int N, typename F>
EQUITOOLS_HD constexpr void each(F&& f) {
  if constexpr (I < N) {
    f(Number<I>{});
    each<I + 1, N>(static_cast<F&&>(f));
  }
}

}  // namespace equitools
