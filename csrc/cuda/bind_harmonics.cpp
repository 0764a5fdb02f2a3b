#include <tuple>

#include "bindings.h"
#include "harmonics.h"
#include "table_cache.h"

namespace equitools {
namespace gpu {
namespace {

ShSpec check(const Tensor& vectors, int64_t lmax, bool normalize, int64_t normalization) {
  check_floating(vectors, "vectors");
  STD_TORCH_CHECK(vectors.dim() == 2 && vectors.size(1) == 3, "vectors must have shape [E, 3]");
  STD_TORCH_CHECK(0 <= lmax && lmax <= kMaxDegree, "lmax must lie in 0 to ", kMaxDegree, ", but it is ", lmax);
  STD_TORCH_CHECK(0 <= normalization && normalization <= 2, "normalization must be 0, 1 or 2");
  return {static_cast<int>(lmax), normalize, static_cast<int>(normalization)};
}

int64_t components(const ShSpec& spec) { return int64_t(spec.lmax + 1) * (spec.lmax + 1); }

void check_grad(const Tensor& vectors, const Tensor& grad, const ShSpec& spec) {
  check_same_dtype(vectors, grad, "vectors and grad");
  check_same_device(vectors, grad, "grad");
  STD_TORCH_CHECK(grad.dim() == 2 && grad.size(0) == vectors.size(0) && grad.size(1) == components(spec),
                  "grad must have shape [E, (lmax + 1)^2]");
}

template <typename T>
const Table<T>* table_on(const Here& here, const Tensor& like) {
  return static_cast<const Table<T>*>(on_device(here, like, &coefficients<T>(), sizeof(Table<T>)));
}

Tensor value(const Tensor& vectors, int64_t lmax, bool normalize, int64_t normalization) {
  const ShSpec spec = check(vectors, lmax, normalize, normalization);
  const Here here(vectors);
  const Tensor xyz = dense(vectors);
  const int64_t E = xyz.size(0);
  Tensor out = torch::stable::new_empty(xyz, {E, components(spec)});
  for_dtype(xyz, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    HarmonicsOf<T>::value(table_on<T>(here, xyz), spec, xyz.const_data_ptr<T>(), out.mutable_data_ptr<T>(), E,
                          here.stream);
  });
  return out;
}

Tensor vjp(const Tensor& vectors, const Tensor& grad, int64_t lmax, bool normalize, int64_t normalization) {
  const ShSpec spec = check(vectors, lmax, normalize, normalization);
  check_grad(vectors, grad, spec);
  const Here here(vectors);
  const Tensor xyz = dense(vectors), g = dense(grad);
  const int64_t E = xyz.size(0);
  Tensor out = torch::stable::new_empty(xyz, {E, 3});
  for_dtype(xyz, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    Tensor scratch = torch::stable::new_empty(xyz, {HarmonicsOf<T>::scratch_size(spec.lmax, E)});
    HarmonicsOf<T>::vjp(table_on<T>(here, xyz), spec, xyz.const_data_ptr<T>(), g.const_data_ptr<T>(),
                        out.mutable_data_ptr<T>(), scratch.mutable_data_ptr<T>(), E, here.stream);
  });
  return out;
}

std::tuple<Tensor, Tensor> vjp_vjp(const Tensor& vectors, const Tensor& grad, const Tensor& cotangent, int64_t lmax,
                                   bool normalize, int64_t normalization) {
  const ShSpec spec = check(vectors, lmax, normalize, normalization);
  check_grad(vectors, grad, spec);
  check_same_dtype(vectors, cotangent, "vectors and cotangent");
  check_same_device(vectors, cotangent, "cotangent");
  STD_TORCH_CHECK(cotangent.dim() == 2 && cotangent.size(0) == vectors.size(0) && cotangent.size(1) == 3,
                  "cotangent must have shape [E, 3]");
  const Here here(vectors);
  const Tensor xyz = dense(vectors), g = dense(grad), v = dense(cotangent);
  const int64_t E = xyz.size(0);
  Tensor grad_xyz = torch::stable::new_empty(xyz, {E, 3});
  Tensor grad_grad = torch::stable::new_empty(xyz, {E, components(spec)});
  for_dtype(xyz, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    Tensor scratch = torch::stable::new_empty(xyz, {HarmonicsOf<T>::scratch_size(spec.lmax, E)});
    HarmonicsOf<T>::vjp_vjp(table_on<T>(here, xyz), spec, xyz.const_data_ptr<T>(), g.const_data_ptr<T>(),
                            v.const_data_ptr<T>(), grad_xyz.mutable_data_ptr<T>(), grad_grad.mutable_data_ptr<T>(),
                            scratch.mutable_data_ptr<T>(), E, here.stream);
  });
  return {grad_xyz, grad_grad};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(EQUITOOLS_NAMESPACE, EQUITOOLS_KEY, m) {
  m.impl("spherical_harmonics", TORCH_BOX(&value));
  m.impl("spherical_harmonics_vjp", TORCH_BOX(&vjp));
  m.impl("spherical_harmonics_vjp_vjp", TORCH_BOX(&vjp_vjp));
}

}  // namespace gpu
}  // namespace equitools
