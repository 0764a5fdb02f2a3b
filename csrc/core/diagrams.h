// Layers of diagrams: contract, multiply the rows of each component by a matrix, expand; and the gradient of the matrices.
// No torch, no standard templates; compiled once for each instruction set.
//
// A vector has an item of the batch in each lane, and W items go through all three steps before the next ones come: what is
// in between stays in cache. The matrix of a block is the same for all its components, so a register tile is some rows of
// the matrix times some components.
#pragma once

#include "sparse_rows.h"

namespace equitools {
namespace EQUITOOLS_ISA {

#if EQUITOOLS_VECTOR_BYTES == 64
constexpr int kMixRows = 8, kGradRows = 5;  // times 3 components, times 5 columns: 24 and 25 of 32 registers
#else
constexpr int kMixRows = 4, kGradRows = 3;  // 12 and 9 of 16 registers
#endif
constexpr int kMixComponents = 3;

// Rows of x, [contraction.rows, channels, W], zero in lanes without an item. `buffer` has room for two vectors of all of x.size.
template <typename T>
static void contract(const RowsOf<const T>& x, const SparseTable<T>& table, int64_t first, T* buffer, T* rows) {
  constexpr int W = Simd<T>::W, L = kRowVectors * W;
  static_assert(kRowVectors == 2, "channels go in pairs");
  for (int64_t c = 0; c < x.channels; c += 2) {
    const bool two = c + 1 < x.channels;
    gather(items_of<T>(x, c, first), buffer, L);
    if (two) gather(items_of<T>(x, c + 1, first), buffer + W, L);
    for (int64_t row = 0; row < table.rows; ++row) {
      T* to = rows + (row * x.channels + c) * W;
      Vec<T> sums[2];
      if (two) {
        sum_of_rows<T, 2>(table, row, buffer, L, sums);
        store(to + W, sums[1]);
      } else {
        sum_of_rows<T, 1>(table, row, buffer, L, sums);
      }
      store(to, sums[0]);
    }
  }
}

// out[i][n] = sum of a[i][k] in[k][n] for M rows of the matrix and N components; `far_in` and `far_out` lie between those.
template <typename T, int M, int N>
static void mix_tile(int64_t inner, const T* a, const T* in, int64_t far_in, T* out, int64_t far_out) {
  constexpr int W = Simd<T>::W;
  Vec<T> sums[M][N];
  unroll<0, M>([&](auto i) EQUITOOLS_FORCED { unroll<0, N>([&](auto n) EQUITOOLS_FORCED { sums[i][n] = Vec<T>{}; }); });
  for (int64_t k = 0; k < inner; ++k) {
    Vec<T> right[N];
    unroll<0, N>([&](auto n) EQUITOOLS_FORCED { right[n] = load(in + n * far_in + k * W); });
    unroll<0, M>([&](auto i) EQUITOOLS_FORCED {
      const T left = a[i * inner + k];
      unroll<0, N>([&](auto n) EQUITOOLS_FORCED { sums[i][n] += left * right[n]; });
    });
  }
  unroll<0, M>([&](auto i) EQUITOOLS_FORCED {
    unroll<0, N>([&](auto n) EQUITOOLS_FORCED { store(out + n * far_out + i * W, sums[i][n]); });
  });
}

template <typename T, int M, int N>
static void mix_rows(int64_t rows, int64_t inner, const T* a, const T* in, int64_t far_in, T* out, int64_t far_out) {
  constexpr int W = Simd<T>::W;
  for (; rows >= M; rows -= M, a += M * inner, out += M * W) mix_tile<T, M, N>(inner, a, in, far_in, out, far_out);
  if constexpr (M > 1)
    if (rows) mix_rows<T, M / 2, N>(rows, inner, a, in, far_in, out, far_out);
}

template <typename T>
static int64_t diagrams_scratch(const DiagramCall<T>& c) {
  return (c.contraction.rows * c.x.channels + c.between * c.out.channels + kRowVectors * c.x.size) * Simd<T>::W;
}

template <typename T>
static void diagrams(const DiagramCall<T>& c, T* memory, int64_t begin, int64_t end) {
  constexpr int W = Simd<T>::W;
  T* const mixed = memory + c.contraction.rows * c.x.channels * W;
  T* const buffer = mixed + c.between * c.out.channels * W;
  for (int64_t part = begin; part < end; ++part) {
    const int64_t first = part * W;
    contract(c.x, c.contraction, first, buffer, memory);
    const T* matrix = c.matrices;
    for (int64_t b = 0; b < c.number; ++b) {
      const DiagramBlock& block = c.blocks[b];
      const int64_t rows = block.outputs * c.out.channels, inner = block.inputs * c.x.channels;
      const T* in = memory + block.start_in * c.x.channels * W;
      T* out = mixed + block.start_out * c.out.channels * W;
      const int64_t far_in = inner * W, far_out = rows * W;
      int64_t left = block.components;
      for (; left >= kMixComponents; left -= kMixComponents, in += kMixComponents * far_in, out += kMixComponents * far_out)
        mix_rows<T, kMixRows, kMixComponents>(rows, inner, matrix, in, far_in, out, far_out);
      for (; left; --left, in += far_in, out += far_out)
        mix_rows<T, kMixRows, 1>(rows, inner, matrix, in, far_in, out, far_out);
      matrix += rows * inner;
    }
    for (int64_t co = 0; co < c.out.channels; co += 2) {
      const T* from = mixed + co * W;
      Columns<T> to[2] = {items_of<T>(c.out, co, first)};
      if (co + 1 < c.out.channels) {
        to[1] = items_of<T>(c.out, co + 1, first);
        scatter_sums<T, 2>(c.expansion, from, c.out.channels * W, to);
      } else {
        scatter_sums<T, 1>(c.expansion, from, c.out.channels * W, to);
      }
    }
  }
}

// sums[i][k] += left[i] . right[k], over all lanes and components, for M x N of them; rows of `sums` are `width` apart.
template <typename T, int M, int N>
static void grad_tile(int64_t components, const T* left, int64_t far_left, const T* right, int64_t far_right, T* sums,
                      int64_t width) {
  constexpr int W = Simd<T>::W;
  Vec<T> dots[M][N];
  unroll<0, M>([&](auto i) EQUITOOLS_FORCED { unroll<0, N>([&](auto k) EQUITOOLS_FORCED { dots[i][k] = Vec<T>{}; }); });
  for (int64_t n = 0; n < components; ++n, left += far_left, right += far_right) {
    Vec<T> r[N];
    unroll<0, N>([&](auto k) EQUITOOLS_FORCED { r[k] = load(right + k * W); });
    unroll<0, M>([&](auto i) EQUITOOLS_FORCED {
      const Vec<T> l = load(left + i * W);
      unroll<0, N>([&](auto k) EQUITOOLS_FORCED { dots[i][k] += l * r[k]; });
    });
  }
  for (int i = 0; i < M; ++i)
    for (int k = 0; k < N; ++k) {
      T sum = 0;
      for (int lane = 0; lane < W; ++lane) sum += dots[i][k][lane];
      sums[i * width + k] += sum;
    }
}

template <typename T, int M>
static void grad_rows(int64_t rows, int64_t inner, int64_t components, const T* left, int64_t far_left, const T* right,
                      int64_t far_right, T* sums) {
  constexpr int W = Simd<T>::W, N = kGradRows;
  for (; rows >= M; rows -= M, left += M * W, sums += M * inner) {
    int64_t k = 0;
    for (; k + N <= inner; k += N)
      grad_tile<T, M, N>(components, left, far_left, right + k * W, far_right, sums + k, inner);
    for (; k < inner; ++k) grad_tile<T, M, 1>(components, left, far_left, right + k * W, far_right, sums + k, inner);
  }
  if constexpr (M > 1)
    if (rows) grad_rows<T, 1>(rows, inner, components, left, far_left, right, far_right, sums);
}

template <typename T>
static int64_t matrices_scratch(const DiagramMatricesCall<T>& c) {
  const int64_t most = c.x.size > c.grad.size ? c.x.size : c.grad.size;
  return (c.contraction.rows * c.x.channels + c.back.rows * c.grad.channels + kRowVectors * most) * Simd<T>::W;
}

template <typename T>
static void diagram_matrices(const DiagramMatricesCall<T>& c, T* sums, T* memory, int64_t begin, int64_t end) {
  constexpr int W = Simd<T>::W;
  T* const above = memory + c.contraction.rows * c.x.channels * W;
  T* const buffer = above + c.back.rows * c.grad.channels * W;
  for (int64_t part = begin; part < end; ++part) {
    contract(c.x, c.contraction, part * W, buffer, memory);
    contract(c.grad, c.back, part * W, buffer, above);
    T* to = sums;
    for (int64_t b = 0; b < c.number; ++b) {
      const DiagramBlock& block = c.blocks[b];
      const int64_t rows = block.outputs * c.grad.channels, inner = block.inputs * c.x.channels;
      grad_rows<T, kGradRows>(rows, inner, block.components, above + block.start_out * c.grad.channels * W, rows * W,
                              memory + block.start_in * c.x.channels * W, inner * W, to);
      to += rows * inner;
    }
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
