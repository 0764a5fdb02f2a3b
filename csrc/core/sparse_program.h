// All coefficients of a product of functions on the sphere as a program; for vectors on a CPU and for a thread of a GPU.
//
// The components of order m > 0 of a degree are a complex number: x+ cos(m p) + x- sin(m p) = Re[(x+ - i x-) e^(imp)]. Two of
// them, of orders m1 and m2, give orders m1 + m2 and |m1 - m2|, by their product and by that with a conjugate; the degree of
// the product only decides by which real number that is multiplied. So for a pair of degrees and an order of the product, each
// pair (m1, m2) is multiplied once, in four operations, and added to all degrees of the product, which stay in registers.
// Where the sum of degrees is odd the numbers are imaginary: real and imaginary part change places.
//
// The loops over degrees and orders are short, and counting them costs more than the arithmetic: so they are written down
// once, as the places of what is multiplied.
#pragma once

#include "sparse_plan.h"

// Unrolled and inlined for certain, but not under a sanitizer, where it would only make the compiler slow.
#ifdef __CUDACC__
#define EQUITOOLS_UNROLL _Pragma("unroll")
#elif defined(__SANITIZE_ADDRESS__)
#define EQUITOOLS_UNROLL
#else
#define EQUITOOLS_UNROLL _Pragma("GCC unroll 16")
#endif
#ifdef EQUITOOLS_ISA
#define EQUITOOLS_SPARSE inline EQUITOOLS_FORCED
#else
#define EQUITOOLS_SPARSE EQUITOOLS_HD
#endif

namespace equitools {

// A group is a pair of degrees, an order m of the product, and up to kSparseBlock degrees of the product. It is: the numbers
// of these degrees, of pairs 0 m, m 0, and of pairs with m1 + m2 = m, m1 - m2 = m and m2 - m1 = m; for each degree the places
// of order m and -m, the path, and whether the sum of degrees is odd; for each pair the places of its orders. Places are
// components times `step`; -0 is the one behind all components.
constexpr int kSparseHead = 6, kSparseOutput = 4;

// Calls put(number) for each number of the program. numbers: of the paths, for each at().
template <typename Put>
void sparse_program(const SparseShape& s, const int32_t* numbers, int step, Put&& put) {
  const int none = (s.lmax[2] + 1) * (s.lmax[2] + 1);
  for (int l1 = 0; l1 <= s.lmax[0]; ++l1)
    for (int l2 = 0; l2 <= s.lmax[1]; ++l2)
      for (int m = 0, highest = smaller(l1 + l2, s.lmax[2]); m <= highest; ++m) {
        const int x = l1 * l1 + l1, y = l2 * l2 + l2, sum_begin = larger(1, m - l2), sum_end = smaller(l1, m - 1);
        const int down = larger(0, smaller(l2, l1 - m)), up = m > 0 ? larger(0, smaller(l1, l2 - m)) : 0;
        SparseDegrees d = sparse_degrees(s, l1, l2, m);
        while (d.count > 0) {
          const int take = sparse_take(d.count);
          put(take), put(m <= l2), put(m > 0 && m <= l1), put(larger(0, sum_end - sum_begin + 1)), put(down), put(up);
          for (int i = 0; i < take; ++i, d.first += d.step) {
            const int z = d.first * d.first + d.first;
            put((z + m) * step), put((m ? z - m : none) * step);
            put(numbers[s.at(l1, l2, d.first)] * step), put((l1 + l2 + d.first) % 2);
          }
          d.count -= take;
          const auto places = [&](int a, int b, int c, int e) { put(a * step), put(b * step), put(c * step), put(e * step); };
          if (m <= l2) places(x, x, y + m, y - m);
          if (m > 0 && m <= l1) places(x + m, x - m, y, y);
          for (int m1 = sum_begin; m1 <= sum_end; ++m1) places(x + m1, x - m1, y + m - m1, y - m + m1);
          for (int m2 = 1; m2 <= down; ++m2) places(x + m2 + m, x - m2 - m, y + m2, y - m2);
          for (int m1 = 1; m1 <= up; ++m1) places(x + m1, x - m1, y + m1 + m, y - m1 - m);
        }
      }
}

#ifdef EQUITOOLS_ISA
namespace EQUITOOLS_ISA {
#else
namespace gpu {
#endif

// A Site holds Site::NB values of Site::V at a time: x(place, n) and y(place, n) of value n, and
// add(plus place, minus place, path, plus, minus), which takes arrays of NB for the components of order m and -m.

template <int NL, typename V, int NB>
struct SparseSums {
  V u[NL][NB] = {}, w[NL][NB] = {};

  template <typename T>
  EQUITOOLS_SPARSE void take(const V (&a)[NB], const V (&b)[NB], const T*& table) {
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

template <int NL, typename Site, typename T>
EQUITOOLS_SPARSE void sparse_group(Site& site, const int32_t*& program, const T*& table) {
  using V = typename Site::V;
  constexpr int NB = Site::NB;
  SparseSums<NL, V, NB> sums;
  const int32_t *head = program, *at = program + kSparseHead + NL * kSparseOutput;
  V a[NB], b[NB];
  if (head[1]) {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V x = site.x(at[0], n);
      a[n] = x * site.y(at[2], n), b[n] = x * site.y(at[3], n);
    }
    sums.take(a, b, table);
    at += 4;
  }
  if (head[2]) {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V y = site.y(at[2], n);
      a[n] = site.x(at[0], n) * y, b[n] = site.x(at[1], n) * y;
    }
    sums.take(a, b, table);
    at += 4;
  }
  for (const int32_t* end = at + 4 * head[3]; at != end; at += 4) {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V xp = site.x(at[0], n), xm = site.x(at[1], n), yp = site.y(at[2], n), ym = site.y(at[3], n);
      a[n] = xp * yp - xm * ym, b[n] = xp * ym + xm * yp;
    }
    sums.take(a, b, table);
  }
  for (const int32_t* end = at + 4 * head[4]; at != end; at += 4) {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V xp = site.x(at[0], n), xm = site.x(at[1], n), yp = site.y(at[2], n), ym = site.y(at[3], n);
      a[n] = xp * yp + xm * ym, b[n] = xm * yp - xp * ym;
    }
    sums.take(a, b, table);
  }
  for (const int32_t* end = at + 4 * head[5]; at != end; at += 4) {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB; ++n) {
      const V xp = site.x(at[0], n), xm = site.x(at[1], n), yp = site.y(at[2], n), ym = site.y(at[3], n);
      a[n] = xp * yp + xm * ym, b[n] = xp * ym - xm * yp;
    }
    sums.take(a, b, table);
  }
  program = at;
  head += kSparseHead;
  EQUITOOLS_UNROLL
  for (int i = 0; i < NL; ++i, head += kSparseOutput) {
    if (head[3]) {
      EQUITOOLS_UNROLL
      for (int n = 0; n < NB; ++n) sums.u[i][n] = -sums.u[i][n];
      site.add(head[0], head[1], head[2], sums.w[i], sums.u[i]);
    } else {
      site.add(head[0], head[1], head[2], sums.u[i], sums.w[i]);
    }
  }
}

template <typename Site, typename T>
EQUITOOLS_SPARSE void sparse_run(const int32_t* program, int64_t size, const T* table, Site& site) {
  for (const int32_t* end = program + size; program != end;) switch (*program) {
      case 1:
        sparse_group<1>(site, program, table);
        break;
      case 2:
        sparse_group<2>(site, program, table);
        break;
      case 3:
        sparse_group<3>(site, program, table);
        break;
      case 4:
        sparse_group<4>(site, program, table);
        break;
      default:
        sparse_group<5>(site, program, table);
    }
}

}  // namespace
}  // namespace equitools
