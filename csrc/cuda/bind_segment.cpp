#include <tuple>

#include "bindings.h"
#include "segment.h"

namespace equitools {
namespace gpu {
namespace {

// values [E, width] and receiver [E], checked, dense, with the order of the edges.
struct Call {
  Here here;
  Tensor v, r;
  int64_t E, width, N;
  Edges edges;

  Call(const Tensor& values, const Tensor& receiver, int64_t num_segments)
      : here(checked(values, receiver, num_segments)),
        v(dense(values)),
        r(dense(receiver)),
        E(v.size(0)),
        width(v.size(1)),
        N(num_segments),
        edges(here, r, r.const_data_ptr<int64_t>(), nullptr, E, N, -1,
              "receiver holds an index outside 0 to num_segments - 1") {}

  static const Tensor& checked(const Tensor& values, const Tensor& receiver, int64_t num_segments) {
    check_floating(values, "values");
    STD_TORCH_CHECK(values.dim() == 2, "values must have shape [E, width]");
    STD_TORCH_CHECK(receiver.dim() == 1 && receiver.scalar_type() == ScalarType::Long, "receiver must be int64 [E]");
    STD_TORCH_CHECK(values.size(0) == receiver.size(0), "values and receiver must have the same length");
    STD_TORCH_CHECK(num_segments >= 0, "num_segments must not be negative");
    check_same_device(values, receiver, "receiver");
    return values;
  }
};

Tensor sum(const Tensor& values, const Tensor& receiver, int64_t num_segments) {
  Call c(values, receiver, num_segments);
  Tensor out = torch::stable::new_empty(c.v, {c.N, c.width});
  for_dtype(c.v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    SegmentOf<T>::sum(c.v.const_data_ptr<T>(), c.edges.by_receiver(), c.edges.outside(), c.N, c.width,
                      out.mutable_data_ptr<T>(), c.here.stream);
    c.edges.finish<T>(c.here, out);
  });
  return out;
}

std::tuple<Tensor, Tensor> max(const Tensor& values, const Tensor& receiver, int64_t num_segments) {
  Call c(values, receiver, num_segments);
  Tensor out = torch::stable::new_empty(c.v, {c.N, c.width});
  Tensor where = torch::stable::new_empty(c.r, {c.N, c.width});
  for_dtype(c.v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    SegmentOf<T>::max(c.v.const_data_ptr<T>(), c.edges.by_receiver(), c.edges.outside(), c.N, c.width,
                      out.mutable_data_ptr<T>(), where.mutable_data_ptr<int64_t>(), c.here.stream);
    c.edges.finish<T>(c.here, out);
  });
  return {out, where};
}

Tensor softmax(const Tensor& values, const Tensor& receiver, int64_t num_segments) {
  Call c(values, receiver, num_segments);
  Tensor out = torch::stable::new_empty(c.v, {c.E, c.width});
  for_dtype(c.v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    SegmentOf<T>::softmax(c.v.const_data_ptr<T>(), c.edges.by_receiver(), c.edges.outside(), c.N, c.width,
                          out.mutable_data_ptr<T>(), c.here.stream);
    c.edges.finish<T>(c.here, out);
  });
  return out;
}

Tensor softmax_vjp(const Tensor& out, const Tensor& grad, const Tensor& receiver, int64_t num_segments) {
  Call c(out, receiver, num_segments);
  check_same_dtype(out, grad, "out and grad");
  check_same_device(out, grad, "grad");
  STD_TORCH_CHECK(grad.dim() == 2 && grad.size(0) == c.E && grad.size(1) == c.width, "grad must have the shape of out");
  const Tensor g = dense(grad);
  Tensor gradient = torch::stable::new_empty(c.v, {c.E, c.width});
  for_dtype(c.v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    SegmentOf<T>::softmax_vjp(c.v.const_data_ptr<T>(), g.const_data_ptr<T>(), c.edges.by_receiver(),
                              c.edges.outside(), c.N, c.width, gradient.mutable_data_ptr<T>(), c.here.stream);
    c.edges.finish<T>(c.here, gradient);
  });
  return gradient;
}

Tensor gather(const Tensor& values, const Tensor& receiver) {
  check_floating(values, "values");
  STD_TORCH_CHECK(values.dim() == 2, "values must have shape [N, width]");
  STD_TORCH_CHECK(receiver.dim() == 1 && receiver.scalar_type() == ScalarType::Long, "receiver must be int64 [E]");
  check_same_device(values, receiver, "receiver");
  const Here here(values);
  const Tensor v = dense(values), r = dense(receiver);
  const int64_t E = r.size(0), width = v.size(1);
  const Range range(here, r, v.size(0), "receiver holds an index outside 0 to num_segments - 1");
  Tensor out = torch::stable::new_empty(v, {E, width});
  for_dtype(v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    SegmentOf<T>::gather(v.const_data_ptr<T>(), r.const_data_ptr<int64_t>(), range.outside(), E, width,
                         out.mutable_data_ptr<T>(), here.stream);
    range.finish<T>(here, out);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(EQUITOOLS_NAMESPACE, EQUITOOLS_KEY, m) {
  m.impl("segment_sum", TORCH_BOX(&sum));
  m.impl("segment_max", TORCH_BOX(&max));
  m.impl("segment_softmax", TORCH_BOX(&softmax));
  m.impl("segment_softmax_vjp", TORCH_BOX(&softmax_vjp));
  m.impl("segment_gather", TORCH_BOX(&gather));
}

}  // namespace gpu
}  // namespace equitools
