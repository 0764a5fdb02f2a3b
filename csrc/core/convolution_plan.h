// What a channelwise tensor-product convolution computes and on what. No torch.
//
//   out[i, path, m3, u] = sum over edges e into i, over (m1, m3):  M_e[m1, m3] x[s(e), m1, u] w[e, path, u]
//   M_e[m1, m3] = sum over m2:  coupling[m1, m2, m3] y[e, m2]
//
// M is shared by all channels u. It is made for a tile of edges, is read from cache, and never exists for all edges. The
// weights are given, w[E, weights], or made for a tile from a hidden layer of a radial network, w = h[E, K] v[K, weights].
#pragma once

#include <cstdint>

namespace equitools {

constexpr int kTile = 32;         // edges whose M, and whose weights where they are made here, are in cache together
constexpr int kGroupPairs = 256;  // entries of M of the paths that are done together
constexpr int kGroupPaths = 32;   // at most so many of them
constexpr int kMaxOrders = 13;    // 2 l + 1 for the largest degree
constexpr int kMaxPairs = kMaxOrders * kMaxOrders;  // of one path

struct ConvPath {
  int l1, l2, l3;
  int channels;
  int64_t offset1, stride1;  // in a row of x: of the block, and from one order m1 to the next
  int64_t offset3, stride3;  // the same in a row of the output
  int64_t weight;            // in a row of w
  int64_t packed;            // the padded channels of the paths before it: its part of a packed v starts at K * packed
  int pair_begin, pair_end;  // its entries (m1, m3), m1 ascending, then m3
  bool add;                  // a path before this one has written the output block
  bool unrolled;             // its pairs are those of coupling_pattern.h: the unrolled kernels fit, that of y's gradient if
  int64_t column;            // not -1, too: the first column of y that it reads, its entries being those of
                             // coupling_components.h
};

struct ConvPlan {
  int64_t num_paths, num_pairs;
  const ConvPath* paths;
  const int32_t* pair_m1;  // [num_pairs]
  const int32_t* pair_m3;
  const int32_t* entry_begin;  // [num_pairs + 1], into the entries of the coupling
  const int32_t* entry_m2;     // column of y
  int64_t dim1, dim2, dim3, weights;  // lengths of rows of x, y, out, w
  int64_t max_channels;
};

// Edges in the order of their receivers: those of receiver i stand at first[i] <= k < first[i + 1]; edge[k] is the row
// of y, w and h (null: k itself).
struct ConvGraph {
  const int64_t* first;
  const int64_t* edge;
  const int64_t* sender;  // [E], by row of y
};

// Weights as functions of the length of an edge: in each of equal intervals from 0 to the cutoff a combination of six rows,
// value left, difference to the right, slopes and curvatures left and right (quintic between the nodes).
template <typename T>
struct ConvTable {
  const T* rows;  // [intervals][6][row], each path's part as long as in a packed v
  const T* r;     // [E] lengths
  int64_t intervals;
  double cutoff;  // from it on the weights are zero
  T* kept_slope;  // as ConvData::kept, of the derivatives by the length
  T* dr;          // [E]; null: not wanted
};

template <typename T>
struct ConvData {
  ConvPlan plan;
  ConvGraph graph;
  const T* coupling;  // [entries]
  const T* spread;    // [num_pairs][2], as coupling_columns.h writes it; for gradients of y
  const T* x;         // [N, dim1]
  const T* y;         // [E, dim2]
  const T* w;         // [E, weights], or null and
  const T* h;         // [E, K]
  const T* v;         // v packed by path: [K, padded channels] each
  const T* vt;        // its transpose by path: [padded channels, padded K] each
  int64_t hidden;     // K
  T* kept;            // null, or the weights that the forward has made and the backward reads again: a row an edge, in
  int64_t kept_row;   // the order of receivers, of this length; each path's part as long as in the packed v
  ConvTable<T> table;  // rows null: the weights are w, or h v
  const T* g;         // cotangent of out [N_out, dim3]
  const T* a;         // cotangents of the gradients, for the double backward: of x [N, dim1],
  const T* b;         // of y [E, dim2],
  const T* c;         // of w [E, weights], or
  const T* ch;        // of h [E, K] and
  const T *cv, *cvt;  // of v, packed as v and vt (null: zero)
  T* out;             // [N_out, dim3]; in the double backward the gradient of g
  T* dx;              // [N, dim1], added to; null: not wanted, as the following
  T* dy;              // [E, dim2]
  T* dw;              // [E, weights]
  T* dh;              // [E, K]
  T* dv;              // packed as v, added to
};

// Channels of a path in the packed v: whole vectors of the widest instruction set.
template <typename T>
constexpr int64_t padded(int64_t channels) {
  constexpr int64_t W = 64 / sizeof(T);
  return (channels + W - 1) / W * W;
}

}  // namespace equitools
