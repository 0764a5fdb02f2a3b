// Real spherical harmonics of one point: value, VJP, and VJP of the VJP, for a thread of a GPU, and tested on the host.
//
// The formulas are those of spherical_harmonics.h, one point at a time. Arrays come as any type with operator[](int): an
// array in registers where the degree is known to the compiler, else memory of the caller. `Get` gives the cotangent of a
// component, times the scale of its degree; `Put` takes a component.
#pragma once

#include "portable.h"
#include "spherical_harmonics_table.h"

#ifdef __CUDACC__
#define EQUITOOLS_UNROLL _Pragma("unroll")
#else
#define EQUITOOLS_UNROLL
#endif

namespace equitools {

template <typename T>
struct Point3 {
  T x, y, z;
};

// The direction n and 1 / length; both zero where the length is below the smallest one that has a direction.
template <typename T>
struct Direction {
  T x, y, z, inverse;
};

template <typename T>
EQUITOOLS_HD T square_root(T v) {
#ifdef __CUDA_ARCH__
  return sqrt(v);
#else
  return sizeof(T) == 4 ? T(__builtin_sqrtf(float(v))) : T(__builtin_sqrt(double(v)));
#endif
}

template <typename T>
EQUITOOLS_HD T magnitude(T v) {
  return v < T(0) ? -v : v;
}

template <typename T>
EQUITOOLS_HD Direction<T> direction(T x, T y, T z, bool normalize) {
  if (!normalize) return {x, y, z, T(1)};
  const T ax = magnitude(x), ay = magnitude(y), az = magnitude(z);
  T scale = ax > ay ? ax : ay;
  scale = scale > az ? scale : az;
  const bool finite = x == x && y == y && z == z;
  if (scale < T(kZeroLength) && finite) return {T(0), T(0), T(0), T(0)};
  x /= scale;
  y /= scale;
  z /= scale;
  const T length = square_root(x * x + y * y + z * z);
  return {x / length, y / length, z / length, T(1) / (length * scale)};
}

// put(l, k, R_k) for degrees 0 to lmax.
template <typename T, typename Put>
EQUITOOLS_HD void harmonics_of(const Table<T>& t, int lmax, const Direction<T>& p, Put&& put) {
  const T squared = p.x * p.x + p.y * p.y + p.z * p.z;
  T cosine = T(1), sine = T(0);  // of (z + i x)^m
  EQUITOOLS_UNROLL
  for (int m = 0; m <= lmax; ++m) {
    T before = T(0), legendre = t.sectoral[m];
    EQUITOOLS_UNROLL
    for (int l = m; l <= lmax; ++l) {
      if (l > m) {
        const int k = triangle(l, m);
        const T next = t.a[k] * p.y * legendre - t.b[k] * squared * before;
        before = legendre;
        legendre = next;
      }
      const int centre = l * l + l;
      put(l, centre + m, legendre * cosine);
      if (m > 0) put(l, centre - m, legendre * sine);
    }
    const T turned = p.z * cosine - p.x * sine;
    sine = p.x * cosine + p.z * sine;
    cosine = turned;
  }
}

// Sum over (l, m) of G_lm times the gradient of R_lm; R to degree lmax - 1.
template <typename T, typename Array, typename Get>
EQUITOOLS_HD Point3<T> gradient_of(const Table<T>& t, int lmax, const Array& R, Get&& get) {
  T gx = T(0), gy = T(0), gz = T(0);
  EQUITOOLS_UNROLL
  for (int l = 1; l <= lmax; ++l) {
    const int g = l * l + l, r = (l - 1) * (l - 1) + (l - 1), top = l - 1, k0 = triangle(l, 0);
    const T g0 = get(l, g);
    gy += t.axial[k0] * g0 * R[r];
    if (top >= 1) {
      gz -= t.up[k0] * g0 * R[r + 1];
      gx -= t.up[k0] * g0 * R[r - 1];
    }
    EQUITOOLS_UNROLL
    for (int m = 1; m <= l; ++m) {
      const int k = k0 + m;
      const T gc = get(l, g + m), gs = get(l, g - m);
      if (m <= top) gy += t.axial[k] * (gc * R[r + m] + gs * R[r - m]);
      const T dc = t.down[k] * R[r + m - 1];
      gz += dc * gc;
      gx += dc * gs;
      if (m > 1) {
        const T ds = t.down[k] * R[r + 1 - m];
        gz += ds * gs;
        gx -= ds * gc;
      }
      if (m + 1 <= top) {
        const T uc = t.up[k] * R[r + m + 1], us = t.up[k] * R[r - m - 1];
        gz -= uc * gc + us * gs;
        gx += uc * gs - us * gc;
      }
    }
  }
  return {gx, gy, gz};
}

// put(l, k, (v · grad) R_k), degrees 0 to lmax.
template <typename T, typename Array, typename Put>
EQUITOOLS_HD void derivative_along(const Table<T>& t, int lmax, const Point3<T>& v, const Array& R, Put&& put) {
  put(0, 0, T(0));
  EQUITOOLS_UNROLL
  for (int l = 1; l <= lmax; ++l) {
    const int j = l * l + l, r = (l - 1) * (l - 1) + (l - 1), top = l - 1, k0 = triangle(l, 0);
    T centre = t.axial[k0] * v.y * R[r];
    if (top >= 1) centre -= t.up[k0] * (v.z * R[r + 1] + v.x * R[r - 1]);
    put(l, j, centre);
    EQUITOOLS_UNROLL
    for (int m = 1; m <= l; ++m) {
      const int k = k0 + m;
      T c = T(0), s = T(0);
      if (m <= top) {
        c += t.axial[k] * v.y * R[r + m];
        s += t.axial[k] * v.y * R[r - m];
      }
      c += t.down[k] * v.z * R[r + m - 1];
      s += t.down[k] * v.x * R[r + m - 1];
      if (m > 1) {
        c -= t.down[k] * v.x * R[r + 1 - m];
        s += t.down[k] * v.z * R[r + 1 - m];
      }
      if (m + 1 <= top) {
        c -= t.up[k] * (v.z * R[r + m + 1] + v.x * R[r - m - 1]);
        s += t.up[k] * (v.x * R[r + m + 1] - v.z * R[r - m - 1]);
      }
      put(l, j + m, c);
      put(l, j - m, s);
    }
  }
}

// The adjoint of derivative_along in R: F of degrees 0 to lmax - 1 with sum over k of G_k (v · grad) R_k = sum of F R.
template <typename T, typename Array, typename Get>
EQUITOOLS_HD void coefficients_along(const Table<T>& t, int lmax, const Point3<T>& v, Get&& get, Array& F) {
  EQUITOOLS_UNROLL
  for (int k = 0; k < lmax * lmax; ++k) F[k] = T(0);
  EQUITOOLS_UNROLL
  for (int l = 1; l <= lmax; ++l) {
    const int g = l * l + l, f = (l - 1) * (l - 1) + (l - 1), top = l - 1, k0 = triangle(l, 0);
    const T g0 = get(l, g);
    F[f] += t.axial[k0] * v.y * g0;
    if (top >= 1) {
      F[f + 1] -= t.up[k0] * v.z * g0;
      F[f - 1] -= t.up[k0] * v.x * g0;
    }
    EQUITOOLS_UNROLL
    for (int m = 1; m <= l; ++m) {
      const int k = k0 + m;
      const T gc = get(l, g + m), gs = get(l, g - m);
      if (m <= top) {
        F[f + m] += t.axial[k] * v.y * gc;
        F[f - m] += t.axial[k] * v.y * gs;
      }
      F[f + m - 1] += t.down[k] * (v.z * gc + v.x * gs);
      if (m > 1) F[f + 1 - m] += t.down[k] * (v.z * gs - v.x * gc);
      if (m + 1 <= top) {
        F[f + m + 1] += t.up[k] * (v.x * gs - v.z * gc);
        F[f - m - 1] -= t.up[k] * (v.z * gs + v.x * gc);
      }
    }
  }
}

template <typename T>
EQUITOOLS_HD T along(const Point3<T>& a, const Direction<T>& p) {
  return a.x * p.x + a.y * p.y + a.z * p.z;
}

// (1 - n n^T) a / length: the derivative of the direction, a symmetric matrix.
template <typename T>
EQUITOOLS_HD Point3<T> across(const Point3<T>& a, const Direction<T>& p) {
  const T d = along(a, p);
  return {(a.x - d * p.x) * p.inverse, (a.y - d * p.y) * p.inverse, (a.z - d * p.z) * p.inverse};
}

template <typename T, typename Array>
struct StoreIn {
  Array& to;
  EQUITOOLS_HD void operator()(int, int k, T v) const { to[k] = v; }
};

// The gradient with respect to the point, for cotangents get(l, k). R is room for lmax * lmax numbers.
template <typename T, typename Array, typename Get>
EQUITOOLS_HD Point3<T> point_vjp(const Table<T>& t, int lmax, bool normalize, const Direction<T>& p, Array& R,
                                 Get&& get) {
  if (lmax > 0) harmonics_of(t, lmax - 1, p, StoreIn<T, Array>{R});
  const Point3<T> g = gradient_of<T>(t, lmax, R, get);
  return normalize ? across(g, p) : g;
}

// For the cotangent v of point_vjp's result: the gradient with respect to the point; put() takes the one with respect to
// the cotangents. R and F are room for lmax * lmax numbers.
template <typename T, typename Array, typename Get, typename Put>
EQUITOOLS_HD Point3<T> point_vjp_vjp(const Table<T>& t, int lmax, bool normalize, const Direction<T>& p,
                                     const Point3<T>& v, Array& R, Array& F, Get&& get, Put&& put) {
  const Point3<T> w = normalize ? across(v, p) : v;
  Point3<T> h{T(0), T(0), T(0)};
  if (lmax > 0) {
    harmonics_of(t, lmax - 1, p, StoreIn<T, Array>{R});
    coefficients_along<T>(t, lmax, w, get, F);
    h = gradient_of<T>(t, lmax - 1, R, [&](int, int k) { return F[k]; });
  }
  if (normalize) {
    const Point3<T> g = gradient_of<T>(t, lmax, R, get);
    const Point3<T> pg = across(g, p);
    h = across(h, p);
    const T along_g = along(g, p) * p.inverse, along_v = along(v, p) * p.inverse;
    const T inner = (v.x * pg.x + v.y * pg.y + v.z * pg.z) * p.inverse;  // (v · P g) / length
    h.x -= inner * p.x + along_g * w.x + along_v * pg.x;
    h.y -= inner * p.y + along_g * w.y + along_v * pg.y;
    h.z -= inner * p.z + along_g * w.z + along_v * pg.z;
  }
  derivative_along(t, lmax, w, R, put);
  return h;
}

}  // namespace equitools
