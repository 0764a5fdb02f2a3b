// What the kernels of the symmetric contraction execute: trees of shared products. No torch.
#pragma once

#include <cstdint>

namespace equitools {

// A view of the int32 array that equitools/ops/contraction_program.py makes; it says what each part means.
struct ContractionProgram {
  int32_t dim_in, dim_out;  // components of x and of the output
  int32_t paths, terms;     // weights of a species and channel; coefficients that are made from them
  int32_t depth;            // levels of nodes below a root
  const int32_t* ranges;    // [terms, 2]: first path, number of paths
  const int32_t* code;      // the trees, one for each output component
};

// Reads the array and checks that every index in it is in range; returns what is wrong with it, or null.
// `values` is how many numbers the array of values has.
const char* read_contraction_program(const int32_t* data, int64_t size, int64_t values, ContractionProgram* program);

}  // namespace equitools
