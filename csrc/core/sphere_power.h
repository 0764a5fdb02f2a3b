// Powers of functions on the sphere, and all their derivatives, through values on a grid. No torch.
//
// With a function f, further functions h_1 ... h_k of the same degrees and functions g_1 ... g_n of the degrees of the result,
//
//   S_k = integral of h_1 ... h_k * sum over v of v! / (v - k)! * f^(v - k) * g_v
//
// is the k-th derivative of the integral of f^v g_v, in the directions h. `sphere_powers` is its derivative by all g, the
// projections of v! / (v - k)! f^(v - k) h_1 ... h_k; `sphere_powers_pull` that of S_(k+1) by the last h. Derivatives of both
// are again one of the two. The grid integrates products of n functions and one of the result exactly, so smaller powers, too.
#pragma once

#include "sphere_product.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
struct SpherePowerScratch {
  T* x;                   // coefficients of f or of an h, then of the result
  T* many;                // coefficients of the powers: results, or g
  T* rings;               // [1 + k][T][2 L + 1], and one more for what is pulled back
  T* rings_of_powers;     // [n][T][2 l + 1]
  T *f, *h, *term, *sum;  // parts of the values of one ring, [2][F / 2 + 1]

  static int64_t size(const SpherePowerShape& s) {
    return Simd<T>::W * (s.components() + s.powers * s.components_out() +
                         s.rings * ((2 + s.others) * s.orders() + s.powers * s.orders_out()) + 4 * s.ring_values());
  }

  SpherePowerScratch(const SpherePowerShape& s, T* at) {
    const auto take = [&](int64_t n) { return (at += n * Simd<T>::W) - n * Simd<T>::W; };
    x = take(s.components()), many = take(s.powers * s.components_out());
    rings = take((2 + s.others) * s.rings * s.orders());
    rings_of_powers = take(s.powers * s.rings * s.orders_out());
    f = take(s.ring_values()), h = take(s.ring_values()), term = take(s.ring_values()), sum = take(s.ring_values());
  }
};

// f and the product of all h on one ring; without an h that is 1.
template <typename T>
static void sphere_factors(const SpherePowerShape& s, const SphereTables<T>& t, const SpherePowerScratch<T>& at,
                           int64_t ring) {
  constexpr int W = Simd<T>::W;
  const int64_t step = s.rings * s.orders() * W, from = ring * s.orders() * W;
  sphere_values<T, false>(at.rings + from, s.lmax, s.angles, t.cosine, t.sine, at.f);
  for (int64_t k = 0; k < s.others; ++k) {
    T* to = k ? at.term : at.h;
    sphere_values<T, false>(at.rings + (1 + k) * step + from, s.lmax, s.angles, t.cosine, t.sine, to);
    if (k) sphere_times(at.h, at.term, s.ring_values() / 2 * W, at.h);
  }
}

// v! / (v - k)!
template <typename T>
EQUITOOLS_INLINE T falling(int64_t v, int64_t k) {
  T n = 1;
  for (int64_t i = 0; i < k; ++i) n *= T(v - i);
  return n;
}

// The powers of W items, and what other functions multiply them with.
template <typename T>
static void sphere_powers_of(const SpherePowerShape& s, const SphereTables<T>& t, const SpherePowerScratch<T>& at) {
  constexpr int W = Simd<T>::W;
  const int64_t step = s.rings * s.orders_out() * W, first = s.others > 1 ? s.others : 1, end = s.ring_values() * W;
  for (int64_t ring = 0; ring < s.rings && first <= s.powers; ++ring) {
    sphere_factors(s, t, at, ring);
    const T start = falling<T>(first, s.others);
    for (int64_t i = 0; i < end; i += W) store(at.h + i, s.others ? start * load(at.h + i) : load(at.f + i));
    for (int64_t v = first;; ++v) {  // h holds what belongs to v
      sphere_orders(at.h, s.lmax_out, s.angles, t.back_cosine, t.back_sine, t.back_row,
                    at.rings_of_powers + (v - 1) * step + ring * s.orders_out() * W);
      if (v == s.powers) break;
      sphere_times(at.h, at.f, end / 2, at.h);
      const T ratio = T(v + 1) / T(v + 1 - s.others);
      for (int64_t i = 0; s.others && i < end; i += W) store(at.h + i, ratio * load(at.h + i));
    }
  }
  for (int64_t v = 1; v <= s.powers; ++v) {
    T* to = at.many + (v - 1) * s.components_out() * W;
    if (v < first)
      for (int64_t i = 0; i < s.components_out(); ++i) store(to + i * W, Vec<T>{});
    else
      sphere_coefficients(at.rings_of_powers + (v - 1) * step, s.lmax_out, s.rings, t.back[1], to);
  }
}

// The gradient of S_(k+1) by its last h, of W items.
template <typename T>
static void sphere_pull_of(const SpherePowerShape& s, const SphereTables<T>& t, const SpherePowerScratch<T>& at) {
  constexpr int W = Simd<T>::W;
  const int64_t step = s.rings * s.orders_out() * W, least = s.others + 1, end = s.ring_values() * W;
  T* rings = at.rings + (1 + s.others) * s.rings * s.orders() * W;
  for (int64_t v = least; v <= s.powers; ++v)
    sphere_rings(at.many + (v - 1) * s.components_out() * W, s.lmax_out, s.rings, t.value[1], false,
                 at.rings_of_powers + (v - 1) * step);
  for (int64_t ring = 0; ring < s.rings; ++ring) {
    sphere_factors(s, t, at, ring);
    T* sum = at.sum;
    for (int64_t i = 0; i < end; i += W) store(sum + i, Vec<T>{});
    for (int64_t v = s.powers; v >= least; --v) {  // Horner
      sphere_values<T, false>(at.rings_of_powers + (v - 1) * step + ring * s.orders_out() * W, s.lmax_out, s.angles,
                              t.cosine, t.sine, at.term);
      const T factor = falling<T>(v, least);
      if (v < s.powers) sphere_times(sum, at.f, end / 2, sum);
      for (int64_t i = 0; i < end; i += W) store(sum + i, load(sum + i) + factor * load(at.term + i));
    }
    if (s.others) sphere_times(sum, at.h, end / 2, sum);
    sphere_orders(sum, s.lmax, s.angles, t.back_cosine, t.back_sine, t.back_row, rings + ring * s.orders() * W);
  }
  sphere_coefficients(rings, s.lmax, s.rings, t.back[0], at.x);
}

// f [N, components, C] and the others [k, N, components, C] of W items to rings.
template <typename T>
static void sphere_gather_factors(const SpherePowerShape& s, const SphereTables<T>& t, const SpherePowerScratch<T>& at,
                                  const T* x, const T* others, int64_t items, int64_t channels, int64_t item, int count) {
  const int64_t step = s.rings * s.orders() * Simd<T>::W;
  for (int64_t k = 0; k <= s.others; ++k) {
    const T* from = k ? others + (k - 1) * items * s.components() : x;
    sphere_gather(from, s.components(), channels, false, item, count, at.x);
    sphere_rings(at.x, s.lmax, s.rings, t.value[0], false, at.rings + k * step);
  }
}

// Blocks [begin, end) of W items; out [N, n, components of the result, C].
template <typename T>
static void sphere_powers(const SpherePowerShape& s, const SphereTables<T>& t, const T* x, const T* others, int64_t items,
                          int64_t channels, T* out, T* memory, int64_t begin, int64_t end) {
  constexpr int W = Simd<T>::W;
  const SpherePowerScratch<T> at(s, memory);
  for (int64_t item = begin * W; item < end * W && item < items; item += W) {
    const int count = items - item < W ? int(items - item) : W;
    sphere_gather_factors(s, t, at, x, others, items, channels, item, count);
    sphere_powers_of(s, t, at);
    sphere_scatter(at.many, s.powers * s.components_out(), channels, item, count, out);
  }
}

// The same; g [N, n, components of the result, C], out [N, components, C].
template <typename T>
static void sphere_powers_pull(const SpherePowerShape& s, const SphereTables<T>& t, const T* x, const T* others,
                               const T* g, int64_t items, int64_t channels, T* out, T* memory, int64_t begin,
                               int64_t end) {
  constexpr int W = Simd<T>::W;
  const SpherePowerScratch<T> at(s, memory);
  for (int64_t item = begin * W; item < end * W && item < items; item += W) {
    const int count = items - item < W ? int(items - item) : W;
    sphere_gather_factors(s, t, at, x, others, items, channels, item, count);
    sphere_gather(g, s.powers * s.components_out(), channels, false, item, count, at.many);
    sphere_pull_of(s, t, at);
    sphere_scatter(at.x, s.components(), channels, item, count, out);
  }
}

template <typename T>
static int64_t sphere_power_scratch(const SpherePowerShape& s) {
  return SpherePowerScratch<T>::size(s);
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
