// Micro-kernels of activations: scale x / (1 + exp(-x)) with two derivatives. No torch, no standard templates.
#pragma once

#include "simd.h"

namespace equitools {
namespace EQUITOOLS_ISA {

// exp(v) for |v| up to the largest exponent (beyond it, that of the bound), to about two units in the last place.
template <typename T>
EQUITOOLS_INLINE Vec<T> exponential_of(Vec<T> v) {
  using V = Vec<T>;
  typedef typename MaskOf<T>::I Integer;
  typedef Integer I __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  constexpr bool single = sizeof(T) == 4;
  constexpr T bound = single ? T(87) : T(708), magic = single ? T(12582912.0) : T(6755399441055744.0);
  constexpr int terms = single ? 7 : 13, mantissa = single ? 23 : 52;
  v = v > bound ? V{} + bound : v;
  v = v < -bound ? V{} - bound : v;
  const V shifted = v * T(1.4426950408889634) + magic;  // the whole number stands in the lowest bits
  const V whole = shifted - magic;
  const V high = V{} + (single ? T(0.693359375) : T(6.93147180369123816490e-01));
  const V low = V{} + (single ? T(-2.12194440e-4) : T(1.90821492927058770002e-10));
  const V r = (v - whole * high) - whole * low;
  V sum = V{} + T(1);
  unroll<0, terms>([&](auto k) EQUITOOLS_FORCED { sum = T(1) + sum * r * T(1.0 / (terms - k)); });
  const V anchor = V{} + magic;
  const I power = ((I)shifted - (I)anchor) << mantissa;
  return (V)((I)sum + power);
}

template <typename T>
EQUITOOLS_INLINE Vec<T> load_some(const T* p, int64_t count) {
  return count < Simd<T>::W ? load_part(p, int(count)) : load(p);
}

template <typename T>
EQUITOOLS_INLINE void store_some(T* p, Vec<T> v, int64_t count) {
  if (count < Simd<T>::W)
    store_part(p, v, int(count));
  else
    store(p, v);
}

template <typename T>
static void silu_value(const T* x, T scale, T* out, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += Simd<T>::W) {
    const Vec<T> v = load_some(x + i, end - i);
    store_some(out + i, scale * v / (T(1) + exponential_of<T>(-v)), end - i);
  }
}

// gradient = grad times the derivative.
template <typename T>
static void silu_vjp(const T* x, const T* grad, T scale, T* gradient, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += Simd<T>::W) {
    const Vec<T> v = load_some(x + i, end - i), g = load_some(grad + i, end - i);
    const Vec<T> s = T(1) / (T(1) + exponential_of<T>(-v));
    store_some(gradient + i, scale * g * s * (T(1) + v * (T(1) - s)), end - i);
  }
}

// The gradients of cotangent · gradient with respect to x and grad.
template <typename T>
static void silu_vjp_vjp(const T* x, const T* grad, const T* cotangent, T scale, T* grad_x, T* grad_grad,
                         int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += Simd<T>::W) {
    const Vec<T> v = load_some(x + i, end - i), g = load_some(grad + i, end - i);
    const Vec<T> c = scale * load_some(cotangent + i, end - i);
    const Vec<T> s = T(1) / (T(1) + exponential_of<T>(-v)), rest = T(1) - s;
    store_some(grad_x + i, c * g * s * rest * (T(2) + v * (rest - s)), end - i);
    store_some(grad_grad + i, c * s * (T(1) + v * rest), end - i);
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
