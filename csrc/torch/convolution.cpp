#include <algorithm>
#include <cstdlib>
#include <optional>
#include <tuple>

#include "../core/coupling_columns.h"
#include "../cpu/convolution.h"
#include "common.h"
#include "functions.h"
#include "pages.h"
#include "segments.h"

namespace equitools {
namespace {

constexpr int64_t kPathColumns = 11;  // l1 l2 l3 channels offset1 stride1 offset3 stride3 weight pairs add

// Whether orders * stride + channels numbers from offset on lie in a row of dim; no sum overflows.
bool inside(int64_t offset, int64_t stride, int64_t degree, int64_t channels, int64_t dim) {
  return 0 <= offset && offset <= dim && 0 <= stride && stride <= dim && channels <= dim &&
         offset + 2 * degree * stride + channels <= dim;
}

// Marks the columns of a block; whether all of them were marked before, or (add false) none.
bool mark(std::vector<char>& columns, int64_t offset, int64_t stride, int64_t degree, int64_t channels, bool add) {
  for (int64_t m = 0; m <= 2 * degree; ++m)
    for (int64_t u = 0; u < channels; ++u) {
      char& c = columns[offset + m * stride + u];
      if (bool(c) != add) return false;
      c = 1;
    }
  return true;
}

bool all(const std::vector<char>& columns) {
  return std::find(columns.begin(), columns.end(), char(0)) == columns.end();
}

// The tables of a plan (equitools/ops/conv_tables.py), checked: a wrong table is an error and never a crash.
struct Tables {
  std::vector<ConvPath> paths;
  std::vector<int32_t> m1, m3, entry_begin, entry_m2;
  ConvPlan plan;

  Tables(const Tensor& path_table, const Tensor& pair_table, const Tensor& entries, int64_t dim1, int64_t dim2,
         int64_t dim3, int64_t weights) {
    STD_TORCH_CHECK(path_table.dim() == 2 && path_table.size(1) == kPathColumns &&
                        path_table.scalar_type() == ScalarType::Long,
                    "paths must be int64 [P, 11]");
    STD_TORCH_CHECK(pair_table.dim() == 2 && pair_table.size(1) == 3 && pair_table.scalar_type() == ScalarType::Long,
                    "pairs must be int64 [pairs, 3]");
    STD_TORCH_CHECK(entries.dim() == 1 && entries.scalar_type() == ScalarType::Long, "entries must be int64 [n]");
    const Tensor pt = dense(path_table), qt = dense(pair_table), et = dense(entries);
    const int64_t* q = qt.const_data_ptr<int64_t>();
    const int64_t total = et.size(0);
    STD_TORCH_CHECK(std::max(total, qt.size(0)) <= INT32_MAX, "too many entries");
    entry_begin.push_back(0);
    for (int64_t k = 0; k < qt.size(0); ++k, q += 3) {
      STD_TORCH_CHECK(std::min(q[0], q[1]) >= 0 && std::max(q[0], q[1]) < kMaxOrders, "malformed pair");
      STD_TORCH_CHECK(0 <= q[2] && q[2] <= total - entry_begin.back(), "the pairs count more than the ", total,
                      " entries");
      m1.push_back(int32_t(q[0]));
      m3.push_back(int32_t(q[1]));
      entry_begin.push_back(entry_begin.back() + int32_t(q[2]));
    }
    STD_TORCH_CHECK(entry_begin.back() == total, "the pairs count ", entry_begin.back(), " entries of ", total);
    const int64_t* m2 = et.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < et.size(0); ++i) {
      STD_TORCH_CHECK(0 <= m2[i] && m2[i] < dim2, "an entry names a component that the edge attributes do not have");
      entry_m2.push_back(int32_t(m2[i]));
    }
    const int64_t* r = pt.const_data_ptr<int64_t>();
    int pair = 0;
    int64_t packed = 0, widest = 0;
    STD_TORCH_CHECK(dim3 >= 0 && weights >= 0, "weight must be a matrix, and dim_out not negative");
    int64_t columns = 0, numbers = 0;  // that the paths have at most: no memory for more than that
    for (int64_t k = 0; k < pt.size(0); ++k) {
      const int64_t degree = r[k * kPathColumns + 2], channels = r[k * kPathColumns + 3];
      if (0 <= degree && degree < kMaxOrders && 0 < channels && channels <= INT32_MAX) {
        columns += (2 * degree + 1) * channels;
        numbers += channels;
      }
    }
    STD_TORCH_CHECK(dim3 <= columns && weights <= numbers, "the paths must cover the output and the weights");
    std::vector<char> written(dim3), weighted(weights);
    for (int64_t k = 0; k < pt.size(0); ++k, r += kPathColumns) {
      STD_TORCH_CHECK(std::min({r[0], r[1], r[2]}) >= 0 && std::max({r[0], r[1], r[2]}) <= (kMaxOrders - 1) / 2,
                      "the convolution's kernels take degrees up to ", (kMaxOrders - 1) / 2);
      STD_TORCH_CHECK(0 < r[3] && r[3] <= INT32_MAX && 0 <= r[9] && r[9] <= kMaxPairs, "malformed path");
      ConvPath p{int(r[0]), int(r[1]), int(r[2]), int(r[3]), r[4], r[5], r[6], r[7], r[8], packed, pair,
                 pair + int(r[9]), r[10] != 0, false, -1};
      STD_TORCH_CHECK(p.pair_end <= int(m1.size()), "malformed path");
      STD_TORCH_CHECK(inside(p.offset1, p.stride1, p.l1, p.channels, dim1), "a path reads beyond the node features");
      STD_TORCH_CHECK(inside(p.offset3, p.stride3, p.l3, p.channels, dim3), "a path writes beyond the output");
      STD_TORCH_CHECK(inside(p.weight, 0, 0, p.channels, weights), "a path reads beyond the weights");
      STD_TORCH_CHECK(mark(written, p.offset3, p.stride3, p.l3, p.channels, p.add),
                      "a path must add where, and only where, one before it has written");
      STD_TORCH_CHECK(mark(weighted, p.weight, 0, 0, p.channels, false), "two paths share a weight");
      for (int i = p.pair_begin; i < p.pair_end; ++i)
        STD_TORCH_CHECK(0 <= m1[i] && m1[i] <= 2 * p.l1 && 0 <= m3[i] && m3[i] <= 2 * p.l3 &&
                            (i == p.pair_begin || m1[i - 1] <= m1[i]),
                        "malformed pair");
      p.unrolled = matches_pattern(p, m1.data(), m3.data());
      p.column = p.unrolled ? first_column(p, m1.data(), m3.data(), entry_begin.data(), entry_m2.data(), dim2) : -1;
      pair = p.pair_end;
      packed += padded<float>(p.channels);
      widest = std::max<int64_t>(widest, p.channels);
      paths.push_back(p);
    }
    STD_TORCH_CHECK(pair == int(m1.size()), "pairs that belong to no path");
    STD_TORCH_CHECK(all(written) && all(weighted), "the paths must cover the output and the weights");
    plan = {int64_t(paths.size()), pair, paths.data(), m1.data(), m3.data(), entry_begin.data(), entry_m2.data(),
            dim1, dim2, dim3, weights, widest};
  }

  template <typename T>
  int64_t packed_width() {  // also sets where each path's part of a packed v starts
    int64_t at = 0;
    for (ConvPath& p : paths) {
      p.packed = at;
      at += padded<T>(p.channels);
    }
    return at;
  }
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};

template <typename T>
using Buffer = std::unique_ptr<T[], Free>;

size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64 + 64; }

template <typename T>
Buffer<T> unset(int64_t n) {
  const size_t bytes = whole_lines(size_t(n) * sizeof(T));
  void* p = std::aligned_alloc(64, bytes);
  STD_TORCH_CHECK(p != nullptr, "out of memory: ", bytes, " bytes for the convolution");
  return Buffer<T>(static_cast<T*>(p));
}

template <typename T>
Buffer<T> zeros(int64_t n) {
  Buffer<T> buffer = unset<T>(n);
  std::memset(buffer.get(), 0, whole_lines(size_t(n) * sizeof(T)));
  return buffer;
}

// v [K, weights] by path: [K, padded channels]; transposed: [padded channels, padded K].
template <typename T>
Buffer<T> pack(const Tables& t, int64_t width, const T* v, int64_t K, bool transposed) {
  const int64_t depth = padded<T>(K);
  Buffer<T> to = zeros<T>(width * (transposed ? depth : K));
  torch::stable::parallel_for(0, int64_t(t.paths.size()), 1 + 32768 / (1 + K * t.plan.max_channels),
                              [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ConvPath& p = t.paths[i];
      for (int64_t k = 0; k < K; ++k) {
        const T* from = v + k * t.plan.weights + p.weight;
        if (transposed)
          for (int c = 0; c < p.channels; ++c) to[p.packed * depth + c * depth + k] = from[c];
        else
          std::memcpy(&to[p.packed * K + k * padded<T>(p.channels)], from, p.channels * sizeof(T));
      }
    }
  });
  return to;
}

template <typename T>
void unpack(const Tables& t, const T* packed, int64_t K, T* v) {
  for (const ConvPath& p : t.paths)
    for (int64_t k = 0; k < K; ++k)
      std::memcpy(v + k * t.plan.weights + p.weight, packed + p.packed * K + k * padded<T>(p.channels),
                  p.channels * sizeof(T));
}

// Receivers in as many parts as there are threads, of about equal numbers of edges.
std::vector<int64_t> shares(const int64_t* first, int64_t N, int64_t work_per_edge) {
  const int64_t E = first[N];
  const int64_t useful = 1 + E * work_per_edge / 100000;
  const int64_t parts = std::max<int64_t>(1, std::min<int64_t>({int64_t(torch::stable::get_num_threads()), useful, N}));
  std::vector<int64_t> bounds{0};
  for (int64_t p = 1; p < parts; ++p) {
    const int64_t* at = std::lower_bound(first, first + N, E * p / parts);
    bounds.push_back(std::max(bounds.back(), int64_t(at - first)));
  }
  bounds.push_back(N);
  return bounds;
}

struct Edges {
  Tensor index;
  Segments segments;
  ConvGraph graph;
  int64_t E, N;

  Edges(const Tensor& edge_index, int64_t num_nodes, int64_t senders) : index(dense(edge_index)), E(0), N(num_nodes) {
    STD_TORCH_CHECK(index.dim() == 2 && index.size(0) == 2 && index.scalar_type() == ScalarType::Long,
                    "edge_index must be int64 [2, E]");
    STD_TORCH_CHECK(N >= 0, "num_nodes must not be negative");
    E = index.size(1);
    const int64_t* sender = index.const_data_ptr<int64_t>();
    segments = make_segments(sender + E, E, N);
    bool outside = false;
    for (int64_t e = 0; e < E; ++e) outside |= (sender[e] < 0) | (sender[e] >= senders);
    STD_TORCH_CHECK(!outside, "edge_index[0] (senders) holds an index outside 0 to ", senders - 1);
    graph = {segments.first.get(), segments.order.get(), sender};
  }
};

void check_rows(const Tensor& t, const Tensor& like, int64_t rows, int64_t width, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == like.scalar_type(), name, " must have the dtype of x");
  STD_TORCH_CHECK(t.dim() == 2 && t.size(0) == rows && t.size(1) == width, name, " must be [", rows, ", ", width, "]");
}

// Everything that a call is about; the weights are w, or h and v.
struct Call {
  Tensor x, y, w, h, v, coupling;
  Edges edges;
  Tables tables;

  Call(const Tensor& x_, const Tensor& y_, const Tensor& edge_index, int64_t num_nodes, int64_t dim_out,
       int64_t weights, const Tensor& paths, const Tensor& pairs, const Tensor& entries, const Tensor& coupling_)
      : x(dense(x_)),
        y(dense(y_)),
        w(x),
        h(x),
        v(x),
        coupling(dense(coupling_)),
        edges(edge_index, num_nodes, x_.dim() == 2 ? x_.size(0) : 0),
        tables(paths, pairs, entries, x_.dim() == 2 ? x_.size(1) : -1, y_.dim() == 2 ? y_.size(1) : -1, dim_out,
               weights) {
    check_floating(x, "x");
    STD_TORCH_CHECK(x.dim() == 2, "x must be [N, components]");
    STD_TORCH_CHECK(y.dim() == 2, "edge_attr must be [E, components]");
    check_rows(y, x, edges.E, y.size(1), "edge_attr");
    STD_TORCH_CHECK(coupling.dim() == 1 && coupling.size(0) == entries.size(0) &&
                        coupling.scalar_type() == x.scalar_type(),
                    "coupling must have one number for each entry, in the dtype of x");
  }

  void weigh(const Tensor& w_) {
    w = dense(w_);
    check_rows(w, x, edges.E, tables.plan.weights, "weight");
  }

  void weigh(const Tensor& h_, const Tensor& v_) {
    h = dense(h_);
    v = dense(v_);
    STD_TORCH_CHECK(h.dim() == 2, "hidden must be [E, K]");
    check_rows(h, x, edges.E, h.size(1), "hidden");
    check_rows(v, x, h.size(1), tables.plan.weights, "weight");
  }

  template <typename T>
  ConvData<T> data() const {
    ConvData<T> d{};
    d.plan = tables.plan;
    d.graph = edges.graph;
    d.coupling = coupling.const_data_ptr<T>();
    d.x = x.const_data_ptr<T>();
    d.y = y.const_data_ptr<T>();
    return d;
  }

  std::vector<int64_t> parts() const {
    return shares(edges.graph.first, edges.N, tables.plan.num_pairs * tables.plan.max_channels);
  }
};

template <typename F>
void for_parts(const std::vector<int64_t>& bounds, F&& f) {
  torch::stable::parallel_for(0, int64_t(bounds.size()) - 1, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) f(p, bounds[p], bounds[p + 1]);
  });
}

// A sum over parts: the first part has the target, each other one a buffer of its own, and each clears its own first; the
// buffers are added to the target in order.
template <typename T>
struct SumOfParts {
  T* target;
  int64_t n;
  std::vector<Buffer<T>> others;

  SumOfParts(T* target_, int64_t n_, size_t parts) : target(target_), n(n_), others(target_ ? parts : 1) {}
  T* of(int64_t part) {
    if (!target) return target;
    if (part == 0) {
      std::memset(target, 0, size_t(n) * sizeof(T));
      return target;
    }
    others[part] = zeros<T>(n);
    return others[part].get();
  }
  void add_up() {
    if (!target || others.size() < 2) return;
    torch::stable::parallel_for(0, n, 16384, [&](int64_t begin, int64_t end) {
      for (size_t p = 1; p < others.size(); ++p)
        if (const T* from = others[p].get())
          for (int64_t i = begin; i < end; ++i) target[i] += from[i];
    });
  }
};

template <typename T>
void run_forward(const Call& call, const ConvData<T>& d) {
  const auto& kernels = convolution_of<T>();
  for_parts(call.parts(), [&](int64_t, int64_t begin, int64_t end) {
    const Buffer<T> scratch = zeros<T>(kernels.scratch(d.plan, d.hidden));
    kernels.forward(d, scratch.get(), begin, end);
  });
}

template <typename T>
void run_backward(const Call& call, const ConvData<T>& data, int64_t packed, bool second) {
  const auto& kernels = convolution_of<T>();
  const std::vector<int64_t> bounds = call.parts();
  SumOfParts<T> dx(data.dx, call.x.size(0) * data.plan.dim1, bounds.size() - 1);
  SumOfParts<T> dv(data.dv, packed * data.hidden, bounds.size() - 1);
  Buffer<T> spread;
  if (data.dy) {
    spread = unset<T>(2 * data.plan.num_pairs);
    spread_coupling(data.plan, data.coupling, spread.get());
  }
  for_parts(bounds, [&](int64_t part, int64_t begin, int64_t end) {
    ConvData<T> d = data;
    d.spread = spread.get();
    d.dx = dx.of(part);
    d.dv = dv.of(part);
    const Buffer<T> scratch = zeros<T>(kernels.scratch(d.plan, d.hidden));
    (second ? kernels.double_backward : kernels.backward)(d, scratch.get(), begin, end);
  });
  dx.add_up();
  dv.add_up();
}

Tensor fresh(const Tensor& t) { return equitools::fresh(t, t.size(0), t.size(1)); }
Tensor nothing(const Tensor& t) { return torch::stable::new_empty(t, {0}); }

template <typename T>
T* pointer(const Tensor& t, bool wanted) {
  return wanted ? t.mutable_data_ptr<T>() : nullptr;
}

// ---- weights in memory ---------------------------------------------------------------------------------------------

Tensor forward(const Tensor& x, const Tensor& y, const Tensor& w, const Tensor& edge_index, int64_t num_nodes,
               int64_t dim_out, const Tensor& paths, const Tensor& pairs, const Tensor& entries,
               const Tensor& coupling) {
  Call call(x, y, edge_index, num_nodes, dim_out, w.dim() == 2 ? w.size(1) : -1, paths, pairs, entries, coupling);
  call.weigh(w);
  Tensor out = equitools::fresh(call.x, num_nodes, dim_out);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    ConvData<T> d = call.data<T>();
    d.w = call.w.const_data_ptr<T>();
    d.out = out.mutable_data_ptr<T>();
    run_forward(call, d);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& g_, const Tensor& x, const Tensor& y, const Tensor& w,
                                            const Tensor& edge_index, const Tensor& paths, const Tensor& pairs,
                                            const Tensor& entries, const Tensor& coupling, bool need_x, bool need_y,
                                            bool need_w) {
  const Tensor g = dense(g_);
  STD_TORCH_CHECK(g.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g.size(0), g.size(1), w.dim() == 2 ? w.size(1) : -1, paths, pairs, entries, coupling);
  call.weigh(w);
  check_same_dtype(g, call.x, "grad and x");
  Tensor dx = need_x ? fresh(call.x) : nothing(call.x);
  Tensor dy = need_y ? fresh(call.y) : nothing(call.x);
  Tensor dw = need_w ? fresh(call.w) : nothing(call.x);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    ConvData<T> d = call.data<T>();
    d.w = call.w.const_data_ptr<T>();
    d.g = g.const_data_ptr<T>();
    d.dx = pointer<T>(dx, need_x);
    d.dy = pointer<T>(dy, need_y);
    d.dw = pointer<T>(dw, need_w);
    run_backward(call, d, 0, false);
  });
  return {dx, dy, dw};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> double_backward(const Tensor& a_, const Tensor& b_, const Tensor& c_,
                                                           const Tensor& g_, const Tensor& x, const Tensor& y,
                                                           const Tensor& w, const Tensor& edge_index,
                                                           const Tensor& paths, const Tensor& pairs,
                                                           const Tensor& entries, const Tensor& coupling) {
  const Tensor g = dense(g_), a = dense(a_), b = dense(b_), c = dense(c_);
  STD_TORCH_CHECK(g.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g.size(0), g.size(1), w.dim() == 2 ? w.size(1) : -1, paths, pairs, entries, coupling);
  call.weigh(w);
  check_same_dtype(g, call.x, "grad and x");
  check_rows(a, call.x, call.x.size(0), call.x.size(1), "cotangent of x");
  check_rows(b, call.x, call.y.size(0), call.y.size(1), "cotangent of edge_attr");
  check_rows(c, call.x, call.w.size(0), call.w.size(1), "cotangent of weight");
  Tensor dg = fresh(g), dx = fresh(call.x), dy = fresh(call.y), dw = fresh(call.w);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    ConvData<T> d = call.data<T>();
    d.w = call.w.const_data_ptr<T>();
    d.g = g.const_data_ptr<T>();
    d.a = a.const_data_ptr<T>();
    d.b = b.const_data_ptr<T>();
    d.c = c.const_data_ptr<T>();
    d.out = dg.mutable_data_ptr<T>();
    d.dx = dx.mutable_data_ptr<T>();
    d.dy = dy.mutable_data_ptr<T>();
    d.dw = dw.mutable_data_ptr<T>();
    run_backward(call, d, 0, true);
  });
  return {dg, dx, dy, dw};
}

// ---- weights made from a hidden layer ------------------------------------------------------------------------------

Tensor radial_forward(const Tensor& x, const Tensor& y, const Tensor& h, const Tensor& v, const Tensor& edge_index,
                      int64_t num_nodes, int64_t dim_out, const Tensor& paths, const Tensor& pairs,
                      const Tensor& entries, const Tensor& coupling, void* kept = nullptr) {
  Call call(x, y, edge_index, num_nodes, dim_out, v.dim() == 2 ? v.size(1) : -1, paths, pairs, entries, coupling);
  call.weigh(h, v);
  Tensor out = equitools::fresh(call.x, num_nodes, dim_out);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const int64_t K = call.h.size(1), width = call.tables.packed_width<T>();
    const Buffer<T> v_packed = pack<T>(call.tables, width, call.v.const_data_ptr<T>(), K, false);
    ConvData<T> d = call.data<T>();
    d.h = call.h.const_data_ptr<T>();
    d.v = v_packed.get();
    d.hidden = K;
    d.kept = static_cast<T*>(kept);
    d.kept_row = width;
    d.out = out.mutable_data_ptr<T>();
    run_forward(call, d);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> radial_backward(const Tensor& g_, const Tensor& x, const Tensor& y,
                                                           const Tensor& h, const Tensor& v, const Tensor& edge_index,
                                                           const Tensor& paths, const Tensor& pairs,
                                                           const Tensor& entries, const Tensor& coupling, bool need_x,
                                                           bool need_y, bool need_h, bool need_v,
                                                           void* kept = nullptr) {
  const Tensor g = dense(g_);
  STD_TORCH_CHECK(g.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g.size(0), g.size(1), v.dim() == 2 ? v.size(1) : -1, paths, pairs, entries, coupling);
  call.weigh(h, v);
  check_same_dtype(g, call.x, "grad and x");
  Tensor dx = need_x ? fresh(call.x) : nothing(call.x);
  Tensor dy = need_y ? fresh(call.y) : nothing(call.x);
  Tensor dh = need_h ? fresh(call.h) : nothing(call.x);
  Tensor dv = need_v ? fresh(call.v) : nothing(call.x);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const int64_t K = call.h.size(1), width = call.tables.packed_width<T>();
    const T* vp = call.v.const_data_ptr<T>();
    const Buffer<T> v_packed = pack<T>(call.tables, width, vp, K, false);
    Buffer<T> vt_packed, dv_packed;
    if (need_h) vt_packed = pack<T>(call.tables, width, vp, K, true);
    if (need_v) dv_packed = unset<T>(width * K);
    ConvData<T> d = call.data<T>();
    d.h = call.h.const_data_ptr<T>();
    d.v = v_packed.get();
    d.vt = vt_packed.get();
    d.hidden = K;
    d.kept = static_cast<T*>(kept);
    d.kept_row = width;
    d.g = g.const_data_ptr<T>();
    d.dx = pointer<T>(dx, need_x);
    d.dy = pointer<T>(dy, need_y);
    d.dh = pointer<T>(dh, need_h);
    d.dv = dv_packed.get();
    run_backward(call, d, width, false);
    if (need_v) unpack<T>(call.tables, dv_packed.get(), K, dv.mutable_data_ptr<T>());
  });
  return {dx, dy, dh, dv};
}

Tensor radial_forward_op(const Tensor& x, const Tensor& y, const Tensor& h, const Tensor& v, const Tensor& edge_index,
                         int64_t num_nodes, int64_t dim_out, const Tensor& paths, const Tensor& pairs,
                         const Tensor& entries, const Tensor& coupling) {
  return radial_forward(x, y, h, v, edge_index, num_nodes, dim_out, paths, pairs, entries, coupling);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> radial_backward_op(const Tensor& g, const Tensor& x, const Tensor& y,
                                                              const Tensor& h, const Tensor& v,
                                                              const Tensor& edge_index, const Tensor& paths,
                                                              const Tensor& pairs, const Tensor& entries,
                                                              const Tensor& coupling, bool need_x, bool need_y,
                                                              bool need_h, bool need_v) {
  return radial_backward(g, x, y, h, v, edge_index, paths, pairs, entries, coupling, need_x, need_y, need_h, need_v);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> radial_double_backward(
    const Tensor& a_, const Tensor& b_, const Tensor& ch_, const std::optional<Tensor>& cv_, const Tensor& g_,
    const Tensor& x, const Tensor& y, const Tensor& h, const Tensor& v, const Tensor& edge_index, const Tensor& paths,
    const Tensor& pairs, const Tensor& entries, const Tensor& coupling, bool need_v) {
  const Tensor g = dense(g_), a = dense(a_), b = dense(b_), ch = dense(ch_);
  STD_TORCH_CHECK(g.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g.size(0), g.size(1), v.dim() == 2 ? v.size(1) : -1, paths, pairs, entries, coupling);
  call.weigh(h, v);
  check_same_dtype(g, call.x, "grad and x");
  check_rows(a, call.x, call.x.size(0), call.x.size(1), "cotangent of x");
  check_rows(b, call.x, call.y.size(0), call.y.size(1), "cotangent of edge_attr");
  check_rows(ch, call.x, call.h.size(0), call.h.size(1), "cotangent of hidden");
  if (cv_) check_rows(*cv_, call.x, call.v.size(0), call.v.size(1), "cotangent of weight");
  Tensor dg = fresh(g), dx = fresh(call.x), dy = fresh(call.y), dh = fresh(call.h);
  Tensor dv = need_v ? fresh(call.v) : nothing(call.x);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const int64_t K = call.h.size(1), width = call.tables.packed_width<T>();
    const T* vp = call.v.const_data_ptr<T>();
    const Buffer<T> v_packed = pack<T>(call.tables, width, vp, K, false);
    const Buffer<T> vt_packed = pack<T>(call.tables, width, vp, K, true);
    Buffer<T> cv_packed, cvt_packed, dv_packed;
    if (cv_) {
      const Tensor cv = dense(*cv_);
      cv_packed = pack<T>(call.tables, width, cv.const_data_ptr<T>(), K, false);
      cvt_packed = pack<T>(call.tables, width, cv.const_data_ptr<T>(), K, true);
    }
    if (need_v) dv_packed = unset<T>(width * K);
    ConvData<T> d = call.data<T>();
    d.h = call.h.const_data_ptr<T>();
    d.v = v_packed.get();
    d.vt = vt_packed.get();
    d.hidden = K;
    d.g = g.const_data_ptr<T>();
    d.a = a.const_data_ptr<T>();
    d.b = b.const_data_ptr<T>();
    d.ch = ch.const_data_ptr<T>();
    d.cv = cv_packed.get();
    d.cvt = cvt_packed.get();
    d.out = dg.mutable_data_ptr<T>();
    d.dx = dx.mutable_data_ptr<T>();
    d.dy = dy.mutable_data_ptr<T>();
    d.dh = dh.mutable_data_ptr<T>();
    d.dv = dv_packed.get();
    run_backward(call, d, width, true);
    if (need_v) unpack<T>(call.tables, dv_packed.get(), K, dv.mutable_data_ptr<T>());
  });
  return {dg, dx, dy, dh, dv};
}

}  // namespace

Tensor radial_tensor_product_conv(const Tensor& x, const Tensor& y, const Tensor& hidden, const Tensor& weight,
                                  const Tensor& edge_index, int64_t num_nodes, int64_t dim_out, const ConvTensors& plan,
                                  void* kept) {
  return radial_forward(x, y, hidden, weight, edge_index, num_nodes, dim_out, plan.paths, plan.pairs, plan.entries,
                        plan.coupling, kept);
}

namespace {

// A table [intervals, 6, row] that fits the call, for edges of lengths r.
template <typename T>
void set_table(ConvData<T>& d, const Call& call, int64_t width, const Tensor& r, const Tensor& table, double cutoff,
               void* kept) {
  STD_TORCH_CHECK(table.dim() == 3 && table.size(0) > 0 && table.size(1) == 6 && table.size(2) == width &&
                      table.is_contiguous(),
                  "a table of weights must be [intervals, 6, ", width, "], in one piece");
  check_same_dtype(table, call.x, "table and x");
  STD_TORCH_CHECK(r.dim() == 1 && r.size(0) == call.edges.E && r.is_contiguous() &&
                      r.scalar_type() == call.x.scalar_type(),
                  "lengths must be [E], in one piece, with the dtype of x");
  STD_TORCH_CHECK(cutoff > 0, "the cutoff must be positive");
  d.kept = static_cast<T*>(kept);
  d.kept_row = width;
  d.table = {table.const_data_ptr<T>(), r.const_data_ptr<T>(), table.size(0), cutoff,
             d.kept ? d.kept + call.edges.E * width : nullptr, nullptr};
}

}  // namespace

Tensor tabulated_tensor_product_conv(const Tensor& x, const Tensor& y, const Tensor& r, const Tensor& table,
                                     double cutoff, int64_t weights, const Tensor& edge_index, int64_t num_nodes,
                                     int64_t dim_out, const ConvTensors& plan, void* kept) {
  Call call(x, y, edge_index, num_nodes, dim_out, weights, plan.paths, plan.pairs, plan.entries, plan.coupling);
  Tensor out = equitools::fresh(call.x, num_nodes, dim_out);
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    ConvData<T> d = call.data<T>();
    set_table(d, call, call.tables.packed_width<T>(), r, table, cutoff, kept);
    d.plan = call.tables.plan;
    d.out = out.mutable_data_ptr<T>();
    run_forward(call, d);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> tabulated_tensor_product_conv_backward(
    const Tensor& g_, const Tensor& x, const Tensor& y, const Tensor& r, const Tensor& table, double cutoff,
    int64_t weights, const Tensor& edge_index, const ConvTensors& plan, bool need_x, void* kept) {
  const Tensor g = dense(g_);
  STD_TORCH_CHECK(g.dim() == 2, "grad must be [N, components]");
  Call call(x, y, edge_index, g.size(0), g.size(1), weights, plan.paths, plan.pairs, plan.entries, plan.coupling);
  check_same_dtype(g, call.x, "grad and x");
  Tensor dx = need_x ? fresh(call.x) : nothing(call.x), dy = fresh(call.y);
  Tensor dr = torch::stable::new_empty(call.x, {call.edges.E});
  for_dtype(call.x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const int64_t width = call.tables.packed_width<T>();
    ConvData<T> d = call.data<T>();
    set_table(d, call, width, r, table, cutoff, kept);
    d.plan = call.tables.plan;
    d.table.dr = dr.mutable_data_ptr<T>();
    d.g = g.const_data_ptr<T>();
    d.dx = pointer<T>(dx, need_x);
    d.dy = pointer<T>(dy, true);
    run_backward(call, d, width, false);
  });
  return {dx, dy, dr};
}

int64_t kept_row(const Tensor& paths) {
  STD_TORCH_CHECK(paths.dim() == 2 && paths.size(1) == kPathColumns && paths.scalar_type() == ScalarType::Long,
                  "paths must be int64 [P, 11]");
  const Tensor t = dense(paths);
  const int64_t* p = t.const_data_ptr<int64_t>();
  int64_t row = 0;
  for (int64_t k = 0; k < t.size(0); ++k) {
    const int64_t channels = p[k * kPathColumns + 3];
    STD_TORCH_CHECK(0 < channels && channels < (int64_t(1) << 31), "malformed path: ", channels, " channels");
    row += (channels + 15) / 16 * 16;
  }
  return row;
}

std::tuple<Tensor, Tensor, Tensor> radial_tensor_product_conv_backward(const Tensor& grad, const Tensor& x,
                                                                       const Tensor& y, const Tensor& hidden,
                                                                       const Tensor& weight, const Tensor& edge_index,
                                                                       const ConvTensors& plan, bool need_x, void* kept) {
  auto [dx, dy, dh, dv] = radial_backward(grad, x, y, hidden, weight, edge_index, plan.paths, plan.pairs, plan.entries,
                                          plan.coupling, need_x, true, true, false, kept);
  return {dx, dy, dh};
}

#define EQUITOOLS_TABLES "Tensor paths, Tensor pairs, Tensor entries, Tensor coupling"

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("tensor_product_conv(Tensor x, Tensor edge_attr, Tensor weight, Tensor edge_index, SymInt num_nodes, "
        "int dim_out, " EQUITOOLS_TABLES ") -> Tensor");
  m.def("tensor_product_conv_backward(Tensor grad, Tensor x, Tensor edge_attr, Tensor weight, Tensor edge_index, "
        EQUITOOLS_TABLES ", bool need_x, bool need_edge_attr, bool need_weight) -> (Tensor, Tensor, Tensor)");
  m.def("tensor_product_conv_double_backward(Tensor a, Tensor b, Tensor c, Tensor grad, Tensor x, Tensor edge_attr, "
        "Tensor weight, Tensor edge_index, " EQUITOOLS_TABLES ") -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("radial_tensor_product_conv(Tensor x, Tensor edge_attr, Tensor hidden, Tensor weight, Tensor edge_index, "
        "SymInt num_nodes, int dim_out, " EQUITOOLS_TABLES ") -> Tensor");
  m.def("radial_tensor_product_conv_backward(Tensor grad, Tensor x, Tensor edge_attr, Tensor hidden, Tensor weight, "
        "Tensor edge_index, " EQUITOOLS_TABLES ", bool need_x, bool need_edge_attr, bool need_hidden, "
        "bool need_weight) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("radial_tensor_product_conv_double_backward(Tensor a, Tensor b, Tensor c, Tensor? d, Tensor grad, Tensor x, "
        "Tensor edge_attr, Tensor hidden, Tensor weight, Tensor edge_index, " EQUITOOLS_TABLES ", bool need_weight) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("tensor_product_conv", TORCH_BOX(&forward));
  m.impl("tensor_product_conv_backward", TORCH_BOX(&backward));
  m.impl("tensor_product_conv_double_backward", TORCH_BOX(&double_backward));
  m.impl("radial_tensor_product_conv", TORCH_BOX(&radial_forward_op));
  m.impl("radial_tensor_product_conv_backward", TORCH_BOX(&radial_backward_op));
  m.impl("radial_tensor_product_conv_double_backward", TORCH_BOX(&radial_double_backward));
}

}  // namespace equitools
