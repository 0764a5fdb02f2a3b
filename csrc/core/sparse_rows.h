// Sums of rows with fixed coefficients: a sparse matrix times rows of numbers, where the rows may be written down as columns.
// No torch, no standard templates; compiled once for each instruction set.
//
// A vector has a column in each lane. Columns are brought into a buffer of rows in cache, transposed by tiles in registers
// where each of them is one piece of memory; sums are made from the buffer, and their way out is the same. So no pass over
// memory is made for the sake of the order alone.
#pragma once

#include "../cpu/sparse_rows.h"
#include "lanes.h"

namespace equitools {
namespace EQUITOOLS_ISA {

constexpr int kRowVectors = 2;  // of a block of columns: what is read of the table serves all of them

// Where W columns are in memory: the numbers of column i are at[i] + k * step, and `count` columns are there.
template <typename T>
struct Columns {
  T* at[Simd<T>::W];
  int count;
  int64_t step;
  int64_t size;
};

// Columns first, first + 1, ... of the channels x batch; those that are not there are like the first one.
template <typename T, typename U>
static inline Columns<T> columns_of(const RowsOf<U>& rows, int64_t first) {
  constexpr int W = Simd<T>::W;
  const int64_t width = rows.channels * rows.batch, left = width - first;
  Columns<T> found;
  found.count = int(left < 0 ? 0 : left < W ? left : W);
  found.step = rows.last ? 1 : width;
  found.size = rows.size;
  for (int i = 0; i < W; ++i) {
    const int64_t column = found.count ? first + (i < found.count ? i : 0) : 0;
    const int64_t offset = rows.last ? (column % rows.batch * rows.channels + column / rows.batch) * rows.size : column;
    found.at[i] = const_cast<T*>(rows.at) + offset;
  }
  return found;
}

// Items first, first + 1, ... of the batch, of one channel.
template <typename T, typename U>
static inline Columns<T> items_of(const RowsOf<U>& rows, int64_t channel, int64_t first) {
  constexpr int W = Simd<T>::W;
  const int64_t left = rows.batch - first;
  Columns<T> found;
  found.count = int(left < W ? left : W);
  found.step = rows.last ? 1 : rows.channels * rows.batch;
  found.size = rows.size;
  for (int i = 0; i < W; ++i) {
    const int64_t item = first + (i < found.count ? i : 0);
    found.at[i] = const_cast<T*>(rows.at) +
                  (rows.last ? (item * rows.channels + channel) * rows.size : channel * rows.batch + item);
  }
  return found;
}

// To vectors `stride` numbers apart; lanes that are not there are zero.
template <typename T>
static void gather(const Columns<T>& c, T* to, int64_t stride) {
  constexpr int W = Simd<T>::W;
  if (c.step != 1) {  // neighbouring columns stand side by side
    for (int64_t n = 0; n < c.size; ++n) {
      const T* from = c.at[0] + n * c.step;
      store(to + n * stride, c.count == W ? load(from) : load_part(from, c.count));
    }
    return;
  }
  int64_t n = 0;
  if (c.count == W)
    for (; n + W <= c.size; n += W) {
      Vec<T> v[W];
      unroll<0, W>([&](auto i) EQUITOOLS_FORCED { v[i] = load(c.at[i] + n); });
      transpose<T>(v);
      unroll<0, W>([&](auto j) EQUITOOLS_FORCED { store(to + (n + j) * stride, v[j]); });
    }
  for (; n < c.size; ++n)
    for (int i = 0; i < W; ++i) to[n * stride + i] = i < c.count ? c.at[i][n] : T(0);
}

// Sums of V vectors that stand at from + column * stride + {0, W, ...}.
template <typename T, int V>
EQUITOOLS_INLINE void sum_of_rows(const SparseTable<T>& table, int64_t row, const T* from, int64_t stride, Vec<T>* sums) {
  constexpr int W = Simd<T>::W;
  unroll<0, V>([&](auto part) EQUITOOLS_FORCED { sums[part] = Vec<T>{}; });
  for (int64_t e = table.starts[row]; e < table.starts[row + 1]; ++e) {
    const T value = table.values[e];
    const T* at = from + table.columns[e] * stride;
    unroll<0, V>([&](auto part) EQUITOOLS_FORCED { sums[part] += value * load(at + part * W); });
  }
}

// All sums of rows, to V groups of columns.
template <typename T, int V>
static void scatter_sums(const SparseTable<T>& table, const T* from, int64_t stride, const Columns<T>* to) {
  constexpr int W = Simd<T>::W;
  if (to[0].step != 1) {
    for (int64_t row = 0; row < table.rows; ++row) {
      Vec<T> sums[V];
      sum_of_rows<T, V>(table, row, from, stride, sums);
      unroll<0, V>([&](auto part) EQUITOOLS_FORCED {
        T* at = to[part].at[0] + row * to[part].step;
        if (to[part].count == W)
          store(at, sums[part]);
        else
          store_part(at, sums[part], to[part].count);
      });
    }
    return;
  }
  for (int64_t row = 0; row < table.rows; row += W) {
    const int rows = int(table.rows - row < W ? table.rows - row : W);
    Vec<T> tiles[V][W];
    for (int j = 0; j < rows; ++j) {
      Vec<T> sums[V];
      sum_of_rows<T, V>(table, row + j, from, stride, sums);
      unroll<0, V>([&](auto part) EQUITOOLS_FORCED { tiles[part][j] = sums[part]; });
    }
    for (int part = 0; part < V; ++part) {
      if (rows == W) {
        transpose<T>(tiles[part]);
        for (int i = 0; i < to[part].count; ++i) store(to[part].at[i] + row, tiles[part][i]);
      } else {
        for (int i = 0; i < to[part].count; ++i)
          for (int j = 0; j < rows; ++j) to[part].at[i][row + j] = tiles[part][j][i];
      }
    }
  }
}

template <typename T>
static int64_t sparse_rows_scratch(const SparseRowsCall<T>& c) {
  return c.x.size * kRowVectors * Simd<T>::W;
}

template <typename T>
static void sparse_rows(const SparseRowsCall<T>& c, T* memory, int64_t begin, int64_t end) {
  constexpr int W = Simd<T>::W, L = kRowVectors * W;
  for (int64_t block = begin; block < end; ++block) {
    Columns<T> to[kRowVectors];
    for (int part = 0; part < kRowVectors; ++part) {
      gather(columns_of<T>(c.x, block * L + part * W), memory + part * W, L);
      to[part] = columns_of<T>(c.out, block * L + part * W);
    }
    scatter_sums<T, kRowVectors>(c.table, memory, L, to);
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
