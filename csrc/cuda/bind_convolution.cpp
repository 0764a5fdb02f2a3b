#include <atomic>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <tuple>

#include "bindings.h"
#include "convolution.h"
#include "convolution_tables.h"
#include "table_cache.h"

namespace equitools {
namespace gpu {
namespace {

// Whether the gradient of x is added up atomically: faster, perhaps, and not the same in every run.
std::atomic<bool>& atomics() {
  static std::atomic<bool> choice{[] {
    const char* setting = std::getenv("EQUITOOLS_CUDA_ATOMICS");
    return setting && std::strcmp(setting, "1") == 0;
  }()};
  return choice;
}

// -1 asks, 0 and 1 choose; returns the choice.
int64_t cuda_atomics(int64_t choice) {
  STD_TORCH_CHECK(-1 <= choice && choice <= 1, "cuda_atomics takes -1 (ask), 0 or 1");
  if (choice >= 0) atomics() = choice == 1;
  return atomics();
}

Tensor on_host(const Tensor& t) {
  return dense(t.is_cuda() ? torch::stable::to(t, torch::stable::Device(torch::headeronly::DeviceType::CPU)) : t);
}

void check_matrix(const Tensor& t, const Tensor& like, int64_t rows, int64_t width, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == like.scalar_type(), name, " must have the dtype of x");
  check_same_device(like, t, name);
  STD_TORCH_CHECK(t.dim() == 2 && t.size(0) == rows && t.size(1) == width, name, " must be [", rows, ", ", width, "]");
}

int64_t columns(const Tensor& t) { return t.dim() == 2 ? t.size(1) : -1; }

Tensor empty_like(const Tensor& t, bool wanted, bool zeros = false) {
  if (!wanted) return torch::stable::new_empty(t, {0});
  return zeros ? torch::stable::new_zeros(t, {t.size(0), t.size(1)})
               : torch::stable::new_empty(t, {t.size(0), t.size(1)});
}

// Everything that a call is about.
class Call {
 public:
  Call(const Tensor& x_, const Tensor& y_, const Tensor& edge_index, int64_t num_nodes, int64_t dim_out,
       int64_t weights, const Tensor& paths, const Tensor& pairs, const Tensor& entries, const Tensor& coupling)
      : here(x_), x(dense(x_)), y(dense(y_)), index_(dense(edge_index)), coupling_(dense(coupling)), N(num_nodes) {
    check_floating(x, "x");
    STD_TORCH_CHECK(x.dim() == 2, "x must be [N, components]");
    STD_TORCH_CHECK(y.dim() == 2, "edge_attr must be [E, components]");
    STD_TORCH_CHECK(index_.dim() == 2 && index_.size(0) == 2 && index_.scalar_type() == ScalarType::Long,
                    "edge_index must be int64 [2, E]");
    STD_TORCH_CHECK(N >= 0, "num_nodes must not be negative");
    STD_TORCH_CHECK(dim_out >= 0 && weights >= 0, "weight must be a matrix, and dim_out must not be negative");
    check_same_device(x, index_, "edge_index");
    E = index_.size(1);
    check_matrix(y, x, E, y.size(1), "edge_attr");
    STD_TORCH_CHECK(paths.dim() == 2 && paths.size(1) == kPathColumns && paths.scalar_type() == ScalarType::Long,
                    "paths must be int64 [P, 11]");
    STD_TORCH_CHECK(pairs.dim() == 2 && pairs.size(1) == 3 && pairs.scalar_type() == ScalarType::Long,
                    "pairs must be int64 [pairs, 3]");
    STD_TORCH_CHECK(entries.dim() == 1 && entries.scalar_type() == ScalarType::Long, "entries must be int64 [n]");
    STD_TORCH_CHECK(coupling_.dim() == 1 && coupling_.size(0) == entries.size(0) &&
                        coupling_.scalar_type() == x.scalar_type(),
                    "coupling must have one number for each entry, in the dtype of x");
    const Tensor pt = on_host(paths), qt = on_host(pairs), et = on_host(entries);
    packed_ = pack_tables({pt.const_data_ptr<int64_t>(), qt.const_data_ptr<int64_t>(), et.const_data_ptr<int64_t>(),
                           pt.size(0), qt.size(0), et.size(0), x.size(1), y.size(1), dim_out, weights});
    tables = packed_.at(
        static_cast<const unsigned char*>(on_device(here, x, packed_.bytes.data(), packed_.bytes.size())));
    const int64_t* sender = index_.const_data_ptr<int64_t>();
    edges_.emplace(here, index_, sender + E, sender, E, N, x.size(0),
                   "edge_index holds a sender or a receiver outside its range");
  }

  template <typename T>
  Arrays<T> arrays(const Tensor& w) const {
    Arrays<T> d{};
    if (coupling_.is_cuda())
      d.coupling = coupling_.const_data_ptr<T>();
    else
      d.coupling = static_cast<const T*>(
          on_device(here, x, coupling_.const_data_ptr<T>(), size_t(coupling_.numel()) * sizeof(T)));
    d.x = x.const_data_ptr<T>();
    d.y = y.const_data_ptr<T>();
    d.w = w.const_data_ptr<T>();
    return d;
  }

  EdgesOf edges() const { return {edges_->outside(), edges_->by_receiver(), edges_->receiver(), edges_->sender(), E, N}; }

  Tensor new_out(int64_t dim_out) const {
    const bool whole = packed_.covers_out;
    return whole ? torch::stable::new_empty(x, {N, dim_out}) : torch::stable::new_zeros(x, {N, dim_out});
  }

  // Of w or what is shaped like it.
  Tensor new_weights(const Tensor& w, bool wanted) const { return empty_like(w, wanted, !packed_.covers_weights); }

  // Runs a backward kernel, with the gradients of x and of y brought together. dx, dy: null, or where they go.
  template <typename T>
  void backward(Arrays<T> d, bool second, const Tensor* dx, const Tensor* dy) {
    const int parts = ConvolutionOf<T>::channel_parts(tables);
    Tensor per_edge = torch::stable::new_empty(x, {0}), per_part = per_edge;
    const bool atomic = atomics();
    if (dx && atomic) {
      d.dx = dx->mutable_data_ptr<T>();
      clear_tensor(*dx);
    } else if (dx) {
      per_edge = packed_.covers_x ? torch::stable::new_empty(x, {E, tables.dim1})
                                  : torch::stable::new_zeros(x, {E, tables.dim1});
      d.dx_edges = per_edge.mutable_data_ptr<T>();
    }
    if (dy && parts == 1) {
      d.dy = dy->mutable_data_ptr<T>();
    } else if (dy && parts > 1) {
      per_part = torch::stable::new_empty(x, {parts, E, tables.dim2});
      d.dy = per_part.mutable_data_ptr<T>();
    } else if (dy) {
      clear_tensor(*dy);  // no path, so that no kernel writes it
    }
    ConvolutionOf<T>::backward(tables, d, edges(), second, here.stream);
    if (dy && parts > 1)
      ConvolutionOf<T>::add_parts(per_part.const_data_ptr<T>(), parts, E * tables.dim2, dy->mutable_data_ptr<T>(),
                                  here.stream);
    if (dx && !atomic) add_by_sender(per_edge.const_data_ptr<T>(), dx->mutable_data_ptr<T>());
    if (dx) finish<T>(*dx);
    if (dy) finish<T>(*dy);
  }

  template <typename T>
  void finish(const Tensor& result) const {
    edges_->finish<T>(here, result);
  }

  Here here;
  Tensor x, y;
  int64_t E = 0;
  Tables tables;

 private:
  template <typename T>
  void add_by_sender(const T* per_edge, T* dx);
  static void clear_tensor(Tensor t) { torch::stable::zero_(t); }

  Tensor index_, coupling_;
  PackedTables packed_;
  std::optional<Edges> edges_;

 public:
  int64_t N;
};

}  // namespace
}  // namespace gpu
}  // namespace equitools

#include "segment.h"

namespace equitools {
namespace gpu {
namespace {

template <typename T>
void Call::add_by_sender(const T* per_edge, T* dx) {
  SegmentOf<T>::sum(per_edge, edges_->by_sender(here), edges_->outside(), x.size(0), tables.dim1, dx, here.stream);
}

// ---- weights in memory ---------------------------------------------------------------------------------------------

Tensor forward(const Tensor& x, const Tensor& y, const Tensor& w_, const Tensor& edge_index, int64_t num_nodes,
               int64_t dim_out, const Tensor& paths, const Tensor& pairs, const Tensor& entries,
               const Tensor& coupling) {
  Call call(x, y, edge_index, num_nodes, dim_out, columns(w_), paths, pairs, entries, coupling);
  check_matrix(w_, call.x, call.E, call.tables.weights, "weight");
  const Tensor w = dense(w_), out = call.new_out(dim_out);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    Arrays<T> d = call.arrays<T>(w);
    d.out = out.mutable_data_ptr<T>();
    ConvolutionOf<T>::forward(call.tables, d, call.edges(), false, call.here.stream);
    call.finish<T>(out);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& g_, const Tensor& x, const Tensor& y, const Tensor& w_,
                                            const Tensor& edge_index, const Tensor& paths, const Tensor& pairs,
                                            const Tensor& entries, const Tensor& coupling, bool need_x, bool need_y,
                                            bool need_w) {
  STD_TORCH_CHECK(g_.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g_.size(0), g_.size(1), columns(w_), paths, pairs, entries, coupling);
  check_matrix(w_, call.x, call.E, call.tables.weights, "weight");
  check_matrix(g_, call.x, g_.size(0), g_.size(1), "grad");
  const Tensor g = dense(g_), w = dense(w_);
  const Tensor dx = empty_like(call.x, need_x), dy = empty_like(call.y, need_y), dw = call.new_weights(w, need_w);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    Arrays<T> d = call.arrays<T>(w);
    d.g = g.const_data_ptr<T>();
    if (need_w) d.dw = dw.mutable_data_ptr<T>();
    call.backward<T>(d, false, need_x ? &dx : nullptr, need_y ? &dy : nullptr);
    if (need_w) call.finish<T>(dw);
  });
  return {dx, dy, dw};
}

// The double backward's gradients of g, x, y, w; and of w at first order where that is wanted.
struct Second {
  Tensor dg, dx, dy, dw, dw1;
};

Second second_order(Call& call, const Tensor& g_, const Tensor& a_, const Tensor& b_, const Tensor& c, const Tensor& w,
                    bool first_too) {
  check_matrix(g_, call.x, call.N, call.tables.dim3, "grad");
  check_matrix(a_, call.x, call.x.size(0), call.x.size(1), "cotangent of x");
  check_matrix(b_, call.x, call.E, call.y.size(1), "cotangent of edge_attr");
  const Tensor g = dense(g_), a = dense(a_), b = dense(b_);
  Second s{call.new_out(call.tables.dim3), empty_like(call.x, true), empty_like(call.y, true),
           call.new_weights(w, true), call.new_weights(w, first_too)};
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    Arrays<T> d = call.arrays<T>(w);
    d.g = g.const_data_ptr<T>();
    d.a = a.const_data_ptr<T>();
    d.b = b.const_data_ptr<T>();
    d.c = c.const_data_ptr<T>();
    d.out = s.dg.mutable_data_ptr<T>();
    d.dw = s.dw.mutable_data_ptr<T>();
    if (first_too) d.dw1 = s.dw1.mutable_data_ptr<T>();
    ConvolutionOf<T>::forward(call.tables, d, call.edges(), true, call.here.stream);
    call.backward<T>(d, true, &s.dx, &s.dy);
    call.finish<T>(s.dg);
    call.finish<T>(s.dw);
    if (first_too) call.finish<T>(s.dw1);
  });
  return s;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> double_backward(const Tensor& a, const Tensor& b, const Tensor& c,
                                                           const Tensor& g, const Tensor& x, const Tensor& y,
                                                           const Tensor& w_, const Tensor& edge_index,
                                                           const Tensor& paths, const Tensor& pairs,
                                                           const Tensor& entries, const Tensor& coupling) {
  STD_TORCH_CHECK(g.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g.size(0), g.size(1), columns(w_), paths, pairs, entries, coupling);
  check_matrix(w_, call.x, call.E, call.tables.weights, "weight");
  check_matrix(c, call.x, call.E, call.tables.weights, "cotangent of weight");
  const Second s = second_order(call, g, a, b, dense(c), dense(w_), false);
  return {s.dg, s.dx, s.dy, s.dw};
}

// ---- weights made from a hidden layer ------------------------------------------------------------------------------
// A first form: the weights of all edges are made by torch's product of matrices and are in memory for the call.

Tensor product(const Tensor& a, const Tensor& b) { return torch::stable::matmul(a, b); }
Tensor transposed(const Tensor& t) { return torch::stable::transpose(t, 0, 1); }

Tensor plus(const Tensor& a, const Tensor& b) { return torch::stable::subtract(a, b, -1.0); }

void check_radial(const Call& call, const Tensor& h, const Tensor& v) {
  STD_TORCH_CHECK(h.dim() == 2, "hidden must be [E, K]");
  check_matrix(h, call.x, call.E, h.size(1), "hidden");
  check_matrix(v, call.x, h.size(1), call.tables.weights, "weight");
}

Tensor radial_forward(const Tensor& x, const Tensor& y, const Tensor& h, const Tensor& v, const Tensor& edge_index,
                      int64_t num_nodes, int64_t dim_out, const Tensor& paths, const Tensor& pairs,
                      const Tensor& entries, const Tensor& coupling) {
  Call call(x, y, edge_index, num_nodes, dim_out, columns(v), paths, pairs, entries, coupling);
  check_radial(call, h, v);
  const Tensor w = dense(product(h, v)), out = call.new_out(dim_out);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    Arrays<T> d = call.arrays<T>(w);
    d.out = out.mutable_data_ptr<T>();
    ConvolutionOf<T>::forward(call.tables, d, call.edges(), false, call.here.stream);
    call.finish<T>(out);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> radial_backward(const Tensor& g_, const Tensor& x, const Tensor& y,
                                                           const Tensor& h, const Tensor& v, const Tensor& edge_index,
                                                           const Tensor& paths, const Tensor& pairs,
                                                           const Tensor& entries, const Tensor& coupling, bool need_x,
                                                           bool need_y, bool need_h, bool need_v) {
  STD_TORCH_CHECK(g_.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g_.size(0), g_.size(1), columns(v), paths, pairs, entries, coupling);
  check_radial(call, h, v);
  check_matrix(g_, call.x, g_.size(0), g_.size(1), "grad");
  const Tensor g = dense(g_), w = dense(product(h, v));
  const bool need_w = need_h || need_v;
  const Tensor dx = empty_like(call.x, need_x), dy = empty_like(call.y, need_y), dw = call.new_weights(w, need_w);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    Arrays<T> d = call.arrays<T>(w);
    d.g = g.const_data_ptr<T>();
    if (need_w) d.dw = dw.mutable_data_ptr<T>();
    call.backward<T>(d, false, need_x ? &dx : nullptr, need_y ? &dy : nullptr);
    if (need_w) call.finish<T>(dw);
  });
  return {dx, dy, need_h ? product(dw, transposed(v)) : empty_like(call.x, false),
          need_v ? product(transposed(h), dw) : empty_like(call.x, false)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> radial_double_backward(
    const Tensor& a, const Tensor& b, const Tensor& ch, const std::optional<Tensor>& cv, const Tensor& g,
    const Tensor& x, const Tensor& y, const Tensor& h, const Tensor& v, const Tensor& edge_index, const Tensor& paths,
    const Tensor& pairs, const Tensor& entries, const Tensor& coupling, bool need_v) {
  STD_TORCH_CHECK(g.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g.size(0), g.size(1), columns(v), paths, pairs, entries, coupling);
  check_radial(call, h, v);
  check_matrix(ch, call.x, call.E, h.size(1), "cotangent of hidden");
  if (cv) check_matrix(*cv, call.x, v.size(0), v.size(1), "cotangent of weight");
  const Tensor w = dense(product(h, v));
  Tensor c = product(ch, v);
  if (cv) c = plus(c, product(h, *cv));
  const Second s = second_order(call, g, a, b, dense(c), w, true);
  Tensor dh = product(s.dw, transposed(v)), dv = empty_like(call.x, false);
  if (cv) dh = plus(dh, product(s.dw1, transposed(*cv)));
  if (need_v) dv = plus(product(transposed(h), s.dw), product(transposed(ch), s.dw1));
  return {s.dg, s.dx, s.dy, dh, dv};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(EQUITOOLS_NAMESPACE, m) { m.def("cuda_atomics(int choice) -> int"); }

STABLE_TORCH_LIBRARY_IMPL(EQUITOOLS_NAMESPACE, CompositeExplicitAutograd, m) {
  m.impl("cuda_atomics", TORCH_BOX(&cuda_atomics));
}

STABLE_TORCH_LIBRARY_IMPL(EQUITOOLS_NAMESPACE, EQUITOOLS_KEY, m) {
  m.impl("tensor_product_conv", TORCH_BOX(&forward));
  m.impl("tensor_product_conv_backward", TORCH_BOX(&backward));
  m.impl("tensor_product_conv_double_backward", TORCH_BOX(&double_backward));
  m.impl("radial_tensor_product_conv", TORCH_BOX(&radial_forward));
  m.impl("radial_tensor_product_conv_backward", TORCH_BOX(&radial_backward));
  m.impl("radial_tensor_product_conv_double_backward", TORCH_BOX(&radial_double_backward));
}

}  // namespace gpu
}  // namespace equitools
