// Products of functions on the sphere by their coefficients that are not zero, on the device. No torch.
#pragma once

#include "../core/sparse_plan.h"

namespace equitools {
namespace gpu {

// All pointers are of the device.
template <typename T>
struct SparseOf {
  static void product(const SparseShape& s, const SparseCall<T>& call, T* out, void* stream);
  // In how many parts the rows are summed, each with sums [paths, channels] of its own.
  static int64_t parts(const SparseCall<T>& call);
  static void weights(const SparseShape& s, const SparseCall<T>& call, T* sums, T* gradient, void* stream);
};

extern template struct SparseOf<float>;
extern template struct SparseOf<double>;

}  // namespace gpu
}  // namespace equitools
