// Micro-kernels of the real spherical harmonics: value, VJP, and VJP of the VJP. No torch, no standard templates.
//
// Points stand in the lanes of a vector; one vector holds one component of W points. The file is compiled once for
// each instruction set: EQUITOOLS_ISA names a namespace and EQUITOOLS_VECTOR_BYTES the width of a vector. Everything
// else is static, so that the linker can never hand code made for one instruction set to another.
//
// Degrees up to kUnrolledDegree have code of their own (spherical_harmonics_unrolled.h); what follows serves the higher
// ones from tables. With R_lm the solid harmonics ("component" normalisation, polar axis y), the first derivatives of degree l are
// combinations of degree l - 1 (Caola, J. Phys. A 11, L23 (1978), written for real harmonics and our normalisation). So
// neither the VJP nor the second derivative stores a Jacobian: a cotangent vector is pulled through the constant matrices.
#pragma once

#include "spherical_harmonics_unrolled.h"

namespace equitools {
namespace EQUITOOLS_ISA {

constexpr int kMaxComponents = (kMaxDegree + 1) * (kMaxDegree + 1);

// R[l * l + l + m], degrees 0 to lmax, of W points.
template <typename T>
static inline void solid_harmonics(const Table<T>& t, int lmax, const Points<T>& p, Vec<T>* R) {
  using V = Vec<T>;
  const V squared = p.x * p.x + p.y * p.y + p.z * p.z;
  V cosine = V{} + T(1), sine = V{};  // of (z + i x)^m
  for (int m = 0; m <= lmax; ++m) {
    V before = V{}, legendre = V{} + t.sectoral[m];
    for (int l = m; l <= lmax; ++l) {
      if (l > m) {
        const int k = triangle(l, m);
        const V next = t.a[k] * p.y * legendre - t.b[k] * squared * before;
        before = legendre;
        legendre = next;
      }
      const int centre = l * l + l;
      R[centre + m] = legendre * cosine;
      if (m > 0) R[centre - m] = legendre * sine;
    }
    const V turned = p.z * cosine - p.x * sine;
    sine = p.x * cosine + p.z * sine;
    cosine = turned;
  }
}

// Each degree times its scale; component normalisation has none.
template <typename T>
static inline void scale_degrees(int lmax, const T* scale, Vec<T>* R) {
  if (scale[lmax] == T(1)) return;
  for (int l = 0, k = 0; l <= lmax; ++l)
    for (const int end = (l + 1) * (l + 1); k < end; ++k) R[k] *= scale[l];
}

// Sum over (l, m) of G_lm times the gradient of R_lm. R is needed to degree lmax - 1 only.
template <typename T>
static inline Triple<T> pull_gradient(const Table<T>& t, int lmax, const Vec<T>* R,
                                      const Vec<T>* G) {
  using V = Vec<T>;
  V gx{}, gy{}, gz{};
  for (int l = 1; l <= lmax; ++l) {
    const V* g = G + l * l + l;
    const V* r = R + (l - 1) * (l - 1) + (l - 1);
    const int top = l - 1;
    const int k0 = triangle(l, 0);
    gy += t.axial[k0] * g[0] * r[0];
    if (top >= 1) {
      gz -= t.up[k0] * g[0] * r[1];
      gx -= t.up[k0] * g[0] * r[-1];
    }
    for (int m = 1; m <= l; ++m) {
      const int k = k0 + m;
      const V gc = g[m], gs = g[-m];
      if (m <= top) gy += t.axial[k] * (gc * r[m] + gs * r[-m]);
      const V dc = t.down[k] * r[m - 1];
      gz += dc * gc;
      gx += dc * gs;
      if (m > 1) {
        const V ds = t.down[k] * r[1 - m];
        gz += ds * gs;
        gx -= ds * gc;
      }
      if (m + 1 <= top) {
        const V uc = t.up[k] * r[m + 1], us = t.up[k] * r[-m - 1];
        gz -= uc * gc + us * gs;
        gx += uc * gs - us * gc;
      }
    }
  }
  return {gx, gy, gz};
}

// J_lm = (v · grad) R_lm, degrees 0 to lmax.
template <typename T>
static inline void push_direction(const Table<T>& t, int lmax, const Triple<T>& v, const Vec<T>* R,
                                  Vec<T>* J) {
  using V = Vec<T>;
  J[0] = V{};
  for (int l = 1; l <= lmax; ++l) {
    V* j = J + l * l + l;
    const V* r = R + (l - 1) * (l - 1) + (l - 1);
    const int top = l - 1;
    const int k0 = triangle(l, 0);
    V centre = t.axial[k0] * v.y * r[0];
    if (top >= 1) centre -= t.up[k0] * (v.z * r[1] + v.x * r[-1]);
    j[0] = centre;
    for (int m = 1; m <= l; ++m) {
      const int k = k0 + m;
      V c{}, s{};
      if (m <= top) {
        c += t.axial[k] * v.y * r[m];
        s += t.axial[k] * v.y * r[-m];
      }
      c += t.down[k] * v.z * r[m - 1];
      s += t.down[k] * v.x * r[m - 1];
      if (m > 1) {
        c -= t.down[k] * v.x * r[1 - m];
        s += t.down[k] * v.z * r[1 - m];
      }
      if (m + 1 <= top) {
        c -= t.up[k] * (v.z * r[m + 1] + v.x * r[-m - 1]);
        s += t.up[k] * (v.x * r[m + 1] - v.z * r[-m - 1]);
      }
      j[m] = c;
      j[-m] = s;
    }
  }
}

// The adjoint of push_direction in R: coefficients F of degrees 0 to lmax - 1 with sum_lm G_lm J_lm = sum F R.
template <typename T>
static inline void pull_coefficients(const Table<T>& t, int lmax, const Triple<T>& v, const Vec<T>* G,
                                     Vec<T>* F) {
  using V = Vec<T>;
  for (int k = 0; k < lmax * lmax; ++k) F[k] = V{};
  for (int l = 1; l <= lmax; ++l) {
    const V* g = G + l * l + l;
    V* f = F + (l - 1) * (l - 1) + (l - 1);
    const int top = l - 1;
    const int k0 = triangle(l, 0);
    f[0] += t.axial[k0] * v.y * g[0];
    if (top >= 1) {
      f[1] -= t.up[k0] * v.z * g[0];
      f[-1] -= t.up[k0] * v.x * g[0];
    }
    for (int m = 1; m <= l; ++m) {
      const int k = k0 + m;
      const V gc = g[m], gs = g[-m];
      if (m <= top) {
        f[m] += t.axial[k] * v.y * gc;
        f[-m] += t.axial[k] * v.y * gs;
      }
      f[m - 1] += t.down[k] * (v.z * gc + v.x * gs);
      if (m > 1) f[1 - m] += t.down[k] * (v.z * gs - v.x * gc);
      if (m + 1 <= top) {
        f[m + 1] += t.up[k] * (v.x * gs - v.z * gc);
        f[-m - 1] -= t.up[k] * (v.z * gs + v.x * gc);
      }
    }
  }
}

template <typename T>
struct Tabled {
  using V = Vec<T>;

  static void value(const Table<T>& t, const ShSpec& spec, const T* xyz, T* out) {
    V R[kMaxComponents];
    solid_harmonics(t, spec.lmax, load_points(xyz, spec.normalize), R);
    scale_degrees(spec.lmax, t.scale[spec.normalization], R);
    store_rows<T>(R, (spec.lmax + 1) * (spec.lmax + 1), out);
  }

  static void vjp(const Table<T>& t, const ShSpec& spec, const T* xyz, const T* grad, T* gradient) {
    V R[kMaxComponents], G[kMaxComponents];
    const Points<T> p = load_points(xyz, spec.normalize);
    solid_harmonics(t, spec.lmax - 1, p, R);
    load_rows<T>(grad, (spec.lmax + 1) * (spec.lmax + 1), G);
    scale_degrees(spec.lmax, t.scale[spec.normalization], G);
    Triple<T> g = pull_gradient(t, spec.lmax, R, G);
    if (spec.normalize) g = project(g, p);
    store_triple(g, gradient);
  }

  static void vjp_vjp(const Table<T>& t, const ShSpec& spec, const T* xyz, const T* grad, const T* cotangent,
                      T* grad_xyz, T* grad_grad) {
    V R[kMaxComponents], G[kMaxComponents], F[kMaxComponents];
    const int K = (spec.lmax + 1) * (spec.lmax + 1);
    const Points<T> p = load_points(xyz, spec.normalize);
    const Triple<T> v = load_triple(cotangent);
    const Triple<T> w = spec.normalize ? project(v, p) : v;
    solid_harmonics(t, spec.lmax - 1, p, R);
    load_rows<T>(grad, K, G);
    scale_degrees(spec.lmax, t.scale[spec.normalization], G);
    pull_coefficients(t, spec.lmax, w, G, F);
    Triple<T> h = pull_gradient(t, spec.lmax - 1, R, F);
    if (spec.normalize) h = second_of_direction(pull_gradient(t, spec.lmax, R, G), h, v, w, p);
    store_triple(h, grad_xyz);
    push_direction(t, spec.lmax, w, R, G);
    scale_degrees(spec.lmax, t.scale[spec.normalization], G);
    store_rows<T>(G, K, grad_grad);
  }
};

// Calls f with the degree as a constant, or with -1 where it is above what is unrolled.
template <typename F>
static inline void with_degree(int lmax, const F& f) {
  static_assert(kUnrolledDegree == 6);
  switch (lmax) {
    case 0: return f(Int<0>{});
    case 1: return f(Int<1>{});
    case 2: return f(Int<2>{});
    case 3: return f(Int<3>{});
    case 4: return f(Int<4>{});
    case 5: return f(Int<5>{});
    case 6: return f(Int<6>{});
    default: return f(Int<-1>{});
  }
}

// W rows that begin at e: in place, or, where fewer than W are left, in a buffer that is filled up with zeros.
template <typename T>
static inline void copy_rows(const T* from, T* to, int64_t numbers) {
  for (int64_t i = 0; i < numbers; ++i) to[i] = from[i];
}

// out[e, k] for begin <= e < end.
template <typename T>
static void sh_value(const Table<T>& t, const ShSpec& spec, const T* xyz, T* out, int64_t begin, int64_t end) {
  constexpr int W = Lanes<T>::W;
  const int K = (spec.lmax + 1) * (spec.lmax + 1);
  with_degree(spec.lmax, [&](auto L) {
    const T* factor = factors<T>.of[spec.normalization];
    auto block = [&](const T* x, T* o) EQUITOOLS_FORCED {
      if constexpr (L >= 0)
        Unrolled<T, L>::value(factor, spec.normalize, x, o);
      else
        Tabled<T>::value(t, spec, x, o);
    };
    int64_t e = begin;
    for (; e + W <= end; e += W) block(xyz + 3 * e, out + e * K);
    if (e < end) {
      T x[3 * W] = {}, o[(L >= 0 ? (L + 1) * (L + 1) : kMaxComponents) * W];
      copy_rows(xyz + 3 * e, x, 3 * (end - e));
      block(x, o);
      copy_rows(o, out + e * K, K * (end - e));
    }
  });
}

// gradient[e] = sum_k grad[e, k] d out[e, k] / d xyz[e].
template <typename T>
static void sh_vjp(const Table<T>& t, const ShSpec& spec, const T* xyz, const T* grad, T* gradient, int64_t begin,
                   int64_t end) {
  constexpr int W = Lanes<T>::W;
  const int K = (spec.lmax + 1) * (spec.lmax + 1);
  with_degree(spec.lmax, [&](auto L) {
    const T* factor = factors<T>.of[spec.normalization];
    auto block = [&](const T* x, const T* g, T* o) EQUITOOLS_FORCED {
      if constexpr (L >= 0)
        Unrolled<T, L>::vjp(factor, spec.normalize, x, g, o);
      else
        Tabled<T>::vjp(t, spec, x, g, o);
    };
    int64_t e = begin;
    for (; e + W <= end; e += W) block(xyz + 3 * e, grad + e * K, gradient + 3 * e);
    if (e < end) {
      T x[3 * W] = {}, g[(L >= 0 ? (L + 1) * (L + 1) : kMaxComponents) * W] = {}, o[3 * W];
      copy_rows(xyz + 3 * e, x, 3 * (end - e));
      copy_rows(grad + e * K, g, K * (end - e));
      block(x, g, o);
      copy_rows(o, gradient + 3 * e, 3 * (end - e));
    }
  });
}

// For the cotangent v of sh_vjp's result: its gradients with respect to xyz and to grad.
template <typename T>
static void sh_vjp_vjp(const Table<T>& t, const ShSpec& spec, const T* xyz, const T* grad, const T* cotangent,
                       T* grad_xyz, T* grad_grad, int64_t begin, int64_t end) {
  constexpr int W = Lanes<T>::W;
  const int K = (spec.lmax + 1) * (spec.lmax + 1);
  with_degree(spec.lmax, [&](auto L) {
    const T* factor = factors<T>.of[spec.normalization];
    auto block = [&](const T* x, const T* g, const T* v, T* ox, T* og) EQUITOOLS_FORCED {
      if constexpr (L >= 0)
        Unrolled<T, L>::vjp_vjp(factor, spec.normalize, x, g, v, ox, og);
      else
        Tabled<T>::vjp_vjp(t, spec, x, g, v, ox, og);
    };
    int64_t e = begin;
    for (; e + W <= end; e += W)
      block(xyz + 3 * e, grad + e * K, cotangent + 3 * e, grad_xyz + 3 * e, grad_grad + e * K);
    if (e < end) {
      constexpr int size = (L >= 0 ? (L + 1) * (L + 1) : kMaxComponents) * W;
      T x[3 * W] = {}, v[3 * W] = {}, g[size] = {}, ox[3 * W], og[size];
      copy_rows(xyz + 3 * e, x, 3 * (end - e));
      copy_rows(cotangent + 3 * e, v, 3 * (end - e));
      copy_rows(grad + e * K, g, K * (end - e));
      block(x, g, v, ox, og);
      copy_rows(ox, grad_xyz + 3 * e, 3 * (end - e));
      copy_rows(og, grad_grad + e * K, K * (end - e));
    }
  });
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
