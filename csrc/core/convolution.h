// Micro-kernels of the channelwise tensor-product convolution: forward, backward, double backward. No torch.
//
// Per path, channel and edge (pairs = entries of M): forward pairs + min(2 l1 + 1, 2 l3 + 1) multiply-adds; backward
// 2 pairs + 3 (2 l1 + 1); double backward 5 pairs + about 8 (2 l1 + 1). Channels stand in lanes. The forward kernel keeps the sums
// of a receiver in registers while its edges pass; the backward kernels keep a row of M and of its gradient in registers
// while the channels of an edge pass.
#pragma once

#include "convolution_plan.h"
#include "coupling_components.h"
#include "coupling_pattern.h"
#include "gemm.h"
#include "simd.h"

namespace equitools {
namespace EQUITOOLS_ISA {

constexpr int popcount(unsigned v) { return v ? int(v & 1) + popcount(v >> 1) : 0; }

// Number of entries (m1', m3') before (m1, m3) in a path's list.
constexpr int pair_index(int l1, int l2, int l3, int m1, int m3) {
  int n = 0;
  for (int i = 0; i < m1; ++i) n += popcount(kCouplingPattern[l1][l2][l3][i]);
  return n + popcount(kCouplingPattern[l1][l2][l3][m1] & ((1u << m3) - 1));
}

constexpr bool coupled(int l1, int l2, int l3, int m1, int m3) {
  return kCouplingPattern[l1][l2][l3][m1] >> m3 & 1;
}

// Whether m3 has an entry with an order in [begin, end).
constexpr bool coupled_within(int l1, int l2, int l3, int begin, int end, int m3) {
  for (int i = begin; i < end; ++i)
    if (coupled(l1, l2, l3, i, m3)) return true;
  return false;
}

// Whether m3 has an entry with an order before m1.
constexpr bool coupled_before(int l1, int l2, int l3, int m1, int m3) {
  return coupled_within(l1, l2, l3, 0, m1, m3);
}

// A tile of edges, as the kernels of one path see it. Rows are offsets, so that one kernel serves w in memory and w in cache.
template <typename T>
struct Tile {
  int edges;
  int receivers;                  // parts of the tile with one receiver each
  int first[kTile + 1];           // where each part begins
  bool add[kTile];                // the receiver's row holds sums of earlier tiles
  int64_t receiver[kTile];        // of each part
  int64_t row[kTile];             // of y, w and h, of each edge
  int64_t sender[kTile];
  int64_t into[kTile];            // receiver of each edge
  int64_t position;               // of the first edge among the ordered ones
};

// Pointers at the first channel; rows[e] is the offset of edge e.
template <typename T>
struct PathArgs {
  const Tile<T>* tile;
  const int32_t *m1, *m3;  // entries of M
  int pairs;
  int orders1, orders3;
  const T* m;   // [pairs][kTile]
  const T* mb;  // the same made from b, for the double backward
  const T *x, *a;
  const int64_t* xrow;
  int64_t stride1;
  const T *w, *c;
  const int64_t* wrow;
  const int64_t* ahead;  // rows of w of edges that follow, fetched ahead; null: nothing to fetch
  const int64_t* dwahead;  // the same of dw
  const T* g;
  T* out;
  const int64_t* grow;  // of each edge; forward: of each part of the tile
  int64_t stride3;
  T* dx;
  const int64_t* dxrow;
  int64_t dxstride;
  T *dw, *dw1;  // dw1: gradient of w at first order
  const int64_t *dwrow, *dw1row;
  bool edges;          // the gradient of y is wanted:
  T* dm;               // of the entries of M, [pairs][kTile], by the listed kernels
  T* dy;               // of the path's components of y, lanes not yet summed, [2 l2 + 1][kEdgesTogether] vectors, added to
  const T* coupling;   // [pairs][2], as in ConvData::spread
  bool rows;  // the gradients of x or of w are wanted
  int channels;
  bool add;
};

// ---- forward -------------------------------------------------------------------------------------------------------

// Second: the gradient of g in the double backward, sum of M (w a + c x) + Mb (w x). Else sum of M w x.
template <typename T, int L1, int L2, int L3, int N, bool Second>
static inline void forward_block(const PathArgs<T>& p, int64_t channel) {
  constexpr int W = Simd<T>::W;
  constexpr int A = 2 * L1 + 1, B = 2 * L3 + 1;
  constexpr bool kWeightLast = !Second && L3 <= L1 && L3 < 3;
  for (int part = 0; part < p.tile->receivers; ++part) {
    Vec<T> sum[B][N];
    T* out = p.out + p.grow[part] + channel;
    if (p.add || p.tile->add[part])
      unroll<0, B>([&](auto m3) {
        unroll<0, N>([&](auto n) { sum[m3.value][n.value] = load(out + m3.value * p.stride3 + n.value * W); });
      });
    else
      unroll<0, B>([&](auto m3) { unroll<0, N>([&](auto n) { sum[m3.value][n.value] = Vec<T>{}; }); });
    for (int e = p.tile->first[part]; e < p.tile->first[part + 1]; ++e) {
      const T* x = p.x + p.xrow[e] + channel;
      const T* w = p.w + p.wrow[e] + channel;
      const T* m = p.m + e;
      Vec<T> weight[N];
      unroll<0, N>([&](auto n) { weight[n.value] = load(w + n.value * W); });
      if (p.ahead) unroll<0, N>([&](auto n) { __builtin_prefetch(p.w + p.ahead[e] + channel + n.value * W, 0, 2); });
      if constexpr (kWeightLast) {
        Vec<T> product[B][N];
        unroll<0, A>([&](auto m1) {
          Vec<T> left[N];
          unroll<0, N>([&](auto n) { left[n.value] = load(x + m1.value * p.stride1 + n.value * W); });
          unroll<0, B>([&](auto m3) {
            if constexpr (coupled(L1, L2, L3, m1.value, m3.value)) {
              constexpr bool first = !coupled_before(L1, L2, L3, m1.value, m3.value);
              const T s = m[pair_index(L1, L2, L3, m1.value, m3.value) * kTile];
              unroll<0, N>([&](auto n) {
                if constexpr (first)
                  product[m3.value][n.value] = s * left[n.value];
                else
                  product[m3.value][n.value] += s * left[n.value];
              });
            }
          });
        });
        unroll<0, B>([&](auto m3) {
          if constexpr (coupled_before(L1, L2, L3, A, m3.value))
            unroll<0, N>([&](auto n) { sum[m3.value][n.value] += weight[n.value] * product[m3.value][n.value]; });
        });
      } else if constexpr (!Second) {
        unroll<0, A>([&](auto m1) {
          Vec<T> left[N];
          unroll<0, N>(
              [&](auto n) { left[n.value] = load(x + m1.value * p.stride1 + n.value * W) * weight[n.value]; });
          unroll<0, B>([&](auto m3) {
            if constexpr (coupled(L1, L2, L3, m1.value, m3.value)) {
              const T s = m[pair_index(L1, L2, L3, m1.value, m3.value) * kTile];
              unroll<0, N>([&](auto n) { sum[m3.value][n.value] += s * left[n.value]; });
            }
          });
        });
      } else {
        const T* a = p.a + p.xrow[e] + channel;
        const T* c = p.c + p.wrow[e] + channel;
        const T* mb = p.mb + e;
        unroll<0, A>([&](auto m1) {
          Vec<T> left[N], other[N];
          unroll<0, N>([&](auto n) {
            const Vec<T> xv = load(x + m1.value * p.stride1 + n.value * W);
            left[n.value] = load(a + m1.value * p.stride1 + n.value * W) * weight[n.value] + load(c + n.value * W) * xv;
            other[n.value] = weight[n.value] * xv;
          });
          unroll<0, B>([&](auto m3) {
            if constexpr (coupled(L1, L2, L3, m1.value, m3.value)) {
              constexpr int k = pair_index(L1, L2, L3, m1.value, m3.value) * kTile;
              const T s = m[k], t = mb[k];
              unroll<0, N>([&](auto n) {
                sum[m3.value][n.value] += s * left[n.value];
                sum[m3.value][n.value] += t * other[n.value];
              });
            }
          });
        });
      }
    }
    unroll<0, B>([&](auto m3) {
      unroll<0, N>([&](auto n) { store(out + m3.value * p.stride3 + n.value * W, sum[m3.value][n.value]); });
    });
  }
}

template <typename T, int L1, int L2, int L3, bool Second>
static void forward_path(const PathArgs<T>& p) {
  constexpr int W = Simd<T>::W;
  int64_t channel = 0;
  for (; channel + 2 * W <= p.channels; channel += 2 * W) forward_block<T, L1, L2, L3, 2, Second>(p, channel);
  if (channel + W <= p.channels) forward_block<T, L1, L2, L3, 1, Second>(p, channel);
}

// Any path, by its list of entries; `count` lanes of one vector, from `channel` on.
template <typename T, bool Second>
static void forward_listed(const PathArgs<T>& p, int64_t channel, int count) {
  const bool whole = count == Simd<T>::W;
  const auto get = [&](const T* q) { return whole ? load(q) : load_part(q, count); };
  for (int part = 0; part < p.tile->receivers; ++part) {
    Vec<T> sum[kMaxOrders];
    T* out = p.out + p.grow[part] + channel;
    const bool add = p.add || p.tile->add[part];
    for (int m3 = 0; m3 < p.orders3; ++m3) sum[m3] = add ? get(out + m3 * p.stride3) : Vec<T>{};
    for (int e = p.tile->first[part]; e < p.tile->first[part + 1]; ++e) {
      const T* x = p.x + p.xrow[e] + channel;
      const Vec<T> weight = get(p.w + p.wrow[e] + channel);
      Vec<T> left[kMaxOrders], other[kMaxOrders];
      if constexpr (Second) {
        const T* a = p.a + p.xrow[e] + channel;
        const Vec<T> c = get(p.c + p.wrow[e] + channel);
        for (int m1 = 0; m1 < p.orders1; ++m1) {
          const Vec<T> xv = get(x + m1 * p.stride1);
          left[m1] = get(a + m1 * p.stride1) * weight + c * xv;
          other[m1] = weight * xv;
        }
      } else {
        for (int m1 = 0; m1 < p.orders1; ++m1) left[m1] = get(x + m1 * p.stride1) * weight;
      }
      for (int k = 0; k < p.pairs; ++k) {
        sum[p.m3[k]] += p.m[k * kTile + e] * left[p.m1[k]];
        if constexpr (Second) sum[p.m3[k]] += p.mb[k * kTile + e] * other[p.m1[k]];
      }
    }
    for (int m3 = 0; m3 < p.orders3; ++m3) {
      if (whole)
        store(out + m3 * p.stride3, sum[m3]);
      else
        store_part(out + m3 * p.stride3, sum[m3], count);
    }
  }
}

constexpr int kEdgesTogether = 4;  // in the backward kernels: their rows of x and dx stay in the first-level cache

static_assert(kTile % kEdgesTogether == 0);

// ---- backward ------------------------------------------------------------------------------------------------------

// Entries of M of the orders [Ma, Mb).
template <int L1, int L2, int L3, int Ma, int Mb>
constexpr int kPairsOf = pair_index(L1, L2, L3, Mb - 1, 2 * L3 + 1) - pair_index(L1, L2, L3, Ma, 0);

// Orders m1 from Ma on that are done together: as many as have room for their entries in registers, beside one vector for
// each order and three more (23 takes all of 2 x 2 -> 2; measured 2 % faster than 21, and nothing is spilled).
template <typename T>
constexpr int group_of_orders(int l1, int l2, int l3, int ma) {
  constexpr int room = sizeof(Vec<T>) == 64 ? 23 : 7;
  int mb = ma + 1;
  while (mb < 2 * l1 + 1 && pair_index(l1, l2, l3, mb, 2 * l3 + 1) - pair_index(l1, l2, l3, ma, 0) <= room) ++mb;
  return mb;
}

// Whether m2 goes into an entry of the orders [begin, end).
constexpr bool component_within(int l1, int l2, int l3, int begin, int end, int m2) {
  for (int i = begin; i < end; ++i)
    for (int j = 0; j < 2 * l3 + 1; ++j)
      for (int which = 0; which < 2; ++which)
        if (coupled(l1, l2, l3, i, j) && component_of(l1, l2, l3, i, j, which) == m2) return true;
  return false;
}

// Gradient of y through that of M: sums over channels of (w x) g, or of (w a + c x) g, one vector an entry of M, and of
// those the sums that go to each component (a coefficient of the rules that is zero counts as one: what is no number spreads
// within the edge). Lanes are summed later, of 2 l2 + 1 vectors instead of one for each entry. Stride: of the rows of
// x and dx, and the channels, where the compiler knows them, so that one pointer reaches all rows; or 0.
template <typename T, int L1, int L2, int L3, int Ma, int Mb, bool Second, int Stride>
EQUITOOLS_INLINE void gradient_of_edges(const PathArgs<T>& p, int e, int64_t channels) {
  constexpr int W = Simd<T>::W, B = 2 * L3 + 1, pairs = kPairsOf<L1, L2, L3, Ma, Mb>;
  const T* x = p.x + p.xrow[e] + Ma * p.stride1;
  const T* w = p.w + p.wrow[e];
  const T* g = p.g + p.grow[e];
  const T* a = Second ? p.a + p.xrow[e] + Ma * p.stride1 : nullptr;
  const T* c = Second ? p.c + p.wrow[e] : nullptr;
  const int64_t stride1 = Stride ? Stride : p.stride1, stride3 = p.stride3;
  constexpr bool kFetch = Ma == 0 && !Second;  // what follows may not be asked for
  const T* next = p.w + (kFetch ? p.ahead[e] : 0);
  Vec<T> acc[pairs];
  unroll<0, pairs>([&](auto k) { acc[k.value] = Vec<T>{}; });
  for (int64_t u = 0; u < channels; u += W) {
    if constexpr (kFetch) __builtin_prefetch(next + u, 0, 2);
    Vec<T> left[Mb - Ma];
    const Vec<T> wv = load(w + u);
    unroll<0, Mb - Ma>([&](auto m) {
      if constexpr (Second)
        left[m.value] = wv * load(a + m.value * stride1 + u) + load(c + u) * load(x + m.value * stride1 + u);
      else
        left[m.value] = wv * load(x + m.value * stride1 + u);
    });
    unroll<0, B>([&](auto m3) {
      if constexpr (coupled_within(L1, L2, L3, Ma, Mb, m3.value)) {
        const Vec<T> gv = in_register(load(g + m3.value * stride3 + u));
        unroll<Ma, Mb>([&](auto m1) {
          if constexpr (coupled(L1, L2, L3, m1.value, m3.value))
            acc[pair_index(L1, L2, L3, m1.value, m3.value) - pair_index(L1, L2, L3, Ma, 0)] += left[m1.value - Ma] * gv;
        });
      }
    });
  }
  constexpr int start = pair_index(L1, L2, L3, Ma, 0);
  const T* coupling = p.coupling + 2 * start;
  unroll<0, 2 * L2 + 1>([&](auto m2) {
    if constexpr (component_within(L1, L2, L3, Ma, Mb, m2.value)) {
      T* to = p.dy + (m2.value * kEdgesTogether + e % kEdgesTogether) * W;
      Vec<T> sum = load(to);
      unroll<Ma, Mb>([&](auto m1) {
        unroll<0, B>([&](auto m3) {
          if constexpr (coupled(L1, L2, L3, m1.value, m3.value)) {
            constexpr int k = pair_index(L1, L2, L3, m1.value, m3.value) - start;
            if constexpr (component_of(L1, L2, L3, m1.value, m3.value, 0) == m2.value) sum += coupling[2 * k] * acc[k];
            if constexpr (component_of(L1, L2, L3, m1.value, m3.value, 1) == m2.value)
              sum += coupling[2 * k + 1] * acc[k];
          }
        });
      });
      store(to, sum);
    }
  });
}

// back[m1] = sum over m3 of M g, and what follows from it:
//   Part 0, the backward:  dx += w back, dw += x back;
//   Part 1, from M in the double backward:  dx += c back, dw += a back, dw1 += x back;
//   Part 2, from Mb (the matrices of b):  dx += w back, dw += x back, where dw is there already.
template <typename T, int L1, int L2, int L3, int Ma, int Mb, int Part, int Stride>
EQUITOOLS_INLINE void gradient_of_rows(const PathArgs<T>& p, int e, int64_t channels) {
  constexpr int W = Simd<T>::W, B = 2 * L3 + 1, pairs = kPairsOf<L1, L2, L3, Ma, Mb>;
  constexpr int start = pair_index(L1, L2, L3, Ma, 0);
  constexpr bool kFetch = Ma == 0 && Part < 2, kNew = Ma == 0 && Part < 2;
  const T* x = p.x + p.xrow[e] + Ma * p.stride1;
  const T* a = Part == 1 ? p.a + p.xrow[e] + Ma * p.stride1 : nullptr;
  const T* w = (Part == 1 ? p.c : p.w) + p.wrow[e];
  const T* g = p.g + p.grow[e];
  T* dx = p.dx + p.dxrow[e] + Ma * p.dxstride;
  T* dw = p.dw + p.dwrow[e];
  T* dw1 = Part == 1 ? p.dw1 + p.dw1row[e] : nullptr;
  const int64_t stride1 = Stride ? Stride : p.stride1, stride3 = p.stride3;
  const int64_t dxstride = Stride ? Stride : p.dxstride;
  const T* next = p.w + (kFetch ? p.ahead[e] : 0);
  const T* next_c = Part == 1 ? p.c + p.dwahead[e] : nullptr;
  T* next_dw = p.dw + (kFetch ? p.dwahead[e] : 0);
  const T* m = (Part == 2 ? p.mb : p.m) + start * kTile + e;
  Vec<T> s[pairs];
  unroll<0, pairs>([&](auto k) { s[k.value] = m[k.value * kTile] - Vec<T>{}; });
  for (int64_t u = 0; u < channels; u += W) {
    if constexpr (kFetch) {
      __builtin_prefetch(next + u, 0, 2);
      __builtin_prefetch(next_dw + u, 1, 2);
      if constexpr (Part == 1) __builtin_prefetch(next_c + u, 0, 2);
    }
    Vec<T> back[Mb - Ma];
    unroll<0, B>([&](auto m3) {
      if constexpr (coupled_within(L1, L2, L3, Ma, Mb, m3.value)) {
        const Vec<T> gv = in_register(load(g + m3.value * stride3 + u));
        unroll<Ma, Mb>([&](auto m1) {
          if constexpr (coupled(L1, L2, L3, m1.value, m3.value)) {
            constexpr bool first = (kCouplingPattern[L1][L2][L3][m1.value] & ((1u << m3.value) - 1)) == 0;
            constexpr int k = pair_index(L1, L2, L3, m1.value, m3.value) - start;
            if constexpr (first)
              back[m1.value - Ma] = s[k] * gv;
            else
              back[m1.value - Ma] += s[k] * gv;
          }
        });
      }
    });
    const Vec<T> wv = load(w + u);
    Vec<T> dwv = kNew ? Vec<T>{} : load(dw + u), dw1v = Part == 1 && !kNew ? load(dw1 + u) : Vec<T>{};
    unroll<0, Mb - Ma>([&](auto m1) {
      T* to = dx + m1.value * dxstride + u;
      store(to, load(to) + wv * back[m1.value]);
      const Vec<T> xv = load(x + m1.value * stride1 + u);
      if constexpr (Part == 1) {
        dw1v += xv * back[m1.value];
        dwv += load(a + m1.value * stride1 + u) * back[m1.value];
      } else {
        dwv += xv * back[m1.value];
      }
    });
    store(dw + u, dwv);
    if constexpr (Part == 1) store(dw1 + u, dw1v);
  }
}

template <typename T, int L1, int L2, int L3, int Ma, bool Second, int Stride>
EQUITOOLS_INLINE void backward_orders(const PathArgs<T>& p, int e, int64_t channels) {
  if constexpr (Ma < 2 * L1 + 1) {
    constexpr int Mb = group_of_orders<T>(L1, L2, L3, Ma);
    if (p.edges) gradient_of_edges<T, L1, L2, L3, Ma, Mb, Second, Stride>(p, e, channels);
    if constexpr (Second) {
      gradient_of_rows<T, L1, L2, L3, Ma, Mb, 1, Stride>(p, e, channels);
      gradient_of_rows<T, L1, L2, L3, Ma, Mb, 2, Stride>(p, e, channels);
    } else if (p.rows) {
      gradient_of_rows<T, L1, L2, L3, Ma, Mb, 0, Stride>(p, e, channels);
    }
    backward_orders<T, L1, L2, L3, Mb, Second, Stride>(p, e, channels);
  }
}

// Of the edges [begin, end) of the tile, at most kEdgesTogether from a multiple of it on.
template <typename T, int L1, int L2, int L3, bool Second, int Stride>
static void backward_strided(const PathArgs<T>& p, int begin, int end) {
  const int64_t channels = Stride ? Stride : p.channels / Simd<T>::W * Simd<T>::W;
  for (int e = begin; e < end; ++e) backward_orders<T, L1, L2, L3, 0, Second, Stride>(p, e, channels);
}

// Second: the double backward, for cotangents a, b (through mb) and c.
template <typename T, int L1, int L2, int L3, bool Second>
static void backward_path(const PathArgs<T>& p, int begin, int end) {
  if constexpr (!Second && sizeof(T) == 4) {  // forces and first derivatives, with the widths that networks have
    const auto is = [&](int64_t stride) {
      return p.channels == stride && p.stride1 == stride && (p.dxstride == stride || !p.rows);
    };
    if (is(64)) return backward_strided<T, L1, L2, L3, Second, 64>(p, begin, end);
    if (is(128)) return backward_strided<T, L1, L2, L3, Second, 128>(p, begin, end);
  }
  backward_strided<T, L1, L2, L3, Second, 0>(p, begin, end);
}

// Any path and any channels, by the list of entries. Channels from `from` on.
template <typename T, bool Second>
static void backward_listed(const PathArgs<T>& p, int64_t from, int begin, int end) {
  constexpr int W = Simd<T>::W;
  for (int e = begin; e < end; ++e) {
    Vec<T> sums[kMaxPairs];
    for (int k = 0; k < p.pairs; ++k) sums[k] = Vec<T>{};
    const T* m = p.m + e;
    for (int64_t u = from; u < p.channels; u += W) {
      const int count = p.channels - u < W ? int(p.channels - u) : W;
      const bool whole = count == W;
      const auto get = [&](const T* q) { return whole ? load(q) : load_part(q, count); };
      const auto put = [&](T* q, Vec<T> v) {
        if (whole)
          store(q, v);
        else
          store_part(q, v, count);
      };
      const T* x = p.x + p.xrow[e] + u;
      const T* g = p.g + p.grow[e] + u;
      T* dx = p.dx + p.dxrow[e] + u;
      const Vec<T> wv = get(p.w + p.wrow[e] + u);
      Vec<T> right[kMaxOrders], weight{}, weight1{}, cv{};
      for (int m3 = 0; m3 < p.orders3; ++m3) right[m3] = get(g + m3 * p.stride3);
      if constexpr (Second) cv = get(p.c + p.wrow[e] + u);
      for (int k = 0; k < p.pairs;) {
        const int m1 = p.m1[k];
        const Vec<T> xv = get(x + m1 * p.stride1);
        Vec<T> av{}, back{}, other{};
        if constexpr (Second) av = get(p.a + p.xrow[e] + m1 * p.stride1 + u);
        const Vec<T> mixed = Second ? wv * av + cv * xv : xv * wv;
        for (; k < p.pairs && p.m1[k] == m1; ++k) {
          const Vec<T> gv = right[p.m3[k]];
          back += m[k * kTile] * gv;
          if constexpr (Second) other += p.mb[k * kTile + e] * gv;
          sums[k] += mixed * gv;
        }
        weight1 += xv * back;
        T* d = dx + m1 * p.dxstride;
        if constexpr (Second) {
          weight += av * back + xv * other;
          put(d, get(d) + cv * back + wv * other);
        } else {
          put(d, get(d) + wv * back);
        }
      }
      put(p.dw + p.dwrow[e] + u, Second ? weight : weight1);
      if constexpr (Second) put(p.dw1 + p.dw1row[e] + u, weight1);
    }
    if (p.edges) {
      for (int k = 0; k < p.pairs; ++k) {
        T total = 0;
        for (int i = 0; i < W; ++i) total += sums[k][i];
        p.dm[k * kTile + e] = total;
      }
    }
  }
}

// ---- one path, whichever kernel fits -------------------------------------------------------------------------------

#ifndef EQUITOOLS_UNROLLED_DEGREE
#define EQUITOOLS_UNROLLED_DEGREE 3  // less for the sanitizers, under which the compiler needs gigabytes
#endif

#if EQUITOOLS_VECTOR_BYTES > 16
constexpr int kUnrolledDegree = EQUITOOLS_UNROLLED_DEGREE;
#else
constexpr int kUnrolledDegree = -1;  // the portable build is for correctness: listed kernels only
#endif

template <typename T>
struct PathKernels {
  void (*forward)(const PathArgs<T>&);
  void (*forward2)(const PathArgs<T>&);
  void (*backward)(const PathArgs<T>&, int, int);
  void (*backward2)(const PathArgs<T>&, int, int);
};

template <typename T>
struct PathTable {
  PathKernels<T> at[kPatternDegree + 1][kPatternDegree + 1][kPatternDegree + 1];
};

template <typename T>
static constexpr PathTable<T> make_path_table() {
  PathTable<T> t{};
  unroll<0, kUnrolledDegree + 1>([&](auto l1) {
    unroll<0, kUnrolledDegree + 1>([&](auto l2) {
      unroll<0, kUnrolledDegree + 1>([&](auto l3) {
        constexpr int a = l1.value, b = l2.value, c = l3.value;
        if constexpr (a + b >= c && b + c >= a && c + a >= b)
          t.at[a][b][c] = {forward_path<T, a, b, c, false>, forward_path<T, a, b, c, true>,
                           backward_path<T, a, b, c, false>, backward_path<T, a, b, c, true>};
      });
    });
  });
  return t;
}

template <typename T>
static constexpr PathTable<T> path_table = make_path_table<T>();

template <typename T>
static inline const PathKernels<T>* unrolled(const ConvPath& path) {
  if constexpr (kUnrolledDegree < 0) return nullptr;
  if (!path.unrolled || path.l1 > kUnrolledDegree || path.l2 > kUnrolledDegree || path.l3 > kUnrolledDegree)
    return nullptr;
  return &path_table<T>.at[path.l1][path.l2][path.l3];
}

template <typename T, bool Second>
static inline void run_forward(const ConvPath& path, const PathArgs<T>& p) {
  constexpr int W = Simd<T>::W;
  int64_t channel = 0;
  if (const PathKernels<T>* kernels = unrolled<T>(path)) {
    (Second ? kernels->forward2 : kernels->forward)(p);
    channel = p.channels / W * W;
  }
  for (; channel < p.channels; channel += W)
    forward_listed<T, Second>(p, channel, p.channels - channel < W ? int(p.channels - channel) : W);
}

// Channels of a path that the unrolled kernels of the backward do; `edges`: with the gradient of y.
template <typename T>
static inline int64_t unrolled_channels(const ConvPath& path, bool edges) {
  constexpr int W = Simd<T>::W;
  return (path.column >= 0 || !edges) && unrolled<T>(path) ? path.channels / W * W : 0;
}

template <typename T, bool Second>
static inline void run_backward(const ConvPath& path, const PathArgs<T>& p, int begin, int end) {
  const int64_t channel = unrolled_channels<T>(path, p.edges);
  if (channel) {
    const PathKernels<T>& kernels = *unrolled<T>(path);
    (Second ? kernels.backward2 : kernels.backward)(p, begin, end);
  }
  if (channel < p.channels) backward_listed<T, Second>(p, channel, begin, end);
}

// ---- tiles ---------------------------------------------------------------------------------------------------------

// The next edges, at most kTile of them; `receiver` and `k` (position among the edges) move on. False at the end.
template <typename T>
static inline bool next_tile(const ConvGraph& graph, int64_t& receiver, int64_t& k, int64_t end, Tile<T>& t) {
  t.edges = t.receivers = 0;
  t.position = k;
  while (receiver < end && t.edges < kTile) {
    const int64_t stop = graph.first[receiver + 1];
    if (k < stop) {
      const int64_t room = kTile - t.edges, left = stop - k;
      // A receiver that fits into one tile is not split.
      if (left > room && t.edges > 0 && stop - graph.first[receiver] <= kTile) break;
      const int n = int(left < room ? left : room);
      t.first[t.receivers] = t.edges;
      t.add[t.receivers] = k > graph.first[receiver];
      t.receiver[t.receivers++] = receiver;
      for (int i = 0; i < n; ++i, ++t.edges, ++k) {
        const int64_t row = graph.edge ? graph.edge[k] : k;
        t.row[t.edges] = row;
        t.sender[t.edges] = graph.sender[row];
        t.into[t.edges] = receiver;
      }
      if (k < stop) break;
    }
    ++receiver;
  }
  t.first[t.receivers] = t.edges;
  return t.edges > 0;
}

// Columns of y of the tile, one row a component: [dim2][kTile], zero behind the last edge.
template <typename T>
static inline void gather_columns(const Tile<T>& t, const T* y, int64_t dim2, T* columns) {
  for (int64_t m = 0; m < dim2; ++m) {
    T* c = columns + m * kTile;
    for (int e = 0; e < t.edges; ++e) c[e] = y[t.row[e] * dim2 + m];
    for (int e = t.edges; e < kTile; ++e) c[e] = T(0);
  }
}

// M of the entries [begin, end): [entry][kTile].
template <typename T>
static inline void make_matrices(const ConvPlan& plan, const T* coupling, int begin, int end, const T* columns, T* m) {
  constexpr int W = Simd<T>::W, N = kTile / W;
  for (int k = begin; k < end; ++k, m += kTile) {
    Vec<T> sum[N] = {};
    for (int i = plan.entry_begin[k]; i < plan.entry_begin[k + 1]; ++i) {
      const T* c = columns + plan.entry_m2[i] * int64_t(kTile);
      unroll<0, N>([&](auto n) { sum[n.value] += coupling[i] * load(c + n.value * W); });
    }
    unroll<0, N>([&](auto n) { store(m + n.value * W, sum[n.value]); });
  }
}

// The adjoint, of the paths [first, last) that the listed kernels did, or finished: adds to the gradient of the columns.
// Behind the tile's last edge dm holds anything, and so do the columns then; nobody reads them.
template <typename T>
static inline void pull_matrices(const ConvPlan& plan, const T* coupling, int64_t first, int64_t last, const T* dm,
                                 T* dcolumns) {
  constexpr int W = Simd<T>::W, N = kTile / W;
  for (int64_t path = first; path < last; ++path) {
    const int begin = plan.paths[path].pair_begin, pair_end = plan.paths[path].pair_end;
    if (unrolled_channels<T>(plan.paths[path], true) < plan.paths[path].channels)
      for (int k = begin; k < pair_end; ++k)
        for (int i = plan.entry_begin[k]; i < plan.entry_begin[k + 1]; ++i) {
          T* c = dcolumns + plan.entry_m2[i] * int64_t(kTile);
          const T* row = dm + (k - begin) * int64_t(kTile);
          unroll<0, N>(
              [&](auto n) { store(c + n.value * W, load(c + n.value * W) + coupling[i] * load(row + n.value * W)); });
        }
    dm += kTile * int64_t(pair_end - begin);
  }
}

// Adds the sums of lanes of dy, [components][kEdgesTogether] vectors, to the columns of the edges from `begin` on. Reads up
// to W - 1 vectors behind them.
template <typename T>
static inline void sum_edges(int64_t components, const T* dy, int begin, T* dcolumns) {
  constexpr int W = Simd<T>::W;
  const int64_t count = components * kEdgesTogether;
  for (int64_t k = 0; k < count; k += W) {
    Vec<T> v[W];
    unroll<0, W>([&](auto i) { v[i.value] = load(dy + (k + i.value) * W); });
    alignas(64) T sums[W];
    store(sums, sum_lanes<T>(v));
    for (int64_t i = 0; i < W && k + i < count; ++i)
      dcolumns[(k + i) / kEdgesTogether * kTile + begin + (k + i) % kEdgesTogether] += sums[i];
  }
}

// The columns of y that the unrolled kernels of the paths [first, last) reach.
struct Columns {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

template <typename T>
static inline Columns columns_of(const ConvPlan& plan, int64_t first, int64_t last) {
  Columns c{plan.dim2, 0};
  for (int64_t k = first; k < last; ++k) {
    const ConvPath& p = plan.paths[k];
    if (!unrolled_channels<T>(p, true)) continue;
    if (p.column < c.begin) c.begin = p.column;
    if (p.column + 2 * p.l2 + 1 > c.end) c.end = p.column + 2 * p.l2 + 1;
  }
  return c.begin < c.end ? c : Columns{0, 0};
}

template <typename T>
static inline void scatter_columns(const Tile<T>& t, const T* columns, int64_t dim2, T* y) {
  for (int64_t m = 0; m < dim2; ++m)
    for (int e = 0; e < t.edges; ++e) y[t.row[e] * dim2 + m] = columns[m * kTile + e];
}

template <typename T>
static inline PathArgs<T> path_args(const ConvData<T>& d, const Tile<T>& tile, const ConvPath& path) {
  PathArgs<T> p{};
  p.tile = &tile;
  p.m1 = d.plan.pair_m1 + path.pair_begin;
  p.m3 = d.plan.pair_m3 + path.pair_begin;
  p.pairs = path.pair_end - path.pair_begin;
  p.orders1 = 2 * path.l1 + 1;
  p.orders3 = 2 * path.l3 + 1;
  p.x = d.x + path.offset1;
  p.stride1 = p.dxstride = path.stride1;
  p.stride3 = path.stride3;
  p.channels = path.channels;
  p.add = path.add;
  return p;
}

template <typename T>
static inline void gather_rows(const Tile<T>& t, const T* rows, int64_t width, T* tile) {
  for (int e = 0; e < t.edges; ++e) {
    const T* from = rows + t.row[e] * width;
    for (int64_t i = 0; i < width; ++i) tile[e * width + i] = from[i];
  }
}

template <typename T>
static inline void clear(T* p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = T(0);
}

// Paths [begin, end) whose matrices are in cache together; returns the end.
static inline int64_t group_end(const ConvPlan& plan, int64_t begin) {
  int64_t end = begin;
  while (end < plan.num_paths && end < begin + kGroupPaths &&
         (end == begin || plan.paths[end].pair_end - plan.paths[begin].pair_begin <= kGroupPairs))
    ++end;
  return end;
}

constexpr int64_t kPairRoom = kGroupPairs > kMaxPairs ? kGroupPairs : kMaxPairs;

// Memory that one thread works in.
template <typename T>
struct Scratch {
  T *m, *mb, *dm;                 // [kPairRoom][kTile]
  T *y, *b, *dy;                  // columns [dim2][kTile]
  T *h, *ch, *dh;                 // [kTile][padded K]
  T *w, *c, *dw, *dw1;            // [kTile][padded channels]
  T* lanes;                       // gradients of y of the edges that are done together, [dim2][kEdgesTogether] vectors
  T *nowhere_x, *nowhere_w;       // gradients that nobody wants

  static int64_t size(const ConvPlan& plan, int64_t hidden) {
    return 3 * kPairRoom * kTile + 3 * plan.dim2 * kTile + 3 * kTile * padded<T>(hidden) +
           4 * kTile * padded<T>(plan.max_channels) + lanes_size(plan) + plan.dim1 + plan.weights;
  }

  static int64_t lanes_size(const ConvPlan& plan) {  // sum_edges reads beyond the last
    return (plan.dim2 * kEdgesTogether + Simd<T>::W) * Simd<T>::W;
  }

  Scratch(T* at, const ConvPlan& plan, int64_t hidden) {
    const int64_t width = kTile * padded<T>(plan.max_channels), k = kTile * padded<T>(hidden);
    T** const matrices[] = {&m, &mb, &dm};
    T** const tiles[] = {&w, &c, &dw, &dw1};
    T** const layers[] = {&h, &ch, &dh};
    T** const columns[] = {&y, &b, &dy};
    for (T** p : matrices) *p = at, at += kPairRoom * kTile;
    for (T** p : tiles) *p = at, at += width;
    for (T** p : layers) *p = at, at += k;
    for (T** p : columns) *p = at, at += plan.dim2 * kTile;
    lanes = at, at += lanes_size(plan);
    nowhere_x = at;
    nowhere_w = at + plan.dim1;
  }
};

// ---- whole convolutions, receivers [begin, end) --------------------------------------------------------------------

// Channels that are done together: their part of x stays in the first-level cache while the paths pass.
template <typename T>
constexpr int64_t kBlock = 2 * Simd<T>::W;


// Offsets of the rows of a tile.
template <typename T>
struct Rows {
  int64_t x[kTile], w[kTile], g[kTile], out[kTile], dx[kTile], dw[kTile], made[kTile], zero[kTile];

  Rows(const ConvPlan& plan, const Tile<T>& t, int64_t made_stride) {
    for (int e = 0; e < t.edges; ++e) {
      x[e] = t.sender[e] * plan.dim1;
      w[e] = t.row[e] * plan.weights;
      g[e] = t.into[e] * plan.dim3;
      made[e] = e * made_stride;
      zero[e] = 0;
    }
    for (int i = 0; i < t.receivers; ++i) out[i] = t.receiver[i] * plan.dim3;
  }
};

// The weights of one path for the tile, or their cotangents: h v, or ch v + h cv.
template <typename T>
static inline void make_weights(const ConvData<T>& d, const ConvPath& path, int edges, const T* h, int64_t channel,
                                int64_t n, T* to, int64_t stride) {
  const int64_t width = padded<T>(path.channels);
  gemm<T, false>(edges, n, d.hidden, h, d.hidden, 1, d.v + path.packed * d.hidden + channel, width, to, stride);
}

// Where the edges of a tile stand in the table, and what the six rows are multiplied by for values and slopes.
template <typename T>
struct Places {
  const T* row[kTile];  // null: at or beyond the cutoff
  T value[kTile][6], slope[kTile][6];

  Places(const ConvTable<T>& t, const Tile<T>& tile, int64_t width) {
    if (!t.rows) return;
    const double inverse = double(t.intervals) / t.cutoff;
    for (int e = 0; e < tile.edges; ++e) {
      const T r = t.r[tile.row[e]];
      row[e] = nullptr;
      if (!(r < T(t.cutoff))) continue;
      const double place = double(r) * inverse;
      int64_t i = int64_t(place);
      i = i < 0 ? 0 : i >= t.intervals ? t.intervals - 1 : i;
      const double s = place - double(i), s2 = s * s, s3 = s2 * s, s4 = s2 * s2, s5 = s4 * s;
      const double c[6] = {1, 10 * s3 - 15 * s4 + 6 * s5, s - 6 * s3 + 8 * s4 - 3 * s5, -4 * s3 + 7 * s4 - 3 * s5,
                           0.5 * s2 - 1.5 * s3 + 1.5 * s4 - 0.5 * s5, 0.5 * s3 - s4 + 0.5 * s5};
      const double g[6] = {0, 30 * s2 - 60 * s3 + 30 * s4, 1 - 18 * s2 + 32 * s3 - 15 * s4, -12 * s2 + 28 * s3 - 15 * s4,
                           s - 4.5 * s2 + 6 * s3 - 2.5 * s4, 1.5 * s2 - 4 * s3 + 2.5 * s4};
      row[e] = t.rows + i * 6 * width;
      for (int j = 0; j < 6; ++j) {
        value[e][j] = T(c[j]);
        slope[e][j] = T(g[j] * inverse);
      }
    }
  }
};

// Weights, and slopes where wanted, of columns [column, column + n) of the table, n whole vectors; rows `stride` apart.
template <typename T>
static inline void read_weights(const Places<T>& places, int edges, int64_t width, int64_t column, int64_t n, T* to,
                                T* slope, int64_t stride) {
  constexpr int W = Simd<T>::W;
  for (int e = 0; e < edges; ++e) {
    T* w = to + e * stride;
    T* d = slope ? slope + e * stride : nullptr;
    if (!places.row[e]) {
      for (int64_t k = 0; k < n; k += W) {
        store(w + k, Vec<T>{});
        if (d) store(d + k, Vec<T>{});
      }
      continue;
    }
    const T* row = places.row[e] + column;
    for (int64_t k = 0; k < n; k += W) {
      Vec<T> v[6];
      unroll<0, 6>([&](auto j) { v[j.value] = load(row + j.value * width + k); });
      Vec<T> sum = v[0];
      unroll<1, 6>([&](auto j) { sum += places.value[e][j.value] * v[j.value]; });
      store(w + k, sum);
      if (d) {
        Vec<T> rate = places.slope[e][1] * v[1];
        unroll<2, 6>([&](auto j) { rate += places.slope[e][j.value] * v[j.value]; });
        store(d + k, rate);
      }
    }
  }
}

// along[e] += dw[e] . slope[e]
template <typename T>
static inline void add_along(int edges, int channels, const T* dw, int64_t dwrow, const T* slope, int64_t sloperow,
                             T* along) {
  constexpr int W = Simd<T>::W;
  for (int e = 0; e < edges; ++e) {
    const T *a = dw + e * dwrow, *b = slope + e * sloperow;
    Vec<T> sum{};
    int k = 0;
    for (; k + W <= channels; k += W) sum += load(a + k) * load(b + k);
    if (k < channels) sum += load_part(a + k, channels - k) * load_part(b + k, channels - k);
    T total = 0;
    for (int i = 0; i < W; ++i) total += sum[i];
    along[e] += total;
  }
}

template <typename T>
static inline void clear_isolated(const ConvData<T>& d, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i)
    if (d.graph.first[i] == d.graph.first[i + 1]) clear(d.out + i * d.plan.dim3, d.plan.dim3);
}

template <typename T>
static void conv_forward(const ConvData<T>& d, T* memory, int64_t begin, int64_t end) {
  const ConvPlan& plan = d.plan;
  const Scratch<T> s(memory, plan, d.hidden);
  constexpr int64_t block = kBlock<T>;
  Tile<T> tile;
  int64_t receiver = begin, position = d.graph.first[begin];
  clear_isolated(d, begin, end);
  while (next_tile(d.graph, receiver, position, end, tile)) {
    const Rows<T> rows(plan, tile, d.kept ? d.kept_row : block);
    int64_t ahead[kTile];
    for (int e = 0; e < kTile; ++e) {
      const int64_t k = position + e < d.graph.first[end] ? position + e : position - 1;
      ahead[e] = (d.graph.edge ? d.graph.edge[k] : k) * plan.weights;
    }
    const Places<T> places(d.table, tile, d.kept_row);
    gather_columns(tile, d.y, plan.dim2, s.y);
    if (d.h) gather_rows(tile, d.h, d.hidden, s.h);
    for (int64_t first = 0, last; first < plan.num_paths; first = last) {
      last = group_end(plan, first);
      const int pair = plan.paths[first].pair_begin;
      make_matrices(plan, d.coupling, pair, plan.paths[last - 1].pair_end, s.y, s.m);
      for (int64_t channel = 0; channel < plan.max_channels; channel += block)
        for (int64_t k = first; k < last; ++k) {
          const ConvPath& path = plan.paths[k];
          const int64_t left = path.channels - channel;
          if (left <= 0) continue;
          PathArgs<T> p = path_args(d, tile, path);
          p.m = s.m + int64_t(path.pair_begin - pair) * kTile;
          p.x += channel;
          p.xrow = rows.x;
          p.out = d.out + path.offset3 + channel;
          p.grow = rows.out;
          p.channels = int(left < block ? left : block);
          if (d.w) {
            p.w = d.w + path.weight + channel;
            p.wrow = rows.w;
            p.ahead = ahead;
          } else {  // made for this block of channels and used at once
            constexpr int W = Simd<T>::W;  // not padded(): it may be more than a block
            T* made = d.kept ? d.kept + tile.position * d.kept_row + path.packed + channel : s.w;
            const int64_t made_row = d.kept ? d.kept_row : block, columns = (p.channels + W - 1) / W * W;
            if (d.table.rows) {
              T* slope = d.kept ? d.table.kept_slope + (made - d.kept) : nullptr;
              read_weights(places, tile.edges, d.kept_row, path.packed + channel, columns, made, slope, made_row);
            } else {
              make_weights(d, path, tile.edges, s.h, channel, columns, made, made_row);
            }
            p.w = made;
            p.wrow = rows.made;
          }
          run_forward<T, false>(path, p);
        }
    }
  }
}

// Backward, or (Second) double backward.
template <typename T, bool Second>
static void conv_backward_of(const ConvData<T>& d, T* memory, int64_t begin, int64_t end) {
  const ConvPlan& plan = d.plan;
  const Scratch<T> s(memory, plan, d.hidden);
  const int64_t stride = padded<T>(plan.max_channels), depth = padded<T>(d.hidden);
  Tile<T> tile;
  int64_t receiver = begin, position = d.graph.first[begin];
  if (Second) clear_isolated(d, begin, end);
  while (next_tile(d.graph, receiver, position, end, tile)) {
    const Rows<T> rows(plan, tile, stride);
    int64_t ahead[kTile];
    for (int e = 0; e < kTile; ++e) {
      const int64_t q = position - tile.edges + e + kEdgesTogether, k = q < d.graph.first[end] ? q : d.graph.first[end] - 1;
      ahead[e] = (d.graph.edge ? d.graph.edge[k] : k) * plan.weights;
    }
    int64_t kept[kTile + kEdgesTogether];
    for (int e = 0; e < kTile + kEdgesTogether; ++e) kept[e] = (e < tile.edges ? e : tile.edges - 1) * d.kept_row;
    gather_columns(tile, d.y, plan.dim2, s.y);
    if (Second) gather_columns(tile, d.b, plan.dim2, s.b);
    if (d.dy) clear(s.dy, plan.dim2 * kTile);
    const Places<T> places(d.table, tile, d.kept_row);
    T along[kTile] = {};
    if (d.h) {
      gather_rows(tile, d.h, d.hidden, s.h);
      if (Second) gather_rows(tile, d.ch, d.hidden, s.ch);
      if (d.dh) clear(s.dh, kTile * depth);
    }
    for (int64_t first = 0, last; first < plan.num_paths; first = last) {
      last = group_end(plan, first);
      const int pair = plan.paths[first].pair_begin, pair_end = plan.paths[last - 1].pair_end;
      make_matrices(plan, d.coupling, pair, pair_end, s.y, s.m);
      if (Second) make_matrices(plan, d.coupling, pair, pair_end, s.b, s.mb);
      const auto arguments = [&](const ConvPath& path) {
        PathArgs<T> p = path_args(d, tile, path);
        const int64_t start = int64_t(path.pair_begin - pair) * kTile;
        p.m = s.m + start;
        p.mb = s.mb + start;
        p.edges = d.dy != nullptr;
        p.dm = s.dm + start;
        p.dy = path.column < 0 ? nullptr : s.lanes + path.column * kEdgesTogether * Simd<T>::W;
        p.coupling = d.spread + 2 * path.pair_begin;
        p.rows = d.dx || d.dw || d.dh || d.dv || d.table.dr;
        p.a = Second ? d.a + path.offset1 : nullptr;
        p.xrow = rows.x;
        p.g = d.g + path.offset3;
        p.grow = rows.g;
        p.dx = d.dx ? d.dx + path.offset1 : s.nowhere_x;
        p.dxrow = d.dx ? rows.x : rows.zero;
        if (!d.dx) p.dxstride = 0;
        if (d.w) {
          p.w = d.w + path.weight;
          p.c = Second ? d.c + path.weight : nullptr;
          p.wrow = rows.w;
          p.ahead = p.dwahead = ahead;
          p.dw = d.dw ? d.dw + path.weight : s.nowhere_w;
          p.dwrow = d.dw ? rows.w : rows.zero;
          p.dw1 = s.dw1;
          p.dw1row = rows.zero;
        } else {
          p.w = d.kept ? d.kept + tile.position * d.kept_row + path.packed : s.w;
          p.c = s.c;
          p.wrow = d.kept ? kept : rows.made;
          p.ahead = d.kept ? kept + kEdgesTogether : rows.made;
          p.dwahead = rows.made;
          p.dw = s.dw;
          p.dw1 = s.dw1;
          p.dwrow = p.dw1row = rows.made;
        }
        return p;
      };
      const auto second_forward = [&](const ConvPath& path, PathArgs<T> p) {  // the gradient of g
        p.out = d.out + path.offset3;
        p.grow = rows.out;
        run_forward<T, true>(path, p);
      };
      if (d.w) {
        PathArgs<T> all[kGroupPaths];
        for (int64_t k = first; k < last; ++k) all[k - first] = arguments(plan.paths[k]);
        if (Second)
          for (int64_t k = first; k < last; ++k) second_forward(plan.paths[k], all[k - first]);
        const Columns columns = d.dy ? columns_of<T>(plan, first, last) : Columns{0, 0};
        T* lanes = s.lanes + columns.begin * kEdgesTogether * Simd<T>::W;
        for (int e = 0; e < tile.edges; e += kEdgesTogether) {
          const int stop = e + kEdgesTogether < tile.edges ? e + kEdgesTogether : tile.edges;
          clear(lanes, columns.count() * kEdgesTogether * Simd<T>::W);
          for (int64_t k = first; k < last; ++k) run_backward<T, Second>(plan.paths[k], all[k - first], e, stop);
          sum_edges(columns.count(), lanes, e, s.dy + columns.begin * kTile);
        }
      } else {
        for (int64_t k = first; k < last; ++k) {
          const ConvPath& path = plan.paths[k];
          const int64_t width = padded<T>(path.channels), start = path.packed * d.hidden;
          const T* slope = nullptr;
          if (d.table.rows) {
            slope = d.kept ? d.table.kept_slope + tile.position * d.kept_row + path.packed : s.c;
            if (!d.kept) read_weights(places, tile.edges, d.kept_row, path.packed, width, s.w, s.c, stride);
          } else if (!d.kept) {
            make_weights(d, path, tile.edges, s.h, 0, width, s.w, stride);
          }
          const PathArgs<T> p = arguments(path);
          if (Second) {
            make_weights(d, path, tile.edges, s.ch, 0, width, s.c, stride);
            if (d.cv)
              gemm<T, true>(tile.edges, width, d.hidden, s.h, d.hidden, 1, d.cv + start, width, s.c, stride);
            second_forward(path, p);
          }
          for (int e = 0; e < tile.edges; e += kEdgesTogether) {
            const bool lanes = d.dy && unrolled_channels<T>(path, true);
            if (lanes) clear(p.dy, (2 * path.l2 + 1) * kEdgesTogether * Simd<T>::W);
            run_backward<T, Second>(path, p, e, e + kEdgesTogether < tile.edges ? e + kEdgesTogether : tile.edges);
            if (lanes) sum_edges(2 * path.l2 + 1, p.dy, e, s.dy + path.column * kTile);
          }
          if (d.table.dr) add_along(tile.edges, path.channels, s.dw, stride, slope, d.kept ? d.kept_row : stride, along);
          if (d.dh) {
            gemm<T, true>(tile.edges, depth, path.channels, s.dw, stride, 1, d.vt + path.packed * depth, depth, s.dh,
                          depth);
            if (Second && d.cv)
              gemm<T, true>(tile.edges, depth, path.channels, s.dw1, stride, 1, d.cvt + path.packed * depth, depth,
                            s.dh, depth);
          }
          if (d.dv) {
            gemm<T, true>(d.hidden, width, tile.edges, s.h, 1, d.hidden, s.dw, stride, d.dv + start, width);
            if (Second)
              gemm<T, true>(d.hidden, width, tile.edges, s.ch, 1, d.hidden, s.dw1, stride, d.dv + start, width);
          }
        }
      }
      if (d.dy) pull_matrices(plan, d.coupling, first, last, s.dm, s.dy);
    }
    if (d.dy) scatter_columns(tile, s.dy, plan.dim2, d.dy);
    if (d.table.dr)
      for (int e = 0; e < tile.edges; ++e) d.table.dr[tile.row[e]] = along[e];
    if (d.dh)
      for (int e = 0; e < tile.edges; ++e)
        for (int64_t i = 0; i < d.hidden; ++i) d.dh[tile.row[e] * d.hidden + i] = s.dh[e * depth + i];
  }
}

template <typename T>
static int64_t conv_scratch(const ConvPlan& plan, int64_t hidden) {
  return Scratch<T>::size(plan, hidden);
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
