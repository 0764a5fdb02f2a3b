#include <cstring>
#include <memory>
#include <tuple>

#include "../cpu/kernels.h"
#include "common.h"
#include "segments.h"

namespace equitools {
namespace {

void check(const Tensor& values, const Tensor& receiver, int64_t num_segments) {
  check_floating(values, "values");
  STD_TORCH_CHECK(values.dim() == 2, "values must have shape [E, width]");
  STD_TORCH_CHECK(receiver.dim() == 1 && receiver.scalar_type() == ScalarType::Long, "receiver must be int64 [E]");
  STD_TORCH_CHECK(values.size(0) == receiver.size(0), "values and receiver must have the same length");
  STD_TORCH_CHECK(num_segments >= 0, "num_segments must not be negative");
}

int64_t grain(int64_t E, int64_t N, int64_t width) {
  const int64_t work = 1 + (E + N) * width / (N > 0 ? N : 1);
  return 1 + 32768 / work;
}

Tensor sum(const Tensor& values, const Tensor& receiver, int64_t num_segments) {
  check(values, receiver, num_segments);
  const Tensor v = dense(values), r = dense(receiver);
  const int64_t E = v.size(0), width = v.size(1), N = num_segments;
  const Segments s = make_segments(r.const_data_ptr<int64_t>(), E, N);
  Tensor out = torch::stable::new_empty(v, {N, width});
  for_dtype(v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* in = v.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, N, grain(E, N, width), [&](int64_t begin, int64_t end) {
      kernels_of<T>().segment_sum(in, s.order.get(), s.first.get(), width, o, begin, end);
    });
  });
  return out;
}

std::tuple<Tensor, Tensor> max(const Tensor& values, const Tensor& receiver, int64_t num_segments) {
  check(values, receiver, num_segments);
  const Tensor v = dense(values), r = dense(receiver);
  const int64_t E = v.size(0), width = v.size(1), N = num_segments;
  const Segments s = make_segments(r.const_data_ptr<int64_t>(), E, N);
  Tensor out = torch::stable::new_empty(v, {N, width});
  Tensor where = torch::stable::new_empty(r, {N, width});
  int64_t* w = where.mutable_data_ptr<int64_t>();
  for_dtype(v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* in = v.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, N, grain(E, N, width), [&](int64_t begin, int64_t end) {
      kernels_of<T>().segment_max(in, s.order.get(), s.first.get(), width, o, w, begin, end);
    });
  });
  return {out, where};
}

Tensor softmax(const Tensor& values, const Tensor& receiver, int64_t num_segments) {
  check(values, receiver, num_segments);
  const Tensor v = dense(values), r = dense(receiver);
  const int64_t E = v.size(0), width = v.size(1), N = num_segments;
  const Segments s = make_segments(r.const_data_ptr<int64_t>(), E, N);
  Tensor out = torch::stable::new_empty(v, {E, width});
  for_dtype(v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* in = v.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, N, grain(4 * E, N, width), [&](int64_t begin, int64_t end) {
      std::vector<T> scratch(2 * width);
      kernels_of<T>().segment_softmax(in, s.order.get(), s.first.get(), width, o, scratch.data(), begin, end);
    });
  });
  return out;
}

Tensor softmax_vjp(const Tensor& out, const Tensor& grad, const Tensor& receiver, int64_t num_segments) {
  check(out, receiver, num_segments);
  check_same_dtype(out, grad, "out and grad");
  STD_TORCH_CHECK(grad.dim() == 2 && grad.size(0) == out.size(0) && grad.size(1) == out.size(1),
                  "grad must have the shape of out");
  const Tensor v = dense(out), g = dense(grad), r = dense(receiver);
  const int64_t E = v.size(0), width = v.size(1), N = num_segments;
  const Segments s = make_segments(r.const_data_ptr<int64_t>(), E, N);
  Tensor gradient = torch::stable::new_empty(v, {E, width});
  for_dtype(v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* in = v.const_data_ptr<T>();
    const T* gp = g.const_data_ptr<T>();
    T* o = gradient.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, N, grain(2 * E, N, width), [&](int64_t begin, int64_t end) {
      std::vector<T> scratch(width);
      kernels_of<T>().segment_softmax_vjp(in, gp, s.order.get(), s.first.get(), width, o, scratch.data(), begin, end);
    });
  });
  return gradient;
}

Tensor gather(const Tensor& values, const Tensor& receiver) {
  check_floating(values, "values");
  STD_TORCH_CHECK(values.dim() == 2, "values must have shape [N, width]");
  STD_TORCH_CHECK(receiver.dim() == 1 && receiver.scalar_type() == ScalarType::Long, "receiver must be int64 [E]");
  const Tensor v = dense(values), index = dense(receiver);
  const int64_t E = index.size(0), N = v.size(0), width = v.size(1);
  const int64_t* r = index.const_data_ptr<int64_t>();
  check_indices(r, E, N);
  Tensor out = torch::stable::new_empty(v, {E, width});
  for_dtype(v, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T* in = v.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, E, 1 + 32768 / (width + 1), [&](int64_t begin, int64_t end) {
      if (width > 0)
        for (int64_t e = begin; e < end; ++e) std::memcpy(o + e * width, in + r[e] * width, width * sizeof(T));
    });
  });
  return out;
}

int64_t capability() { return cpu_capability(); }

}  // namespace

STABLE_TORCH_LIBRARY(equitools, m) {
  m.def("segment_sum(Tensor values, Tensor receiver, SymInt num_segments) -> Tensor");
  m.def("segment_max(Tensor values, Tensor receiver, SymInt num_segments) -> (Tensor, Tensor)");
  m.def("segment_softmax(Tensor values, Tensor receiver, SymInt num_segments) -> Tensor");
  m.def("segment_softmax_vjp(Tensor out, Tensor grad, Tensor receiver, SymInt num_segments) -> Tensor");
  m.def("segment_gather(Tensor values, Tensor receiver) -> Tensor");
  m.def("cpu_capability() -> int");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("segment_sum", TORCH_BOX(&sum));
  m.impl("segment_max", TORCH_BOX(&max));
  m.impl("segment_softmax", TORCH_BOX(&softmax));
  m.impl("segment_softmax_vjp", TORCH_BOX(&softmax_vjp));
  m.impl("segment_gather", TORCH_BOX(&gather));
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CompositeExplicitAutograd, m) {
  m.impl("cpu_capability", TORCH_BOX(&capability));
}

}  // namespace equitools
