// Runs the torch-free kernels of the layers, equivariant linear map and activations, without torch: against plain loops
// in float64, with every instruction set, in buffers of exactly the right size.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "cpu/linear.h"
#include "cpu/pointwise.h"

using namespace equitools;

static int failures = 0;

static void expect(bool good, const char* what) {
  if (!good) {
    std::printf("failed: %s\n", what);
    ++failures;
  }
}

using Numbers = std::vector<double>;

template <typename T>
static std::vector<T> cast(const Numbers& v) {
  return std::vector<T>(v.begin(), v.end());
}

template <typename T>
static void close(const std::vector<T>& a, const Numbers& b, const char* what) {
  double largest = 1, d = 0;
  for (double x : b) largest = std::fmax(largest, std::fabs(x));
  for (size_t i = 0; i < b.size(); ++i) d = std::fmax(d, std::fabs(double(a[i]) - b[i]));
  expect(a.size() == b.size() && d <= (sizeof(T) == 4 ? 1e-5 : 1e-13) * largest, what);
}

// A plan with what it points to. Moving keeps the pointers; a copy would share the blocks of the original.
struct Case {
  std::vector<LinearBlock> in, out;
  std::vector<LinearKey> keys;
  LinearPlan plan{};
};

static int64_t column(const LinearPlan& plan, const LinearBlock* blocks, int64_t d, int64_t channel, int64_t m) {
  while (channel >= blocks->mul) channel -= blocks++->mul;
  return blocks->offset + (plan.mul_ir ? channel * d + m : m * blocks->mul + channel);
}

static Case make_case(const std::vector<int64_t>& components, const std::vector<int64_t>& in,
                      const std::vector<int64_t>& out, bool mul_ir) {
  Case c;
  const size_t n = components.size();
  c.in.reserve(2 * n);
  c.out.reserve(n);
  for (size_t k = 0; k < n; ++k) {
    LinearKey key{};
    key.components = components[k];
    key.from = in[k];
    key.to = out[k];
    key.weight = c.plan.weights;
    key.scale = 1 / std::sqrt(double(in[k]));
    key.in = c.in.data() + c.in.size();
    key.blocks_in = in[k] > 1 ? 2 : 1;
    const int64_t first = in[k] > 1 ? in[k] / 3 : 0;
    if (in[k] > 1) {
      c.in.push_back({c.plan.dim_in, first});
      c.plan.dim_in += first * components[k];
    }
    c.in.push_back({c.plan.dim_in, in[k] - first});
    c.plan.dim_in += (in[k] - first) * components[k];
    key.out = c.out.data() + c.out.size();
    key.blocks_out = 1;
    c.out.push_back({c.plan.dim_out, out[k]});
    c.plan.dim_out += out[k] * components[k];
    c.plan.weights += in[k] * out[k];
    c.keys.push_back(key);
  }
  c.plan.keys = c.keys.data();
  c.plan.num_keys = n;
  c.plan.mul_ir = mul_ir;
  return c;
}

template <typename T>
static void linear_map(const LinearOf<T>& k, const Case& c, int64_t rows, int64_t elements, std::mt19937& engine) {
  std::normal_distribution<double> normal;
  auto random = [&](int64_t n) {
    Numbers a(n);
    for (double& x : a) x = float(normal(engine));
    return a;
  };
  const LinearPlan& plan = c.plan;
  const Numbers x = random(rows * plan.dim_in), w = random(elements * plan.weights), g = random(rows * plan.dim_out);
  std::vector<int64_t> first(elements + 1), order, species(rows);
  for (int64_t r = 0; r < rows; ++r) species[r] = (r * 7 + 1) % elements;
  for (int64_t s = 0; s < elements; ++s) {
    for (int64_t r = 0; r < rows; ++r)
      if (species[r] == s) order.push_back(r);
    first[s + 1] = order.size();
  }
  Numbers y(rows * plan.dim_out), dx(rows * plan.dim_in), dw(elements * plan.weights);
  for (const LinearKey& key : c.keys)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t m = 0; m < key.components; ++m)
        for (int64_t i = 0; i < key.from; ++i)
          for (int64_t o = 0; o < key.to; ++o) {
            const int64_t a = r * plan.dim_in + column(plan, key.in, key.components, i, m);
            const int64_t b = r * plan.dim_out + column(plan, key.out, key.components, o, m);
            const int64_t at = species[r] * plan.weights + key.weight + i * key.to + o;
            y[b] += key.scale * w[at] * x[a];
            dx[a] += key.scale * w[at] * g[b];
            dw[at] += key.scale * x[a] * g[b];
          }
  Case turned = c;  // its keys still point to the blocks of c
  turned.plan.transposed = true;
  std::swap(turned.plan.dim_in, turned.plan.dim_out);
  for (LinearKey& key : turned.keys) {
    std::swap(key.from, key.to);
    std::swap(key.in, key.out);
    std::swap(key.blocks_in, key.blocks_out);
  }
  turned.plan.keys = turned.keys.data();
  auto apply = [&](const LinearPlan& p, const Numbers& in) {
    std::vector<T> packed(elements * k.packed_size(p)), scratch(k.scratch(p)), out(rows * p.dim_out);
    const auto wt = cast<T>(w), from = cast<T>(in);
    for (int64_t piece = elements * k.pack_pieces(p) - 1; piece >= 0; --piece)
      k.pack(p, wt.data(), packed.data(), piece, piece + 1);
    const int64_t half = rows / 2;  // as two threads would
    for (int part = 0; part < 2; ++part)
      k.apply(p, from.data(), packed.data(), order.data(), first.data(), elements, out.data(), scratch.data(),
              part ? half : 0, part ? rows : half);
    return out;
  };
  close(apply(plan, x), y, "linear map");
  close(apply(turned.plan, g), dx, "adjoint of the linear map");
  std::vector<T> gradient(elements * plan.weights), scratch(k.scratch(plan));
  const auto xt = cast<T>(x), gt = cast<T>(g);
  k.weight_grad(plan, xt.data(), gt.data(), order.data(), first.data(), gradient.data(), scratch.data(), 0,
                elements * k.pieces(plan));
  close(gradient, dw, "gradient of the linear map's weights");
}

template <typename T>
static void silu(const PointwiseOf<T>& k, int64_t n) {
  std::vector<T> x(n), g(n), v(n), y(n), dx(n), ox(n), og(n);
  Numbers ey(n), edx(n), eox(n), eog(n);
  for (int64_t i = 0; i < n; ++i) {
    x[i] = T(0.37 * i - 7), g[i] = T(std::sin(i + 1.0)), v[i] = T(std::cos(3.0 * i));
    const double s = 1 / (1 + std::exp(-double(x[i]))), f1 = s * (1 + x[i] * (1 - s));
    ey[i] = 1.5 * x[i] * s;
    edx[i] = 1.5 * g[i] * f1;
    eox[i] = 1.5 * g[i] * v[i] * s * (1 - s) * (2 + x[i] * (1 - 2 * s));
    eog[i] = 1.5 * v[i] * f1;
  }
  k.silu_value(x.data(), T(1.5), y.data(), 0, n);
  k.silu_vjp(x.data(), g.data(), T(1.5), dx.data(), 0, n);
  k.silu_vjp_vjp(x.data(), g.data(), v.data(), T(1.5), ox.data(), og.data(), 0, n);
  close(y, ey, "silu");
  close(dx, edx, "silu: vjp");
  close(ox, eox, "silu: second derivative");
  close(og, eog, "silu: gradient by grad");
}

int main() {
  std::vector<const Linear*> linears = {&linear_baseline()};
  std::vector<const Pointwise*> activations = {&pointwise_baseline()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    linears.push_back(&linear_avx2());
    activations.push_back(&pointwise_avx2());
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw")) {
    linears.push_back(&linear_avx512());
    activations.push_back(&pointwise_avx512());
  }
#endif
  std::mt19937 engine(11);
  for (bool mul_ir : {false, true})
    for (int64_t rows : {0, 1, 5, 70})
      for (int64_t elements : {1, 3})
        for (const Case& c : {make_case({1}, {1}, {1}, mul_ir), make_case({1, 3}, {17, 33}, {3, 64}, mul_ir),
                              make_case({5}, {70}, {18}, mul_ir)})
          for (const Linear* k : linears) {
            linear_map(k->f32, c, rows, elements, engine);
            linear_map(k->f64, c, rows, elements, engine);
          }
  for (int64_t n : {0, 1, 7, 16, 41})
    for (const Pointwise* k : activations) {
      silu(k->f32, n);
      silu(k->f64, n);
    }
  std::printf("%zu instruction sets, %d failures\n", linears.size(), failures);
  return failures != 0;
}
