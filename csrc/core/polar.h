// The polar decomposition g = p k of small matrices, p symmetric and positive definite, k orthogonal, and its derivative.
// No torch, no standard templates.
//
// g V = U S by rotations of the columns of g (Hestenes, J. SIAM 6, 51 (1958)), until all are orthogonal to rounding, then
// p = U S Uᵀ and k = U Vᵀ. Columns of any lengths come out orthogonal, so that k is orthogonal to a few roundings whatever
// the condition of g is; the eigenvectors of g gᵀ would not do that. The derivative needs sums of singular values only,
// and no differences: with dk = W k and h = dg kᵀ it is p W + W p = h - hᵀ, dp = h - p W.
#pragma once

#include "small_matrix.h"

namespace equitools {

// Singular values below so many roundings of the largest one are zero.
constexpr int kSingularRoundings = 4;

template <typename M, int n>
struct Singular {
  Square<M, n> u, v;
  typename M::V value[n];
};

// Turns columns p and q of a and of v so that those of a are orthogonal. Returns 1 where there was something to do.
template <typename M, int n>
EQUITOOLS_HD typename M::Int turn_columns(Square<M, n>& a, Square<M, n>& v, int p, int q) {
  using V = typename M::V;
  using T = typename M::T;
  using Int = typename M::Int;
  V pp{}, qq{}, pq{};
  each<0, n>([&](auto i) {
    const V x = a.at[i.value][p], y = a.at[i.value][q];
    pp += x * x;
    qq += y * y;
    pq += x * y;
  });
  const auto open = magnitude(pq) > (T(2) * Rounding<T>::unit) * M::root(pp) * M::root(qq);
  const V d = qq - pp, h = pq + pq;
  const V divisor = d < V{} ? d - M::root(d * d + h * h) : d + M::root(d * d + h * h);
  const V t = open ? h / (open ? divisor : V{} + T(1)) : V{};
  const V c = T(1) / M::root(T(1) + t * t), s = t * c;
  each<0, n>([&](auto i) {
    const V x = a.at[i.value][p], y = a.at[i.value][q], f = v.at[i.value][p], g = v.at[i.value][q];
    a.at[i.value][p] = c * x - s * y;
    a.at[i.value][q] = s * x + c * y;
    v.at[i.value][p] = c * f - s * g;
    v.at[i.value][q] = s * f + c * g;
  });
  return open ? Int{} + 1 : Int{};
}

// u, v orthogonal and the values, all positive; values and u NaN where g is singular to rounding or not finite.
template <typename M, int n>
EQUITOOLS_HD Singular<M, n> singular_values(Square<M, n> a) {
  using V = typename M::V;
  using T = typename M::T;
  using R = Rounding<T>;
  constexpr int kSweeps = 16;  // five or six do; the limit is for what is not foreseen
  Singular<M, n> out;
  V nan = take_out(a, T(1)), largest{};
  each_entry<n>([&](int i, int j) { largest = greater(largest, magnitude(a.at[i][j])); });
  // A power of two of the size of 1 / largest keeps squares within range and rounds nothing.
  typename M::Int exponent = M::bits(largest) & R::exponent;
  exponent = exponent > R::most ? typename M::Int{} + R::most : exponent;
  exponent = exponent < R::least ? typename M::Int{} + R::least : exponent;
  const V back = M::number(exponent);
  scale(a, M::number(R::twice_bias - exponent));
  set_identity(out.v);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    typename M::Int turned{};
    each<0, n>([&](auto p) {
      each<p.value + 1, n>([&](auto q) { turned += turn_columns(a, out.v, p.value, q.value); });
    });
    if (!M::any(turned > 0)) break;
  }
  V most{}, least{};
  each<0, n>([&](auto j) {
    V sum{};
    each<0, n>([&](auto i) { sum += a.at[i.value][j.value] * a.at[i.value][j.value]; });
    const V length = M::root(sum);
    out.value[j.value] = length;
    most = j.value == 0 ? length : greater(most, length);
    least = j.value == 0 ? length : length < least ? length : least;
  });
  const auto regular = least > (kSingularRoundings * R::unit) * most;
  nan += regular ? V{} : not_a_number<M>();
  each<0, n>([&](auto j) {
    const V factor = T(1) / (regular ? out.value[j.value] : V{} + T(1)) + nan;
    each<0, n>([&](auto i) { out.u.at[i.value][j.value] = a.at[i.value][j.value] * factor; });
    out.value[j.value] = out.value[j.value] * back + nan;
  });
  return out;
}

// a bᵀ
template <typename M, int n>
EQUITOOLS_HD Square<M, n> product_transposed(const Square<M, n>& a, const Square<M, n>& b) {
  return product(a, transposed(b));
}

template <typename M, int n>
EQUITOOLS_HD Square<M, n> orthogonal_of(const Singular<M, n>& s) {
  using T = typename M::T;
  const Square<M, n> k = product_transposed(s.u, s.v);
  // What rotations have left of their roundings, halved again and again: k (3 - kᵀ k) / 2.
  Square<M, n> rest = product(transposed(k), k);
  scale(rest, typename M::V{} - T(0.5));
  shift(rest, typename M::V{} + T(1.5));
  return product(k, rest);
}

template <typename M, int n>
EQUITOOLS_HD void polar_of(const Square<M, n>& g, Square<M, n>& p, Square<M, n>& k) {
  const Singular<M, n> s = singular_values(g);
  k = orthogonal_of(s);
  each<0, n>([&](auto i) {
    each<0, i.value + 1>([&](auto j) {
      typename M::V sum{};
      each<0, n>([&](auto c) { sum += s.value[c.value] * s.u.at[i.value][c.value] * s.u.at[j.value][c.value]; });
      p.at[i.value][j.value] = sum;
      p.at[j.value][i.value] = sum;
    });
  });
}

template <typename M, int n>
EQUITOOLS_HD Square<M, n> polar_vjp(const Square<M, n>& g, const Square<M, n>& grad_p, const Square<M, n>& grad_k) {
  const Singular<M, n> s = singular_values(g);
  const Square<M, n> ut = transposed(s.u);
  const Square<M, n> of_k = product(ut, product(grad_k, s.v)), inner = product(ut, product(grad_p, s.u));
  // In the basis of p: what turns k, less what that turn does to p.
  Square<M, n> turn;
  each_entry<n>([&](int i, int j) {
    if (i >= j) return;
    const auto upper = of_k.at[i][j] - s.value[i] * inner.at[i][j], lower = of_k.at[j][i] - s.value[j] * inner.at[j][i];
    turn.at[i][j] = (upper - lower) / (s.value[i] + s.value[j]);
    turn.at[j][i] = -turn.at[i][j];
  });
  each<0, n>([&](auto i) { turn.at[i.value][i.value] = typename M::V{}; });
  // (grad_p + u turn uᵀ) k = u (uᵀ grad_p u + turn) vᵀ
  Square<M, n> all = inner;
  add(all, turn);
  return product_transposed(product(s.u, all), s.v);
}

}  // namespace equitools
