// The principal logarithm of small matrices, and its derivative. No torch, no standard templates.
//
// Inverse scaling and squaring: square roots until a matrix is near 1, each as many as it needs; then with
// Z = (A - 1)(A + 1)^-1 the series log A = 2 (Z + Z³/3 + Z⁵/5 + ...), and all that times 2^roots. The series is a long one
// because a root costs more than its terms. Roots start with the iteration of Denman and Beavers, scaled by norms:
// X -> (X + 1/Y) / 2, Y -> (Y + 1/X) / 2 from X = A, Y = 1, and when R = 1 - Y X is small, the root is X (1 - R)^(-1/2), by
// the binomial series. An iteration of the product Y X alone has a rounding of 1 where an eigenvalue comes near the
// negative axis, by an angle d say, so that the root has an error of 1 / d² roundings; this one has 1 / d, which is what
// the logarithm itself makes of roundings of A.
//
// The derivative starts from the logarithm: its exponentials are the roots, and the derivative of a root B = A^(1/2) solves
// B E' + E' B = E. With Q = (B - 1)(B + 1)^-1 that is E' - Q E' Q = 2 (B + 1)^-1 E (B + 1)^-1, the sum of Q^k (...) Q^k, which
// is doubled until the power vanishes (Smith, SIAM J. Appl. Math. 16, 198 (1968)). All these maps commute: the smallest
// root comes first, and the others are its squares. Higham, Functions of Matrices (SIAM, 2008), sections 6.3 and 11.5.
#pragma once

#include "matrix_exp.h"

namespace equitools {

// The numbers are those of double precision: single precision is computed in double (core/matrix_functions.h says why).
constexpr int kLogBlocks = 10;          // terms up to Z^(2 · 4 · blocks + 1): of a square Z² of norm `reach` the rest is
constexpr double kLogReach = 0.4;       // below rounding
constexpr double kLogTried = 2.0;       // of A - 1: beyond this norm Z² is not even looked at
constexpr int kSlopeBlocks = 7;         // the same of the derivative, of a logarithm whose square has norm 1: tan² 1/2
constexpr int kRootBlocks = 8;          // terms of the binomial series up to R^(4 · blocks), and how small R must be
constexpr double kRootReach = 0.33;
constexpr double kRootBeside = 1e-7;    // a root whose square is off by more is none: an eigenvalue on the axis
constexpr double kPowerGone = 3e-9;     // its square is below rounding
constexpr int kLogRange = 128;          // exponents of what need not be scaled
constexpr int kRootSteps = 40;          // three do, near the axis some more; on it there is no end
constexpr int kRoots = 16;              // seven from 2^128 to 2, two or three more
constexpr int kDoublings = 64;          // five do, near the axis some more

// Of those matrices only that `wanted` tells, the others become 1; NaN where there is none.
template <typename M, int n>
EQUITOOLS_HD Square<M, n> square_root(const Square<M, n>& a, typename M::Int wanted) {
  using V = typename M::V;
  using T = typename M::T;
  using Int = typename M::Int;
  const V half = V{} + T(0.5), one = V{} + T(1);
  Square<M, n> x, y, rest;
  set_identity(x);
  replace(wanted > 0, x, a);
  set_identity(y);
  rest = x;
  shift(rest, -one);
  Int open = squares(rest) > T(kRootReach * kRootReach) ? wanted : Int{};
  for (int step = 0; step < kRootSteps && M::any(open > 0); ++step) {
    const Square<M, n> over_x = inverse(x), over_y = step == 0 ? y : inverse(y);
    // The power of two next to (|1/X| |1/Y| / |X| |Y|)^(1/4): rounds nothing, and is 1 in the end.
    const V ratio = (squares(over_x) / squares(x)) * (squares(over_y) / squares(y));
    const Int e = (exponent_of<M>(ratio) + 4) >> 3;
    const V up = half * power_of_two<M>(e), down = half * power_of_two<M>(-e);
    const Square<M, n> next_x = mix(up, x, down, over_y), next_y = mix(up, y, down, over_x);
    replace(open > 0, x, next_x);
    replace(open > 0, y, next_y);
    rest = product(y, x);
    shift(rest, -one);
    open = squares(rest) > T(kRootReach * kRootReach) ? open : Int{};  // NaN is not open, and stays NaN
  }
  // The coefficients of (1 + r)^(-1/2).
  T c[4 * kRootBlocks + 1];
  c[0] = T(1);
  each<1, 4 * kRootBlocks + 1>([&](auto k) { c[k.value] = -c[k.value - 1] * T(2 * k.value - 1) / T(2 * k.value); });
  Square<M, n> root = product(x, polynomial<kRootBlocks>(rest, c));
  spoil(root, open > 0 ? not_a_number<M>() : V{});
  return root;
}

// Z of a matrix, see above, and 1 / (A + 1).
template <typename A>
EQUITOOLS_HD A about_one(A a, A& over_plus) {
  using V = typename A::Entry;
  const V one = V{} + typename A::Arithmetic::T(1);
  A plus = a;
  shift(plus, one);
  shift(a, -one);
  over_plus = inverse(plus);
  return product(a, over_plus);
}

// log A / 2 of Z.
template <int blocks, typename A>
EQUITOOLS_HD A log_series(const A& z, const A& square) {
  using T = typename A::Arithmetic::T;
  T c[4 * blocks + 1];
  each<0, 4 * blocks + 1>([&](auto k) { c[k.value] = T(1) / T(2 * k.value + 1); });
  return product(z, polynomial<blocks>(square, c));
}

// A finite; NaN where there is no principal logarithm.
template <typename M, int n>
EQUITOOLS_HD Square<M, n> rooted_log(Square<M, n> a) {
  using V = typename M::V;
  using T = typename M::T;
  using Int = typename M::Int;
  const V one = V{} + T(1);
  // Very large or small matrices are scaled: then products stay within range.
  Int power = exponent_of<M>(norm(a));
  power = power > kLogRange ? power : power < -kLogRange ? power : Int{};
  const Int half = power >> 1;
  scale(a, power_of_two<M>(-half));
  scale(a, power_of_two<M>(half - power));
  Int roots{};
  V nan{};
  Square<M, n> z, square, unused;
  for (int r = 0; r <= kRoots; ++r) {
    Square<M, n> rest = a;
    shift(rest, -one);
    // What is not finite is far, but for what has been found to have no root.
    const Int tried = norm(rest) <= T(kLogTried) ? Int{} + 1 : nan != nan ? Int{} + 1 : Int{};
    Int far = Int{} + 1;
    if (r == kRoots || M::any(tried > 0)) {
      z = about_one(a, unused);
      square = product(z, z);
      far = norm(square) <= T(kLogReach) ? 1 - tried : nan != nan ? Int{} : Int{} + 1;
    }
    if (r == kRoots || !M::any(far > 0)) break;
    const Square<M, n> root = square_root(a, far);
    if (r == 0) {  // the others are roots of what is far from the axis
      const auto good = squares(mix(one, product(root, root), -one, a)) <= T(kRootBeside * kRootBeside) * squares(a);
      nan += good ? V{} : far > 0 ? not_a_number<M>() : V{};
    }
    replace(far > 0, a, root);
    roots += far;
  }
  Square<M, n> out = log_series<kLogBlocks>(z, square);
  scale(out, power_of_two<M>(roots + 1));
  shift(out, M::convert(power) * T(0.69314718055994530942));
  spoil(out, nan);
  return out;
}

// The solution of b e' + e' b = e where it is wanted, else e; the eigenvalues of b are in the right half of the plane.
template <typename M, int n>
EQUITOOLS_HD void divide_by_double(const Square<M, n>& b, typename M::Int wanted, Square<M, n>& e) {
  using V = typename M::V;
  using T = typename M::T;
  using Int = typename M::Int;
  Square<M, n> over, power = about_one(b, over);
  Square<M, n> sum = product(over, product(e, over));
  scale(sum, V{} + T(2));
  Int open = squares(power) > T(kPowerGone * kPowerGone) ? wanted : Int{};
  for (int step = 0; step < kDoublings && M::any(open > 0); ++step) {
    Square<M, n> more = product(power, product(sum, power));
    add(more, sum);
    replace(open > 0, sum, more);
    power = product(power, power);
    open = squares(power) > T(kPowerGone * kPowerGone) ? open : Int{};
  }
  replace(wanted > 0, e, sum);
}

// NaN where there is no principal logarithm: an entry is not finite, or an eigenvalue is zero or negative to rounding.
template <typename M, int n>
EQUITOOLS_HD Square<M, n> log_of(Square<M, n> a) {
  const auto nan = take_out(a, typename M::T(1));
  Square<M, n> out = rooted_log(a);
  spoil(out, nan);
  return out;
}

// Of the logarithm and a gradient with respect to it, the gradient with respect to the matrix.
template <typename M, int n>
EQUITOOLS_HD Square<M, n> log_vjp(const Square<M, n>& log, const Square<M, n>& grad) {
  using V = typename M::V;
  using T = typename M::T;
  using Int = typename M::Int;
  Square<M, n> x = transposed(log);
  const V nan = take_out(x, T(0));
  Int roots = (exponent_of<M>(norm(product(x, x))) + 2) >> 1;
  roots = roots > 0 ? roots : Int{};
  scale(x, power_of_two<M>(-roots));
  Dual<M, n> both{scaled_exp(x), grad}, unused;
  Square<M, n> root = both.value;
  const Dual<M, n> z = about_one(both, unused);
  Square<M, n> out = log_series<kSlopeBlocks>(z, product(z, z)).slope;
  scale(out, power_of_two<M>(roots + 1));
  while (M::any(roots > 0)) {
    divide_by_double(root, roots, out);
    root = product(root, root);
    roots -= 1;
  }
  spoil(out, nan);
  return out;
}

}  // namespace equitools
