// Square matrices of a fixed small size, alone or with a derivative beside them. No torch, no standard templates.
//
// What is written once for both (Square, Dual) gives a function of a matrix, and its derivative in a direction. The
// arithmetic M is that of core/eigh3.h: vectors with a matrix in each lane on a CPU, single numbers on a GPU. Lanes do not
// know of each other: what comes out for a matrix does not depend on what else is in the block.
#pragma once

#include "eigh3.h"

// Products and inverses are functions that are called, on a CPU: each by itself fits into the registers, where a long series
// of them in one function leaves the compiler to move numbers about (a third of the time).
#ifdef __CUDACC__
#define EQUITOOLS_CALLED EQUITOOLS_HD
#else
#define EQUITOOLS_CALLED __attribute__((noinline))
#endif

namespace equitools {

template <typename T>
struct Format;
template <>
struct Format<float> {
  static constexpr int32_t fraction = 23, bias = 127, nan = 0x7fc00000;
};
template <>
struct Format<double> {
  static constexpr int64_t fraction = 52, bias = 1023, nan = 0x7ff8000000000000;
};

template <typename M, int n>
struct Square {
  using Arithmetic = M;
  using Entry = typename M::V;
  typename M::V at[n][n];
};

// A matrix and its derivative in some direction.
template <typename M, int n>
struct Dual {
  using Arithmetic = M;
  using Entry = typename M::V;
  Square<M, n> value, slope;
};

template <int n, typename F>
EQUITOOLS_HD void each_entry(F&& f) {
  each<0, n * n>([&](auto i) { f(i.value / n, i.value % n); });
}

// 2^e, e within the range of normal numbers.
template <typename M>
EQUITOOLS_HD typename M::V power_of_two(typename M::Int e) {
  using F = Format<typename M::T>;
  return M::number((e + F::bias) << F::fraction);
}

// The e of |v| = f · 2^e, 1 <= f < 2; of zero and what is not finite -bias or bias + 1.
template <typename M>
EQUITOOLS_HD typename M::Int exponent_of(typename M::V v) {
  using F = Format<typename M::T>;
  return ((M::bits(v) & Rounding<typename M::T>::exponent) >> F::fraction) - F::bias;
}

template <typename M>
EQUITOOLS_HD typename M::V not_a_number() {
  return M::number(typename M::Int{} + Format<typename M::T>::nan);
}

// ---- linear algebra ------------------------------------------------------------------------------------------------

template <typename M, int n>
EQUITOOLS_HD const Square<M, n>& value_of(const Square<M, n>& a) {
  return a;
}
template <typename M, int n>
EQUITOOLS_HD const Square<M, n>& value_of(const Dual<M, n>& a) {
  return a.value;
}
template <typename M, int n>
EQUITOOLS_HD Square<M, n>& value_of(Square<M, n>& a) {
  return a;
}
template <typename M, int n>
EQUITOOLS_HD Square<M, n>& value_of(Dual<M, n>& a) {
  return a.value;
}

template <typename M, int n>
EQUITOOLS_HD Square<M, n> transposed(const Square<M, n>& a) {
  Square<M, n> out;
  each_entry<n>([&](int i, int j) { out.at[i][j] = a.at[j][i]; });
  return out;
}

template <typename M, int n>
EQUITOOLS_CALLED Square<M, n> product(const Square<M, n>& a, const Square<M, n>& b) {
  Square<M, n> out;
  each<0, n>([&](auto i) {
    each<0, n>([&](auto j) { out.at[i.value][j.value] = a.at[i.value][0] * b.at[0][j.value]; });
    each<1, n>([&](auto k) {
      each<0, n>([&](auto j) { out.at[i.value][j.value] += a.at[i.value][k.value] * b.at[k.value][j.value]; });
    });
  });
  return out;
}

template <typename M, int n>
EQUITOOLS_HD void add(Square<M, n>& a, const Square<M, n>& b) {
  each_entry<n>([&](int i, int j) { a.at[i][j] += b.at[i][j]; });
}

template <typename M, int n>
EQUITOOLS_HD void add_scaled(Square<M, n>& a, const Square<M, n>& b, typename M::T factor) {
  each_entry<n>([&](int i, int j) { a.at[i][j] += factor * b.at[i][j]; });
}
template <typename M, int n>
EQUITOOLS_HD void add_scaled(Dual<M, n>& a, const Dual<M, n>& b, typename M::T factor) {
  add_scaled(a.value, b.value, factor);
  add_scaled(a.slope, b.slope, factor);
}

template <typename M, int n>
EQUITOOLS_HD Dual<M, n> product(const Dual<M, n>& a, const Dual<M, n>& b) {
  Dual<M, n> out{product(a.value, b.value), product(a.value, b.slope)};
  add(out.slope, product(a.slope, b.value));
  return out;
}

// a · x + b · y with the same factors for all entries.
template <typename M, int n>
EQUITOOLS_HD Square<M, n> mix(typename M::V a, const Square<M, n>& x, typename M::V b, const Square<M, n>& y) {
  Square<M, n> out;
  each_entry<n>([&](int i, int j) { out.at[i][j] = a * x.at[i][j] + b * y.at[i][j]; });
  return out;
}
template <typename M, int n>
EQUITOOLS_HD Dual<M, n> mix(typename M::V a, const Dual<M, n>& x, typename M::V b, const Dual<M, n>& y) {
  return {mix(a, x.value, b, y.value), mix(a, x.slope, b, y.slope)};
}

template <typename M, int n>
EQUITOOLS_HD void scale(Square<M, n>& a, typename M::V factor) {
  each_entry<n>([&](int i, int j) { a.at[i][j] *= factor; });
}
template <typename M, int n>
EQUITOOLS_HD void scale(Dual<M, n>& a, typename M::V factor) {
  scale(a.value, factor);
  scale(a.slope, factor);
}

// a + v · 1
template <typename M, int n>
EQUITOOLS_HD void shift(Square<M, n>& a, typename M::V v) {
  each<0, n>([&](auto i) { a.at[i.value][i.value] += v; });
}
template <typename M, int n>
EQUITOOLS_HD void shift(Dual<M, n>& a, typename M::V v) {
  shift(a.value, v);
}

// b where the condition holds, else a as it was.
template <typename C, typename M, int n>
EQUITOOLS_HD void replace(C condition, Square<M, n>& a, const Square<M, n>& b) {
  each_entry<n>([&](int i, int j) { a.at[i][j] = condition ? b.at[i][j] : a.at[i][j]; });
}
template <typename C, typename M, int n>
EQUITOOLS_HD void replace(C condition, Dual<M, n>& a, const Dual<M, n>& b) {
  replace(condition, a.value, b.value);
  replace(condition, a.slope, b.slope);
}

template <typename M, int n>
EQUITOOLS_HD void set_identity(Square<M, n>& a) {
  each_entry<n>([&](int i, int j) { a.at[i][j] = typename M::V{} + typename M::T(i == j); });
}
template <typename M, int n>
EQUITOOLS_HD void set_identity(Dual<M, n>& a) {
  set_identity(a.value);
  a.slope = {};
}

// The sum of all magnitudes.
template <typename M, int n>
EQUITOOLS_HD typename M::V total(const Square<M, n>& a) {
  typename M::V sum{};
  each_entry<n>([&](int i, int j) { sum += magnitude(a.at[i][j]); });
  return sum;
}

// The sum of all squares.
template <typename M, int n>
EQUITOOLS_HD typename M::V squares(const Square<M, n>& a) {
  typename M::V sum{};
  each_entry<n>([&](int i, int j) { sum += a.at[i][j] * a.at[i][j]; });
  return sum;
}

// The smaller one of the norms by rows and by columns, a bound of the spectral radius; NaN where it is not finite.
template <typename M, int n>
EQUITOOLS_HD typename M::V norm(const Square<M, n>& a) {
  using V = typename M::V;
  V rows{}, columns{}, all{};
  each<0, n>([&](auto i) {
    V row{}, column{};
    each<0, n>([&](auto j) {
      row += magnitude(a.at[i.value][j.value]);
      column += magnitude(a.at[j.value][i.value]);
    });
    rows = greater(rows, row);
    columns = greater(columns, column);
    all += row;
  });
  return (rows < columns ? rows : columns) + all * typename M::T(0);  // comparisons alone would lose a NaN
}

// Takes what is not finite out of a matrix (the whole of it becomes `instead` · 1) and returns NaN there, else zero.
template <typename M, int n>
EQUITOOLS_HD typename M::V take_out(Square<M, n>& a, typename M::T instead) {
  using V = typename M::V;
  using T = typename M::T;
  V spoil{};
  each_entry<n>([&](int i, int j) { spoil += a.at[i][j] * T(0); });
  const auto finite = spoil == spoil;
  each_entry<n>([&](int i, int j) { a.at[i][j] = finite ? a.at[i][j] : V{} + (i == j ? instead : T(0)); });
  return finite ? V{} : not_a_number<M>();
}

template <typename M, int n>
EQUITOOLS_HD void spoil(Square<M, n>& a, typename M::V v) {
  each_entry<n>([&](int i, int j) { a.at[i][j] += v; });
}

template <typename M, int n>
EQUITOOLS_HD void spoil(Dual<M, n>& a, typename M::V v) {
  spoil(a.value, v);
  spoil(a.slope, v);
}

// The inverse by elimination with a pivot of each column; not finite where there is none. The determinant and cofactors
// would be fewer operations, but lose twice as many digits as the condition has.
template <typename M, int n>
EQUITOOLS_CALLED Square<M, n> inverse(Square<M, n> a) {
  using V = typename M::V;
  using T = typename M::T;
  Square<M, n> b;
  set_identity(b);
  each<0, n>([&](auto c) {
    constexpr int k = c.value;
    each<k + 1, n>([&](auto r) {
      constexpr int i = r.value;
      const auto swap = magnitude(a.at[i][k]) > magnitude(a.at[k][k]);
      each<k, n>([&](auto j) {
        const V x = a.at[k][j.value], y = a.at[i][j.value];
        a.at[k][j.value] = swap ? y : x;
        a.at[i][j.value] = swap ? x : y;
      });
      each<0, n>([&](auto j) {
        const V x = b.at[k][j.value], y = b.at[i][j.value];
        b.at[k][j.value] = swap ? y : x;
        b.at[i][j.value] = swap ? x : y;
      });
    });
    const V pivot = T(1) / a.at[k][k];
    each<k + 1, n>([&](auto j) { a.at[k][j.value] *= pivot; });
    each<0, n>([&](auto j) { b.at[k][j.value] *= pivot; });
    each<0, n>([&](auto r) {
      constexpr int i = r.value;
      if constexpr (i != k) {
        const V factor = a.at[i][k];
        each<k + 1, n>([&](auto j) { a.at[i][j.value] -= factor * a.at[k][j.value]; });
        each<0, n>([&](auto j) { b.at[i][j.value] -= factor * b.at[k][j.value]; });
      }
    });
  });
  return b;
}
template <typename M, int n>
EQUITOOLS_HD Dual<M, n> inverse(const Dual<M, n>& a) {
  Dual<M, n> out;
  out.value = inverse(a.value);
  out.slope = product(out.value, product(a.slope, out.value));
  scale(out.slope, typename M::V{} - typename M::T(1));
  return out;
}

// The sum of c[k] · a^k, k = 0 to 4 · blocks, by 2 + blocks products (Paterson, Stockmeyer, SIAM J. Comput. 2, 60 (1973)).
template <int blocks, typename A, typename T>
EQUITOOLS_HD A polynomial(const A& a, const T* c) {
  const A a2 = product(a, a), a3 = product(a2, a), a4 = product(a2, a2);
  A out = a4;
  scale(out, c[4 * blocks] + typename A::Entry{});
  each<0, blocks>([&](auto i) {
    constexpr int k = 4 * (blocks - 1 - i.value);
    if (i.value > 0) out = product(out, a4);
    add_scaled(out, a, c[k + 1]);
    add_scaled(out, a2, c[k + 2]);
    add_scaled(out, a3, c[k + 3]);
    shift(out, typename A::Entry{} + c[k]);
  });
  return out;
}

}  // namespace equitools
