// Runs the convolution's kernels without torch, every instruction set, against naive loops: random plans, graphs whose
// receivers are split over tiles, weights in memory, from a hidden layer and from a table, parts of the receivers one
// after another.
// All arrays have their exact lengths on the heap, so that the sanitizers see a step beyond; memory that a kernel must
// not rely on holds NaN.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/coupling_columns.h"
#include "core/coupling_pattern.h"
#include "cpu/convolution.h"

using namespace equitools;
using std::vector;

static int failures = 0, comparisons = 0;
static std::mt19937 engine(11);

static int below(int n) { return int(engine() % unsigned(n)); }
static bool coin() { return below(2); }

// Numbers that float32 holds exactly, so that both precisions compute on the same inputs.
static vector<double> numbers(int64_t n) {
  std::normal_distribution<double> normal;
  vector<double> v(n);
  for (double& x : v) x = float(normal(engine));
  return v;
}

template <typename T>
static vector<T> as(const vector<double>& v) {
  return vector<T>(v.begin(), v.end());
}

template <typename T>
static vector<T> unset(int64_t n) {
  return vector<T>(n, std::numeric_limits<T>::quiet_NaN());
}

// ---- random plans and graphs ---------------------------------------------------------------------------------------

struct Plan {
  vector<ConvPath> paths;
  vector<int32_t> m1, m3, entry_begin{0}, entry_m2;
  vector<double> coupling;
  int64_t dim1 = 0, dim2 = 0, dim3 = 0, weights = 0, widest = 0;
  bool wide = false;

  ConvPlan view() const {
    return {int64_t(paths.size()), int64_t(m1.size()), paths.data(), m1.data(), m3.data(), entry_begin.data(),
            entry_m2.data(), dim1, dim2, dim3, weights, widest};
  }

  template <typename T>
  int64_t pack() {  // where each path's part of a packed v begins
    int64_t at = 0;
    for (ConvPath& p : paths) p.packed = at, at += padded<T>(p.channels);
    return at;
  }

  void add_pairs(ConvPath& p) {
    p.pair_begin = int(m1.size());
    const bool pattern = std::max({p.l1, p.l2, p.l3}) <= kPatternDegree && (wide || below(4));
    const int keep = 1 + below(4);
    // entries as real harmonics have them, or any
    const bool rules = pattern && 2 * p.l2 + 1 <= dim2 && (wide || below(4));
    const int column = rules ? below(int(dim2) - 2 * p.l2) : 0;
    for (int i = 0; i <= 2 * p.l1; ++i)
      for (int j = 0; j <= 2 * p.l3; ++j) {
        if (pattern ? !(kCouplingPattern[p.l1][p.l2][p.l3][i] >> j & 1) : below(keep) != 0) continue;
        m1.push_back(i);
        m3.push_back(j);
        const auto enter = [&](int m2) {
          entry_m2.push_back(m2);
          coupling.push_back(numbers(1)[0]);
        };
        if (rules) {
          for (int which : {1, 0})
            if (const int m2 = component_of(p.l1, p.l2, p.l3, i, j, which); m2 >= 0 && below(8)) enter(column + m2);
        } else {
          for (int n = below(3); n >= 0; --n) enter(below(int(dim2)));
        }
        entry_begin.push_back(int32_t(entry_m2.size()));
      }
    p.pair_end = int(m1.size());
    p.unrolled = pattern;
    p.column = pattern ? first_column(p, m1.data(), m3.data(), entry_begin.data(), entry_m2.data(), dim2) : -1;
  }

  // wide: whole vectors of channels (and a rest) and tables that the unrolled kernels of all derivatives fit
  Plan(int degree, int count, bool wide_ = false) : dim2(wide_ ? 4 + below(30) : 1 + below(17)), wide(wide_) {
    const vector<int> narrow = {1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 40, 64, 70};
    const vector<int> channels = wide ? vector<int>{16, 20, 32, 40} : narrow;
    struct Block {
      int l, channels;
      int64_t offset;
    };
    vector<Block> blocks;
    for (int i = 0; i < 2; ++i) {
      blocks.push_back({below(degree + 1), channels[below(int(channels.size()))], dim1});
      dim1 += (2 * blocks.back().l + 1) * blocks.back().channels + below(2) * 3;  // sometimes a gap behind it
    }
    for (int i = 0; i < count; ++i) {
      const Block& block = blocks[below(2)];
      const int l2 = below(degree + 1), low = std::abs(block.l - l2), high = std::min(degree, block.l + l2);
      ConvPath p{};
      p.l1 = block.l;
      p.l2 = l2;
      p.l3 = low + below(high - low + 1);
      p.channels = block.channels;
      p.offset1 = block.offset;
      p.stride1 = block.channels;
      p.weight = weights;
      weights += p.channels;
      widest = std::max<int64_t>(widest, p.channels);
      paths.push_back(p);
    }
    // Output blocks: some paths add to that of one before them, some stand side by side in one block.
    for (size_t i = 0; i < paths.size(); ++i) {
      ConvPath& p = paths[i];
      for (size_t j = 0; j < i && !p.add && !p.stride3; ++j)
        if (!paths[j].add && paths[j].l3 == p.l3 && paths[j].channels == p.channels && below(2) && paths[j].stride3) {
          p.add = true;
          p.offset3 = paths[j].offset3;
          p.stride3 = paths[j].stride3;
        }
      if (p.add || p.stride3) continue;
      int64_t width = p.channels;
      vector<size_t> beside;
      for (size_t j = i + 1; j < paths.size(); ++j)
        if (!paths[j].stride3 && paths[j].l3 == p.l3 && coin()) beside.push_back(j), width += paths[j].channels;
      p.offset3 = dim3;
      p.stride3 = width;
      int64_t channel = dim3 + p.channels;
      for (size_t j : beside) {
        paths[j].offset3 = channel;
        paths[j].stride3 = width;
        channel += paths[j].channels;
      }
      dim3 += width * (2 * p.l3 + 1);
    }
    for (ConvPath& p : paths) add_pairs(p);
  }
};

struct Graph {
  vector<int64_t> first{0}, edge, sender;
  int64_t senders, receivers, edges;
  bool ordered;

  Graph(const vector<int>& counts, int64_t senders_) : senders(senders_), receivers(int64_t(counts.size())) {
    for (int n : counts) first.push_back(first.back() + n);
    edges = first.back();
    edge.resize(edges);
    for (int64_t k = 0; k < edges; ++k) edge[k] = k;
    ordered = coin();
    if (!ordered) std::shuffle(edge.begin(), edge.end(), engine);
    for (int64_t e = 0; e < edges; ++e) sender.push_back(below(int(senders)));
  }
  ConvGraph view() const { return {first.data(), ordered ? nullptr : edge.data(), sender.data()}; }
};

// ---- the oracle ----------------------------------------------------------------------------------------------------

struct Gradients {
  vector<double> out, x, y, w;
};

// out = F(x, y, w), and the gradients of <g, F>; loops over everything.
static Gradients naive(const Plan& plan, const Graph& graph, const vector<double>& x, const vector<double>& y,
                       const vector<double>& w, const vector<double>& g) {
  Gradients r{vector<double>(graph.receivers * plan.dim3), vector<double>(x.size()), vector<double>(y.size()),
              vector<double>(w.size())};
  for (int64_t i = 0; i < graph.receivers; ++i)
    for (int64_t k = graph.first[i]; k < graph.first[i + 1]; ++k) {
      const int64_t e = graph.edge[k], s = graph.sender[e];
      for (const ConvPath& p : plan.paths)
        for (int pair = p.pair_begin; pair < p.pair_end; ++pair) {
          const int64_t left = s * plan.dim1 + p.offset1 + plan.m1[pair] * p.stride1;
          const int64_t to = i * plan.dim3 + p.offset3 + plan.m3[pair] * p.stride3;
          const int64_t weight = e * plan.weights + p.weight;
          double m = 0, dm = 0;
          for (int n = plan.entry_begin[pair]; n < plan.entry_begin[pair + 1]; ++n)
            m += plan.coupling[n] * y[e * plan.dim2 + plan.entry_m2[n]];
          for (int u = 0; u < p.channels; ++u) {
            const double xv = x[left + u], wv = w[weight + u], gv = g[to + u];
            r.out[to + u] += m * xv * wv;
            r.x[left + u] += m * wv * gv;
            r.w[weight + u] += m * xv * gv;
            dm += xv * wv * gv;
          }
          for (int n = plan.entry_begin[pair]; n < plan.entry_begin[pair + 1]; ++n)
            r.y[e * plan.dim2 + plan.entry_m2[n]] += plan.coupling[n] * dm;
        }
    }
  return r;
}

// [m x k] [k x n], either transposed first.
static vector<double> product(const vector<double>& a, bool ta, const vector<double>& b, bool tb, int64_t m, int64_t k,
                              int64_t n) {
  vector<double> c(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p) {
      const double left = ta ? a[p * m + i] : a[i * k + p];
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += left * (tb ? b[j * k + p] : b[p * n + j]);
    }
  return c;
}

static vector<double> sum(vector<double> a, const vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// ---- comparison ----------------------------------------------------------------------------------------------------

template <typename T>
static void compare(const vector<T>& ours, const vector<double>& theirs, const std::string& what) {
  double scale = 1, worst = 0;
  for (double v : theirs) scale = std::fmax(scale, std::fabs(v));
  for (size_t i = 0; i < ours.size(); ++i) {
    const double d = std::fabs(double(ours[i]) - theirs[i]);
    if (!(d <= worst)) worst = d;  // a NaN stays
  }
  ++comparisons;
  if (ours.size() == theirs.size() && worst <= (sizeof(T) == 4 ? 2e-5 : 1e-12) * scale) return;
  std::printf("failed: %s (%zu numbers, error %g of %g)\n", what.c_str(), ours.size(), worst, scale);
  ++failures;
}

template <typename T>
struct Scratch {
  T* at = nullptr;
  explicit Scratch(int64_t n) {
    void* p = nullptr;
    if (posix_memalign(&p, 64, size_t(n) * sizeof(T))) std::abort();
    at = static_cast<T*>(p);
    std::fill(at, at + n, std::numeric_limits<T>::quiet_NaN());
  }
  ~Scratch() { std::free(at); }
};

enum Stage { kForward, kBackward, kDouble };

// All receivers, in parts of random lengths.
template <typename T>
static void run(const ConvolutionOf<T>& kernels, const ConvData<T>& d, int64_t receivers, Stage stage) {
  for (int64_t begin = 0; begin < receivers;) {
    const int64_t end = coin() ? receivers : begin + 1 + below(int(receivers - begin));
    const Scratch<T> scratch(kernels.scratch(d.plan, d.hidden));
    (stage == kForward ? kernels.forward : stage == kBackward ? kernels.backward : kernels.double_backward)(
        d, scratch.at, begin, end);
    begin = end;
  }
}

template <typename T>
static vector<T> pack(const Plan& plan, int64_t width, const vector<double>& v, int64_t K, bool transposed) {
  const int64_t depth = padded<T>(K);
  vector<T> to(width * (transposed ? depth : K));
  for (const ConvPath& p : plan.paths)
    for (int64_t k = 0; k < K; ++k)
      for (int c = 0; c < p.channels; ++c) {
        const int64_t at = transposed ? p.packed * depth + c * depth + k
                                      : p.packed * K + k * padded<T>(p.channels) + c;
        to[at] = T(v[k * plan.weights + p.weight + c]);
      }
  return to;
}

template <typename T>
static vector<T> unpack(const Plan& plan, const vector<T>& packed, int64_t K) {
  vector<T> v(K * plan.weights);
  for (const ConvPath& p : plan.paths)
    for (int64_t k = 0; k < K; ++k)
      for (int c = 0; c < p.channels; ++c)
        v[k * plan.weights + p.weight + c] = packed[p.packed * K + k * padded<T>(p.channels) + c];
  return v;
}

// ---- one plan on one graph -----------------------------------------------------------------------------------------

struct Case {
  Plan plan;
  Graph graph;
  int64_t K;
  vector<double> x, y, w, g, a, b, c;                           // weights in memory
  vector<double> h, v, ch, cv, made, made_c, made_c_without_v;  // and made from a hidden layer

  Case(Plan plan_, Graph graph_, int64_t K_)
      : plan(std::move(plan_)),
        graph(std::move(graph_)),
        K(K_),
        x(numbers(graph.senders * plan.dim1)),
        y(numbers(graph.edges * plan.dim2)),
        w(numbers(graph.edges * plan.weights)),
        g(numbers(graph.receivers * plan.dim3)),
        a(numbers(x.size())),
        b(numbers(y.size())),
        c(numbers(w.size())),
        h(numbers(graph.edges * K)),
        v(numbers(K * plan.weights)),
        ch(numbers(h.size())),
        cv(numbers(v.size())),
        made(product(h, false, v, false, graph.edges, K, plan.weights)),
        made_c(product(ch, false, v, false, graph.edges, K, plan.weights)),
        made_c_without_v(made_c) {
    made_c = sum(made_c, product(h, false, cv, false, graph.edges, K, plan.weights));
  }
};

struct Double {
  vector<double> g, x, y, w;
};

static Double naive_double(const Case& t, const vector<double>& w, const vector<double>& c) {
  const Gradients p = naive(t.plan, t.graph, t.a, t.y, w, t.g), q = naive(t.plan, t.graph, t.x, t.b, w, t.g),
                  r = naive(t.plan, t.graph, t.x, t.y, c, t.g);
  return {sum(sum(p.out, q.out), r.out), sum(q.x, r.x), sum(p.y, r.y), sum(p.w, q.w)};
}

template <typename T>
struct Arrays {
  vector<T> coupling, spread, x, y, w, g, a, b, c, h, ch;
  explicit Arrays(const Case& t)
      : coupling(as<T>(t.plan.coupling)), spread(2 * t.plan.m1.size()), x(as<T>(t.x)), y(as<T>(t.y)), w(as<T>(t.w)), g(as<T>(t.g)), a(as<T>(t.a)),
        b(as<T>(t.b)), c(as<T>(t.c)), h(as<T>(t.h)), ch(as<T>(t.ch)) {
    spread_coupling(t.plan.view(), coupling.data(), spread.data());
  }
};

template <typename T>
static ConvData<T> data(const Case& t, const Arrays<T>& n) {
  ConvData<T> d{};
  d.plan = t.plan.view();
  d.graph = t.graph.view();
  d.coupling = n.coupling.data();
  d.spread = n.spread.data();
  d.x = n.x.data();
  d.y = n.y.data();
  d.g = n.g.data();
  d.a = n.a.data();
  d.b = n.b.data();
  return d;
}

template <typename T>
static void weights_in_memory(const Case& t, const ConvolutionOf<T>& kernels, const std::string& name,
                              const Gradients& first, const Double& second) {
  const Arrays<T> n(t);
  const int64_t N = t.graph.receivers;
  ConvData<T> d = data(t, n);
  d.w = n.w.data();
  d.c = n.c.data();
  vector<T> out = unset<T>(N * t.plan.dim3);
  d.out = out.data();
  run(kernels, d, N, kForward);
  compare(out, first.out, name + "forward");
  for (Stage stage : {kBackward, kDouble})
    for (int wanted = 0; wanted < 8; ++wanted) {
      vector<T> dx(n.x.size()), dy = unset<T>(n.y.size()), dw = unset<T>(n.w.size()), dg = unset<T>(n.g.size());
      d.out = dg.data();
      d.dx = wanted & 1 ? dx.data() : nullptr;
      d.dy = wanted & 2 ? dy.data() : nullptr;
      d.dw = wanted & 4 ? dw.data() : nullptr;
      run(kernels, d, N, stage);
      const std::string what = name + (stage == kDouble ? "double backward: " : "backward: ");
      if (stage == kDouble) compare(dg, second.g, what + "g");
      if (d.dx) compare(dx, stage == kDouble ? second.x : first.x, what + "x");
      if (d.dy) compare(dy, stage == kDouble ? second.y : first.y, what + "y");
      if (d.dw) compare(dw, stage == kDouble ? second.w : first.w, what + "w");
    }
}

template <typename T>
static void weights_from_hidden(const Case& t, const ConvolutionOf<T>& kernels, const std::string& name,
                                const Gradients& first, const std::array<Double, 2>& second) {
  const Arrays<T> n(t);
  const int64_t N = t.graph.receivers, E = t.graph.edges, K = t.K;
  Case own = t;  // with its own places in the packed v
  const int64_t width = own.plan.template pack<T>();
  ConvData<T> d = data(own, n);
  const vector<T> v = pack<T>(own.plan, width, t.v, K, false), vt = pack<T>(own.plan, width, t.v, K, true);
  const vector<T> cv = pack<T>(own.plan, width, t.cv, K, false), cvt = pack<T>(own.plan, width, t.cv, K, true);
  d.h = n.h.data();
  d.ch = n.ch.data();
  d.v = v.data();
  d.vt = vt.data();
  d.hidden = K;
  vector<T> out = unset<T>(N * t.plan.dim3);
  d.out = out.data();
  run(kernels, d, N, kForward);
  compare(out, first.out, name + "hidden forward");
  for (int stage = 0; stage < 3; ++stage) {  // backward, double backward without and with a cotangent of v
    const bool twice = stage > 0, with = stage == 2;
    d.cv = with ? cv.data() : nullptr;
    d.cvt = with ? cvt.data() : nullptr;
    vector<double> dw = first.w, dh, dv;
    if (twice) dw = second[with].w;
    dh = product(dw, false, t.v, true, E, t.plan.weights, K);
    dv = product(t.h, true, dw, false, K, E, t.plan.weights);
    if (twice) dv = sum(dv, product(t.ch, true, first.w, false, K, E, t.plan.weights));
    if (with) dh = sum(dh, product(first.w, false, t.cv, true, E, t.plan.weights, K));
    for (int wanted : {0, 1, 2, 4, 8, 7, 15}) {
      vector<T> ox(n.x.size()), oy = unset<T>(n.y.size()), oh = unset<T>(n.h.size()), ov(K * width),
          og = unset<T>(n.g.size());
      d.out = og.data();
      d.dx = wanted & 1 ? ox.data() : nullptr;
      d.dy = wanted & 2 ? oy.data() : nullptr;
      d.dh = wanted & 4 ? oh.data() : nullptr;
      d.dv = wanted & 8 ? ov.data() : nullptr;
      run(kernels, d, N, twice ? kDouble : kBackward);
      const std::string what = name + "hidden " + (with ? "double backward with v: " : twice ? "double backward: " : "backward: ");
      if (twice) compare(og, second[with].g, what + "g");
      if (d.dx) compare(ox, twice ? second[with].x : first.x, what + "x");
      if (d.dy) compare(oy, twice ? second[with].y : first.y, what + "y");
      if (d.dh) compare(oh, dh, what + "h");
      if (d.dv) compare(unpack(own.plan, ov, K), dv, what + "v");
    }
  }
}

// Weights kept by the forward for the backward, and weights read from a table of quintics by the lengths of the edges.
template <typename T>
static void weights_kept(const Case& t, const ConvolutionOf<T>& kernels, const std::string& name,
                         const Gradients& first) {
  const Arrays<T> n(t);
  const int64_t N = t.graph.receivers, E = t.graph.edges, K = t.K;
  Case own = t;
  const int64_t width = own.plan.template pack<T>();
  ConvData<T> d = data(own, n);
  const vector<T> v = pack<T>(own.plan, width, t.v, K, false), vt = pack<T>(own.plan, width, t.v, K, true);
  vector<T> kept = unset<T>(E * width), out = unset<T>(N * t.plan.dim3), ox(n.x.size()), oh = unset<T>(n.h.size());
  d.h = n.h.data();
  d.v = v.data();
  d.vt = vt.data();
  d.hidden = K;
  d.kept = kept.data();
  d.kept_row = width;
  d.out = out.data();
  run(kernels, d, N, kForward);
  compare(out, first.out, name + "kept forward");
  d.dx = ox.data();
  d.dh = oh.data();
  run(kernels, d, N, kBackward);
  compare(ox, first.x, name + "kept backward: x");
  compare(oh, product(first.w, false, t.v, true, E, t.plan.weights, K), name + "kept backward: h");
}

template <typename T>
static void weights_from_table(const Case& t, const ConvolutionOf<T>& kernels, const std::string& name) {
  const Arrays<T> n(t);
  const int64_t N = t.graph.receivers, E = t.graph.edges, columns = t.plan.weights, intervals = 1 + below(3);
  const double cutoff = 1.5;
  Case own = t;
  const int64_t width = own.plan.template pack<T>();
  const vector<double> rows = numbers(intervals * 6 * columns);
  vector<T> table(intervals * 6 * width), r(E);
  for (int64_t i = 0; i < intervals * 6; ++i)
    for (const ConvPath& p : own.plan.paths)
      for (int c = 0; c < p.channels; ++c) table[i * width + p.packed + c] = T(rows[i * columns + p.weight + c]);
  const double special[] = {0, cutoff, 2 * cutoff, cutoff / double(intervals), 1.4999999};
  vector<double> w(E * columns), slope(E * columns);
  for (int64_t e = 0; e < E; ++e) {
    r[e] = T(below(3) ? cutoff * 1.05 * double(engine()) / double(engine.max()) : special[below(5)]);
    if (!(r[e] < T(cutoff))) continue;
    const double step = cutoff / double(intervals);
    const int64_t i = std::min(int64_t(double(r[e]) / step), intervals - 1);
    const double s = double(r[e]) / step - double(i);
    for (int64_t c = 0; c < columns; ++c) {
      const double* row = &rows[i * 6 * columns + c];
      const double rise = row[columns], d0 = row[2 * columns], d1 = row[3 * columns], c0 = row[4 * columns],
                   c1 = row[5 * columns];
      const double p = rise - d0 - c0 / 2, q = d1 - d0 - c0, k = c1 - c0;  // what the terms from s^3 on must add
      const double a[6] = {row[0], d0, c0 / 2, 10 * p - 4 * q + k / 2, -15 * p + 7 * q - k, 6 * p - 3 * q + k / 2};
      for (int j = 5; j >= 0; --j) {
        slope[e * columns + c] = slope[e * columns + c] * s + w[e * columns + c];
        w[e * columns + c] = w[e * columns + c] * s + a[j];
      }
      slope[e * columns + c] /= step;
    }
  }
  const Gradients first = naive(t.plan, t.graph, t.x, t.y, w, t.g);
  vector<double> along(E);
  for (int64_t e = 0; e < E; ++e)
    for (int64_t c = 0; c < columns; ++c) along[e] += first.w[e * columns + c] * slope[e * columns + c];
  for (const bool keep : {false, true}) {
    ConvData<T> d = data(own, n);
    vector<T> kept = unset<T>(keep ? 2 * E * width : 0), out = unset<T>(N * t.plan.dim3), ox(n.x.size()),
              oy = unset<T>(n.y.size()), dr = unset<T>(E);
    d.kept = keep ? kept.data() : nullptr;
    d.kept_row = width;
    d.table = {table.data(), r.data(), intervals, cutoff, keep ? kept.data() + E * width : nullptr, nullptr};
    d.out = out.data();
    run(kernels, d, N, kForward);
    const std::string what = name + (keep ? "kept table " : "table ");
    compare(out, first.out, what + "forward");
    d.dx = ox.data();
    d.dy = oy.data();
    d.table.dr = dr.data();
    run(kernels, d, N, kBackward);
    compare(ox, first.x, what + "backward: x");
    compare(oy, first.y, what + "backward: y");
    compare(dr, along, what + "backward: lengths");
  }
}

int main() {
  vector<std::pair<const char*, const Convolution*>> sets = {{"baseline ", &convolution_baseline()}};
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) sets.push_back({"avx2 ", &convolution_avx2()});
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    sets.push_back({"avx512 ", &convolution_avx512()});
#endif
  const vector<vector<int>> counts = {{3, 0, 5}, {40, 1, 0, 33, 2, 32}, {0}, {1}, {31, 1, 1, 64, 0}, {}, {0, 70}};
  int unrolled = 0;
  for (int round = 0; round < 36; ++round) {
    const bool wide = round >= 28;
    const int degree = wide ? 1 : round % 4 == 3 ? 6 : round % 4 == 2 ? 4 : 3;
    const int K = std::array{5, 1, 17, 8, 0}[round % 5];
    const Case t(Plan(degree, wide ? 30 + below(20) : 1 + below(5), wide), Graph(counts[round % counts.size()], 1 + below(5)), K);
    for (const ConvPath& p : t.plan.paths) unrolled += t.graph.edges && p.column >= 0 && p.l1 < 2 && p.channels > 15;
    const Gradients first = naive(t.plan, t.graph, t.x, t.y, t.w, t.g);
    const Double second = naive_double(t, t.w, t.c);
    const Gradients made = naive(t.plan, t.graph, t.x, t.y, t.made, t.g);
    const std::array<Double, 2> made_second = {naive_double(t, t.made, t.made_c_without_v),
                                               naive_double(t, t.made, t.made_c)};
    for (const auto& [set, kernels] : sets) {
      const std::string name = "plan " + std::to_string(round) + " " + set;
      weights_in_memory<double>(t, kernels->f64, name + "f64 ", first, second);
      weights_in_memory<float>(t, kernels->f32, name + "f32 ", first, second);
      weights_from_hidden<double>(t, kernels->f64, name + "f64 ", made, made_second);
      weights_from_hidden<float>(t, kernels->f32, name + "f32 ", made, made_second);
      weights_kept<double>(t, kernels->f64, name + "f64 ", made);
      weights_kept<float>(t, kernels->f32, name + "f32 ", made);
      weights_from_table<double>(t, kernels->f64, name + "f64 ");
      weights_from_table<float>(t, kernels->f32, name + "f32 ");
    }
  }
  std::printf("%zu instruction sets, %d comparisons, %d failures\n", sets.size(), comparisons, failures);
  std::printf("%d paths with edges were for the unrolled kernels of all derivatives\n", unrolled);
  return failures != 0 || unrolled < 100;
}
