// Micro-kernels of the real spherical harmonics: value, VJP, and VJP of the VJP. No torch, no standard templates.
//
// Points stand in the lanes of a vector; one vector holds one component of W points. The file is compiled once for
// each instruction set: EQUITOOLS_ISA names a namespace and EQUITOOLS_VECTOR_BYTES the width of a vector. Everything
// else is static, so that the linker can never hand code made for one instruction set to another.
//
// With R_lm the solid harmonics ("component" normalisation, polar axis y), the first derivatives of degree l are
// combinations of degree l - 1 (Caola, J. Phys. A 11, L23 (1978), written for real harmonics and our normalisation). So
// neither the VJP nor the second derivative stores a Jacobian: a cotangent vector is pulled through the constant matrices.
#pragma once

#include "spherical_harmonics_table.h"

#if !defined(EQUITOOLS_ISA) || !defined(EQUITOOLS_VECTOR_BYTES)
#error "compile through csrc/cpu/kernels_*.cpp, which name the instruction set"
#endif

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
struct Lanes {
  typedef T V __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  static constexpr int W = EQUITOOLS_VECTOR_BYTES / sizeof(T);
};

constexpr int kMaxComponents = (kMaxDegree + 1) * (kMaxDegree + 1);

// The direction n and 1 / length of W points; both zero where the length is below the smallest one that has a direction.
template <typename T>
struct Points {
  typename Lanes<T>::V x, y, z, inverse;
};

template <typename T>
static inline Points<T> load_points(const T* xyz, int count, bool normalize) {
  using V = typename Lanes<T>::V;
  Points<T> p{};
  for (int i = 0; i < count; ++i) {
    p.x[i] = xyz[3 * i];
    p.y[i] = xyz[3 * i + 1];
    p.z[i] = xyz[3 * i + 2];
  }
  p.inverse = V{} + T(1);
  if (!normalize) return p;
  const V ax = p.x < T(0) ? -p.x : p.x, ay = p.y < T(0) ? -p.y : p.y, az = p.z < T(0) ? -p.z : p.z;
  V scale = ax > ay ? ax : ay;
  scale = scale > az ? scale : az;
  const auto finite = (p.x == p.x) & (p.y == p.y) & (p.z == p.z);
  const auto zero = (scale < T(kZeroLength)) & finite;
  const V safe = zero ? V{} + T(1) : scale;
  const V x = p.x / safe, y = p.y / safe, z = p.z / safe;
  V root = x * x + y * y + z * z;
  for (int i = 0; i < Lanes<T>::W; ++i) root[i] = __builtin_sqrt(root[i]);
  const V length = zero ? V{} + T(1) : root;
  p.x = zero ? V{} : x / length;
  p.y = zero ? V{} : y / length;
  p.z = zero ? V{} : z / length;
  p.inverse = zero ? V{} : T(1) / (length * safe);
  return p;
}

// R[l * l + l + m], degrees 0 to lmax, of W points.
template <typename T>
static inline void solid_harmonics(const Table<T>& t, int lmax, const Points<T>& p, typename Lanes<T>::V* R) {
  using V = typename Lanes<T>::V;
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

// G[k] of W points from rows of length K, each degree times its scale; lanes beyond count are zero.
template <typename T>
static inline void load_rows(const T* rows, int count, int lmax, const T* scale, typename Lanes<T>::V* G) {
  const int K = (lmax + 1) * (lmax + 1);
  for (int l = 0, k = 0; l <= lmax; ++l)
    for (const int end = (l + 1) * (l + 1); k < end; ++k) {
      typename Lanes<T>::V v{};
      if (count == Lanes<T>::W)
        for (int i = 0; i < Lanes<T>::W; ++i) v[i] = rows[i * K + k];
      else
        for (int i = 0; i < count; ++i) v[i] = rows[i * K + k];
      G[k] = v * scale[l];
    }
}

template <typename T>
static inline void store_rows(const typename Lanes<T>::V* R, int count, int lmax, const T* scale, T* rows) {
  const int K = (lmax + 1) * (lmax + 1);
  for (int l = 0, k = 0; l <= lmax; ++l)
    for (const int end = (l + 1) * (l + 1); k < end; ++k) {
      const typename Lanes<T>::V v = R[k] * scale[l];
      if (count == Lanes<T>::W)
        for (int i = 0; i < Lanes<T>::W; ++i) rows[i * K + k] = v[i];
      else
        for (int i = 0; i < count; ++i) rows[i * K + k] = v[i];
    }
}

template <typename T>
struct Triple {
  typename Lanes<T>::V x, y, z;
};

// Sum over (l, m) of G_lm times the gradient of R_lm. R is needed to degree lmax - 1 only.
template <typename T>
static inline Triple<T> pull_gradient(const Table<T>& t, int lmax, const typename Lanes<T>::V* R,
                                      const typename Lanes<T>::V* G) {
  using V = typename Lanes<T>::V;
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
static inline void push_direction(const Table<T>& t, int lmax, const Triple<T>& v, const typename Lanes<T>::V* R,
                                  typename Lanes<T>::V* J) {
  using V = typename Lanes<T>::V;
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
static inline void pull_coefficients(const Table<T>& t, int lmax, const Triple<T>& v, const typename Lanes<T>::V* G,
                                     typename Lanes<T>::V* F) {
  using V = typename Lanes<T>::V;
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
static inline typename Lanes<T>::V dot(const Triple<T>& a, const Points<T>& p) {
  return a.x * p.x + a.y * p.y + a.z * p.z;
}

// (1 - n n^T) a / length: the derivative of the direction, a symmetric matrix.
template <typename T>
static inline Triple<T> project(const Triple<T>& a, const Points<T>& p) {
  const auto along = dot(a, p);
  return {(a.x - along * p.x) * p.inverse, (a.y - along * p.y) * p.inverse, (a.z - along * p.z) * p.inverse};
}

template <typename T>
static inline Triple<T> load_triple(const T* rows, int count) {
  Triple<T> v{};
  for (int i = 0; i < count; ++i) {
    v.x[i] = rows[3 * i];
    v.y[i] = rows[3 * i + 1];
    v.z[i] = rows[3 * i + 2];
  }
  return v;
}

template <typename T>
static inline void store_triple(const Triple<T>& v, int count, T* rows) {
  for (int i = 0; i < count; ++i) {
    rows[3 * i] = v.x[i];
    rows[3 * i + 1] = v.y[i];
    rows[3 * i + 2] = v.z[i];
  }
}

// out[e, k] for begin <= e < end.
template <typename T>
static void sh_value(const Table<T>& t, const ShSpec& spec, const T* xyz, T* out, int64_t begin, int64_t end) {
  constexpr int W = Lanes<T>::W;
  alignas(64) typename Lanes<T>::V R[kMaxComponents];
  const int K = (spec.lmax + 1) * (spec.lmax + 1);
  const T* scale = t.scale[spec.normalization];
  for (int64_t e = begin; e < end; e += W) {
    const int count = end - e < W ? int(end - e) : W;
    const Points<T> p = load_points(xyz + 3 * e, count, spec.normalize);
    solid_harmonics(t, spec.lmax, p, R);
    store_rows(R, count, spec.lmax, scale, out + e * K);
  }
}

// gradient[e] = sum_k grad[e, k] d out[e, k] / d xyz[e].
template <typename T>
static void sh_vjp(const Table<T>& t, const ShSpec& spec, const T* xyz, const T* grad, T* gradient, int64_t begin,
                   int64_t end) {
  constexpr int W = Lanes<T>::W;
  alignas(64) typename Lanes<T>::V R[kMaxComponents], G[kMaxComponents];
  const int K = (spec.lmax + 1) * (spec.lmax + 1);
  const T* scale = t.scale[spec.normalization];
  for (int64_t e = begin; e < end; e += W) {
    const int count = end - e < W ? int(end - e) : W;
    const Points<T> p = load_points(xyz + 3 * e, count, spec.normalize);
    if (spec.lmax > 0) solid_harmonics(t, spec.lmax - 1, p, R);
    load_rows(grad + e * K, count, spec.lmax, scale, G);
    Triple<T> g = pull_gradient(t, spec.lmax, R, G);
    if (spec.normalize) g = project(g, p);
    store_triple(g, count, gradient + 3 * e);
  }
}

// For the cotangent v of sh_vjp's result: its gradients with respect to xyz and to grad.
template <typename T>
static void sh_vjp_vjp(const Table<T>& t, const ShSpec& spec, const T* xyz, const T* grad, const T* cotangent,
                       T* grad_xyz, T* grad_grad, int64_t begin, int64_t end) {
  using V = typename Lanes<T>::V;
  constexpr int W = Lanes<T>::W;
  alignas(64) V R[kMaxComponents], G[kMaxComponents], F[kMaxComponents];
  const int K = (spec.lmax + 1) * (spec.lmax + 1);
  const T* scale = t.scale[spec.normalization];
  for (int64_t e = begin; e < end; e += W) {
    const int count = end - e < W ? int(end - e) : W;
    const Points<T> p = load_points(xyz + 3 * e, count, spec.normalize);
    const Triple<T> v = load_triple(cotangent + 3 * e, count);
    const Triple<T> w = spec.normalize ? project(v, p) : v;
    if (spec.lmax > 0) solid_harmonics(t, spec.lmax - 1, p, R);
    load_rows(grad + e * K, count, spec.lmax, scale, G);
    pull_coefficients(t, spec.lmax, w, G, F);
    Triple<T> h = spec.lmax > 0 ? pull_gradient(t, spec.lmax - 1, R, F) : Triple<T>{};
    if (spec.normalize) {
      const Triple<T> g = pull_gradient(t, spec.lmax, R, G);
      const Triple<T> pg = project(g, p);
      h = project(h, p);
      const V along_g = dot(g, p) * p.inverse, along_v = dot(v, p) * p.inverse;
      const V inner = (v.x * pg.x + v.y * pg.y + v.z * pg.z) * p.inverse;  // (v · P g) / length
      h.x -= inner * p.x + along_g * w.x + along_v * pg.x;
      h.y -= inner * p.y + along_g * w.y + along_v * pg.y;
      h.z -= inner * p.z + along_g * w.z + along_v * pg.z;
    }
    store_triple(h, count, grad_xyz + 3 * e);
    push_direction(t, spec.lmax, w, R, G);
    store_rows(G, count, spec.lmax, scale, grad_grad + e * K);
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
