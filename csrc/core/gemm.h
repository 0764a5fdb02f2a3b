// Small matrix products in cache: C[m x n] = (C +) A[m x k] B[k x n], n one or two vectors. No torch.
//
// A is read one number at a time, with any strides, and multiplies whole vectors of B. The block of C stays in registers.
#pragma once

#include "simd.h"

namespace equitools {
namespace EQUITOOLS_ISA {

#if EQUITOOLS_VECTOR_BYTES == 64
constexpr int kGemmRows = 12;  // times 2 vectors: 24 of 32 registers
#else
constexpr int kGemmRows = 6;  // times 2 vectors: 12 of 16 registers
#endif

template <typename T, int M, int N, bool Add>
EQUITOOLS_INLINE void gemm_block(int64_t k, const T* a, int64_t row, int64_t column, const T* b, int64_t ldb, T* c,
                                 int64_t ldc) {
  constexpr int W = Simd<T>::W;
  Vec<T> acc[M][N];
  unroll<0, M>([&](auto i) { unroll<0, N>([&](auto j) { acc[i.value][j.value] = Vec<T>{}; }); });
  for (int64_t p = 0; p < k; ++p) {
    Vec<T> right[N];
    unroll<0, N>([&](auto j) { right[j.value] = load(b + p * ldb + j.value * W); });
    unroll<0, M>([&](auto i) {
      const T left = a[i.value * row + p * column];
      unroll<0, N>([&](auto j) { acc[i.value][j.value] += left * right[j.value]; });
    });
  }
  unroll<0, M>([&](auto i) {
    unroll<0, N>([&](auto j) {
      T* to = c + i.value * ldc + j.value * W;
      // Added at the end: where C gathers many products, its rounding errors are those of their number, not of all terms.
      store(to, Add ? load(to) + acc[i.value][j.value] : acc[i.value][j.value]);
    });
  });
}

template <typename T, int M, int N, bool Add>
static void gemm_rows(int64_t m, int64_t k, const T* a, int64_t row, int64_t column, const T* b, int64_t ldb, T* c,
                      int64_t ldc) {
  if constexpr (M == kGemmRows) {
    for (; m >= M; m -= M, a += M * row, c += M * ldc) gemm_block<T, M, N, Add>(k, a, row, column, b, ldb, c, ldc);
    if (m) gemm_rows<T, M - 1, N, Add>(m, k, a, row, column, b, ldb, c, ldc);
  } else if constexpr (M > 0) {
    if (m == M)
      gemm_block<T, M, N, Add>(k, a, row, column, b, ldb, c, ldc);
    else
      gemm_rows<T, M - 1, N, Add>(m, k, a, row, column, b, ldb, c, ldc);
  }
}

// n is a whole number of vectors; b and c are read and written in whole vectors.
template <typename T, bool Add>
static void gemm(int64_t m, int64_t n, int64_t k, const T* a, int64_t row, int64_t column, const T* b, int64_t ldb,
                 T* c, int64_t ldc) {
  constexpr int W = Simd<T>::W;
  int64_t j = 0;
  for (; j + 2 * W <= n; j += 2 * W) gemm_rows<T, kGemmRows, 2, Add>(m, k, a, row, column, b + j, ldb, c + j, ldc);
  if (j < n) gemm_rows<T, kGemmRows, 1, Add>(m, k, a, row, column, b + j, ldb, c + j, ldc);
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
