// What the operations of matrix functions ask of their arguments, on a CPU as on a GPU.
#pragma once

#include "../cpu/matrix_functions.h"
#include "common.h"

namespace equitools {

inline void check_square(const Tensor& a) {
  check_floating(a, "the matrices");
  STD_TORCH_CHECK(a.dim() == 3 && a.size(1) == a.size(2) && kLeastMatrix <= a.size(1) && a.size(1) <= kMostMatrix,
                  "the matrices must have shape [M, n, n] with n = 2, 3 or 4");
}

inline void check_square_like(const Tensor& a, const Tensor& grad) {
  check_same_dtype(a, grad, "matrices and gradients");
  STD_TORCH_CHECK(grad.dim() == 3 && grad.size(0) == a.size(0) && grad.size(1) == a.size(1) && grad.size(2) == a.size(2),
                  "gradients must have the shape of the matrices");
}

}  // namespace equitools
