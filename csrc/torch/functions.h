// Operations that others are composed of, as functions of tensors: they are what the operators of the same names do.
#pragma once

#include <optional>
#include <tuple>
#include <vector>

#include "common.h"

namespace equitools {

Tensor spherical_harmonics(const Tensor& vectors, int64_t lmax, bool normalize, int64_t normalization);
Tensor spherical_harmonics_vjp(const Tensor& vectors, const Tensor& grad, int64_t lmax, bool normalize,
                               int64_t normalization);

struct ConvTensors {  // of a plan, equitools/ops/conv_tables.py
  Tensor paths, pairs, entries, coupling;
};
Tensor radial_tensor_product_conv(const Tensor& x, const Tensor& y, const Tensor& hidden, const Tensor& weight,
                                  const Tensor& edge_index, int64_t num_nodes, int64_t dim_out, const ConvTensors& plan,
                                  void* kept = nullptr);
// Gradients of x (empty unless need_x), y and hidden.
std::tuple<Tensor, Tensor, Tensor> radial_tensor_product_conv_backward(const Tensor& grad, const Tensor& x,
                                                                       const Tensor& y, const Tensor& hidden,
                                                                       const Tensor& weight, const Tensor& edge_index,
                                                                       const ConvTensors& plan, bool need_x,
                                                                       void* kept = nullptr);
// The same with weights read from a table of functions of the edges' lengths (ConvTable); gradients of x, y and lengths.
// kept: room for twice as much.
Tensor tabulated_tensor_product_conv(const Tensor& x, const Tensor& y, const Tensor& lengths, const Tensor& table,
                                     double cutoff, int64_t weights, const Tensor& edge_index, int64_t num_nodes,
                                     int64_t dim_out, const ConvTensors& plan, void* kept = nullptr);
std::tuple<Tensor, Tensor, Tensor> tabulated_tensor_product_conv_backward(
    const Tensor& grad, const Tensor& x, const Tensor& y, const Tensor& lengths, const Tensor& table, double cutoff,
    int64_t weights, const Tensor& edge_index, const ConvTensors& plan, bool need_x, void* kept = nullptr);

// kept: room for kept_row numbers an edge, to which the forward writes the weights that the backward then reads.
int64_t kept_row(const Tensor& paths);

Tensor symmetric_contraction(const Tensor& x, const Tensor& weight, const Tensor& species, const Tensor& program,
                             const Tensor& values, int64_t dim_out);
// The gradient of x.
Tensor symmetric_contraction_backward(const Tensor& x, const Tensor& weight, const Tensor& species, const Tensor& grad,
                                      const Tensor& program, const Tensor& values);

// transposed: the adjoint, from the columns of the output to those of x.
Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& species,
              const std::vector<int64_t>& table, bool mul_ir, bool transposed);

}  // namespace equitools
