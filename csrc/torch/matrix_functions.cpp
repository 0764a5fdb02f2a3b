#include "../cpu/matrix_functions.h"

#include <tuple>

#include "matrix_checks.h"
#include "pages.h"

namespace equitools {
namespace {

// Calls f(begin, end) for ranges of blocks.
template <typename F>
void for_blocks(int64_t rows, int64_t lanes, const F& f) {
  const int64_t blocks = (rows + lanes - 1) / lanes;
  torch::stable::parallel_for(0, blocks, 1 + 256 / lanes, f);
}

Tensor like(const Tensor& a) { return torch::stable::new_empty(a, {a.size(0), a.size(1), a.size(2)}); }

// Of the table of a size, the function of one argument, or of an argument and a gradient.
template <template <typename> class Member>
Tensor of_one(const Tensor& a) {
  check_square(a);
  const Tensor in = dense(a);
  const int64_t rows = in.size(0), n = in.size(1);
  Tensor out = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto& kernels = matrix_functions_of<T>();
    const auto function = kernels.of(n).*Member<T>::function;
    const T* p = in.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    on_large_pages(o, out.numel());
    for_blocks(rows, kernels.lanes, [&](int64_t begin, int64_t end) { function(rows, p, o, begin, end); });
  });
  return out;
}

template <template <typename> class Member>
Tensor of_two(const Tensor& a, const Tensor& grad) {
  check_square(a);
  check_square_like(a, grad);
  const Tensor in = dense(a), g = dense(grad);
  const int64_t rows = in.size(0), n = in.size(1);
  Tensor out = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto& kernels = matrix_functions_of<T>();
    const auto function = kernels.of(n).*Member<T>::function;
    const T *p = in.const_data_ptr<T>(), *gp = g.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    on_large_pages(o, out.numel());
    for_blocks(rows, kernels.lanes, [&](int64_t begin, int64_t end) { function(rows, p, gp, o, begin, end); });
  });
  return out;
}

template <typename T>
struct Exp {
  static constexpr auto function = &MatrixFunctionsOfSize<T>::exp;
};
template <typename T>
struct ExpVjp {
  static constexpr auto function = &MatrixFunctionsOfSize<T>::exp_vjp;
};
template <typename T>
struct Log {
  static constexpr auto function = &MatrixFunctionsOfSize<T>::log;
};
template <typename T>
struct LogVjp {
  static constexpr auto function = &MatrixFunctionsOfSize<T>::log_vjp;
};

Tensor matrix_exp(const Tensor& x) { return of_one<Exp>(x); }
Tensor matrix_exp_vjp(const Tensor& x, const Tensor& grad) { return of_two<ExpVjp>(x, grad); }
Tensor matrix_log(const Tensor& g) { return of_one<Log>(g); }
Tensor matrix_log_vjp(const Tensor& log, const Tensor& grad) { return of_two<LogVjp>(log, grad); }

std::tuple<Tensor, Tensor> polar(const Tensor& g) {
  check_square(g);
  const Tensor in = dense(g);
  const int64_t rows = in.size(0), n = in.size(1);
  Tensor p = like(in), k = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto& kernels = matrix_functions_of<T>();
    const auto function = kernels.of(n).polar;
    const T* a = in.const_data_ptr<T>();
    T *po = p.mutable_data_ptr<T>(), *ko = k.mutable_data_ptr<T>();
    on_large_pages(po, p.numel());
    on_large_pages(ko, k.numel());
    for_blocks(rows, kernels.lanes, [&](int64_t begin, int64_t end) { function(rows, a, po, ko, begin, end); });
  });
  return {p, k};
}

Tensor polar_vjp(const Tensor& g, const Tensor& grad_p, const Tensor& grad_k) {
  check_square(g);
  check_square_like(g, grad_p);
  check_square_like(g, grad_k);
  const Tensor in = dense(g), gp = dense(grad_p), gk = dense(grad_k);
  const int64_t rows = in.size(0), n = in.size(1);
  Tensor out = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto& kernels = matrix_functions_of<T>();
    const auto function = kernels.of(n).polar_vjp;
    const T *a = in.const_data_ptr<T>(), *p = gp.const_data_ptr<T>(), *k = gk.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    on_large_pages(o, out.numel());
    for_blocks(rows, kernels.lanes, [&](int64_t begin, int64_t end) { function(rows, a, p, k, o, begin, end); });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("matrix_exp(Tensor x) -> Tensor");
  m.def("matrix_exp_vjp(Tensor x, Tensor grad) -> Tensor");
  m.def("matrix_log(Tensor g) -> Tensor");
  m.def("matrix_log_vjp(Tensor log, Tensor grad) -> Tensor");
  m.def("polar(Tensor g) -> (Tensor, Tensor)");
  m.def("polar_vjp(Tensor g, Tensor grad_p, Tensor grad_k) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("matrix_exp", TORCH_BOX(&matrix_exp));
  m.impl("matrix_exp_vjp", TORCH_BOX(&matrix_exp_vjp));
  m.impl("matrix_log", TORCH_BOX(&matrix_log));
  m.impl("matrix_log_vjp", TORCH_BOX(&matrix_log_vjp));
  m.impl("polar", TORCH_BOX(&polar));
  m.impl("polar_vjp", TORCH_BOX(&polar_vjp));
}

}  // namespace equitools
