// Exponential, logarithm and polar decomposition of small matrices on the device. No torch.
#pragma once

#include <cstdint>

namespace equitools {
namespace gpu {

// All pointers are of the device; of n x n matrices, n = 2, 3 or 4, as in csrc/cpu/matrix_functions.h.
template <typename T>
struct MatrixFunctionsOf {
  static void exp(int64_t rows, int64_t n, const T* x, T* out, void* stream);
  static void exp_vjp(int64_t rows, int64_t n, const T* x, const T* grad, T* out, void* stream);
  static void log(int64_t rows, int64_t n, const T* g, T* out, void* stream);
  static void log_vjp(int64_t rows, int64_t n, const T* log, const T* grad, T* out, void* stream);
  static void polar(int64_t rows, int64_t n, const T* g, T* p, T* k, void* stream);
  static void polar_vjp(int64_t rows, int64_t n, const T* g, const T* grad_p, const T* grad_k, T* out, void* stream);
};

extern template struct MatrixFunctionsOf<float>;
extern template struct MatrixFunctionsOf<double>;

}  // namespace gpu
}  // namespace equitools
