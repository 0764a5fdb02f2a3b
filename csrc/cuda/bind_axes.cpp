#include <optional>
#include <tuple>

#include "../torch/axes_checks.h"
#include "axes.h"
#include "bindings.h"

namespace equitools {
namespace gpu {
namespace {

std::optional<Tensor> dense_if(const std::optional<Tensor>& t) {
  return t ? std::optional<Tensor>(dense(*t)) : std::nullopt;
}

std::tuple<Tensor, Tensor> eigh3(const Tensor& a) {
  check_matrices(a);
  const Here here(a);
  const Tensor in = dense(a);
  const int64_t rows = in.size(0);
  Tensor values = torch::stable::new_empty(in, {rows, 3}), vectors = torch::stable::new_empty(in, {rows, 3, 3});
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    PrincipalAxesOf<T>::eigh3(rows, in.const_data_ptr<T>(), values.mutable_data_ptr<T>(), vectors.mutable_data_ptr<T>(),
                              here.stream);
  });
  return {values, vectors};
}

Tensor eigh3_vjp(const Tensor& values, const Tensor& vectors, const Tensor& grad_values, const Tensor& grad_vectors) {
  check_eigen(values, vectors, grad_values, grad_vectors);
  for (const Tensor* t : {&vectors, &grad_values, &grad_vectors}) check_same_device(values, *t, "vectors and gradients");
  const Here here(values);
  const Tensor w = dense(values), v = dense(vectors), gw = dense(grad_values), gv = dense(grad_vectors);
  const int64_t rows = w.size(0);
  Tensor out = torch::stable::new_empty(w, {rows, 3, 3});
  for_dtype(w, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    PrincipalAxesOf<T>::eigh3_vjp(rows, w.const_data_ptr<T>(), v.const_data_ptr<T>(), gw.const_data_ptr<T>(),
                                  gv.const_data_ptr<T>(), out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> axes(const Tensor& points, const std::optional<Tensor>& mask, bool centred,
                                                double threshold, bool moments) {
  check_points(points, mask);
  if (mask) check_same_device(points, *mask, "mask");
  const Here here(points);
  const Tensor in = dense(points);
  const std::optional<Tensor> there = dense_if(mask);
  const CloudShape shape{in.size(0), in.size(1), centred, moments, threshold};
  Tensor mean = torch::stable::new_empty(in, {shape.clouds, 3}), values = torch::stable::new_empty(in, {shape.clouds, 3});
  Tensor vectors = torch::stable::new_empty(in, {shape.clouds, 3, 3});
  Tensor state = torch::stable::new_empty(in, {shape.clouds}, ScalarType::Int);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    PrincipalAxesOf<T>::axes(shape, in.const_data_ptr<T>(), bytes_of(there),
                             {mean.mutable_data_ptr<T>(), values.mutable_data_ptr<T>(), vectors.mutable_data_ptr<T>(),
                              state.mutable_data_ptr<int32_t>()},
                             here.stream);
  });
  return {mean, values, vectors, state};
}

Tensor axes_vjp(const Tensor& points, const std::optional<Tensor>& mask, const Tensor& mean, const Tensor& values,
                const Tensor& vectors, const Tensor& grad_mean, const Tensor& grad_values, const Tensor& grad_vectors,
                bool centred) {
  check_points(points, mask);
  if (mask) check_same_device(points, *mask, "mask");
  check_axes(points, mean, values, vectors);
  check_axes(points, grad_mean, grad_values, grad_vectors);
  for (const Tensor* t : {&mean, &values, &vectors, &grad_mean, &grad_values, &grad_vectors})
    check_same_device(points, *t, "the axes and their gradients");
  const Here here(points);
  const Tensor in = dense(points), c = dense(mean), w = dense(values), v = dense(vectors);
  const Tensor gc = dense(grad_mean), gw = dense(grad_values), gv = dense(grad_vectors);
  const std::optional<Tensor> there = dense_if(mask);
  const CloudShape shape{in.size(0), in.size(1), centred, false, 0};
  Tensor out = torch::stable::new_empty(in, {shape.clouds, shape.points, 3});
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    PrincipalAxesOf<T>::axes_vjp(shape, in.const_data_ptr<T>(), bytes_of(there),
                                 {c.const_data_ptr<T>(), w.const_data_ptr<T>(), v.const_data_ptr<T>(), nullptr},
                                 {gc.const_data_ptr<T>(), gw.const_data_ptr<T>(), gv.const_data_ptr<T>(), nullptr},
                                 out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

Tensor signed_axes(const Tensor& vectors, const std::optional<Tensor>& mean, const Tensor& signs,
                   const std::optional<Tensor>& choice, double corner) {
  check_matrices(vectors);
  check_signs(vectors, signs, choice);
  check_mean(vectors, mean);
  check_same_device(vectors, signs, "signs");
  if (mean) check_same_device(vectors, *mean, "mean");
  if (choice) check_same_device(vectors, *choice, "choice");
  const Here here(vectors);
  const Tensor v = dense(vectors), table = dense(signs), c = mean ? dense(*mean) : table;
  const std::optional<Tensor> chosen = dense_if(choice);
  const int32_t* which = chosen ? chosen->const_data_ptr<int32_t>() : nullptr;
  const int64_t clouds = v.size(0), rows = table.size(0), d = mean ? 4 : 3, each = matrices_each(signs, choice);
  Tensor out = torch::stable::new_empty(v, {clouds, each, d, d});
  for_dtype(v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SignedShape<T> shape{clouds, rows, each, table.const_data_ptr<T>(), which, mean.has_value(), T(corner)};
    PrincipalAxesOf<T>::signed_axes(shape, c.const_data_ptr<T>(), v.const_data_ptr<T>(), out.mutable_data_ptr<T>(),
                                    here.stream);
  });
  return out;
}

std::tuple<Tensor, Tensor> signed_axes_vjp(const Tensor& grad, const Tensor& signs, const std::optional<Tensor>& choice) {
  check_signs(grad, signs, choice);
  const int64_t each = matrices_each(signs, choice);
  const bool affine = is_affine(grad, each);
  check_same_device(grad, signs, "signs");
  if (choice) check_same_device(grad, *choice, "choice");
  const Here here(grad);
  const Tensor g = dense(grad), table = dense(signs);
  const std::optional<Tensor> chosen = dense_if(choice);
  const int32_t* which = chosen ? chosen->const_data_ptr<int32_t>() : nullptr;
  const int64_t clouds = g.size(0);
  Tensor vectors = torch::stable::new_empty(g, {clouds, 3, 3});
  Tensor mean = torch::stable::new_empty(g, {affine ? clouds : 0, 3});
  for_dtype(g, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SignedShape<T> shape{clouds, table.size(0), each, table.const_data_ptr<T>(), which, affine, T(0)};
    PrincipalAxesOf<T>::signed_axes_vjp(shape, g.const_data_ptr<T>(), mean.mutable_data_ptr<T>(),
                                        vectors.mutable_data_ptr<T>(), here.stream);
  });
  return {vectors, mean};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(EQUITOOLS_NAMESPACE, EQUITOOLS_KEY, m) {
  m.impl("eigh3", TORCH_BOX(&eigh3));
  m.impl("eigh3_vjp", TORCH_BOX(&eigh3_vjp));
  m.impl("principal_axes", TORCH_BOX(&axes));
  m.impl("principal_axes_vjp", TORCH_BOX(&axes_vjp));
  m.impl("signed_axes", TORCH_BOX(&signed_axes));
  m.impl("signed_axes_vjp", TORCH_BOX(&signed_axes_vjp));
}

}  // namespace gpu
}  // namespace equitools
