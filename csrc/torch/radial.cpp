#include "../cpu/radial.h"

#include <cmath>
#include <tuple>

#include "common.h"

namespace equitools {
namespace {

RadialSpec check(const Tensor& lengths, int64_t num, double cutoff, int64_t p, double scale) {
  check_floating(lengths, "lengths");
  STD_TORCH_CHECK(lengths.dim() == 1, "lengths must have shape [E]");
  STD_TORCH_CHECK(1 <= num && num <= kMaxRadial, "num must lie in 1 to ", kMaxRadial, ", but it is ", num);
  STD_TORCH_CHECK(p == 0 || (2 <= p && p <= kMaxEnvelope), "p must be 0 or lie in 2 to ", kMaxEnvelope,
                  ", but it is ", p);
  STD_TORCH_CHECK(cutoff > 0 && std::isfinite(cutoff), "cutoff must be positive, but it is ", cutoff);
  return {static_cast<int>(num), static_cast<int>(p), cutoff, scale};
}

void check_grad(const Tensor& lengths, const Tensor& grad, const RadialSpec& spec) {
  check_same_dtype(lengths, grad, "lengths and grad");
  STD_TORCH_CHECK(grad.dim() == 2 && grad.size(0) == lengths.size(0) && grad.size(1) == spec.num,
                  "grad must have shape [E, num]");
}

int64_t grain(const RadialSpec& spec) { return 1 + 16384 / (4 + spec.num); }

Tensor value(const Tensor& lengths, int64_t num, double cutoff, int64_t p, double scale) {
  const RadialSpec spec = check(lengths, num, cutoff, p, scale);
  const Tensor r = dense(lengths);
  const int64_t E = r.size(0);
  Tensor out = torch::stable::new_empty(r, {E, num});
  for_dtype(r, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* rp = r.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, E, grain(spec), [&](int64_t begin, int64_t end) {
      radial_of<T>().value(spec, rp, o, nullptr, begin, end);
    });
  });
  return out;
}

Tensor vjp(const Tensor& lengths, const Tensor& grad, int64_t num, double cutoff, int64_t p, double scale) {
  const RadialSpec spec = check(lengths, num, cutoff, p, scale);
  check_grad(lengths, grad, spec);
  const Tensor r = dense(lengths), g = dense(grad);
  const int64_t E = r.size(0);
  Tensor out = torch::stable::new_empty(r, {E});
  for_dtype(r, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* rp = r.const_data_ptr<T>();
    const T* gp = g.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, E, grain(spec), [&](int64_t begin, int64_t end) {
      radial_of<T>().vjp(spec, rp, gp, o, begin, end);
    });
  });
  return out;
}

std::tuple<Tensor, Tensor> vjp_vjp(const Tensor& lengths, const Tensor& grad, const Tensor& cotangent, int64_t num,
                                   double cutoff, int64_t p, double scale) {
  const RadialSpec spec = check(lengths, num, cutoff, p, scale);
  check_grad(lengths, grad, spec);
  check_same_dtype(lengths, cotangent, "lengths and cotangent");
  STD_TORCH_CHECK(cotangent.dim() == 1 && cotangent.size(0) == lengths.size(0), "cotangent must have shape [E]");
  const Tensor r = dense(lengths), g = dense(grad), v = dense(cotangent);
  const int64_t E = r.size(0);
  Tensor grad_r = torch::stable::new_empty(r, {E});
  Tensor grad_grad = torch::stable::new_empty(r, {E, num});
  for_dtype(r, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* rp = r.const_data_ptr<T>();
    const T* gp = g.const_data_ptr<T>();
    const T* vp = v.const_data_ptr<T>();
    T* outr = grad_r.mutable_data_ptr<T>();
    T* outg = grad_grad.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, E, grain(spec), [&](int64_t begin, int64_t end) {
      radial_of<T>().vjp_vjp(spec, rp, gp, vp, outr, outg, begin, end);
    });
  });
  return {grad_r, grad_grad};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("bessel_basis(Tensor lengths, int num, float cutoff, int p, float scale) -> Tensor");
  m.def("bessel_basis_vjp(Tensor lengths, Tensor grad, int num, float cutoff, int p, float scale) -> Tensor");
  m.def(
      "bessel_basis_vjp_vjp(Tensor lengths, Tensor grad, Tensor cotangent, int num, float cutoff, int p, float scale) "
      "-> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("bessel_basis", TORCH_BOX(&value));
  m.impl("bessel_basis_vjp", TORCH_BOX(&vjp));
  m.impl("bessel_basis_vjp_vjp", TORCH_BOX(&vjp_vjp));
}

}  // namespace equitools
