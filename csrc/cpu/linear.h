// The equivariant linear map's kernels of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include "../core/linear_plan.h"

namespace equitools {

template <typename T>
struct LinearOf {
  int64_t (*scratch)(const LinearPlan&);      // numbers that a thread works in
  int64_t (*packed_size)(const LinearPlan&);  // numbers of the packed matrices of one element
  int64_t (*pack_pieces)(const LinearPlan&);  // of one element's matrices
  void (*pack)(const LinearPlan&, const T* weights, T* packed, int64_t begin, int64_t end);
  // Rows at places [begin, end) of `order` (null: as they stand); first[s] is where element s begins.
  void (*apply)(const LinearPlan&, const T* x, const T* packed, const int64_t* order, const int64_t* first,
                int64_t elements, T* out, T* scratch, int64_t begin, int64_t end);
  int64_t (*pieces)(const LinearPlan&);  // of one element's gradient
  void (*weight_grad)(const LinearPlan&, const T* x, const T* grad, const int64_t* order, const int64_t* first,
                      T* gradient, T* scratch, int64_t begin, int64_t end);
};

struct Linear {
  LinearOf<float> f32;
  LinearOf<double> f64;
};

const Linear& linear_baseline();
const Linear& linear_avx2();    // only where the build has x86-64
const Linear& linear_avx512();  // only where the build has x86-64
const Linear& linear();

template <typename T>
const LinearOf<T>& linear_of();
template <>
inline const LinearOf<float>& linear_of<float>() {
  return linear().f32;
}
template <>
inline const LinearOf<double>& linear_of<double>() {
  return linear().f64;
}

}  // namespace equitools
