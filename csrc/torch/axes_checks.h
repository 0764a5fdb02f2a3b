// What the operations of eigenvectors and principal axes ask of their arguments, on a CPU as on a GPU.
#pragma once

#include <optional>

#include "common.h"

namespace equitools {

inline bool has_shape(const Tensor& t, int64_t rows, int dims) {  // [rows, 3] or [rows, 3, 3]
  if (t.dim() != dims || t.size(0) != rows) return false;
  for (int i = 1; i < dims; ++i)
    if (t.size(i) != 3) return false;
  return true;
}

inline void check_matrices(const Tensor& a) {
  check_floating(a, "a");
  STD_TORCH_CHECK(a.dim() == 3 && has_shape(a, a.size(0), 3), "a must have shape [M, 3, 3]");
}

inline void check_eigen(const Tensor& values, const Tensor& vectors, const Tensor& grad_values,
                        const Tensor& grad_vectors) {
  check_floating(values, "values");
  STD_TORCH_CHECK(values.dim() == 2 && has_shape(values, values.size(0), 2), "values must have shape [M, 3]");
  const int64_t rows = values.size(0);
  check_same_dtype(values, vectors, "values and vectors");
  check_same_dtype(values, grad_values, "values and grad_values");
  check_same_dtype(values, grad_vectors, "values and grad_vectors");
  STD_TORCH_CHECK(has_shape(vectors, rows, 3), "vectors must have shape [M, 3, 3]");
  STD_TORCH_CHECK(has_shape(grad_values, rows, 2) && has_shape(grad_vectors, rows, 3),
                  "grad_values and grad_vectors must have the shapes of values and vectors");
}

inline void check_points(const Tensor& points, const std::optional<Tensor>& mask) {
  check_floating(points, "points");
  STD_TORCH_CHECK(points.dim() == 3 && points.size(2) == 3, "points must have shape [B, N, 3]");
  if (!mask) return;
  STD_TORCH_CHECK(mask->scalar_type() == ScalarType::Bool, "mask must be bool");
  STD_TORCH_CHECK(mask->dim() == 2 && mask->size(0) == points.size(0) && mask->size(1) == points.size(1),
                  "mask must have shape [B, N]");
}

inline void check_axes(const Tensor& points, const Tensor& mean, const Tensor& values, const Tensor& vectors) {
  const int64_t rows = points.size(0);
  for (const Tensor* t : {&mean, &values, &vectors}) check_same_dtype(points, *t, "points and the axes");
  STD_TORCH_CHECK(has_shape(mean, rows, 2) && has_shape(values, rows, 2) && has_shape(vectors, rows, 3),
                  "mean, values and vectors, and their gradients, must have shapes [B, 3], [B, 3] and [B, 3, 3]");
}

inline void check_signs(const Tensor& first, const Tensor& signs, const std::optional<Tensor>& choice) {
  check_same_dtype(first, signs, "signs and what they apply to");
  STD_TORCH_CHECK(signs.dim() == 2 && signs.size(1) == 3, "signs must have shape [F, 3]");
  if (!choice) return;
  STD_TORCH_CHECK(choice->scalar_type() == ScalarType::Int && choice->dim() == 2 && choice->size(0) == first.size(0),
                  "choice must be int32 and have shape [B, F]");
}

// How many matrices a cloud has.
inline int64_t matrices_each(const Tensor& signs, const std::optional<Tensor>& choice) {
  return choice ? choice->size(1) : signs.size(0);
}

inline void check_mean(const Tensor& vectors, const std::optional<Tensor>& mean) {
  if (!mean) return;
  check_same_dtype(vectors, *mean, "vectors and mean");
  STD_TORCH_CHECK(has_shape(*mean, vectors.size(0), 2), "mean must have shape [B, 3]");
}

// On a CPU only: the numbers of a choice are not known to who calls a GPU.
inline void check_choice(const int32_t* choice, int64_t count, int64_t rows) {
  bool within = true;
  for (int64_t i = 0; choice && i < count; ++i) within &= 0 <= choice[i] && choice[i] < rows;
  STD_TORCH_CHECK(within, "choice is outside the table of signs");
}

inline bool is_affine(const Tensor& grad, int64_t each) {
  check_floating(grad, "grad");
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(1) == each && grad.size(2) == grad.size(3) &&
                      (grad.size(2) == 3 || grad.size(2) == 4),
                  "grad must have shape [B, F, 3, 3] or [B, F, 4, 4]");
  return grad.size(2) == 4;
}

inline const uint8_t* bytes_of(const std::optional<Tensor>& mask) {
  return mask ? reinterpret_cast<const uint8_t*>(mask->const_data_ptr<bool>()) : nullptr;
}

}  // namespace equitools
