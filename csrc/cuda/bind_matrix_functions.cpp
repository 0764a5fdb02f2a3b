#include <tuple>

#include "../torch/matrix_checks.h"
#include "bindings.h"
#include "matrix_functions.h"

namespace equitools {
namespace gpu {
namespace {

Tensor like(const Tensor& a) { return torch::stable::new_empty(a, {a.size(0), a.size(1), a.size(2)}); }

Tensor matrix_exp(const Tensor& x) {
  check_square(x);
  const Here here(x);
  const Tensor in = dense(x);
  Tensor out = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    MatrixFunctionsOf<T>::exp(in.size(0), in.size(1), in.const_data_ptr<T>(), out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

Tensor matrix_exp_vjp(const Tensor& x, const Tensor& grad) {
  check_square(x);
  check_square_like(x, grad);
  check_same_device(x, grad, "the gradient");
  const Here here(x);
  const Tensor in = dense(x), g = dense(grad);
  Tensor out = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    MatrixFunctionsOf<T>::exp_vjp(in.size(0), in.size(1), in.const_data_ptr<T>(), g.const_data_ptr<T>(),
                                  out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

Tensor matrix_log(const Tensor& g) {
  check_square(g);
  const Here here(g);
  const Tensor in = dense(g);
  Tensor out = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    MatrixFunctionsOf<T>::log(in.size(0), in.size(1), in.const_data_ptr<T>(), out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

Tensor matrix_log_vjp(const Tensor& log, const Tensor& grad) {
  check_square(log);
  check_square_like(log, grad);
  check_same_device(log, grad, "the gradient");
  const Here here(log);
  const Tensor in = dense(log), d = dense(grad);
  Tensor out = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    MatrixFunctionsOf<T>::log_vjp(in.size(0), in.size(1), in.const_data_ptr<T>(), d.const_data_ptr<T>(),
                                  out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

std::tuple<Tensor, Tensor> polar(const Tensor& g) {
  check_square(g);
  const Here here(g);
  const Tensor in = dense(g);
  Tensor p = like(in), k = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    MatrixFunctionsOf<T>::polar(in.size(0), in.size(1), in.const_data_ptr<T>(), p.mutable_data_ptr<T>(),
                                k.mutable_data_ptr<T>(), here.stream);
  });
  return {p, k};
}

Tensor polar_vjp(const Tensor& g, const Tensor& grad_p, const Tensor& grad_k) {
  check_square(g);
  for (const Tensor* t : {&grad_p, &grad_k}) {
    check_square_like(g, *t);
    check_same_device(g, *t, "the gradients");
  }
  const Here here(g);
  const Tensor in = dense(g), p = dense(grad_p), k = dense(grad_k);
  Tensor out = like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    MatrixFunctionsOf<T>::polar_vjp(in.size(0), in.size(1), in.const_data_ptr<T>(), p.const_data_ptr<T>(),
                                    k.const_data_ptr<T>(), out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(EQUITOOLS_NAMESPACE, EQUITOOLS_KEY, m) {
  m.impl("matrix_exp", TORCH_BOX(&matrix_exp));
  m.impl("matrix_exp_vjp", TORCH_BOX(&matrix_exp_vjp));
  m.impl("matrix_log", TORCH_BOX(&matrix_log));
  m.impl("matrix_log_vjp", TORCH_BOX(&matrix_log_vjp));
  m.impl("polar", TORCH_BOX(&polar));
  m.impl("polar_vjp", TORCH_BOX(&polar_vjp));
}

}  // namespace gpu
}  // namespace equitools
