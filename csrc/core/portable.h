// What lets one header serve g++ and nvcc: functions that run on the host and on a GPU, and loops unrolled for certain.
#pragma once

#include <cstdint>
#include <utility>

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

template <int First, int... I, typename F>
EQUITOOLS_HD constexpr void each_of(std::integer_sequence<int, I...>, F&& f) {
  (f(Number<First + I>{}), ...);
}

// Calls f(Number<begin>), ..., f(Number<end - 1>): arrays that are indexed inside stay in registers.
template <int Begin, int End, typename F>
EQUITOOLS_HD constexpr void each(F&& f) {
  each_of<Begin>(std::make_integer_sequence<int, End - Begin>{}, f);
}

}  // namespace equitools
