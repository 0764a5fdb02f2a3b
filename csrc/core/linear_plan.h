// What the equivariant linear map mixes: channels of the same irrep, component by component. No torch.
#pragma once

#include <cstdint>

namespace equitools {

// Columns of one irrep's channels: mul of them, `offset` the first column.
struct LinearBlock {
  int64_t offset, mul;
};

// All blocks of one irrep. The matrix [from, to] of an element stands at `weight`.
struct LinearKey {
  int64_t components, from, to, weight;
  const LinearBlock *in, *out;
  int64_t blocks_in, blocks_out;
  double scale;
};

struct LinearPlan {
  const LinearKey* keys;
  int64_t num_keys;
  int64_t dim_in, dim_out;  // columns
  int64_t weights;          // of one element
  bool mul_ir;              // channel by channel; otherwise component by component, channels together
  bool transposed;          // the matrices in memory are [to, from]
};

constexpr int64_t kLinearRows = 96;   // of a tile: nodes times components
constexpr int64_t kLinearChunk = 48;  // input channels of a piece of the weights' gradient

}  // namespace equitools
