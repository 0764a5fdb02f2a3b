// Eigenvalues and eigenvectors of symmetric 3x3 matrices, and their derivatives. No torch, no standard templates.
//
// The method is Jacobi's, a fixed order of rotations until what is left off the diagonal is below rounding. Formulas by the
// roots of the characteristic polynomial lose half of the digits where eigenvalues come close, which is where frames are
// delicate; rotations do not: values and vectors are those of a matrix within a few roundings of the given one, and the
// vectors are orthonormal to rounding however close the eigenvalues are. Three or four sweeps do; with a matrix in each
// lane that costs no more than reading the points that the matrix was made of.
//
// The functions are templates over the arithmetic M: of vectors with a matrix in each lane on a CPU, of single numbers on a
// GPU. M has the types T (a number), V (what is computed with) and Int (its bits), and root, bits, number, any.
#pragma once

#include "portable.h"

namespace equitools {

// Gaps of eigenvalues that are below so many roundings of the largest one are none: derivatives of the vectors by what
// would turn them into each other are taken as zero.
constexpr int kGapRoundings = 16;

template <typename T>
struct Rounding;
template <>
struct Rounding<float> {
  static constexpr float unit = 1.1920928955078125e-07f;  // from 1 to the next number
  static constexpr float negligible = 8.6736173798840355e-19f;  // 2^-60: its square is still a normal number
  static constexpr float smallest_gap = 4.7019774032891500e-38f;  // 2^-124: its reciprocal is finite
  static constexpr int32_t exponent = 0x7f800000, least = 0x00800000, most = 0x7e800000, twice_bias = 0x7f000000;
};
template <>
struct Rounding<double> {
  static constexpr double unit = 2.220446049250313e-16;
  static constexpr double negligible = 3.0549363634996047e-151;  // 2^-500
  static constexpr double smallest_gap = 8.9002954340288055e-308;  // 2^-1020
  static constexpr int64_t exponent = 0x7ff0000000000000, least = 0x0010000000000000, most = 0x7fd0000000000000,
                           twice_bias = 0x7fe0000000000000;
};

template <typename M>
struct Symmetric3 {
  typename M::V xx, xy, xz, yy, yz, zz;
};

template <typename M>
struct Eigen3 {
  typename M::V value[3];      // ascending
  typename M::V vector[3][3];  // [component][which], determinant 1
};

template <typename V>
EQUITOOLS_HD V magnitude(V v) {
  return v < V{} ? -v : v;
}

template <typename V>
EQUITOOLS_HD V greater(V a, V b) {
  return a > b ? a : b;
}

// One rotation in the plane of p and q, which makes apq zero; r is the third axis.
template <typename M>
EQUITOOLS_HD void jacobi_rotation(typename M::V& app, typename M::V& aqq, typename M::V& apq, typename M::V& arp,
                                  typename M::V& arq, typename M::V (&v)[3][3], int p, int q) {
  using V = typename M::V;
  using T = typename M::T;
  const V d = aqq - app, h = apq + apq, length = M::root(d * d + h * h);
  const V t = magnitude(apq) < V{} + Rounding<T>::negligible ? V{} : h / (d < V{} ? d - length : d + length);
  const V c = T(1) / M::root(T(1) + t * t), s = t * c;
  app -= t * apq;
  aqq += t * apq;
  apq = V{};
  const V a = arp, b = arq;
  arp = c * a - s * b;
  arq = s * a + c * b;
  each<0, 3>([&](auto i) {
    const V x = v[i.value][p], y = v[i.value][q];
    v[i.value][p] = c * x - s * y;
    v[i.value][q] = s * x + c * y;
  });
}

// Puts eigenvalues p < q in order. One column changes its sign, so that the determinant stays.
template <typename M>
EQUITOOLS_HD void order_pair(Eigen3<M>& e, int p, int q) {
  using V = typename M::V;
  const auto swap = e.value[p] > e.value[q];
  const V a = e.value[p], b = e.value[q];
  e.value[p] = swap ? b : a;
  e.value[q] = swap ? a : b;
  each<0, 3>([&](auto i) {
    const V x = e.vector[i.value][p], y = e.vector[i.value][q];
    e.vector[i.value][p] = swap ? y : x;
    e.vector[i.value][q] = swap ? -x : y;
  });
}

// Values and vectors; all are NaN where an entry is not finite.
template <typename M>
EQUITOOLS_HD Eigen3<M> eigen3(Symmetric3<M> a) {
  using V = typename M::V;
  using T = typename M::T;
  using R = Rounding<T>;
  constexpr int kSweeps = 12;  // three or four do; the limit is for what is not foreseen
  V* entry[6] = {&a.xx, &a.xy, &a.xz, &a.yy, &a.yz, &a.zz};
  V spoil{}, largest{};
  each<0, 6>([&](auto i) { spoil += *entry[i.value] * T(0); });
  const auto finite = spoil == spoil;
  each<0, 6>([&](auto i) { *entry[i.value] = finite ? *entry[i.value] : V{}; });
  each<0, 6>([&](auto i) { largest = greater(largest, magnitude(*entry[i.value])); });
  // A power of two of the size of 1 / largest keeps squares within range and rounds nothing.
  typename M::Int exponent = M::bits(largest) & R::exponent;
  exponent = exponent > R::most ? typename M::Int{} + R::most : exponent;
  exponent = exponent < R::least ? typename M::Int{} + R::least : exponent;
  const V scale = M::number(R::twice_bias - exponent), back = M::number(exponent);
  each<0, 6>([&](auto i) { *entry[i.value] *= scale; });

  Eigen3<M> e;
  each<0, 9>([&](auto i) { e.vector[i.value / 3][i.value % 3] = V{} + T(i.value % 4 == 0); });
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    jacobi_rotation<M>(a.xx, a.yy, a.xy, a.xz, a.yz, e.vector, 0, 1);
    jacobi_rotation<M>(a.xx, a.zz, a.xz, a.xy, a.yz, e.vector, 0, 2);
    jacobi_rotation<M>(a.yy, a.zz, a.yz, a.xy, a.xz, e.vector, 1, 2);
    // The rotation before the last left a zero at xz, the last one has turned it with xy.
    if (!M::any(magnitude(a.xy) + magnitude(a.xz) > V{} + R::unit / 16)) break;
  }
  e.value[0] = a.xx;
  e.value[1] = a.yy;
  e.value[2] = a.zz;
  order_pair<M>(e, 0, 1);
  order_pair<M>(e, 1, 2);
  order_pair<M>(e, 0, 1);
  each<0, 3>([&](auto i) { e.value[i.value] = e.value[i.value] * back + spoil; });
  each<0, 9>([&](auto i) { e.vector[i.value / 3][i.value % 3] += spoil; });
  return e;
}

// 1 / (value[j] - value[i]), or zero where there is no gap.
template <typename M>
EQUITOOLS_HD typename M::V inverse_gap(const Eigen3<M>& e, int i, int j) {
  using V = typename M::V;
  using T = typename M::T;
  const V largest = greater(magnitude(e.value[0]), magnitude(e.value[2])), gap = e.value[j] - e.value[i];
  const V limit = greater<V>(largest * (kGapRoundings * Rounding<T>::unit), V{} + Rounding<T>::smallest_gap);
  const auto open = gap > limit;
  return open ? T(1) / (open ? gap : V{} + T(1)) : V{};
}

// The gradient with respect to the matrix, whose symmetric part is what counts, of what has gradients g by e.
template <typename M>
EQUITOOLS_HD Symmetric3<M> eigen3_vjp(const Eigen3<M>& e, const Eigen3<M>& g) {
  using V = typename M::V;
  using T = typename M::T;
  const auto& v = e.vector;
  // How the gradient turns vector i towards vector j.
  const auto turn = [&](int i, int j) {
    V sum{};
    each<0, 3>([&](auto k) {
      sum += v[k.value][i] * g.vector[k.value][j] - v[k.value][j] * g.vector[k.value][i];
    });
    return T(0.5) * sum * inverse_gap<M>(e, i, j);
  };
  const V s01 = turn(0, 1), s02 = turn(0, 2), s12 = turn(1, 2);
  V left[3][3];  // vectors times the symmetric matrix in their basis
  each<0, 3>([&](auto row) {
    const V a = v[row.value][0], b = v[row.value][1], c = v[row.value][2];
    left[row.value][0] = a * g.value[0] + b * s01 + c * s02;
    left[row.value][1] = a * s01 + b * g.value[1] + c * s12;
    left[row.value][2] = a * s02 + b * s12 + c * g.value[2];
  });
  const auto entry = [&](int i, int j) { return left[i][0] * v[j][0] + left[i][1] * v[j][1] + left[i][2] * v[j][2]; };
  return {entry(0, 0), entry(0, 1), entry(0, 2), entry(1, 1), entry(1, 2), entry(2, 2)};
}

}  // namespace equitools
