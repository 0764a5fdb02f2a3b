// Micro-kernels of the radial basis: Bessel functions times the polynomial envelope, with two derivatives by the distance.
// No torch, no standard templates; an edge in each lane.
//
// With x = r / cutoff and t = n pi x the functions are j0(t) = sin(t) / t times the envelope u(x). All sines and cosines
// come from those of pi x by the addition theorem. Of the derivatives, j0' = -j1 and j0'' = 2 j1 / t - j0 with
// j1 = (j0 - cos t) / t; where t is small the difference cancels, and power series take over. The envelope of Gasteiger,
// Gross, Guennemann (arXiv 2003.03123, eq. 8) is written as (1 - x)^3 times a polynomial with positive coefficients, its
// derivatives as products, so that nothing cancels near the cutoff.
#pragma once

#include "lanes.h"
#include "radial_spec.h"

namespace equitools {
namespace EQUITOOLS_ISA {

// Of the functions n = 1 ... num, at n - 1.
template <typename T>
struct RadialConstants {
  T rate[kMaxRadial];        // dt / dr
  T amplitude[kMaxRadial];   // of j0
  T reciprocal[kMaxRadial];  // 1 / n
  explicit RadialConstants(const RadialSpec& spec) {
    constexpr double pi = 3.14159265358979323846;
    const double norm = spec.scale * __builtin_sqrt(2 / spec.cutoff);
    for (int i = 0; i < spec.num; ++i) {
      const double rate_of = (i + 1) * pi / spec.cutoff;
      rate[i] = T(rate_of);
      amplitude[i] = T(norm * rate_of);
      reciprocal[i] = T(1.0 / (i + 1));
    }
  }
};

template <typename T>
EQUITOOLS_INLINE T smallest_lane(Vec<T> v) {
  T a[Lanes<T>::W];
  for (int i = 0; i < Lanes<T>::W; ++i) a[i] = v[i];
  for (int h = Lanes<T>::W / 2; h > 0; h /= 2)
    for (int i = 0; i < h; ++i) a[i] = a[i + h] < a[i] ? a[i + h] : a[i];
  return a[0];
}

// Power series: the first coefficient, and what the next one is divided by the one before.
struct SineSeries {  // of sin(a) / a in a^2
  static constexpr double first = 1.0;
  static constexpr double ratio(int k) { return -1.0 / (2 * k * (2 * k + 1)); }
};
struct CosineSeries {  // of cos(a) in a^2
  static constexpr double first = 1.0;
  static constexpr double ratio(int k) { return -1.0 / (2 * k * (2 * k - 1)); }
};
struct BesselSeries {  // of j1(a) / a in a^2
  static constexpr double first = 1.0 / 3;
  static constexpr double ratio(int k) { return -1.0 / (2 * k * (2 * k + 3)); }
};

template <typename Series>
constexpr double coefficient(int k) {
  return k == 0 ? Series::first : coefficient<Series>(k - 1) * Series::ratio(k);
}

template <typename T, typename Series, int Terms>
EQUITOOLS_INLINE Vec<T> series(Vec<T> w) {
  Vec<T> sum{};
  unroll<0, Terms>([&](auto k) EQUITOOLS_FORCED {
    constexpr double c = coefficient<Series>(Terms - 1 - k);
    sum = k == 0 ? Vec<T>{} + T(c) : sum * w + T(c);
  });
  return sum;
}

// sin and cos of pi x; exact at whole x, and accurate where the sine is small.
template <typename T>
EQUITOOLS_INLINE void sine_cosine(Vec<T> x, Vec<T>& sine, Vec<T>& cosine) {
  using V = Vec<T>;
  constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);  // 1.5 * 2^23, 2^52: rounds to whole
  constexpr int terms = sizeof(T) == 4 ? 7 : 11;
  const V whole = (x + magic) - magic, half = (T(0.5) * whole + magic) - magic;
  const V odd = whole - T(2) * half;                   // -1, 0, 1
  const V sign = T(1) - T(2) * odd * odd;
  const V angle = T(3.14159265358979323846) * (x - whole), w = angle * angle;
  sine = sign * angle * series<T, SineSeries, terms>(w);
  cosine = sign * series<T, CosineSeries, terms>(w);
}

// The envelope and, divided by the powers of the cutoff, its derivatives.
template <typename T>
struct Envelope {
  Vec<T> value, first, second;
};

template <typename T, int Order>
EQUITOOLS_INLINE Envelope<T> envelope(int p, T inverse_cutoff, Vec<T> x) {
  using V = Vec<T>;
  if (p == 0) return {V{} + T(1), V{}, V{}};
  const V y = T(1) - x;
  V q{};
  for (int k = p - 1; k >= 0; --k) q = q * x + T((k + 1) * (k + 2) / 2);
  Envelope<T> u{y * y * y * q, V{}, V{}};
  if constexpr (Order > 0) {
    V power = V{} + T(-0.5 * p * (p + 1) * (p + 2)) * inverse_cutoff;  // times x^(p - 2) (1 - x)
    for (int k = 0; k < p - 2; ++k) power *= x;
    power *= y;
    u.first = power * x * y;
    if constexpr (Order > 1) u.second = inverse_cutoff * power * (T(p - 1) - T(p + 1) * x);
  }
  return u;
}

// Calls f(n - 1, value, first derivative, second derivative) for n = 1 ... num; those above Order are zero.
template <typename T, int Order, typename F>
EQUITOOLS_INLINE void radial_functions(const RadialSpec& spec, const RadialConstants<T>& c, Vec<T> r, const F& f) {
  using V = Vec<T>;
  constexpr int terms = sizeof(T) == 4 ? 4 : 8;
  const T limit = T(0.5);  // of t, below which the series are summed
  V x = r / T(spec.cutoff);
  if (spec.p) x = x > T(1) ? V{} + T(1) : x;
  const Envelope<T> u = envelope<T, Order>(spec.p, T(1 / spec.cutoff), x);
  V sine1, cosine1;
  sine_cosine<T>(x, sine1, cosine1);
  const V t1 = T(3.14159265358979323846) * x, inverse = T(1) / t1;
  const T nearest = smallest_lane<T>(t1 < T(0) ? -t1 : t1);
  V sine = sine1, cosine = cosine1;
  for (int i = 0; i < spec.num; ++i) {
    const V over = inverse * c.reciprocal[i];
    V j0 = sine * over, j1{}, ratio{};  // ratio: j1 / t
    if constexpr (Order > 0) j1 = (j0 - cosine) * over;
    if constexpr (Order > 1) ratio = j1 * over;
    if (T(i + 1) * nearest < limit) {
      const V t = T(i + 1) * t1, w = t * t;
      const auto small = w < limit * limit;
      j0 = small ? series<T, SineSeries, terms>(w) : j0;
      if constexpr (Order > 0) {
        const V near = series<T, BesselSeries, terms>(w);
        j1 = small ? t * near : j1;
        if constexpr (Order > 1) ratio = small ? near : ratio;
      }
    }
    const T a = c.rate[i], amplitude = c.amplitude[i];
    V first{}, second{};
    if constexpr (Order > 0) first = amplitude * (j0 * u.first - a * j1 * u.value);
    if constexpr (Order > 1)
      second = amplitude * (j0 * u.second - a * (T(2) * j1 * u.first - a * (T(2) * ratio - j0) * u.value));
    f(i, amplitude * j0 * u.value, first, second);
    const V turned = cosine * cosine1 - sine * sine1;
    sine = sine * cosine1 + cosine * sine1;
    cosine = turned;
  }
}

template <typename T>
EQUITOOLS_INLINE void copy_numbers(const T* from, T* to, int64_t numbers) {
  for (int64_t i = 0; i < numbers; ++i) to[i] = from[i];
}

// Calls block(first edge, edges) for whole vectors of edges, and once for what is left.
template <typename T, typename F>
EQUITOOLS_INLINE void edge_blocks(int64_t begin, int64_t end, const F& block) {
  constexpr int W = Lanes<T>::W;
  int64_t e = begin;
  for (; e + W <= end; e += W) block(e, W);
  if (e < end) block(e, int(end - e));
}

template <typename T>
EQUITOOLS_INLINE void load_edges(const T* rows, int K, int count, Vec<T>* columns, T* buffer) {
  if (count < Lanes<T>::W) {
    for (int64_t i = int64_t(K) * count; i < int64_t(K) * Lanes<T>::W; ++i) buffer[i] = T(0);
    copy_numbers(rows, buffer, int64_t(K) * count);
    rows = buffer;
  }
  load_rows<T>(rows, K, columns);
}

template <typename T>
EQUITOOLS_INLINE void store_edges(const Vec<T>* columns, int K, int count, T* rows, T* buffer) {
  store_rows<T>(columns, K, count < Lanes<T>::W ? buffer : rows);
  if (count < Lanes<T>::W) copy_numbers(buffer, rows, int64_t(K) * count);
}

// out[e, n]; where slope is given, also the derivatives by r.
template <typename T>
static void radial_value(const RadialSpec& spec, const T* r, T* out, T* slope, int64_t begin, int64_t end) {
  const RadialConstants<T> c(spec);
  const int K = spec.num;
  Vec<T> values[kMaxRadial], slopes[kMaxRadial];
  T buffer[kMaxRadial * Lanes<T>::W];
  edge_blocks<T>(begin, end, [&](int64_t e, int count) EQUITOOLS_FORCED {
    const Vec<T> lengths = count < Lanes<T>::W ? load_part(r + e, count) : load(r + e);
    if (slope) {
      radial_functions<T, 1>(spec, c, lengths, [&](int i, Vec<T> f, Vec<T> f1, Vec<T>) {
        values[i] = f;
        slopes[i] = f1;
      });
      store_edges(slopes, K, count, slope + e * K, buffer);
    } else {
      radial_functions<T, 0>(spec, c, lengths, [&](int i, Vec<T> f, Vec<T>, Vec<T>) { values[i] = f; });
    }
    store_edges(values, K, count, out + e * K, buffer);
  });
}

// gradient[e] = sum_n grad[e, n] d out[e, n] / d r[e].
template <typename T>
static void radial_vjp(const RadialSpec& spec, const T* r, const T* grad, T* gradient, int64_t begin, int64_t end) {
  const RadialConstants<T> c(spec);
  const int K = spec.num;
  Vec<T> g[kMaxRadial];
  T buffer[kMaxRadial * Lanes<T>::W];
  edge_blocks<T>(begin, end, [&](int64_t e, int count) EQUITOOLS_FORCED {
    const bool part = count < Lanes<T>::W;
    load_edges(grad + e * K, K, count, g, buffer);
    Vec<T> sum{};
    radial_functions<T, 1>(spec, c, part ? load_part(r + e, count) : load(r + e),
                           [&](int i, Vec<T>, Vec<T> f1, Vec<T>) { sum += g[i] * f1; });
    if (part)
      store_part(gradient + e, sum, count);
    else
      store(gradient + e, sum);
  });
}

// For the cotangent v of radial_vjp's result: its gradients with respect to r and to grad.
template <typename T>
static void radial_vjp_vjp(const RadialSpec& spec, const T* r, const T* grad, const T* cotangent, T* grad_r,
                           T* grad_grad, int64_t begin, int64_t end) {
  const RadialConstants<T> c(spec);
  const int K = spec.num;
  Vec<T> g[kMaxRadial];
  T buffer[kMaxRadial * Lanes<T>::W];
  edge_blocks<T>(begin, end, [&](int64_t e, int count) EQUITOOLS_FORCED {
    const bool part = count < Lanes<T>::W;
    load_edges(grad + e * K, K, count, g, buffer);
    const Vec<T> v = part ? load_part(cotangent + e, count) : load(cotangent + e);
    Vec<T> sum{};
    radial_functions<T, 2>(spec, c, part ? load_part(r + e, count) : load(r + e),
                           [&](int i, Vec<T>, Vec<T> f1, Vec<T> f2) {
                             sum += g[i] * f2;
                             g[i] = v * f1;
                           });
    sum *= v;
    if (part)
      store_part(grad_r + e, sum, count);
    else
      store(grad_r + e, sum);
    store_edges(g, K, count, grad_grad + e * K, buffer);
  });
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
