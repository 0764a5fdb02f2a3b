#include "../cpu/pointwise.h"

#include <tuple>

#include "common.h"

namespace equitools {
namespace {

constexpr int64_t kGrain = 16384;

void check_like(const Tensor& x, const Tensor& other, const char* name) {
  check_same_dtype(x, other, "x, grad and cotangent");
  STD_TORCH_CHECK(other.dim() == x.dim(), name, " must have the shape of x");
  for (int64_t d = 0; d < x.dim(); ++d) STD_TORCH_CHECK(other.size(d) == x.size(d), name, " must have the shape of x");
}

Tensor value(const Tensor& x, double scale) {
  check_floating(x, "x");
  const Tensor in = dense(x);
  Tensor out = torch::stable::empty_like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* xp = in.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, in.numel(), kGrain, [&](int64_t begin, int64_t end) {
      pointwise_of<T>().silu_value(xp, T(scale), o, begin, end);
    });
  });
  return out;
}

Tensor vjp(const Tensor& x, const Tensor& grad, double scale) {
  check_floating(x, "x");
  check_like(x, grad, "grad");
  const Tensor in = dense(x), g = dense(grad);
  Tensor out = torch::stable::empty_like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* xp = in.const_data_ptr<T>();
    const T* gp = g.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, in.numel(), kGrain, [&](int64_t begin, int64_t end) {
      pointwise_of<T>().silu_vjp(xp, gp, T(scale), o, begin, end);
    });
  });
  return out;
}

std::tuple<Tensor, Tensor> vjp_vjp(const Tensor& x, const Tensor& grad, const Tensor& cotangent, double scale) {
  check_floating(x, "x");
  check_like(x, grad, "grad");
  check_like(x, cotangent, "cotangent");
  const Tensor in = dense(x), g = dense(grad), v = dense(cotangent);
  Tensor grad_x = torch::stable::empty_like(in);
  Tensor grad_grad = torch::stable::empty_like(in);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* xp = in.const_data_ptr<T>();
    const T* gp = g.const_data_ptr<T>();
    const T* vp = v.const_data_ptr<T>();
    T* ox = grad_x.mutable_data_ptr<T>();
    T* og = grad_grad.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, in.numel(), kGrain, [&](int64_t begin, int64_t end) {
      pointwise_of<T>().silu_vjp_vjp(xp, gp, vp, T(scale), ox, og, begin, end);
    });
  });
  return {grad_x, grad_grad};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("scaled_silu(Tensor x, float scale) -> Tensor");
  m.def("scaled_silu_vjp(Tensor x, Tensor grad, float scale) -> Tensor");
  m.def("scaled_silu_vjp_vjp(Tensor x, Tensor grad, Tensor cotangent, float scale) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("scaled_silu", TORCH_BOX(&value));
  m.impl("scaled_silu_vjp", TORCH_BOX(&vjp));
  m.impl("scaled_silu_vjp_vjp", TORCH_BOX(&vjp_vjp));
}

}  // namespace equitools
