// The principal logarithm of small matrices, and its derivative. No torch, no standard templates.
//
// Inverse scaling and squaring: square roots until a matrix is near 1, each as many as it needs; then with
// Z = (A - 1)(A + 1)^-1 the series log A = 2 (Z + Z³/3 + Z⁵/5 + ...), and all that times 2^roots. Roots are taken by the
// iteration of Denman and Beavers, scaled by norms: X -> (X + 1/Y) / 2, Y -> (Y + 1/X) / 2 from X = A, Y = 1. Its form with
// a product of the two has a rounding of 1 where an eigenvalue comes near the negative axis, by an angle d say, so that the
// root has an error of 1 / d² roundings; this form has 1 / d, which is what the logarithm itself makes of roundings of A.
// All of it is written for a matrix with a derivative beside it as well (Dual). Higham, Functions of Matrices (SIAM, 2008),
// sections 6.3, 6.5 and 11.5; Al-Mohy, Higham, Relton, SIAM J. Sci. Comput. 35, C394 (2013).
#pragma once

#include "small_matrix.h"

namespace equitools {

template <typename T>
struct LogSeries;
template <>
struct LogSeries<float> {
  static constexpr int blocks = 2;            // terms up to Z^(8 · blocks + 1)
  static constexpr float settled = 2e-4f;     // a step of a root below this is the last one: errors are squared
  static constexpr float beside = 1e-3f;      // a root whose square is off by more is none: an eigenvalue on the axis
  static constexpr int32_t range = 16;        // exponents of what need not be scaled
};
template <>
struct LogSeries<double> {
  static constexpr int blocks = 4;
  static constexpr double settled = 1e-9;
  static constexpr double beside = 1e-7;
  static constexpr int64_t range = 128;
};

constexpr int kRootSteps = 40;  // ten do, near the axis some more; on it there is no end
constexpr int kRoots = 16;      // seven from 2^128 to 2, four more

// Steps from the first small one on.
template <typename A>
struct SettledSteps;
template <typename M, int n>
struct SettledSteps<Square<M, n>> {
  static constexpr int count = 1;
};
template <typename M, int n>
struct SettledSteps<Dual<M, n>> {
  static constexpr int count = 2;  // derivatives are a step behind
};

// Of those matrices only that `wanted` tells, the others become 1; NaN where there is none.
template <typename A>
EQUITOOLS_HD A square_root(const A& a, typename A::Arithmetic::Int wanted) {
  using M = typename A::Arithmetic;
  using V = typename M::V;
  using T = typename M::T;
  using Int = typename M::Int;
  A x, y;
  set_identity(x);
  set_identity(y);
  replace(wanted > 0, x, a);
  Int left = wanted > 0 ? Int{} + SettledSteps<A>::count : Int{};
  for (int step = 0; step < kRootSteps && M::any(left > 0); ++step) {
    const A over_x = inverse(x), over_y = inverse(y);
    // The power of two next to (|1/X| |1/Y| / |X| |Y|)^(1/4): rounds nothing, and is 1 in the end.
    const V ratio =
        (total(value_of(over_x)) / total(value_of(x))) * (total(value_of(over_y)) / total(value_of(y)));
    const Int e = (exponent_of<M>(ratio) + 2) >> 2;
    const V up = power_of_two<M>(e) * T(0.5), down = power_of_two<M>(-e) * T(0.5);
    const A next_x = mix(up, x, down, over_y), next_y = mix(up, y, down, over_x);
    const V change_x = total(mix(V{} + T(1), value_of(next_x), T(-2) * up, value_of(x)));
    const V change_y = total(mix(V{} + T(1), value_of(next_y), T(-2) * up, value_of(y)));
    replace(left > 0, x, next_x);
    replace(left > 0, y, next_y);
    const T settled = LogSeries<T>::settled;
    const auto open_x = change_x > settled * total(value_of(next_x));
    const auto open_y = change_y > settled * total(value_of(next_y));
    left -= (open_x ? Int{} : open_y ? Int{} : Int{} + 1);  // NaN is not open
  }
  const V none = left > 0 ? not_a_number<M>() : V{};
  spoil(x, none);
  return x;
}

// A finite; A is used up. NaN where there is no principal logarithm.
template <typename A>
EQUITOOLS_HD A rooted_log(A& a) {
  using M = typename A::Arithmetic;
  using V = typename M::V;
  using T = typename M::T;
  using Int = typename M::Int;
  using S = LogSeries<T>;
  const V one = V{} + T(1);
  // Very large or small matrices are scaled: then products stay within range.
  Int power = exponent_of<M>(norm(value_of(a)));
  power = power > S::range ? power : power < -S::range ? power : Int{};
  const Int half = power >> 1;
  scale(a, power_of_two<M>(-half));
  scale(a, power_of_two<M>(half - power));
  Int roots{};
  V nan{};
  for (int r = 0; r < kRoots; ++r) {
    auto rest = value_of(a);
    shift(rest, -one);
    const Int far = norm(rest) > one * T(0.5) ? Int{} + 1 : Int{};
    if (!M::any(far > 0)) break;
    const A root = square_root(a, far);
    if (r == 0) {
      const auto off = total(mix(one, product(value_of(root), value_of(root)), -one, value_of(a)));
      const auto good = off <= S::beside * total(value_of(a));
      nan += good ? V{} : far > 0 ? not_a_number<M>() : V{};
    }
    replace(far > 0, a, root);
    roots += far;
  }
  A plus = a;
  shift(plus, one);
  shift(a, -one);
  const A z = product(a, inverse(plus)), square = product(z, z);
  T c[4 * S::blocks + 1];
  each<0, 4 * S::blocks + 1>([&](auto k) { c[k.value] = T(1) / T(2 * k.value + 1); });
  A out = product(z, polynomial<S::blocks>(square, c));
  scale(out, power_of_two<M>(roots + 1));
  shift(out, M::convert(power) * T(0.69314718055994530942));
  spoil(out, nan);
  return out;
}

// NaN where there is no principal logarithm: an entry is not finite, or an eigenvalue is zero or negative to rounding.
template <typename M, int n>
EQUITOOLS_HD Square<M, n> log_of(Square<M, n> a) {
  const auto nan = take_out(a, typename M::T(1));
  Square<M, n> out = rooted_log(a);
  spoil(out, nan);
  return out;
}

template <typename M, int n>
EQUITOOLS_HD Square<M, n> log_vjp(const Square<M, n>& a, const Square<M, n>& grad) {
  Dual<M, n> both{transposed(a), grad};
  const auto nan = take_out(both.value, typename M::T(1));
  Square<M, n> out = rooted_log(both).slope;
  spoil(out, nan);
  return out;
}

}  // namespace equitools
