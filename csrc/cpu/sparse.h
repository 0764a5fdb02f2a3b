// The kernels of sparse products of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include "../core/sparse_plan.h"

namespace equitools {

template <typename T>
struct SparseOf {
  int64_t lanes;                                             // items of a block
  int64_t (*scratch)(const SparseShape&, int64_t paths);  // numbers that a thread works in
  // Blocks [begin, end) of items.
  void (*product)(const SparseShape&, const SparseCall<T>&, T* out, T* memory, int64_t begin, int64_t end);
  // The same for the gradient of the weights, which is added to `gradient` [paths, channels].
  void (*weights)(const SparseShape&, const SparseCall<T>&, T* gradient, T* memory, int64_t begin, int64_t end);
};

struct Sparse {
  SparseOf<float> f32;
  SparseOf<double> f64;
};

const Sparse& sparse_baseline();
const Sparse& sparse_avx2();    // only where the build has x86-64
const Sparse& sparse_avx512();  // only where the build has x86-64
const Sparse& sparse();

template <typename T>
const SparseOf<T>& sparse_of();
template <>
inline const SparseOf<float>& sparse_of<float>() {
  return sparse().f32;
}
template <>
inline const SparseOf<double>& sparse_of<double>() {
  return sparse().f64;
}

}  // namespace equitools
