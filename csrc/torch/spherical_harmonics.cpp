#include <tuple>

#include "../cpu/kernels.h"
#include "common.h"
#include "functions.h"

namespace equitools {
namespace {

ShSpec check(const Tensor& vectors, int64_t lmax, bool normalize, int64_t normalization) {
  check_floating(vectors, "vectors");
  STD_TORCH_CHECK(vectors.dim() == 2 && vectors.size(1) == 3, "vectors must have shape [E, 3]");
  STD_TORCH_CHECK(0 <= lmax && lmax <= kMaxDegree, "lmax must lie in 0 to ", kMaxDegree, ", but it is ", lmax);
  STD_TORCH_CHECK(0 <= normalization && normalization <= 2, "normalization must be 0, 1 or 2");
  return {static_cast<int>(lmax), normalize, static_cast<int>(normalization)};
}

int64_t components(const ShSpec& spec) { return int64_t(spec.lmax + 1) * (spec.lmax + 1); }

int64_t grain(const ShSpec& spec) { return 1 + 65536 / (16 * components(spec)); }

void check_grad(const Tensor& vectors, const Tensor& grad, const ShSpec& spec) {
  check_same_dtype(vectors, grad, "vectors and grad");
  STD_TORCH_CHECK(grad.dim() == 2 && grad.size(0) == vectors.size(0) && grad.size(1) == components(spec),
                  "grad must have shape [E, (lmax + 1)^2]");
}

Tensor value(const Tensor& vectors, int64_t lmax, bool normalize, int64_t normalization) {
  const ShSpec spec = check(vectors, lmax, normalize, normalization);
  const Tensor xyz = dense(vectors);
  const int64_t E = xyz.size(0);
  Tensor out = torch::stable::new_empty(xyz, {E, components(spec)});
  for_dtype(xyz, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* x = xyz.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, E, grain(spec), [&](int64_t begin, int64_t end) {
      kernels_of<T>().sh_value(coefficients<T>(), spec, x, o, begin, end);
    });
  });
  return out;
}

Tensor vjp(const Tensor& vectors, const Tensor& grad, int64_t lmax, bool normalize, int64_t normalization) {
  const ShSpec spec = check(vectors, lmax, normalize, normalization);
  check_grad(vectors, grad, spec);
  const Tensor xyz = dense(vectors), g = dense(grad);
  const int64_t E = xyz.size(0);
  Tensor out = torch::stable::new_empty(xyz, {E, 3});
  for_dtype(xyz, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* x = xyz.const_data_ptr<T>();
    const T* gp = g.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, E, grain(spec), [&](int64_t begin, int64_t end) {
      kernels_of<T>().sh_vjp(coefficients<T>(), spec, x, gp, o, begin, end);
    });
  });
  return out;
}

std::tuple<Tensor, Tensor> vjp_vjp(const Tensor& vectors, const Tensor& grad, const Tensor& cotangent, int64_t lmax,
                                   bool normalize, int64_t normalization) {
  const ShSpec spec = check(vectors, lmax, normalize, normalization);
  check_grad(vectors, grad, spec);
  check_same_dtype(vectors, cotangent, "vectors and cotangent");
  STD_TORCH_CHECK(cotangent.dim() == 2 && cotangent.size(0) == vectors.size(0) && cotangent.size(1) == 3,
                  "cotangent must have shape [E, 3]");
  const Tensor xyz = dense(vectors), g = dense(grad), v = dense(cotangent);
  const int64_t E = xyz.size(0);
  Tensor grad_xyz = torch::stable::new_empty(xyz, {E, 3});
  Tensor grad_grad = torch::stable::new_empty(xyz, {E, components(spec)});
  for_dtype(xyz, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* x = xyz.const_data_ptr<T>();
    const T* gp = g.const_data_ptr<T>();
    const T* vp = v.const_data_ptr<T>();
    T* ox = grad_xyz.mutable_data_ptr<T>();
    T* og = grad_grad.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, E, grain(spec), [&](int64_t begin, int64_t end) {
      kernels_of<T>().sh_vjp_vjp(coefficients<T>(), spec, x, gp, vp, ox, og, begin, end);
    });
  });
  return {grad_xyz, grad_grad};
}

}  // namespace

Tensor spherical_harmonics(const Tensor& vectors, int64_t lmax, bool normalize, int64_t normalization) {
  return value(vectors, lmax, normalize, normalization);
}

Tensor spherical_harmonics_vjp(const Tensor& vectors, const Tensor& grad, int64_t lmax, bool normalize,
                               int64_t normalization) {
  return vjp(vectors, grad, lmax, normalize, normalization);
}

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("spherical_harmonics(Tensor vectors, int lmax, bool normalize, int normalization) -> Tensor");
  m.def("spherical_harmonics_vjp(Tensor vectors, Tensor grad, int lmax, bool normalize, int normalization) -> Tensor");
  m.def(
      "spherical_harmonics_vjp_vjp(Tensor vectors, Tensor grad, Tensor cotangent, int lmax, bool normalize, "
      "int normalization) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("spherical_harmonics", TORCH_BOX(&value));
  m.impl("spherical_harmonics_vjp", TORCH_BOX(&vjp));
  m.impl("spherical_harmonics_vjp_vjp", TORCH_BOX(&vjp_vjp));
}

}  // namespace equitools
