// The symmetric contraction without torch: a table of functions for each instruction set and element type.
//
// One species at a time. `coef` is made once from the weights of a species (`fold`) and then serves any number of nodes;
// its layout [blocks, terms, lanes] belongs to the table that made it. Calls on different nodes, or different blocks of
// channels, may run at the same time, each with a scratch of its own. x [N, dim_in, C], grad and out [N, dim_out, C],
// all dense; no two arguments may overlap. `coef`, `dcoef` and `scratch` are aligned to 64 bytes.
#pragma once

#include <cstdint>

#include "../core/contraction_program.h"

namespace equitools {

template <typename T>
struct ContractionOf {
  int64_t lanes;  // channels of a block; C channels are (C + lanes - 1) / lanes blocks, the last of them filled up

  // How many numbers `scratch` must hold, in any of the calls below.
  int64_t (*scratch_size)(const ContractionProgram& program);

  // values: the program's numbers in T. weight [paths, C], of one species. coef: written in these blocks.
  void (*fold)(const ContractionProgram& program, const T* values, const T* weight, int64_t channels,
               int64_t block_begin, int64_t block_end, T* coef, T* scratch);

  // The adjoint of fold: dcoef, as coef. dweight [paths, C], of one species: written in the channels of these blocks.
  void (*unfold)(const ContractionProgram& program, const T* values, const T* dcoef, int64_t channels,
                 int64_t block_begin, int64_t block_end, T* dweight, T* scratch);

  // The nodes order[begin] to order[end - 1], rows of x and out, any number; all of them have the species of coef.
  // out: written in the rows of these nodes and the channels of these blocks.
  void (*value)(const ContractionProgram& program, const T* x, const T* coef, int64_t channels, const int64_t* order,
                int64_t begin, int64_t end, int64_t block_begin, int64_t block_end, T* out, T* scratch);

  // grad: the cotangent of out. dx [N, dim_in, C], written as out is; null where it is not wanted. dcoef, as coef: added
  // to; null where it is not wanted (inference).
  void (*gradient)(const ContractionProgram& program, const T* x, const T* coef, const T* grad, int64_t channels,
                   const int64_t* order, int64_t begin, int64_t end, int64_t block_begin, int64_t block_end, T* dx,
                   T* dcoef, T* scratch);

  // The gradients of sum(u * dx) + sum(v * dcoef), with dx and dcoef those of `gradient`. u [N, dim_in, C]; v, as coef,
  // or null for zero. dgrad [N, dim_out, C] and dx [N, dim_in, C]: written. dcoef, as coef: added to;
  // null where it is not wanted.
  void (*second)(const ContractionProgram& program, const T* x, const T* coef, const T* grad, const T* u, const T* v,
                 int64_t channels, const int64_t* order, int64_t begin, int64_t end, int64_t block_begin,
                 int64_t block_end, T* dgrad, T* dx, T* dcoef, T* scratch);
};

struct ContractionKernels {
  ContractionOf<float> f32;
  ContractionOf<double> f64;
};

const ContractionKernels& contraction_baseline();
const ContractionKernels& contraction_avx2();    // only where the build has x86-64
const ContractionKernels& contraction_avx512();  // only where the build has x86-64

// The table of this processor, chosen as in kernels.h.
const ContractionKernels& contraction_kernels();

template <typename T>
const ContractionOf<T>& contraction_of();
template <>
inline const ContractionOf<float>& contraction_of<float>() {
  return contraction_kernels().f32;
}
template <>
inline const ContractionOf<double>& contraction_of<double>() {
  return contraction_kernels().f64;
}

}  // namespace equitools
