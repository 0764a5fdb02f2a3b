#include "matrix_functions.h"

#include "../core/matrix_exp.h"
#include "../core/matrix_log.h"
#include "../core/polar.h"
#include "arithmetic.h"
#include "device.h"

namespace equitools {
namespace gpu {
namespace {

constexpr int kThreads = 128;

// In the precision of U, whatever that of the memory.
template <typename U, int n, typename T>
EQUITOOLS_DEVICE Square<Arithmetic<U>, n> load_square(const T* rows, int64_t row) {
  Square<Arithmetic<U>, n> a;
  each<0, n * n>([&](auto i) { a.at[i.value / n][i.value % n] = U(rows[n * n * row + i.value]); });
  return a;
}

template <typename U, int n, typename T>
EQUITOOLS_DEVICE void store_square(const Square<Arithmetic<U>, n>& a, T* rows, int64_t row) {
  each<0, n * n>([&](auto i) { rows[n * n * row + i.value] = T(a.at[i.value / n][i.value % n]); });
}

template <typename T, int n>
EQUITOOLS_KERNEL exp_kernel(int64_t rows, const T* x, T* out) {
  for (int64_t row = global_thread(); row < rows; row += global_threads())
    store_square<T, n>(exp_of(load_square<T, n>(x, row)), out, row);
}

template <typename T, int n>
EQUITOOLS_KERNEL exp_vjp_kernel(int64_t rows, const T* x, const T* grad, T* out) {
  for (int64_t row = global_thread(); row < rows; row += global_threads())
    store_square<T, n>(exp_vjp(load_square<T, n>(x, row), load_square<T, n>(grad, row)), out, row);
}

// In double precision for float32 as well, as on the CPU (core/matrix_functions.h says why).
template <typename T, int n>
EQUITOOLS_KERNEL log_kernel(int64_t rows, const T* g, T* out) {
  for (int64_t row = global_thread(); row < rows; row += global_threads())
    store_square<double, n>(log_of(load_square<double, n>(g, row)), out, row);
}

template <typename T, int n>
EQUITOOLS_KERNEL log_vjp_kernel(int64_t rows, const T* log, const T* grad, T* out) {
  for (int64_t row = global_thread(); row < rows; row += global_threads())
    store_square<double, n>(log_vjp(load_square<double, n>(log, row), load_square<double, n>(grad, row)), out, row);
}

template <typename T, int n>
EQUITOOLS_KERNEL polar_kernel(int64_t rows, const T* g, T* p, T* k) {
  for (int64_t row = global_thread(); row < rows; row += global_threads()) {
    Square<Arithmetic<T>, n> positive, orthogonal;
    polar_of(load_square<T, n>(g, row), positive, orthogonal);
    store_square<T, n>(positive, p, row);
    store_square<T, n>(orthogonal, k, row);
  }
}

template <typename T, int n>
EQUITOOLS_KERNEL polar_vjp_kernel(int64_t rows, const T* g, const T* grad_p, const T* grad_k, T* out) {
  for (int64_t row = global_thread(); row < rows; row += global_threads())
    store_square<T, n>(
        polar_vjp(load_square<T, n>(g, row), load_square<T, n>(grad_p, row), load_square<T, n>(grad_k, row)), out, row);
}

// Calls f with the size as a constant.
template <typename F>
void for_size(int64_t n, const F& f) {
  if (n == 2) f(Number<2>{});
  if (n == 3) f(Number<3>{});
  if (n == 4) f(Number<4>{});
}

}  // namespace

template <typename T>
void MatrixFunctionsOf<T>::exp(int64_t rows, int64_t n, const T* x, T* out, void* stream) {
  for_size(n, [&](auto size) {
    launch("matrix_exp", exp_kernel<T, decltype(size)::value>, blocks_for(rows, kThreads), 1, kThreads, 0, stream, rows,
           x, out);
  });
}

template <typename T>
void MatrixFunctionsOf<T>::exp_vjp(int64_t rows, int64_t n, const T* x, const T* grad, T* out, void* stream) {
  for_size(n, [&](auto size) {
    launch("matrix_exp_vjp", exp_vjp_kernel<T, decltype(size)::value>, blocks_for(rows, kThreads), 1, kThreads, 0,
           stream, rows, x, grad, out);
  });
}

template <typename T>
void MatrixFunctionsOf<T>::log(int64_t rows, int64_t n, const T* g, T* out, void* stream) {
  for_size(n, [&](auto size) {
    launch("matrix_log", log_kernel<T, decltype(size)::value>, blocks_for(rows, kThreads), 1, kThreads, 0, stream, rows,
           g, out);
  });
}

template <typename T>
void MatrixFunctionsOf<T>::log_vjp(int64_t rows, int64_t n, const T* log, const T* grad, T* out, void* stream) {
  for_size(n, [&](auto size) {
    launch("matrix_log_vjp", log_vjp_kernel<T, decltype(size)::value>, blocks_for(rows, kThreads), 1, kThreads, 0,
           stream, rows, log, grad, out);
  });
}

template <typename T>
void MatrixFunctionsOf<T>::polar(int64_t rows, int64_t n, const T* g, T* p, T* k, void* stream) {
  for_size(n, [&](auto size) {
    launch("polar", polar_kernel<T, decltype(size)::value>, blocks_for(rows, kThreads), 1, kThreads, 0, stream, rows, g,
           p, k);
  });
}

template <typename T>
void MatrixFunctionsOf<T>::polar_vjp(int64_t rows, int64_t n, const T* g, const T* grad_p, const T* grad_k, T* out,
                                     void* stream) {
  for_size(n, [&](auto size) {
    launch("polar_vjp", polar_vjp_kernel<T, decltype(size)::value>, blocks_for(rows, kThreads), 1, kThreads, 0, stream,
           rows, g, grad_p, grad_k, out);
  });
}

template struct MatrixFunctionsOf<float>;
template struct MatrixFunctionsOf<double>;

}  // namespace gpu
}  // namespace equitools
