// Runs the CUDA kernels on the host, under the address and undefined-behaviour sanitizers, against plain loops.
#include <cmath>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <vector>

#include "core/coupling_pattern.h"
#include "cuda/convolution.h"
#include "cuda/convolution_tables.h"
#include "cuda/harmonics.h"
#include "cuda/segment.h"
#include "cuda/sparse.h"
#include "cuda/sphere.h"
#include "core/sparse_program.h"
#include "core/spherical_harmonics_table.h"

using namespace equitools;
using namespace equitools::gpu;
using Vector = std::vector<double>;

static int failures = 0;
static std::mt19937 engine(5);

static void expect(bool good, const char* what) {
  if (good) return;
  std::printf("failed: %s\n", what);
  ++failures;
}

static Vector normal(size_t n) {
  std::normal_distribution<double> d;
  Vector v(n);
  for (double& x : v) x = d(engine);
  return v;
}

static double dot(const Vector& a, const Vector& b) {
  double s = 0;
  for (size_t i = 0; i < a.size(); ++i) s += a[i] * b[i];
  return s;
}

static bool close(double a, double b) { return std::fabs(a - b) <= 1e-9 * (1 + std::fabs(a) + std::fabs(b)); }

static bool close(const Vector& a, const Vector& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!close(a[i], b[i])) return false;
  return a.size() == b.size();
}

// Edges in order, as the operations make it; exact sizes, so that the sanitizer sees a step too far.
struct Sorted {
  std::vector<int64_t> first, order;
  std::vector<int64_t> found = std::vector<int64_t>(3, 0);
  Sorted(const std::vector<int64_t>& key, int64_t N) : first(N + 1, 0), order(key.size()) {
    std::vector<int64_t> cursor(N + 1, 0);
    order_edges(key.data(), key.size(), N, &found[0], &found[1], first.data(), cursor.data(), order.data(), nullptr);
  }
  Order get() const { return {first.data(), order.data()}; }
};

struct Problem {
  std::vector<int64_t> paths, pairs, entries;
  Vector coupling;
  int64_t N = 0, S = 0, E = 0, dim1 = 0, dim2 = 0, dim3 = 0, weights = 0;
  std::vector<int64_t> sender, receiver;

  // Blocks of node features (degree, channels) with every l2 and l3 up to the given ones; some entries have two terms.
  Problem(std::vector<std::pair<int, int>> blocks, int most2, int most3, int64_t n, int64_t s, int64_t e, bool unrolled)
      : N(n), S(s), E(e) {
    dim2 = (most2 + 1) * (most2 + 1);
    for (const auto& [l1, channels] : blocks) {
      for (int l2 = 0; l2 <= most2; ++l2)
        for (int l3 = std::abs(l1 - l2); l3 <= std::min(l1 + l2, most3); ++l3) {
          int count = 0;
          for (int i = 0; i < 2 * l1 + 1; ++i)
            for (int j = 0; j < 2 * l3 + 1; ++j)
              if (unrolled ? kCouplingPattern[l1][l2][l3][i] >> j & 1 : (i + j) % 2 == 0) {
                const int terms = 1 + (i + 2 * j) % 2;
                pairs.insert(pairs.end(), {i, j, terms});
                for (int k = 0; k < terms; ++k) {
                  entries.push_back(l2 * l2 + (i + j + k) % (2 * l2 + 1));
                  coupling.push_back(0.3 + 0.1 * ((i * 5 + j * 3 + k) % 7));
                }
                ++count;
              }
          paths.insert(paths.end(), {l1, l2, l3, channels, dim1, channels, dim3, channels, weights, count, 0});
          dim3 += (2 * l3 + 1) * channels;
          weights += channels;
        }
      dim1 += (2 * l1 + 1) * channels;
    }
    for (int64_t k = 0; k < E; ++k) {
      sender.push_back(engine() % S);
      receiver.push_back(engine() % std::max<int64_t>(N - 1, 1));
    }
  }

  RawTables raw() const {
    return {paths.data(), pairs.data(), entries.data(), int64_t(paths.size()) / 11, int64_t(pairs.size()) / 3,
            int64_t(entries.size()), dim1, dim2, dim3, weights};
  }

  Vector convolve(const Vector& x, const Vector& y, const Vector& w) const {
    Vector out(N * dim3, 0.0);
    const int64_t* pair = pairs.data();
    size_t entry = 0;
    for (const int64_t* p = paths.data(); p < paths.data() + paths.size(); p += 11) {
      for (int64_t k = 0; k < p[9]; ++k, pair += 3)
        for (int64_t i = 0; i < pair[2]; ++i, ++entry)
          for (int64_t e = 0; e < E; ++e)
            for (int64_t u = 0; u < p[3]; ++u)
              out[receiver[e] * dim3 + p[6] + pair[1] * p[7] + u] +=
                  coupling[entry] * y[e * dim2 + entries[entry]] * x[sender[e] * dim1 + p[4] + pair[0] * p[5] + u] *
                  w[e * weights + p[8] + u];
    }
    return out;
  }
};

static Vector plus(Vector a, const Vector& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

static void convolution(const Problem& q) {
  const PackedTables packed = pack_tables(q.raw());
  const std::vector<unsigned char> bytes = packed.bytes;
  const Tables t = packed.at(bytes.data());
  const Sorted by_receiver(q.receiver, q.N), by_sender(q.sender, q.S);
  const EdgesOf edges{by_receiver.found.data(), by_receiver.get(), q.receiver.data(), q.sender.data(), q.E, q.N};
  const Vector x = normal(q.S * q.dim1), y = normal(q.E * q.dim2), w = normal(q.E * q.weights);
  const Vector a = normal(x.size()), b = normal(y.size()), c = normal(w.size()), g = normal(q.N * q.dim3);
  Vector out(g.size(), NAN), dx_edges(q.E * q.dim1, NAN), dx(x.size(), NAN), dw(w.size(), NAN), dw1(w.size(), NAN);
  const int parts = ConvolutionOf<double>::channel_parts(t);
  Vector dy_parts(parts * y.size(), NAN), dy(y.size(), NAN);
  Arrays<double> d{};
  d.coupling = q.coupling.data();
  d.x = x.data();
  d.y = y.data();
  d.w = w.data();
  d.out = out.data();
  ConvolutionOf<double>::forward(t, d, edges, false, nullptr);
  expect(close(out, q.convolve(x, y, w)), "forward");

  d.g = g.data();
  d.dx_edges = dx_edges.data();
  d.dy = dy_parts.data();
  d.dw = dw.data();
  const auto collect = [&] {
    SegmentOf<double>::sum(dx_edges.data(), by_sender.get(), by_sender.found.data(), q.S, q.dim1, dx.data(), nullptr);
    ConvolutionOf<double>::add_parts(dy_parts.data(), parts, y.size(), dy.data(), nullptr);
  };
  ConvolutionOf<double>::backward(t, d, edges, false, nullptr);
  collect();
  expect(close(dot(a, dx), dot(g, q.convolve(a, y, w))), "gradient of x");
  expect(close(dot(b, dy), dot(g, q.convolve(x, b, w))), "gradient of y");
  expect(close(dot(c, dw), dot(g, q.convolve(x, y, c))), "gradient of w");

  d.dx_edges = nullptr;
  Vector atomic(x.size(), 0.0);
  d.dx = atomic.data();
  ConvolutionOf<double>::backward(t, d, edges, false, nullptr);
  expect(close(atomic, dx), "gradient of x, added atomically");
  d.dx = nullptr;
  d.dx_edges = dx_edges.data();

  d.a = a.data();
  d.b = b.data();
  d.c = c.data();
  d.dw1 = dw1.data();
  const Vector first = dw;
  ConvolutionOf<double>::forward(t, d, edges, true, nullptr);
  expect(close(out, plus(plus(q.convolve(a, y, w), q.convolve(x, b, w)), q.convolve(x, y, c))), "second: g");
  ConvolutionOf<double>::backward(t, d, edges, true, nullptr);
  collect();
  const Vector p = normal(x.size()), r = normal(y.size()), s = normal(w.size());
  expect(close(dot(p, dx), dot(g, plus(q.convolve(p, b, w), q.convolve(p, y, c)))), "second: x");
  expect(close(dot(r, dy), dot(g, plus(q.convolve(a, r, w), q.convolve(x, r, c)))), "second: y");
  expect(close(dot(s, dw), dot(g, plus(q.convolve(a, y, s), q.convolve(x, b, s)))), "second: w");
  expect(close(dw1, first), "second: w at first order");
}

static void refused(Problem q, void (*spoil)(Problem&), const char* what) {
  spoil(q);
  bool thrown = false;
  try {
    pack_tables(q.raw());
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  expect(thrown, what);
}

static void ordering(int64_t E, int64_t N) {
  std::vector<int64_t> key(E);
  for (int64_t& k : key) k = engine() % N;
  const Sorted s(key, N);
  expect(s.found[0] == 0, "indices in range");
  int64_t seen = 0;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = s.first[n]; k < s.first[n + 1]; ++k, ++seen) {
      expect(key[s.order[k]] == n, "the edge belongs to the node");
      expect(k == s.first[n] || s.order[k - 1] < s.order[k], "edges of a node ascend");
    }
  expect(seen == E, "every edge is there once");
  key[E / 2] = N;
  expect(Sorted(key, N).found[0] == 1, "an index out of range is found");
}

static void harmonics(int lmax, int64_t E) {
  const Table<double>& t = coefficients<double>();
  const ShSpec spec{lmax, true, 0};
  const int64_t K = (lmax + 1) * (lmax + 1);
  const Vector xyz = normal(3 * E), grad = normal(K * E), v = normal(3 * E);
  Vector value(K * E, NAN), moved = value, gradient(3 * E, NAN), other = gradient, second(3 * E, NAN), along = value;
  Vector scratch(HarmonicsOf<double>::scratch_size(lmax, E));
  HarmonicsOf<double>::value(&t, spec, xyz.data(), value.data(), E, nullptr);
  HarmonicsOf<double>::vjp(&t, spec, xyz.data(), grad.data(), gradient.data(), scratch.data(), E, nullptr);
  HarmonicsOf<double>::vjp_vjp(&t, spec, xyz.data(), grad.data(), v.data(), second.data(), along.data(),
                               scratch.data(), E, nullptr);
  Vector there = xyz;
  const double h = 1e-6;
  for (size_t i = 0; i < there.size(); ++i) there[i] += h * v[i];
  HarmonicsOf<double>::value(&t, spec, there.data(), moved.data(), E, nullptr);
  HarmonicsOf<double>::vjp(&t, spec, there.data(), grad.data(), other.data(), scratch.data(), E, nullptr);
  double slope = 0, bend = 0, pushed = 0;
  for (size_t i = 0; i < value.size(); ++i) {
    slope += grad[i] * (moved[i] - value[i]) / h;
    pushed += grad[i] * along[i];
  }
  for (size_t i = 0; i < other.size(); ++i) bend += v[i] * (other[i] - gradient[i]) / h;
  expect(std::fabs(slope - dot(gradient, v)) < 1e-3 * (1 + std::fabs(slope)), "vjp against differences");
  expect(close(pushed, dot(gradient, v)), "the derivative and its adjoint");
  expect(std::fabs(bend - dot(second, v)) < 1e-3 * (1 + std::fabs(bend)), "second derivative against differences");
}

// Any numbers do for tables: what is checked is that the product and the gradient of the weights read the same ones.
static void sparse(const SparseShape& s, int64_t rows, int64_t channels, bool one_x) {
  std::vector<int32_t> numbers(s.at(s.lmax[0], s.lmax[1], s.lmax[2]) + 1), program;
  const int64_t paths = sparse_paths(s, numbers.data());
  sparse_program(s, numbers.data(), 1, [&](int number) { program.push_back(number); });
  program.shrink_to_fit();
  const Vector table = normal(sparse_table_size(s)), x = normal(rows * s.components(0) * (one_x ? 1 : channels));
  const Vector y = normal(rows * s.components(1) * channels), z = normal(rows * s.components(2) * channels);
  const Vector weight = normal(paths * channels);
  SparseCall<double> call{x.data(), y.data(), z.data(), {one_x, false, false}, rows * channels, channels, table.data(),
                          weight.data(), false, paths, program.data(), int64_t(program.size())};
  Vector out(z.size(), NAN), gradient(paths * channels, NAN);
  Vector sums(gpu::SparseOf<double>::parts(call) * gradient.size(), NAN);
  gpu::SparseOf<double>::product(s, call, out.data(), nullptr);
  gpu::SparseOf<double>::weights(s, call, sums.data(), gradient.data(), nullptr);
  expect(close(dot(z, out), dot(weight, gradient)), "weights of a sparse product and their gradient");
  call.weight = nullptr;
  gpu::SparseOf<double>::product(s, call, out.data(), nullptr);
  double total = 0;
  for (double g : gradient) total += g;
  expect(close(dot(z, out), total), "a sparse product without weights");
}

static void sphere(const SphereShape& s, int64_t rows, int64_t channels, bool one_x) {
  SphereTables<double> tables;
  const int lmax[3] = {s.lmax[0], s.lmax[1], s.lmax[2]};
  const Vector table = normal(tables.set(lmax, s.rings, s.angles, s.curl, nullptr));
  tables.set(lmax, s.rings, s.angles, s.curl, table.data());
  const Vector x = normal(rows * s.components(0) * (one_x ? 1 : channels)), a = normal(x.size());
  const Vector y = normal(rows * s.components(1) * channels), both = plus(x, a);
  Vector parts[3];
  const Vector* given[3] = {&x, &a, &both};
  for (int i = 0; i < 3; ++i) {
    parts[i].assign(rows * s.components(2) * channels, NAN);
    gpu::SphereOf<double>::product(s, tables, given[i]->data(), y.data(), rows * channels, channels, one_x, false,
                                   parts[i].data(), nullptr);
  }
  double error = 0, scale = 1;
  for (size_t i = 0; i < parts[2].size(); ++i) {
    error = std::fmax(error, std::fabs(parts[0][i] + parts[1][i] - parts[2][i]));
    scale = std::fmax(scale, std::fabs(parts[2][i]));
  }
  expect(error < 1e-10 * scale, "a product on the grid of a sum");
}

int main() {
  for (const auto& [E, N] : {std::pair<int64_t, int64_t>{1, 1}, {40, 7}, {300, 1}, {1500, 1}}) ordering(E, N);
  convolution(Problem({{0, 3}, {1, 3}}, 2, 2, 4, 3, 9, true));
  convolution(Problem({{0, 33}, {1, 65}, {2, 1}, {3, 2}}, 3, 3, 3, 4, 7, true));  // all unrolled triples, two parts
  convolution(Problem({{1, 5}, {2, 70}}, 1, 2, 2, 2, 20, false));                   // by the lists, more than a tile
  convolution(Problem({{6, 3}}, 2, 6, 2, 2, 2, false));                             // several groups
  convolution(Problem({{0, 2}}, 1, 1, 3, 2, 0, true));
  const Problem good({{0, 3}, {1, 3}}, 2, 2, 4, 3, 9, true);
  refused(good, [](Problem& q) { q.paths[4] = 1000; }, "a path beyond the features");
  refused(good, [](Problem& q) { q.paths[6] = -1; }, "a path before the output");
  refused(good, [](Problem& q) { q.paths[8] = q.weights; }, "a path beyond the weights");
  refused(good, [](Problem& q) { q.paths[9] = 1 << 20; }, "more pairs than there are");
  refused(good, [](Problem& q) { q.paths[2] = 7; }, "a degree that is too high");
  refused(good, [](Problem& q) { q.pairs[0] = 5; }, "a pair beyond the orders");
  refused(good, [](Problem& q) { q.entries[0] = q.dim2; }, "an entry beyond the edge attributes");
  refused(good, [](Problem& q) { q.pairs[2] = 3; }, "more entries than there are");
  for (int lmax : {0, 1, 3, 4, 6})
    for (int64_t E : {1, 130}) harmonics(lmax, E);  // one block, and two
  for (int sums : {0, 1, 2}) {
    sparse({{3, 2, 4}, sums}, 5, 3, false);
    sparse({{7, 7, 7}, sums}, 1, 1, false);  // several groups of degrees
    sparse({{1, 0, 1}, sums}, 60, 3, true);  // several parts of the rows, and two blocks
  }
  for (bool curl : {false, true}) {
    sphere({{3, 2, 4}, 5, 10, curl}, 2, 3, false);
    sphere({{1, 0, 1}, 2, 3, curl}, 60, 3, true);
  }
  if (!failures) std::printf("all good\n");
  return failures != 0;
}
