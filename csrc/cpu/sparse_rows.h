// The kernels of sums of rows of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include <cstdint>

namespace equitools {

// A sparse matrix: the entries of row i are starts[i] <= e < starts[i + 1].
template <typename T>
struct SparseTable {
  int64_t rows;
  const int64_t *starts, *columns;
  const T* values;
};

// `size` rows of channels x batch numbers. The order in memory is [size, channels, batch], or [batch, channels, size] where it
// is `last`, which is that of tensors with components.
template <typename T>
struct RowsOf {
  T* at;
  int64_t size, channels, batch;
  bool last;
};

// out[i] = sum of values[e] x[columns[e]] over the entries of row i.
template <typename T>
struct SparseRowsCall {
  RowsOf<const T> x;
  SparseTable<T> table;
  RowsOf<T> out;
};

// Layers of diagrams (equitools/ops/diagrams.py). A block is a matrix product for each of its components.
struct DiagramBlock {
  int64_t components, inputs, outputs, start_in, start_out, start_weight;
};

// Contract x to rows, multiply the rows of each component by its block's matrix, and expand what comes out.
// matrices: of each block [outputs * out.channels, inputs * x.channels], one after the other.
template <typename T>
struct DiagramCall {
  RowsOf<const T> x;
  SparseTable<T> contraction;  // from x.size
  const DiagramBlock* blocks;
  int64_t number;
  const T* matrices;
  SparseTable<T> expansion;  // to out.size, from `between` rows
  int64_t between;
  RowsOf<T> out;
};

// The gradient of the matrices, where `grad` is that of the output and `back` the transposed expansion.
template <typename T>
struct DiagramMatricesCall {
  RowsOf<const T> x;
  SparseTable<T> contraction;
  const DiagramBlock* blocks;
  int64_t number;
  RowsOf<const T> grad;
  SparseTable<T> back;
};

template <typename T>
struct SparseRowsOf {
  int64_t lanes;
  // Blocks [begin, end) of 2 x lanes columns. Scratch: numbers that a thread works in.
  int64_t (*scratch)(const SparseRowsCall<T>&);
  void (*sums)(const SparseRowsCall<T>&, T* memory, int64_t begin, int64_t end);
  // Blocks [begin, end) of `lanes` items of the batch.
  int64_t (*diagrams_scratch)(const DiagramCall<T>&);
  void (*diagrams)(const DiagramCall<T>&, T* memory, int64_t begin, int64_t end);
  int64_t (*matrices_scratch)(const DiagramMatricesCall<T>&);
  void (*matrices)(const DiagramMatricesCall<T>&, T* sums, T* memory, int64_t begin, int64_t end);  // is added to
};

struct SparseRows {
  SparseRowsOf<float> f32;
  SparseRowsOf<double> f64;
};

const SparseRows& sparse_rows_baseline();
const SparseRows& sparse_rows_avx2();    // only where the build has x86-64
const SparseRows& sparse_rows_avx512();  // only where the build has x86-64
const SparseRows& sparse_rows();

template <typename T>
const SparseRowsOf<T>& sparse_rows_of();
template <>
inline const SparseRowsOf<float>& sparse_rows_of<float>() {
  return sparse_rows().f32;
}
template <>
inline const SparseRowsOf<double>& sparse_rows_of<double>() {
  return sparse_rows().f64;
}

}  // namespace equitools
