// Exponential, logarithm and polar decomposition of rows of small matrices, a matrix in each lane. No torch.
#pragma once

#include "lane_rows.h"
#include "matrix_exp.h"
#include "matrix_log.h"
#include "polar.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T, int n>
EQUITOOLS_INLINE Square<LaneArithmetic<T>, n> load_square(const T* rows, int64_t row, int count) {
  Square<LaneArithmetic<T>, n> a;
  load_whole<T, n * n>(rows + n * n * row, count, a.at[0]);
  return a;
}

template <typename T, int n>
EQUITOOLS_INLINE void store_square(const Square<LaneArithmetic<T>, n>& a, T* rows, int64_t row, int count) {
  store_whole<T, n * n>(a.at[0], count, rows + n * n * row);
}

// Calls f(first row, rows) for the blocks.
template <typename T, typename F>
EQUITOOLS_INLINE void each_block(int64_t rows, int64_t begin, int64_t end, const F& f) {
  for (int64_t block = begin; block < end; ++block) f(block * Lanes<T>::W, present<T>(rows, block));
}

template <typename T, int n>
static void matrix_exp(int64_t rows, const T* x, T* out, int64_t begin, int64_t end) {
  each_block<T>(rows, begin, end, [&](int64_t row, int count) EQUITOOLS_FORCED {
    store_square<T, n>(exp_of(load_square<T, n>(x, row, count)), out, row, count);
  });
}

template <typename T, int n>
static void matrix_exp_vjp(int64_t rows, const T* x, const T* grad, T* out, int64_t begin, int64_t end) {
  each_block<T>(rows, begin, end, [&](int64_t row, int count) EQUITOOLS_FORCED {
    const auto a = load_square<T, n>(x, row, count), g = load_square<T, n>(grad, row, count);
    store_square<T, n>(exp_vjp(a, g), out, row, count);
  });
}

// Lanes without a matrix hold zeros, of which there is no logarithm and no polar decomposition: they are set to 1.
template <typename T, int n>
EQUITOOLS_INLINE void fill(Square<LaneArithmetic<T>, n>& a, int count) {
  for (int i = count; i < Lanes<T>::W; ++i) unroll<0, n>([&](auto k) EQUITOOLS_FORCED { a.at[k][k][i] = T(1); });
}

template <typename T, int n>
EQUITOOLS_INLINE Square<LaneArithmetic<T>, n> load_regular(const T* rows, int64_t row, int count) {
  auto a = load_square<T, n>(rows, row, count);
  fill<T, n>(a, count);
  return a;
}

// The logarithm of single precision is computed in double: where an eigenvalue is at an angle d of the negative axis, or
// the condition is 1 / d, single precision would leave few digits or none of it. Calls f(first row, rows) for parts of
// blocks that are as wide as a vector of doubles.
template <typename T, typename F>
EQUITOOLS_INLINE void each_double_block(int64_t rows, int64_t begin, int64_t end, const F& f) {
  constexpr int W = Lanes<double>::W;
  each_block<T>(rows, begin, end, [&](int64_t row, int count) EQUITOOLS_FORCED {
    for (int first = 0; first < count; first += W) f(row + first, count - first < W ? count - first : W);
  });
}

template <int n>
EQUITOOLS_INLINE Square<LaneArithmetic<double>, n> load_doubles(const double* rows, int64_t row, int count) {
  return load_square<double, n>(rows, row, count);
}
template <int n>
EQUITOOLS_INLINE Square<LaneArithmetic<double>, n> load_doubles(const float* rows, int64_t row, int count) {
  double wide[n * n * Lanes<double>::W] = {};
  for (int i = 0; i < n * n * count; ++i) wide[i] = rows[n * n * row + i];
  return load_square<double, n>(wide, 0, count);
}
template <int n>
EQUITOOLS_INLINE void store_doubles(const Square<LaneArithmetic<double>, n>& a, double* rows, int64_t row, int count) {
  store_square<double, n>(a, rows, row, count);
}
template <int n>
EQUITOOLS_INLINE void store_doubles(const Square<LaneArithmetic<double>, n>& a, float* rows, int64_t row, int count) {
  double wide[n * n * Lanes<double>::W] = {};
  store_square<double, n>(a, wide, 0, count);
  for (int i = 0; i < n * n * count; ++i) rows[n * n * row + i] = float(wide[i]);
}

template <typename T, int n>
static void matrix_log(int64_t rows, const T* g, T* out, int64_t begin, int64_t end) {
  each_double_block<T>(rows, begin, end, [&](int64_t row, int count) EQUITOOLS_FORCED {
    auto a = load_doubles<n>(g, row, count);
    fill<double, n>(a, count);
    store_doubles<n>(log_of(a), out, row, count);
  });
}

template <typename T, int n>
static void matrix_log_vjp(int64_t rows, const T* log, const T* grad, T* out, int64_t begin, int64_t end) {
  each_double_block<T>(rows, begin, end, [&](int64_t row, int count) EQUITOOLS_FORCED {
    const auto a = load_doubles<n>(log, row, count), d = load_doubles<n>(grad, row, count);
    store_doubles<n>(log_vjp(a, d), out, row, count);
  });
}

template <typename T, int n>
static void polar(int64_t rows, const T* g, T* p, T* k, int64_t begin, int64_t end) {
  each_block<T>(rows, begin, end, [&](int64_t row, int count) EQUITOOLS_FORCED {
    Square<LaneArithmetic<T>, n> positive, orthogonal;
    polar_of(load_regular<T, n>(g, row, count), positive, orthogonal);
    store_square<T, n>(positive, p, row, count);
    store_square<T, n>(orthogonal, k, row, count);
  });
}

template <typename T, int n>
static void polar_vjp(int64_t rows, const T* g, const T* grad_p, const T* grad_k, T* out, int64_t begin, int64_t end) {
  each_block<T>(rows, begin, end, [&](int64_t row, int count) EQUITOOLS_FORCED {
    const auto a = load_regular<T, n>(g, row, count);
    const auto of_p = load_square<T, n>(grad_p, row, count), of_k = load_square<T, n>(grad_k, row, count);
    store_square<T, n>(equitools::polar_vjp(a, of_p, of_k), out, row, count);
  });
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
