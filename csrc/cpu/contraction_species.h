// The symmetric contraction over nodes of any species, from plain pointers. No torch.
//
// Use: read the program once; make the coefficients of all species once for each set of weights; for each set of nodes,
// sort them (`order_by_species`) and call `contraction_forward` and `contraction_backward`, from several threads with
// parts of 0 to nodes if wanted, each with a scratch of its own (`ContractionOf::scratch_size` numbers). Arrays are dense,
// channels innermost: x [N, dim_in, C], out and grad [N, dim_out, C]; coefficients and scratch are aligned to 64 bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "contraction.h"

namespace equitools {

// Nodes sorted by species, stable.
struct SpeciesOrder {
  std::vector<int64_t> order;  // [nodes]
  std::vector<int64_t> first;  // [species + 1]: where each species begins in `order`
};

// False if a species is outside 0 to count - 1; then `out` is of no use.
inline bool order_by_species(const int64_t* species, int64_t nodes, int64_t count, SpeciesOrder* out) {
  out->order.resize(nodes);
  out->first.assign(count + 1, 0);
  for (int64_t n = 0; n < nodes; ++n) {
    if (species[n] < 0 || species[n] >= count) return false;
    ++out->first[species[n] + 1];
  }
  for (int64_t s = 0; s < count; ++s) out->first[s + 1] += out->first[s];
  std::vector<int64_t> next(out->first);
  for (int64_t n = 0; n < nodes; ++n) out->order[next[species[n]]++] = n;
  return true;
}

// How many numbers the coefficients of one species are.
template <typename T>
int64_t contraction_coefficients_size(const ContractionProgram& program, int64_t channels) {
  const int64_t lanes = contraction_of<T>().lanes;
  return (channels + lanes - 1) / lanes * lanes * program.terms;
}

// weight [species, paths, C] -> coefficients [species, contraction_coefficients_size]. values: the program's, in T.
template <typename T>
void contraction_coefficients(const ContractionProgram& program, const T* values, const T* weight, int64_t species,
                              int64_t channels, T* coefficients, T* scratch) {
  const ContractionOf<T>& kernels = contraction_of<T>();
  const int64_t blocks = (channels + kernels.lanes - 1) / kernels.lanes;
  for (int64_t s = 0; s < species; ++s)
    kernels.fold(program, values, weight + s * program.paths * channels, channels, 0, blocks,
                 coefficients + s * contraction_coefficients_size<T>(program, channels), scratch);
}

// Calls f(species, begin, end) for the parts of begin to end, positions in the order, that have one species.
template <typename F>
void over_species(const SpeciesOrder& sorted, int64_t begin, int64_t end, F&& f) {
  for (int64_t s = 0; s + 1 < int64_t(sorted.first.size()); ++s) {
    const int64_t from = std::max(begin, sorted.first[s]), to = std::min(end, sorted.first[s + 1]);
    if (from < to) f(s, from, to);
  }
}

// Writes the rows of out of the nodes at positions begin to end - 1 of the order.
template <typename T>
void contraction_forward(const ContractionProgram& program, const T* coefficients, const SpeciesOrder& sorted,
                         int64_t begin, int64_t end, int64_t channels, const T* x, T* out, T* scratch) {
  const ContractionOf<T>& kernels = contraction_of<T>();
  const int64_t size = contraction_coefficients_size<T>(program, channels);
  const int64_t blocks = (channels + kernels.lanes - 1) / kernels.lanes;
  over_species(sorted, begin, end, [&](int64_t s, int64_t from, int64_t to) {
    kernels.value(program, x, coefficients + s * size, channels, sorted.order.data(), from, to, 0, blocks, out, scratch);
  });
}

// Writes the rows of dx, the gradient of sum(grad * out), of the nodes at these positions.
template <typename T>
void contraction_backward(const ContractionProgram& program, const T* coefficients, const SpeciesOrder& sorted,
                          int64_t begin, int64_t end, int64_t channels, const T* x, const T* grad, T* dx, T* scratch) {
  const ContractionOf<T>& kernels = contraction_of<T>();
  const int64_t size = contraction_coefficients_size<T>(program, channels);
  const int64_t blocks = (channels + kernels.lanes - 1) / kernels.lanes;
  over_species(sorted, begin, end, [&](int64_t s, int64_t from, int64_t to) {
    kernels.gradient(program, x, coefficients + s * size, grad, channels, sorted.order.data(), from, to, 0, blocks, dx,
                     nullptr, scratch);
  });
}

}  // namespace equitools
