// Small problems, one in each lane: the arithmetic of vectors that core/eigh3.h and its kin are written for, and the way of
// their rows between memory and lanes, of a last block that is not full as well. No torch, no standard templates.
#pragma once

#include "lanes.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename U>
struct LaneArithmetic {
  using T = U;
  using V = Vec<U>;
  typedef typename MaskOf<U>::I Int __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  EQUITOOLS_INLINE V root(V v) { return square_root<U>(v); }
  EQUITOOLS_INLINE Int bits(V v) { return (Int)v; }
  EQUITOOLS_INLINE V number(Int i) { return (V)i; }
  EQUITOOLS_INLINE V convert(Int i) { return __builtin_convertvector(i, V); }
  EQUITOOLS_INLINE bool any(Int condition) {
    typename MaskOf<U>::I all = 0;
    for (int i = 0; i < Lanes<U>::W; ++i) all |= condition[i];
    return all != 0;
  }
};

// Columns of W rows that are `stride` apart, of which `count` are there; the others are zero.
template <typename T>
static inline void load_columns(const T* rows, int64_t stride, int columns, int count, Vec<T>* to) {
  constexpr int W = Lanes<T>::W, G = Lanes<T>::G;
  if (count < W) {
    for (int k = 0; k < columns; ++k) {
      to[k] = Vec<T>{};
      for (int i = 0; i < count; ++i) to[k][i] = rows[i * stride + k];
    }
    return;
  }
  int k = 0;
  for (; k + W <= columns; k += W) load_tile<T>(rows + k, stride, to + k);
  if constexpr (G < W)
    for (; k + G <= columns; k += G) load_group<T>(rows + k, stride, to + k);
  for (; k < columns; ++k) to[k] = load_column<T>(rows + k, stride);
}

template <typename T>
static inline void store_columns(const Vec<T>* from, int columns, int count, T* rows, int64_t stride) {
  constexpr int W = Lanes<T>::W, G = Lanes<T>::G;
  if (count < W) {
    for (int k = 0; k < columns; ++k)
      for (int i = 0; i < count; ++i) rows[i * stride + k] = from[k][i];
    return;
  }
  int k = 0;
  for (; k + W <= columns; k += W) store_tile<T>(from + k, rows + k, stride);
  if constexpr (G < W)
    for (; k + G <= columns; k += G) store_group<T>(from + k, rows + k, stride);
  for (; k < columns; ++k) store_column<T>(from[k], rows + k, stride);
}

// The same of rows of K numbers without gaps.
template <typename T, int K>
EQUITOOLS_INLINE void load_whole(const T* rows, int count, Vec<T>* to) {
  if (count < Lanes<T>::W)
    load_columns<T>(rows, K, K, count, to);
  else
    load_rows<T, K>(rows, to);
}

template <typename T, int K>
EQUITOOLS_INLINE void store_whole(const Vec<T>* from, int count, T* rows) {
  if (count < Lanes<T>::W)
    store_columns<T>(from, K, count, rows, K);
  else
    store_rows<T, K>(from, rows);
}

// How many rows of a block are there.
template <typename T>
EQUITOOLS_INLINE int present(int64_t rows, int64_t block) {
  constexpr int W = Lanes<T>::W;
  return int(rows - block * W < W ? rows - block * W : W);
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
