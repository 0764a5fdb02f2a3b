// The walk over all coefficients of a product of functions on the sphere; for vectors on a CPU and for a thread of a GPU.
//
// The components of order m > 0 of a degree are a complex number: x+ cos(m p) + x- sin(m p) = Re[(x+ - i x-) e^(imp)]. Two of
// them, of orders m1 and m2, give orders m1 + m2 and |m1 - m2|, by their product and by that with a conjugate; the degree of
// the product only decides by which real number that is multiplied. So for a pair of degrees and an order of the product, each
// pair (m1, m2) is multiplied once, in four operations, and added to all degrees of the product, which stay in registers.
// Where the sum of degrees is odd the numbers are imaginary: real and imaginary part change places.
#pragma once

#include "sparse_plan.h"

#ifdef __CUDACC__
#define EQUITOOLS_UNROLL _Pragma("unroll")
#else
#define EQUITOOLS_UNROLL _Pragma("GCC unroll 16")
#endif

namespace equitools {
#ifdef EQUITOOLS_ISA
namespace EQUITOOLS_ISA {
#else
namespace gpu {
#endif

// A Site holds Site::NB values of Site::V at a time: x(component, n) and y(component, n) of value n, and
// add(l1, l2, l3, m, plus, minus), which takes what comes out of a pair of degrees for the components of order m and -m of
// degree l3: arrays of NB. For m = 0 there is no minus.

template <int NL, typename V, int NB>
struct SparseSums {
  V u[NL][NB] = {}, w[NL][NB] = {};

  template <typename T>
  EQUITOOLS_HD void take(const V (&a)[NB], const V (&b)[NB], const T*& table) {
    EQUITOOLS_UNROLL
    for (int i = 0; i < NL; ++i) {
      const T c = table[i];
      EQUITOOLS_UNROLL
      for (int n = 0; n < NB; ++n) {
        u[i][n] += c * a[n];
        w[i][n] += c * b[n];
      }
    }
    table += NL;
  }
};

// Degrees l3, l3 + step, ..., NL of them, at order m, from all pairs of orders of the degrees l1 and l2.
template <int NL, typename Site, typename T>
EQUITOOLS_HD void sparse_orders(Site& site, int l1, int l2, int m, int l3, int step, const T*& table) {
  using V = typename Site::V;
  constexpr int NB = Site::NB;
  SparseSums<NL, V, NB> sums;
  const int x0 = l1 * l1 + l1, y0 = l2 * l2 + l2;
  V a[NB], b[NB];
  if (m == 0) {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) a[n] = site.x(x0, n) * site.y(y0, n), b[n] = V{};
    sums.take(a, b, table);
  }
  if (m > 0 && m <= l2) {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V x = site.x(x0, n);
      a[n] = x * site.y(y0 + m, n), b[n] = x * site.y(y0 - m, n);
    }
    sums.take(a, b, table);
  }
  if (m > 0 && m <= l1) {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V y = site.y(y0, n);
      a[n] = site.x(x0 + m, n) * y, b[n] = site.x(x0 - m, n) * y;
    }
    sums.take(a, b, table);
  }
  for (int m1 = larger(1, m - l2), last = smaller(l1, m - 1); m1 <= last; ++m1) {  // m1 + m2 = m
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V xp = site.x(x0 + m1, n), xm = site.x(x0 - m1, n), yp = site.y(y0 + m - m1, n), ym = site.y(y0 - m + m1, n);
      a[n] = xp * yp - xm * ym, b[n] = xp * ym + xm * yp;
    }
    sums.take(a, b, table);
  }
  for (int m2 = 1, last = smaller(l2, l1 - m); m2 <= last; ++m2) {  // m1 - m2 = m
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V xp = site.x(x0 + m2 + m, n), xm = site.x(x0 - m2 - m, n), yp = site.y(y0 + m2, n), ym = site.y(y0 - m2, n);
      a[n] = xp * yp + xm * ym, b[n] = xm * yp - xp * ym;
    }
    sums.take(a, b, table);
  }
  for (int m1 = 1, last = m > 0 ? smaller(l1, l2 - m) : 0; m1 <= last; ++m1) {  // m2 - m1 = m
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V xp = site.x(x0 + m1, n), xm = site.x(x0 - m1, n), yp = site.y(y0 + m1 + m, n), ym = site.y(y0 - m1 - m, n);
      a[n] = xp * yp + xm * ym, b[n] = xp * ym - xm * yp;
    }
    sums.take(a, b, table);
  }
  EQUITOOLS_UNROLL
  for (int i = 0; i < NL; ++i, l3 += step) {
    if ((l1 + l2 + l3) % 2 == 0) {
      site.add(l1, l2, l3, m, sums.u[i], sums.w[i]);
    } else {
      EQUITOOLS_UNROLL
      for (int n = 0; n < NB; ++n) sums.u[i][n] = -sums.u[i][n];
      site.add(l1, l2, l3, m, sums.w[i], sums.u[i]);
    }
  }
}

template <typename Site, typename T>
EQUITOOLS_HD void sparse_walk(const SparseShape& s, const T* table, Site& site) {
  for (int l1 = 0; l1 <= s.lmax[0]; ++l1)
    for (int l2 = 0; l2 <= s.lmax[1]; ++l2)
      for (int m = 0, highest = smaller(l1 + l2, s.lmax[2]); m <= highest; ++m) {
        SparseDegrees d = sparse_degrees(s, l1, l2, m);
        while (d.count > 0) {
          const int take = sparse_take(d.count);
          if (take == 1) sparse_orders<1>(site, l1, l2, m, d.first, d.step, table);
          if (take == 2) sparse_orders<2>(site, l1, l2, m, d.first, d.step, table);
          if (take == 3) sparse_orders<3>(site, l1, l2, m, d.first, d.step, table);
          if (take == 4) sparse_orders<4>(site, l1, l2, m, d.first, d.step, table);
          if (take == 5) sparse_orders<5>(site, l1, l2, m, d.first, d.step, table);
          d.first += take * d.step;
          d.count -= take;
        }
      }
}

}  // namespace
}  // namespace equitools
