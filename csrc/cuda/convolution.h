// The channelwise tensor-product convolution on the device (core/convolution_plan.h says what it computes). No torch.
//
// Forward: a block a receiver (more than one where there are few), a warp a path and 32 or 64 channels; M of a tile of
// edges in shared memory; sums over the edges of a tile in registers, in the order of the edges.
// Backward: a warp an edge, 64 or 128 channels; the gradient of x of an edge is either stored, to be added up by sender in
// a fixed order, or added atomically; that of M is added over channels in registers and over lanes by shuffles.
#pragma once

#include <cstdint>

#include "graph.h"

namespace equitools {
namespace gpu {

constexpr int kGroupSlots = 256;  // entries of M that are in shared memory together, per edge
constexpr int kMostOrders = 13;   // 2 l + 1 for the largest degree

struct Path {
  int32_t l1, l2, l3, channels;
  int32_t triple;         // its unrolled kernel, or -1
  int32_t chain;          // paths that add to one output block, by the number of the block
  int32_t add;            // a path before it has written the output block
  int32_t opens, closes;  // first and last of the paths that follow each other on one input block
  int32_t pair, pairs;    // in pair_m1, pair_m3
  int32_t slot;           // of its first entry in its group, a multiple of 4
  int64_t offset1, stride1, offset3, stride3, weight;
};

struct Group {
  int32_t path_begin, path_end;
  int32_t slots, first_slot;  // number, and its first one in slot_entries
  int32_t columns;            // its first one in column_begin
  int32_t unused;
};

// All in device memory.
struct Tables {
  const Path* paths;
  const Group* groups;
  const int32_t *pair_m1, *pair_m3;
  const int32_t* slot_entries;  // [slots][2]: begin and end among the entries
  const int32_t* entry_column;  // of y
  const int32_t* column_begin;  // [groups][dim2 + 1], into the next two: the entries by column
  const int32_t* column_slot;
  const int32_t* column_entry;
  int32_t num_groups, most_slots, most_orders1, most_channels, chains;
  bool add_dx;  // input blocks overlap: their gradients are added to memory that is zero
  int64_t dim1, dim2, dim3, weights;
};

template <typename T>
struct Arrays {
  const T* coupling;
  const T *x, *y, *w;
  const T* g;         // cotangent of out
  const T *a, *b, *c; // cotangents of the gradients of x, y, w
  T* out;             // in the double backward the gradient of g
  T* dx_edges;        // [E, dim1], one row an edge; or
  T* dx;              // [N, dim1], added to atomically
  T* dy;              // [channel_parts, E, dim2]
  T *dw, *dw1;        // dw1: in the double backward also the gradient of w at first order; null: not wanted
};

struct EdgesOf {
  const int64_t* outside;
  Order order;
  const int64_t *receiver, *sender;
  int64_t E, N;  // N receivers
};

template <typename T>
struct ConvolutionOf {
  static int channel_parts(const Tables& t);
  static void forward(const Tables& t, const Arrays<T>& d, const EdgesOf& g, bool second, void* stream);
  static void backward(const Tables& t, const Arrays<T>& d, const EdgesOf& g, bool second, void* stream);
  // to[i] = sum over parts of from[part, i]
  static void add_parts(const T* from, int parts, int64_t n, T* to, void* stream);
};

extern template struct ConvolutionOf<float>;
extern template struct ConvolutionOf<double>;

}  // namespace gpu
}  // namespace equitools
