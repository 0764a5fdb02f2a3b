// What the convolution does for one edge and one channel: products with the entries of M. For host and GPU.
//
// M of a path is a list of its entries in memory, four to a load (Quad); a path with a known triple of degrees reads it
// with indices that the compiler knows, so that sums stay in registers.
#pragma once

#include "coupling_pairs.h"

namespace equitools {

template <typename T>
struct alignas(16) Quad {
  T v[4];
};

constexpr int whole_quads(int n) { return (n + 3) / 4 * 4; }

template <typename T, int L1, int L2, int L3>
struct ChannelMath {
  using P = Pairs<L1, L2, L3>;

  // sum[m3] += M[m1, m3] left[m1], for N channels
  template <int N>
  static EQUITOOLS_HD void push(const T* m, const T (&left)[P::A][N], T (&sum)[P::B][N]) {
    const Quad<T>* quads = reinterpret_cast<const Quad<T>*>(m);
    Quad<T> q;
    each<0, P::count>([&](auto k) {
      if constexpr (k.value % 4 == 0) q = quads[k.value / 4];
      constexpr int m1 = P::list.m1[k.value], m3 = P::list.m3[k.value];
      each<0, N>([&](auto n) { sum[m3][n.value] += q.v[k.value % 4] * left[m1][n.value]; });
    });
  }

  // back[m1] = sum over m3 of M[m1, m3] g[m3]
  static EQUITOOLS_HD void pull(const T* m, const T (&g)[P::B], T (&back)[P::A]) {
    const Quad<T>* quads = reinterpret_cast<const Quad<T>*>(m);
    Quad<T> q;
    each<0, P::A>([&](auto m1) { back[m1.value] = T(0); });
    each<0, P::count>([&](auto k) {
      if constexpr (k.value % 4 == 0) q = quads[k.value / 4];
      constexpr int m1 = P::list.m1[k.value], m3 = P::list.m3[k.value];
      back[m1] += q.v[k.value % 4] * g[m3];
    });
  }

  // dm[m1, m3] += left[m1] g[m3]
  static EQUITOOLS_HD void outer(const T (&left)[P::A], const T (&g)[P::B], T (&dm)[P::count]) {
    each<0, P::count>([&](auto k) {
      constexpr int m1 = P::list.m1[k.value], m3 = P::list.m3[k.value];
      dm[k.value] += left[m1] * g[m3];
    });
  }
};

}  // namespace equitools
