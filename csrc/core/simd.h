// Vectors of one instruction set: loads, stores, sums over lanes, loops that are unrolled for certain. No torch.
#pragma once

#include <cstdint>

#if !defined(EQUITOOLS_ISA) || !defined(EQUITOOLS_VECTOR_BYTES)
#error "compile through a source of csrc/cpu that names the instruction set"
#endif

// Inlining that is forced keeps vectors in registers; under a sanitizer it would only make the compiler slow.
#ifdef __SANITIZE_ADDRESS__
#define EQUITOOLS_FORCED
#else
#define EQUITOOLS_FORCED __attribute__((always_inline))
#endif
#define EQUITOOLS_INLINE static inline EQUITOOLS_FORCED

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
struct Simd {
  static constexpr int W = EQUITOOLS_VECTOR_BYTES / sizeof(T);
  typedef T V __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  typedef T U __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES), aligned(sizeof(T)), may_alias));  // anywhere
};

template <typename T>
using Vec = typename Simd<T>::V;

template <typename T>
EQUITOOLS_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Simd<T>::U*>(p);
}

// The vector, held in a register: the compiler does not read it from memory again at each use.
template <typename V>
EQUITOOLS_INLINE V in_register(V v) {
#if defined(__x86_64__) && EQUITOOLS_VECTOR_BYTES == 64
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#endif
  return v;
}

template <typename T>
EQUITOOLS_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename Simd<T>::U*>(p) = v;
}

// The first n lanes; the others are zero, and are not touched in memory.
template <typename T>
EQUITOOLS_INLINE Vec<T> load_part(const T* p, int n) {
  Vec<T> v{};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}

template <typename T>
EQUITOOLS_INLINE void store_part(T* p, Vec<T> v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

template <int N>
struct Int {
  static constexpr int value = N;
  constexpr operator int() const { return N; }
};

// Calls f(Int<begin>), ..., f(Int<end - 1>). Arrays that are indexed inside stay in registers.
template <int I, int N, typename F>
EQUITOOLS_INLINE constexpr void unroll(F&& f) {
  if constexpr (I < N) {
    f(Int<I>{});
    unroll<I + 1, N>(static_cast<F&&>(f));
  }
}

template <typename T>
struct MaskOf;
template <>
struct MaskOf<float> {
  typedef int32_t I;
};
template <>
struct MaskOf<double> {
  typedef int64_t I;
};

// Lane j of the result is the sum of the lanes of v[j]; v is used up.
template <typename T>
EQUITOOLS_INLINE Vec<T> sum_lanes(Vec<T>* v) {
  constexpr int W = Simd<T>::W;
#if defined(__clang__)  // it has no shuffle by a vector of indices; the optimiser finds its own
  Vec<T> sums{};
  for (int j = 0; j < W; ++j) {
    T sum = v[j][0];
    for (int i = 1; i < W; ++i) sum += v[j][i];
    sums[j] = sum;
  }
  return sums;
#else
  typedef typename MaskOf<T>::I I;
  typedef I M __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  unroll<0, (W == 2 ? 1 : W == 4 ? 2 : W == 8 ? 3 : 4)>([&](auto stage) {
    constexpr int h = W >> (stage.value + 1);  // vectors that remain, and half the width of a group of lanes
    M low{}, high{};
    unroll<0, W>([&](auto lane) {
      constexpr int group = lane.value / (2 * h), inside = lane.value % (2 * h);
      constexpr int from = group * 2 * h + inside % h + (inside / h) * W;
      low[lane.value] = from;
      high[lane.value] = from + h;
    });
    unroll<0, h>([&](auto i) {
      v[i.value] = __builtin_shuffle(v[i.value], v[i.value + h], low) +
                   __builtin_shuffle(v[i.value], v[i.value + h], high);
    });
  });
  return v[0];
#endif
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
