// The spherical harmonics of degrees 0 to L for a constant L: value, VJP, and VJP of the VJP, without a loop.
//
// Inside stand the polynomials of fast multipole methods, P_lm(y) (z + i x)^m / (l + m)!, whose derivatives have no
// coefficients: with c and s for the real and imaginary part and a prime for degree l - 1 (Caola, J. Phys. A 11, L23
// (1978); Dehnen, Comput. Astrophys. 1, 1 (2014), section A.4),
//   d/dy c_m = c'_m                     d/dy s_m = s'_m
//   d/dz c_m = (c'_(m-1) - c'_(m+1))/2  d/dz s_m = (s'_(m-1) - s'_(m+1))/2
//   d/dx c_m = -(s'_(m-1) + s'_(m+1))/2 d/dx s_m = (c'_(m-1) + c'_(m+1))/2
// and for m = 0: d/dz c_0 = -c'_1, d/dx c_0 = -s'_1. One factor a component takes them to and from our normalisation.
// No Jacobian is stored: a cotangent is pulled through these relations.
#pragma once

#include "spherical_harmonics_points.h"

namespace equitools {
namespace EQUITOOLS_ISA {

constexpr int kUnrolledDegree = 6;

constexpr double factorial(int n) { return n < 2 ? 1.0 : n * factorial(n - 1); }

constexpr double newton_root(double v) {
  double root = v > 1 ? v : 1.0;
  for (int i = 0; i < 64; ++i) root = 0.5 * (root + v / root);
  return root;
}

// Factor of component (l, |m|), and of its sine partner: component, norm, integral.
template <typename T>
struct Factors {
  T of[3][(kUnrolledDegree + 1) * (kUnrolledDegree + 1)];
  constexpr Factors() : of{} {
    for (int l = 0; l <= kUnrolledDegree; ++l)
      for (int m = -l; m <= l; ++m) {
        const double squared = (m == 0 ? 1.0 : 2.0) * factorial(l - m) * factorial(l + m);
        of[0][l * l + l + m] = T(newton_root((2 * l + 1) * squared));
        of[1][l * l + l + m] = T(newton_root(squared));
        of[2][l * l + l + m] = T(newton_root((2 * l + 1) * squared / (4 * 3.14159265358979323846)));
      }
  }
};

template <typename T>
static constexpr Factors<T> factors{};

constexpr int centre(int l) { return l * l + l; }

// R[l * l + l + m], degrees 0 to L.
template <typename T, int L>
EQUITOOLS_INLINE void polynomials(const Points<T>& p, Vec<T>* R) {
  using V = Vec<T>;
  const V squared = p.x * p.x + p.y * p.y + p.z * p.z;
  V cosine = V{} + T(1), sine = V{};  // of (z + i x)^m
  unroll<0, L + 1>([&](auto m) EQUITOOLS_FORCED {
    constexpr double sectoral = 1 / (factorial(m) * double(1 << m));
    if constexpr (m > 0) {
      const V turned = m == 1 ? p.z : p.z * cosine - p.x * sine;
      sine = m == 1 ? p.x : p.x * cosine + p.z * sine;
      cosine = turned;
    }
    V before = V{}, legendre = V{} + T(sectoral);
    unroll<m, L + 1>([&](auto l) EQUITOOLS_FORCED {
      if constexpr (l > m) {
        constexpr double a = (2 * l - 1.0) / ((l + m) * (l - m)), b = 1.0 / ((l + m) * (l - m));
        const V next = l == m + 1 ? T(a * sectoral) * p.y : T(a) * p.y * legendre - T(b) * squared * before;
        before = legendre;
        legendre = next;
      }
      R[centre(l) + m] = m == 0 ? legendre : legendre * cosine;
      if constexpr (m > 0) R[centre(l) - m] = legendre * sine;
    });
  });
}

// Sum over (l, m), degrees 1 to L, of G_lm times the gradient of R_lm. R is needed to degree L - 1.
template <typename T, int L>
EQUITOOLS_INLINE Triple<T> pull(const Vec<T>* R, const Vec<T>* G) {
  using V = Vec<T>;
  V gy{}, gz{}, gx{}, hz{}, hx{};  // h: twice what the orders m > 0 give
  unroll<1, L + 1>([&](auto l) EQUITOOLS_FORCED {
    const V* g = G + centre(l);
    const V* r = R + centre(l - 1);
    gy += g[0] * r[0];
    if constexpr (l > 1) {
      gz -= g[0] * r[1];
      gx -= g[0] * r[-1];
    }
    unroll<1, l + 1>([&](auto m) EQUITOOLS_FORCED {
      const V c = g[m], s = g[-m];
      hz += c * r[m - 1];
      hx += s * r[m - 1];
      if constexpr (m > 1) {
        hz += s * r[1 - m];
        hx -= c * r[1 - m];
      }
      if constexpr (m < l) {
        gy += c * r[m];
        gy += s * r[-m];
      }
      if constexpr (m + 1 < l) {
        hz -= c * r[m + 1];
        hz -= s * r[-m - 1];
        hx += s * r[m + 1];
        hx -= c * r[-m - 1];
      }
    });
  });
  return {gx + T(0.5) * hx, gy, gz + T(0.5) * hz};
}

// J_lm = (v · grad) R_lm, degrees 0 to L.
template <typename T, int L>
EQUITOOLS_INLINE void push(const Triple<T>& v, const Vec<T>* R, Vec<T>* J) {
  using V = Vec<T>;
  const V hx = T(0.5) * v.x, hz = T(0.5) * v.z;
  J[0] = V{};
  unroll<1, L + 1>([&](auto l) EQUITOOLS_FORCED {
    V* j = J + centre(l);
    const V* r = R + centre(l - 1);
    V first = v.y * r[0];
    if constexpr (l > 1) {
      first -= v.z * r[1];
      first -= v.x * r[-1];
    }
    j[0] = first;
    unroll<1, l + 1>([&](auto m) EQUITOOLS_FORCED {
      V c = hz * r[m - 1], s = hx * r[m - 1];
      if constexpr (m > 1) {
        c -= hx * r[1 - m];
        s += hz * r[1 - m];
      }
      if constexpr (m < l) {
        c += v.y * r[m];
        s += v.y * r[-m];
      }
      if constexpr (m + 1 < l) {
        c -= hz * r[m + 1];
        c -= hx * r[-m - 1];
        s += hx * r[m + 1];
        s -= hz * r[-m - 1];
      }
      j[m] = c;
      j[-m] = s;
    });
  });
}

// The adjoint of push in R: F of degrees 0 to L - 1 with sum_lm G_lm J_lm = sum F R.
template <typename T, int L>
EQUITOOLS_INLINE void pull_back(const Triple<T>& v, const Vec<T>* G, Vec<T>* F) {
  using V = Vec<T>;
  const V hx = T(0.5) * v.x, hz = T(0.5) * v.z;
  unroll<0, L>([&](auto d) EQUITOOLS_FORCED {  // the degree of F; G is of degree d + 1
    V* f = F + centre(d);
    const V* g = G + centre(d + 1);
    f[0] = v.y * g[0] + hz * g[1] + hx * g[-1];
    unroll<1, d + 1>([&](auto m) EQUITOOLS_FORCED {
      V c = v.y * g[m] + hz * g[m + 1] + hx * g[-m - 1];
      V s = v.y * g[-m] + hz * g[-m - 1] - hx * g[m + 1];
      if constexpr (m == 1) {
        c -= v.z * g[0];
        s -= v.x * g[0];
      } else {
        c += hx * g[1 - m] - hz * g[m - 1];
        s -= hz * g[1 - m] + hx * g[m - 1];
      }
      f[m] = c;
      f[-m] = s;
    });
  });
}

template <typename T, int L>
struct Unrolled {
  using V = Vec<T>;
  static constexpr int W = Lanes<T>::W, K = (L + 1) * (L + 1);

  EQUITOOLS_INLINE void scale(const T* factor, V* R) {
    unroll<0, K>([&](auto k) EQUITOOLS_FORCED { R[k] *= factor[k]; });
  }

  EQUITOOLS_INLINE void value(const T* factor, bool normalize, const T* xyz, T* out) {
    V R[K];
    polynomials<T, L>(load_points(xyz, normalize), R);
    scale(factor, R);
    store_rows<T, K>(R, out);
  }

  EQUITOOLS_INLINE void vjp(const T* factor, bool normalize, const T* xyz, const T* grad, T* gradient) {
    V R[K], G[K];
    const Points<T> p = load_points(xyz, normalize);
    if constexpr (L > 0) polynomials<T, L - 1>(p, R);
    load_rows<T, K>(grad, G);
    scale(factor, G);
    Triple<T> g = pull<T, L>(R, G);
    if (normalize) g = project(g, p);
    store_triple(g, gradient);
  }

  EQUITOOLS_INLINE void vjp_vjp(const T* factor, bool normalize, const T* xyz, const T* grad,
                                       const T* cotangent, T* grad_xyz, T* grad_grad) {
    V R[K], G[K], F[K];
    const Points<T> p = load_points(xyz, normalize);
    const Triple<T> v = load_triple(cotangent);
    const Triple<T> w = normalize ? project(v, p) : v;
    if constexpr (L > 0) polynomials<T, L - 1>(p, R);
    load_rows<T, K>(grad, G);
    scale(factor, G);
    Triple<T> h{};
    if constexpr (L > 1) {
      pull_back<T, L>(w, G, F);
      h = pull<T, L - 1>(R, F);
    }
    if (normalize) h = second_of_direction(pull<T, L>(R, G), h, v, w, p);
    store_triple(h, grad_xyz);
    push<T, L>(w, R, G);
    scale(factor, G);
    store_rows<T, K>(G, grad_grad);
  }
};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
