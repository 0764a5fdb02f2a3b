// What the kernels of the symmetric contraction execute. No torch.
#pragma once

#include <cstdint>

namespace equitools {

// A view of the int32 array that equitools/ops/contraction_program.py makes; it says what each part means.
struct ContractionProgram {
  int32_t dim_in, dim_out;   // components of x and of the output
  int32_t paths, terms;      // weights of a species and channel; coefficients that are made from them
  int32_t products, groups;
  const int32_t* ranges;     // [terms, 2]: first path, number of paths
  const int32_t* factors;    // [products, 2]: variables
  const int32_t* output_end;  // [dim_out]: end of its groups
  const int32_t* group;      // [groups, 2]: outer variable, end of its terms
  const int32_t* leaf;       // [terms]: variable
  const int32_t* use_end;    // [variables]: end of its uses as a leaf
  const int32_t* use;        // [terms, 2], by leaf: term, its group

  int32_t variables() const { return dim_in + 1 + products; }
};

// Reads the array and checks every index in it; returns what is wrong with it, or null. `values` is how many numbers
// the array of values has.
const char* read_contraction_program(const int32_t* data, int64_t size, int64_t values, ContractionProgram* program);

}  // namespace equitools
