// Products of functions on the sphere through their values on a grid. No torch.
//
// Coefficients of orthonormal real harmonics, component (l, m) at l² + l + m. The pointwise product of two functions, or
// r.(grad A x grad B), is computed on Gauss-Legendre rings times equidistant angles, one ring after the other, and projected:
// rings by associated Legendre functions, angles by cosines and sines, both with their mirror symmetry, so that an item
// costs about (L+1)² T/2 + T F (2L+1)/2 multiply-adds for each of three transforms (T rings, F angles). Lanes are items: a
// node and channel each.
//
// On a ring a function is kept as its even and odd part under the mirror phi -> -phi, at the angles 0 to pi: values are e + o
// and e - o, and products multiply as (e, o)(e', o') = (e e' + o o', e o' + o e'). At 0 and pi the odd part is zero.
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
  T *values1, *values2;       // [2][F / 2 + 1], of one ring
  T *others1, *others2;

  static int64_t size(const SphereShape& s) {
    const int64_t d1 = s.components(0), d2 = s.components(1), d3 = s.components(2), W = Simd<T>::W;
    const int64_t turns = s.curl ? 2 : 1;
    return W * (d1 + d2 + d3 + s.rings * (turns * (s.orders(0) + s.orders(1)) + s.orders(2)) +
                2 * turns * s.ring_values());
  }

  SphereScratch(const SphereShape& s, T* at) {
    const auto take = [&](int64_t n) { return (at += n * Simd<T>::W) - n * Simd<T>::W; };
    x = take(s.components(0)), y = take(s.components(1)), out = take(s.components(2));
    rings1 = take(s.rings * s.orders(0)), rings2 = take(s.rings * s.orders(1)), rings3 = take(s.rings * s.orders(2));
    values1 = take(s.ring_values()), values2 = take(s.ring_values());
    turned1 = turned2 = others1 = others2 = nullptr;
    if (!s.curl) return;
    turned1 = take(s.rings * s.orders(0)), turned2 = take(s.rings * s.orders(1));
    others1 = take(s.ring_values()), others2 = take(s.ring_values());
  }
};

// Calls f(Int<n>, at) for blocks of n = kSphereBlock, and of what is left, from 0 to count.
template <typename F>
EQUITOOLS_INLINE void in_blocks(int64_t count, F&& f) {
  static_assert(kSphereBlock == 4);
  int64_t at = 0;
  for (; at + 4 <= count; at += 4) f(Int<4>{}, at);
  if (count - at == 1) f(Int<1>{}, at);
  if (count - at == 2) f(Int<2>{}, at);
  if (count - at == 3) f(Int<3>{}, at);
}

// Coefficients to rings: [T][2 L + 1]. `flip`: the functions of even l - m are odd under the mirror (derivatives by theta).
template <typename T>
static void sphere_rings(const T* x, int lmax, int64_t count, const T* table, bool flip, T* rings) {
  constexpr int W = Simd<T>::W;
  const int64_t half = (count + 1) / 2, orders = 2 * lmax + 1, row = sphere_padded(half);
  for (int m = 0; m <= lmax; ++m) {
    for (int sign = 0; sign < (m ? 2 : 1); ++sign) {
      const int order = sign ? -m : m;
      in_blocks(half, [&](auto block, int64_t t) {
        constexpr int B = block.value;
        Vec<T> even[B] = {}, odd[B] = {};
        const T* p = table + t;
        const T* from = x + (m * m + m + order) * W;
        for (int l = m;; ++l, p += row) {
          Vec<T> v = load(from);
          unroll<0, B>([&](auto i) { even[i.value] += p[i.value] * v; });
          from += (2 * l + 2) * W;
          if (++l > lmax) break;
          p += row;
          v = load(from);
          unroll<0, B>([&](auto i) { odd[i.value] += p[i.value] * v; });
          from += (2 * l + 2) * W;
          if (l == lmax) break;
        }
        T* to = rings + (lmax + order) * W;
        unroll<0, B>([&](auto i) {  // the last ring may be its own mirror image
          store(to + (count - 1 - t - i.value) * orders * W,
                flip ? odd[i.value] - even[i.value] : even[i.value] - odd[i.value]);
          store(to + (t + i.value) * orders * W, even[i.value] + odd[i.value]);
        });
      });
    }
    table += (lmax - m + 1) * row;
  }
}

// One ring to the parts of its values [2][F / 2 + 1]; `turned`: of the derivative by the angle.
template <typename T, bool Turned>
static void sphere_values(const T* ring, int lmax, int64_t angles, const T* cosine, const T* sine, T* values) {
  constexpr int W = Simd<T>::W;
  const int64_t half = angles / 2 + 1, row = sphere_padded(half);
  const T* centre = ring + lmax * W;
  in_blocks(half, [&](auto block, int64_t k) {
    constexpr int B = block.value;
    Vec<T> even[B] = {}, odd[B] = {};
    if constexpr (!Turned) {
      const Vec<T> a = load(centre);  // of m = 0, whose cosine is 1
      unroll<0, B>([&](auto i) { even[i.value] = a; });
    }
    for (int m = 1; m <= lmax; ++m) {
      const Vec<T> a = load(centre + (Turned ? -m : m) * W), b = load(centre + (Turned ? m : -m) * W);
      const T *c = cosine + m * row + k, *s = sine + m * row + k;
      unroll<0, B>([&](auto i) {
        even[i.value] += c[i.value] * a;
        if constexpr (Turned)
          odd[i.value] -= s[i.value] * b;
        else
          odd[i.value] += s[i.value] * b;
      });
    }
    unroll<0, B>([&](auto i) {
      store(values + (k + i.value) * W, even[i.value]);
      store(values + (half + k + i.value) * W, odd[i.value]);
    });
  });
}

// Parts of the values of one ring to its orders [2 L + 1].
template <typename T>
static void sphere_orders(const T* values, int lmax, int64_t angles, const T* cosine, const T* sine, int64_t row, T* ring) {
  constexpr int W = Simd<T>::W;
  const int64_t half = angles / 2 + 1;
  T* centre = ring + lmax * W;
  in_blocks(lmax + 1, [&](auto block, int64_t m) {
    constexpr int B = block.value;
    Vec<T> even[B] = {}, odd[B] = {};  // of the angles that are not their own mirror images, half of them
    const T *p = values + W, *q = values + (half + 1) * W, *c = cosine + row + m, *s = sine + row + m;
    for (int64_t k = 1; 2 * k < angles; ++k, p += W, q += W, c += row, s += row) {
      const Vec<T> e = load(p), o = load(q);
      unroll<0, B>([&](auto i) {
        even[i.value] += c[i.value] * e;
        odd[i.value] += s[i.value] * o;
      });
    }
    const Vec<T> first = load(values), last = angles % 2 ? Vec<T>{} : load(p);
    const T *c0 = cosine + m, *c1 = angles % 2 ? c0 : c;
    unroll<0, B>([&](auto i) {
      const Vec<T> sum = T(2) * even[i.value] + c0[i.value] * first + c1[i.value] * last;
      if (m + i.value) store(centre - (m + i.value) * W, T(2) * odd[i.value]);
      store(centre + (m + i.value) * W, sum);
    });
  });
}

// Rings, used up, to coefficients. The table, by order, parity of l - m and ring, holds the degrees.
template <typename T>
static void sphere_coefficients(T* rings, int lmax, int64_t count, const T* table, T* out) {
  constexpr int W = Simd<T>::W;
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
        // The ring that is its own mirror image comes last; it has no odd part.
        const int64_t many = parity ? count / 2 : half, step = (parity ? -orders : orders) * W;
        const T* first = rings + ((parity ? (count - 1) * orders : 0) + lmax + order) * W;
        in_blocks(degrees, [&](auto block, int64_t j) {
          constexpr int B = block.value;
          Vec<T> sum[B] = {};
          const T *from = first, *p = table + j;
          for (int64_t t = 0; t < many; ++t, from += step, p += row) {
            const Vec<T> v = load(from);
            unroll<0, B>([&](auto i) { sum[i.value] += p[i.value] * v; });
          }
          unroll<0, B>([&](auto i) {
            const int64_t l = m + parity + 2 * (j + i.value);
            store(out + (l * l + l + order) * W, sum[i.value]);
          });
        });
      }
      table += half * row;
    }
}

// Products of values on one ring, both given by their parts.
template <typename T>
static void sphere_times(const T* a, const T* b, int64_t odd, T* to) {
  for (int64_t k = 0; k < odd; k += Simd<T>::W) {
    const Vec<T> e = load(a + k), o = load(a + odd + k), f = load(b + k), p = load(b + odd + k);
    store(to + k, e * f + o * p);
    store(to + odd + k, e * p + o * f);
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
    const int64_t odd = (s.angles / 2 + 1) * W;
    if (s.curl) {
      sphere_values<T, true>(at.turned1 + first, s.lmax[0], s.angles, t.cosine, t.sine, at.others1);
      sphere_values<T, true>(at.turned2 + second, s.lmax[1], s.angles, t.cosine, t.sine, at.others2);
      for (int64_t k = 0; k < odd; k += W) {
        const Vec<T> a = load(at.values1 + k), b = load(at.others2 + k), c = load(at.others1 + k), d = load(at.values2 + k);
        const Vec<T> ao = load(at.values1 + odd + k), bo = load(at.others2 + odd + k), co = load(at.others1 + odd + k),
                     d_o = load(at.values2 + odd + k);
        store(at.values1 + k, a * b + ao * bo - c * d - co * d_o);
        store(at.values1 + odd + k, a * bo + ao * b - c * d_o - co * d);
      }
    } else {
      sphere_times(at.values1, at.values2, odd, at.values1);
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
