// The exponential of small matrices, and its derivative. No torch, no standard templates.
//
// Scaling and squaring: the Taylor polynomial of X / 2^s, squared s times, each matrix as often as it needs. Polynomial and
// squares are written for a matrix with a derivative beside it as well (Dual), so that the derivative is that of the same
// scheme, costs three times as much, and needs no matrix of twice the size. What belongs to a gradient G is the derivative
// at the transposed matrix: <G, exp'(X)[D]> = <exp'(Xᵀ)[G], D>. Higham, Functions of Matrices (SIAM, 2008), chapter 10;
// Al-Mohy, Higham, SIAM J. Matrix Anal. Appl. 30, 1639 (2009).
#pragma once

#include "small_matrix.h"

namespace equitools {

// Degree 4 · blocks; of a matrix of norm `reach` the remainder, and that of the derivative, is below rounding.
template <typename T>
struct ExpSeries;
template <>
struct ExpSeries<float> {
  static constexpr int blocks = 2;
  static constexpr float reach = 0.5f;
};
template <>
struct ExpSeries<double> {
  static constexpr int blocks = 4;
  static constexpr double reach = 0.6;
};

// X finite; X is used up.
template <typename A>
EQUITOOLS_HD A scaled_exp(A& x) {
  using M = typename A::Arithmetic;
  using T = typename M::T;
  using Int = typename M::Int;
  using S = ExpSeries<T>;
  T c[4 * S::blocks + 1];
  c[0] = T(1);
  each<1, 4 * S::blocks + 1>([&](auto k) { c[k.value] = c[k.value - 1] / T(k.value); });
  Int squares = exponent_of<M>(norm(value_of(x)) * T(1 / S::reach)) + 1;
  squares = squares > 0 ? squares : Int{};
  const Int half = squares >> 1;  // two powers: one could be below the normal numbers
  scale(x, power_of_two<M>(-half));
  scale(x, power_of_two<M>(half - squares));
  A out = polynomial<S::blocks>(x, c);
  while (M::any(squares > 0)) {
    replace(squares > 0, out, product(out, out));
    squares -= 1;
  }
  return out;
}

// NaN where an entry is not finite.
template <typename M, int n>
EQUITOOLS_HD Square<M, n> exp_of(Square<M, n> x) {
  const auto nan = take_out(x, typename M::T(0));
  Square<M, n> out = scaled_exp(x);
  spoil(out, nan);
  return out;
}

template <typename M, int n>
EQUITOOLS_HD Square<M, n> exp_vjp(const Square<M, n>& x, const Square<M, n>& grad) {
  Dual<M, n> both{transposed(x), grad};
  const auto nan = take_out(both.value, typename M::T(0));
  Square<M, n> out = scaled_exp(both).slope;
  spoil(out, nan);
  return out;
}

}  // namespace equitools
