// The kernels of matrix functions of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include <cstdint>

namespace equitools {

constexpr int kLeastMatrix = 2, kMostMatrix = 4;

// Of rows of n x n matrices; blocks [begin, end) of `lanes` each; the last one may be part of a block. What has no result
// is NaN. A VJP takes the argument of the function, that of the logarithm the result, and the gradient of the result.
template <typename T>
struct MatrixFunctionsOfSize {
  void (*exp)(int64_t rows, const T* x, T* out, int64_t begin, int64_t end);
  void (*exp_vjp)(int64_t rows, const T* x, const T* grad, T* out, int64_t begin, int64_t end);
  void (*log)(int64_t rows, const T* g, T* out, int64_t begin, int64_t end);
  void (*log_vjp)(int64_t rows, const T* log, const T* grad, T* out, int64_t begin, int64_t end);
  void (*polar)(int64_t rows, const T* g, T* p, T* k, int64_t begin, int64_t end);
  void (*polar_vjp)(int64_t rows, const T* g, const T* grad_p, const T* grad_k, T* out, int64_t begin, int64_t end);
};

template <typename T>
struct MatrixFunctionsOf {
  int64_t lanes;
  MatrixFunctionsOfSize<T> sizes[kMostMatrix - kLeastMatrix + 1];

  const MatrixFunctionsOfSize<T>& of(int64_t n) const { return sizes[n - kLeastMatrix]; }
};

struct MatrixFunctions {
  MatrixFunctionsOf<float> f32;
  MatrixFunctionsOf<double> f64;
};

const MatrixFunctions& matrix_functions_baseline();
const MatrixFunctions& matrix_functions_avx2();    // only where the build has x86-64
const MatrixFunctions& matrix_functions_avx512();  // only where the build has x86-64
const MatrixFunctions& matrix_functions();

template <typename T>
const MatrixFunctionsOf<T>& matrix_functions_of();
template <>
inline const MatrixFunctionsOf<float>& matrix_functions_of<float>() {
  return matrix_functions().f32;
}
template <>
inline const MatrixFunctionsOf<double>& matrix_functions_of<double>() {
  return matrix_functions().f64;
}

}  // namespace equitools
