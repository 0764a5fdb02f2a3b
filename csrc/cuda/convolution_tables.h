// The tables of a plan (equitools/ops/conv_tables.py), checked and arranged for the kernels. No torch.
#pragma once

#include <string>
#include <vector>

#include "convolution.h"

namespace equitools {
namespace gpu {

constexpr int64_t kPathColumns = 11;  // l1 l2 l3 channels offset1 stride1 offset3 stride3 weight pairs add

// What the operation was given, on the host.
struct RawTables {
  const int64_t *paths, *pairs, *entries;  // [P, 11], [pairs, 3], [entries]
  int64_t num_paths, num_pairs, num_entries;
  int64_t dim1, dim2, dim3, weights;
};

// All tables one after the other, to be copied to the device as they are.
struct PackedTables {
  std::vector<unsigned char> bytes;
  bool covers_out, covers_x, covers_weights;  // every column is written by some path

  // The tables where their bytes are at `base`.
  Tables at(const unsigned char* base) const;

  Tables offsets;  // numbers, and pointers as offsets from zero
};

// Throws std::runtime_error if the tables are malformed: a wrong table is an error and never a crash.
PackedTables pack_tables(const RawTables& raw);

}  // namespace gpu
}  // namespace equitools
