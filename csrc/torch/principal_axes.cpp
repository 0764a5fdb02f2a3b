#include "../cpu/principal_axes.h"

#include <optional>
#include <tuple>

#include "axes_checks.h"
#include "pages.h"

namespace equitools {
namespace {

std::optional<Tensor> dense_if(const std::optional<Tensor>& t) {
  return t ? std::optional<Tensor>(dense(*t)) : std::nullopt;
}

// Calls f(begin, end) for ranges of blocks, each of `lanes` rows of `numbers` numbers.
template <typename F>
void for_blocks(int64_t rows, int64_t lanes, int64_t numbers, const F& f) {
  const int64_t blocks = (rows + lanes - 1) / lanes, grain = 1 + 32768 / (lanes * (numbers + 16));
  torch::stable::parallel_for(0, blocks, grain, f);
}

std::tuple<Tensor, Tensor> eigh3(const Tensor& a) {
  check_matrices(a);
  const Tensor in = dense(a);
  const int64_t rows = in.size(0);
  Tensor values = torch::stable::new_empty(in, {rows, 3}), vectors = torch::stable::new_empty(in, {rows, 3, 3});
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto& kernels = principal_axes_of<T>();
    const T* p = in.const_data_ptr<T>();
    T *w = values.mutable_data_ptr<T>(), *v = vectors.mutable_data_ptr<T>();
    for_blocks(rows, kernels.lanes, 21,
               [&](int64_t begin, int64_t end) { kernels.eigh3(rows, p, w, v, begin, end); });
  });
  return {values, vectors};
}

Tensor eigh3_vjp(const Tensor& values, const Tensor& vectors, const Tensor& grad_values, const Tensor& grad_vectors) {
  check_eigen(values, vectors, grad_values, grad_vectors);
  const Tensor w = dense(values), v = dense(vectors), gw = dense(grad_values), gv = dense(grad_vectors);
  const int64_t rows = w.size(0);
  Tensor out = torch::stable::new_empty(w, {rows, 3, 3});
  for_dtype(w, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto& kernels = principal_axes_of<T>();
    const T *wp = w.const_data_ptr<T>(), *vp = v.const_data_ptr<T>();
    const T *gwp = gw.const_data_ptr<T>(), *gvp = gv.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    for_blocks(rows, kernels.lanes, 33,
               [&](int64_t begin, int64_t end) { kernels.eigh3_vjp(rows, wp, vp, gwp, gvp, o, begin, end); });
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> axes(const Tensor& points, const std::optional<Tensor>& mask, bool centred,
                                                double threshold, bool moments) {
  check_points(points, mask);
  const Tensor in = dense(points);
  const std::optional<Tensor> there = dense_if(mask);
  const CloudShape shape{in.size(0), in.size(1), centred, moments, threshold};
  Tensor mean = torch::stable::new_empty(in, {shape.clouds, 3}), values = torch::stable::new_empty(in, {shape.clouds, 3});
  Tensor vectors = torch::stable::new_empty(in, {shape.clouds, 3, 3});
  Tensor state = torch::stable::new_empty(in, {shape.clouds}, ScalarType::Int);
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto& kernels = principal_axes_of<T>();
    const T* p = in.const_data_ptr<T>();
    const uint8_t* m = bytes_of(there);
    const AxesOf<T> out{mean.mutable_data_ptr<T>(), values.mutable_data_ptr<T>(), vectors.mutable_data_ptr<T>(),
                        state.mutable_data_ptr<int32_t>()};
    for_blocks(shape.clouds, kernels.lanes, 3 * shape.points,
               [&](int64_t begin, int64_t end) { kernels.axes(shape, p, m, out, begin, end); });
  });
  return {mean, values, vectors, state};
}

Tensor axes_vjp(const Tensor& points, const std::optional<Tensor>& mask, const Tensor& mean, const Tensor& values,
                const Tensor& vectors, const Tensor& grad_mean, const Tensor& grad_values, const Tensor& grad_vectors,
                bool centred) {
  check_points(points, mask);
  check_axes(points, mean, values, vectors);
  check_axes(points, grad_mean, grad_values, grad_vectors);
  const Tensor in = dense(points), c = dense(mean), w = dense(values), v = dense(vectors);
  const Tensor gc = dense(grad_mean), gw = dense(grad_values), gv = dense(grad_vectors);
  const std::optional<Tensor> there = dense_if(mask);
  const CloudShape shape{in.size(0), in.size(1), centred, false, 0};
  Tensor out = torch::stable::new_empty(in, {shape.clouds, shape.points, 3});
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto& kernels = principal_axes_of<T>();
    const T* p = in.const_data_ptr<T>();
    const uint8_t* m = bytes_of(there);
    const AxesOf<const T> axes{c.const_data_ptr<T>(), w.const_data_ptr<T>(), v.const_data_ptr<T>(), nullptr};
    const AxesOf<const T> grad{gc.const_data_ptr<T>(), gw.const_data_ptr<T>(), gv.const_data_ptr<T>(), nullptr};
    T* o = out.mutable_data_ptr<T>();
    on_large_pages(o, out.numel());
    for_blocks(shape.clouds, kernels.lanes, 6 * shape.points,
               [&](int64_t begin, int64_t end) { kernels.axes_vjp(shape, p, m, axes, grad, o, begin, end); });
  });
  return out;
}

Tensor signed_axes(const Tensor& vectors, const std::optional<Tensor>& mean, const Tensor& signs,
                   const std::optional<Tensor>& choice, double corner) {
  check_matrices(vectors);
  check_signs(vectors, signs, choice);
  check_mean(vectors, mean);
  const Tensor v = dense(vectors), table = dense(signs), c = mean ? dense(*mean) : table;
  const std::optional<Tensor> chosen = dense_if(choice);
  const int32_t* which = chosen ? chosen->const_data_ptr<int32_t>() : nullptr;
  const int64_t clouds = v.size(0), rows = table.size(0), d = mean ? 4 : 3, each = matrices_each(signs, choice);
  check_choice(which, clouds * each, rows);
  Tensor out = torch::stable::new_empty(v, {clouds, each, d, d});
  for_dtype(v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SignedShape<T> shape{clouds, rows, each, table.const_data_ptr<T>(), which, mean.has_value(), T(corner)};
    const auto& kernels = principal_axes_of<T>();
    const T *vp = v.const_data_ptr<T>(), *cp = c.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    on_large_pages(o, out.numel());
    torch::stable::parallel_for(0, clouds, 1 + 32768 / (9 + d * d * shape.each), [&](int64_t begin, int64_t end) {
      kernels.signed_axes(shape, cp, vp, o, begin, end);
    });
  });
  return out;
}

std::tuple<Tensor, Tensor> signed_axes_vjp(const Tensor& grad, const Tensor& signs, const std::optional<Tensor>& choice) {
  check_signs(grad, signs, choice);
  const int64_t each = matrices_each(signs, choice);
  const bool affine = is_affine(grad, each);
  const Tensor g = dense(grad), table = dense(signs);
  const std::optional<Tensor> chosen = dense_if(choice);
  const int32_t* which = chosen ? chosen->const_data_ptr<int32_t>() : nullptr;
  const int64_t clouds = g.size(0), rows = table.size(0);
  check_choice(which, clouds * each, rows);
  Tensor vectors = torch::stable::new_empty(g, {clouds, 3, 3});
  Tensor mean = torch::stable::new_empty(g, {affine ? clouds : 0, 3});
  for_dtype(g, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SignedShape<T> shape{clouds, rows, each, table.const_data_ptr<T>(), which, affine, T(0)};
    const auto& kernels = principal_axes_of<T>();
    const T* gp = g.const_data_ptr<T>();
    T *v = vectors.mutable_data_ptr<T>(), *m = mean.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, clouds, 1 + 32768 / (9 + 16 * shape.each), [&](int64_t begin, int64_t end) {
      kernels.signed_axes_vjp(shape, gp, m, v, begin, end);
    });
  });
  return {vectors, mean};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("eigh3(Tensor a) -> (Tensor, Tensor)");
  m.def("eigh3_vjp(Tensor values, Tensor vectors, Tensor grad_values, Tensor grad_vectors) -> Tensor");
  m.def(
      "principal_axes(Tensor points, Tensor? mask, bool centred, float threshold, bool moments) -> (Tensor, Tensor, "
      "Tensor, Tensor)");
  m.def(
      "principal_axes_vjp(Tensor points, Tensor? mask, Tensor mean, Tensor values, Tensor vectors, Tensor grad_mean, "
      "Tensor grad_values, Tensor grad_vectors, bool centred) -> Tensor");
  m.def("signed_axes(Tensor vectors, Tensor? mean, Tensor signs, Tensor? choice, float corner) -> Tensor");
  m.def("signed_axes_vjp(Tensor grad, Tensor signs, Tensor? choice) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("eigh3", TORCH_BOX(&eigh3));
  m.impl("eigh3_vjp", TORCH_BOX(&eigh3_vjp));
  m.impl("principal_axes", TORCH_BOX(&axes));
  m.impl("principal_axes_vjp", TORCH_BOX(&axes_vjp));
  m.impl("signed_axes", TORCH_BOX(&signed_axes));
  m.impl("signed_axes_vjp", TORCH_BOX(&signed_axes_vjp));
}

}  // namespace equitools
