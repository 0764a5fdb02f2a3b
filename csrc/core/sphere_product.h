// Products of functions on the sphere through their values on a grid. No torch.
//
// Coefficients of orthonormal real harmonics, component (l, m) at l² + l + m. The pointwise product of two functions, or
// r.(grad A x grad B), is computed on Gauss-Legendre rings times equidistant angles, one ring after the other, and projected:
// rings by associated Legendre functions, angles by cosines and sines, both with their mirror symmetry, so that an item
// costs about (L+1)² T/2 + T F (2L+1)/2 multiply-adds for each of three transforms (T rings, F angles). Lanes are items: a
// node and channel each.
#pragma once

#include "simd.h"
#include "sphere_plan.h"

namespace equitools {
namespace EQUITOOLS_ISA {

// Of one item block: vectors in memory.
template <typename T>
struct SphereScratch {
  T *x, *y, *out;             // coefficients
  T *rings1, *rings2;         // [T][2 L + 1]
  T *turned1, *turned2;       // of the derivatives by the angle
  T *rings3;                  // [T][2 L3 + 1]
  T *values1, *values2;       // [F], of one ring
  T *others1, *others2;

  static int64_t size(const SphereShape& s) {
    const int64_t d1 = s.components(0), d2 = s.components(1), d3 = s.components(2), W = Simd<T>::W;
    const int64_t turns = s.curl ? 2 : 1;
    return W * (d1 + d2 + d3 + s.rings * (turns * (s.orders(0) + s.orders(1)) + s.orders(2)) + 2 * turns * s.angles);
  }

  SphereScratch(const SphereShape& s, T* at) {
    const auto take = [&](int64_t n) { return (at += n * Simd<T>::W) - n * Simd<T>::W; };
    x = take(s.components(0)), y = take(s.components(1)), out = take(s.components(2));
    rings1 = take(s.rings * s.orders(0)), rings2 = take(s.rings * s.orders(1)), rings3 = take(s.rings * s.orders(2));
    values1 = take(s.angles), values2 = take(s.angles);
    turned1 = turned2 = others1 = others2 = nullptr;
    if (!s.curl) return;
    turned1 = take(s.rings * s.orders(0)), turned2 = take(s.rings * s.orders(1));
    others1 = take(s.angles), others2 = take(s.angles);
  }
};

// Coefficients to rings: [T][2 L + 1]. `flip`: the functions of even l - m are odd under the mirror (derivatives by theta).
template <typename T>
static void sphere_rings(const T* x, int lmax, int64_t count, const T* table, bool flip, T* rings) {
  constexpr int W = Simd<T>::W, B = kSphereBlock;
  const int64_t half = (count + 1) / 2, orders = 2 * lmax + 1;
  for (int m = 0; m <= lmax; ++m) {
    for (int sign = 0; sign < (m ? 2 : 1); ++sign) {
      const int order = sign ? -m : m;
      for (int64_t t = 0; t < half; t += B) {
        Vec<T> even[B] = {}, odd[B] = {};
        const T* p = table + t;
        for (int l = m; l <= lmax; ++l, p += sphere_padded(half)) {
          const Vec<T> v = load(x + (l * l + l + order) * W);
          if ((l - m) % 2 == 0)
            unroll<0, B>([&](auto i) { even[i.value] += p[i.value] * v; });
          else
            unroll<0, B>([&](auto i) { odd[i.value] += p[i.value] * v; });
        }
        T* to = rings + (lmax + order) * W;
        for (int i = 0; i < B && t + i < half; ++i) {  // the last ring may be its own mirror image
          store(to + (count - 1 - t - i) * orders * W, flip ? odd[i] - even[i] : even[i] - odd[i]);
          store(to + (t + i) * orders * W, even[i] + odd[i]);
        }
      }
    }
    table += (lmax - m + 1) * sphere_padded(half);
  }
}

// One ring to its values [F]; `turned`: of the derivative by the angle.
template <typename T, bool Turned>
static void sphere_values(const T* ring, int lmax, int64_t angles, const T* cosine, const T* sine, T* values) {
  constexpr int W = Simd<T>::W, B = kSphereBlock;
  const int64_t half = angles / 2 + 1, row = sphere_padded(half);
  const T* centre = ring + lmax * W;
  for (int64_t k = 0; k < half; k += B) {
    Vec<T> even[B] = {}, odd[B] = {};
    for (int m = Turned; m <= lmax; ++m) {
      const Vec<T> a = load(centre + (Turned ? -m : m) * W);
      const T* c = cosine + m * row + k;
      unroll<0, B>([&](auto i) { even[i.value] += c[i.value] * a; });
      if (m == 0) continue;
      const Vec<T> b = load(centre + (Turned ? m : -m) * W);
      const T* s = sine + m * row + k;
      unroll<0, B>([&](auto i) {
        if constexpr (Turned)
          odd[i.value] -= s[i.value] * b;
        else
          odd[i.value] += s[i.value] * b;
      });
    }
    for (int i = 0; i < B && k + i < half; ++i) {
      const int64_t mirror = (angles - k - i) % angles;
      store(values + mirror * W, even[i] - odd[i]);  // at 0 and pi, which are their own mirror images, odd is zero
      store(values + (k + i) * W, even[i] + odd[i]);
    }
  }
}

// Values of one ring, used up, to its orders [2 L + 1].
template <typename T>
static void sphere_orders(T* values, int lmax, int64_t angles, const T* cosine, const T* sine, int64_t row, T* ring) {
  constexpr int W = Simd<T>::W, B = kSphereBlock;
  const int64_t half = angles / 2 + 1;
  for (int64_t k = 1; 2 * k < angles; ++k) {
    const Vec<T> a = load(values + k * W), b = load(values + (angles - k) * W);
    store(values + k * W, a + b);
    store(values + (angles - k) * W, a - b);
  }
  T* centre = ring + lmax * W;
  for (int m = 0; m <= lmax; m += B) {
    Vec<T> even[B] = {}, odd[B] = {};
    for (int64_t k = 0; k < half; ++k) {
      const Vec<T> p = load(values + k * W);
      const T* c = cosine + k * row + m;
      unroll<0, B>([&](auto i) { even[i.value] += c[i.value] * p; });
    }
    for (int64_t k = 1; 2 * k < angles; ++k) {
      const Vec<T> q = load(values + (angles - k) * W);
      const T* s = sine + k * row + m;
      unroll<0, B>([&](auto i) { odd[i.value] += s[i.value] * q; });
    }
    for (int i = 0; i < B && m + i <= lmax; ++i) {
      if (m + i) store(centre - (m + i) * W, odd[i]);
      store(centre + (m + i) * W, even[i]);
    }
  }
}

// Rings, used up, to coefficients. The table, by order, parity of l - m and ring, holds the degrees.
template <typename T>
static void sphere_coefficients(T* rings, int lmax, int64_t count, const T* table, T* out) {
  constexpr int W = Simd<T>::W, B = kSphereBlock;
  const int64_t half = (count + 1) / 2, orders = 2 * lmax + 1;
  for (int64_t t = 0; 2 * t < count - 1; ++t)
    for (int64_t i = 0; i < orders; ++i) {
      T *a = rings + (t * orders + i) * W, *b = rings + ((count - 1 - t) * orders + i) * W;
      const Vec<T> u = load(a), v = load(b);
      store(a, u + v);
      store(b, u - v);
    }
  for (int m = 0; m <= lmax; ++m)
    for (int parity = 0; parity < 2; ++parity) {
      const int degrees = (lmax - m - parity) / 2 + 1;  // l = m + parity, m + parity + 2, ...
      if (m + parity > lmax) continue;
      const int64_t row = sphere_padded(degrees);
      for (int sign = 0; sign < (m ? 2 : 1); ++sign) {
        const int order = sign ? -m : m;
        for (int j = 0; j < degrees; j += B) {
          Vec<T> sum[B] = {};
          for (int64_t t = 0; t < half; ++t) {
            if (parity && 2 * t == count - 1) continue;
            const Vec<T> v = load(rings + ((parity ? count - 1 - t : t) * orders + lmax + order) * W);
            const T* p = table + t * row + j;
            unroll<0, B>([&](auto i) { sum[i.value] += p[i.value] * v; });
          }
          for (int i = 0; i < B && j + i < degrees; ++i) {
            const int l = m + parity + 2 * (j + i);
            store(out + (l * l + l + order) * W, sum[i]);
          }
        }
      }
      table += half * row;
    }
}

// The product of W items.
template <typename T>
static void sphere_multiply(const SphereShape& s, const SphereTables<T>& t, const SphereScratch<T>& at) {
  constexpr int W = Simd<T>::W;
  sphere_rings(at.x, s.lmax[0], s.rings, t.value[0], s.curl, at.rings1);
  sphere_rings(at.y, s.lmax[1], s.rings, t.value[1], s.curl, at.rings2);
  if (s.curl) {
    sphere_rings(at.x, s.lmax[0], s.rings, t.turned[0], false, at.turned1);
    sphere_rings(at.y, s.lmax[1], s.rings, t.turned[1], false, at.turned2);
  }
  for (int64_t ring = 0; ring < s.rings; ++ring) {
    const int64_t first = ring * s.orders(0) * W, second = ring * s.orders(1) * W;
    sphere_values<T, false>(at.rings1 + first, s.lmax[0], s.angles, t.cosine, t.sine, at.values1);
    sphere_values<T, false>(at.rings2 + second, s.lmax[1], s.angles, t.cosine, t.sine, at.values2);
    if (s.curl) {
      sphere_values<T, true>(at.turned1 + first, s.lmax[0], s.angles, t.cosine, t.sine, at.others1);
      sphere_values<T, true>(at.turned2 + second, s.lmax[1], s.angles, t.cosine, t.sine, at.others2);
      for (int64_t k = 0; k < s.angles * W; k += W)
        store(at.values1 + k, load(at.values1 + k) * load(at.others2 + k) - load(at.others1 + k) * load(at.values2 + k));
    } else {
      for (int64_t k = 0; k < s.angles * W; k += W) store(at.values1 + k, load(at.values1 + k) * load(at.values2 + k));
    }
    sphere_orders(at.values1, s.lmax[2], s.angles, t.back_cosine, t.back_sine, t.back_row,
                  at.rings3 + ring * s.orders(2) * W);
  }
  sphere_coefficients(at.rings3, s.lmax[2], s.rings, t.back[2], at.out);
}

// Items [item, item + count) of [rows, components, channels] to vectors; one channel of a tensor of one is that of all.
template <typename T>
static void sphere_gather(const T* from, int64_t components, int64_t channels, bool one, int64_t item, int count, T* to) {
  constexpr int W = Simd<T>::W;
  const int64_t row = item / channels, channel = item % channels, width = one ? 1 : channels;
  const T* p = from + row * components * width + (one ? 0 : channel);
  if (count == W && channel + W <= channels) {
    for (int64_t k = 0; k < components; ++k) store(to + k * W, one ? p[k] + Vec<T>{} : load(p + k * width));
    return;
  }
  for (int i = 0; i < W; ++i) {
    const int64_t n = item + (i < count ? i : 0);
    const T* q = from + n / channels * components * width + (one ? 0 : n % channels);
    for (int64_t k = 0; k < components; ++k) to[k * W + i] = q[k * width];
  }
}

template <typename T>
static void sphere_scatter(const T* from, int64_t components, int64_t channels, int64_t item, int count, T* to) {
  constexpr int W = Simd<T>::W;
  T* p = to + item / channels * components * channels + item % channels;
  if (count == W && item % channels + W <= channels) {
    for (int64_t k = 0; k < components; ++k) store(p + k * channels, load(from + k * W));
    return;
  }
  for (int i = 0; i < count; ++i) {
    T* q = to + (item + i) / channels * components * channels + (item + i) % channels;
    for (int64_t k = 0; k < components; ++k) q[k * channels] = from[k * W + i];
  }
}

// Blocks [begin, end) of W items.
template <typename T>
static void sphere_product(const SphereShape& s, const SphereTables<T>& tables, const T* x, const T* y, int64_t items,
                           int64_t channels, bool one_x, bool one_y, T* out, T* memory, int64_t begin, int64_t end) {
  constexpr int W = Simd<T>::W;
  const SphereScratch<T> at(s, memory);
  for (int64_t item = begin * W; item < end * W && item < items; item += W) {
    const int count = items - item < W ? int(items - item) : W;
    sphere_gather(x, s.components(0), channels, one_x, item, count, at.x);
    sphere_gather(y, s.components(1), channels, one_y, item, count, at.y);
    sphere_multiply(s, tables, at);
    sphere_scatter(at.out, s.components(2), channels, item, count, out);
  }
}

template <typename T>
static int64_t sphere_scratch(const SphereShape& s) {
  return SphereScratch<T>::size(s);
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
