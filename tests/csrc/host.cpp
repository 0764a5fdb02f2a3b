// Runs the torch-free kernels without torch: against finite differences, and every instruction set against the baseline.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "cpu/kernels.h"

using namespace equitools;

static int failures = 0;

static void expect(bool good, const char* what) {
  if (!good) {
    std::printf("failed: %s\n", what);
    ++failures;
  }
}

static double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double d = 0;
  for (size_t i = 0; i < a.size(); ++i) d = std::fmax(d, std::fabs(a[i] - b[i]));
  return d;
}

struct Result {
  std::vector<double> value, vjp, hvp, jvp;
};

static Result evaluate(const Kernels& k, const ShSpec& spec, const std::vector<double>& xyz,
                       const std::vector<double>& grad, const std::vector<double>& v) {
  const int64_t E = xyz.size() / 3;
  Result r{std::vector<double>(grad.size()), std::vector<double>(3 * E), std::vector<double>(3 * E),
           std::vector<double>(grad.size())};
  const auto& t = coefficients<double>();
  k.f64.sh_value(t, spec, xyz.data(), r.value.data(), 0, E);
  k.f64.sh_vjp(t, spec, xyz.data(), grad.data(), r.vjp.data(), 0, E);
  k.f64.sh_vjp_vjp(t, spec, xyz.data(), grad.data(), v.data(), r.hvp.data(), r.jvp.data(), 0, E);
  return r;
}

static void harmonics(const std::vector<const Kernels*>& sets) {
  std::mt19937 engine(7);
  std::normal_distribution<double> normal;
  for (int lmax : {0, 1, 2, 5, 12})
    for (bool normalize : {true, false})
      for (int64_t E : {0, 1, 5, 19}) {
        const ShSpec spec{lmax, normalize, 1};
        const int K = (lmax + 1) * (lmax + 1);
        std::vector<double> xyz(3 * E), grad(K * E), v(3 * E), moved;
        for (auto* a : {&xyz, &grad, &v})
          for (double& x : *a) x = 0.7 * normal(engine);
        const Result base = evaluate(*sets[0], spec, xyz, grad, v);
        for (const Kernels* other : sets) {
          const Result r = evaluate(*other, spec, xyz, grad, v);
          expect(distance(r.value, base.value) < 1e-10, "value of another instruction set");
          expect(distance(r.vjp, base.vjp) < 1e-8, "vjp of another instruction set");
          expect(distance(r.hvp, base.hvp) < 1e-6, "second derivative of another instruction set");
          expect(distance(r.jvp, base.jvp) < 1e-8, "jvp of another instruction set");
        }
        const double h = 1e-5;
        auto along = [&](double s) {
          moved = xyz;
          for (size_t i = 0; i < moved.size(); ++i) moved[i] += s * h * v[i];
          return evaluate(*sets[0], spec, moved, grad, v);
        };
        const Result plus = along(1), minus = along(-1);
        for (size_t i = 0; i < base.jvp.size(); ++i)
          expect(std::fabs((plus.value[i] - minus.value[i]) / (2 * h) - base.jvp[i]) < 1e-3, "jvp by differences");
        for (size_t i = 0; i < base.hvp.size(); ++i) {
          const double slope = (plus.vjp[i] - minus.vjp[i]) / (2 * h);
          expect(std::fabs(slope - base.hvp[i]) < 1e-2 * (1 + std::fabs(slope)), "second derivative by differences");
        }
        for (int64_t e = 0; e < E; ++e) {
          double left = 0, right = 0;
          for (int k = 0; k < K; ++k) left += grad[e * K + k] * base.jvp[e * K + k];
          for (int a = 0; a < 3; ++a) right += base.vjp[3 * e + a] * v[3 * e + a];
          expect(std::fabs(left - right) < 1e-8 * (1 + std::fabs(left)), "vjp is the adjoint of jvp");
        }
      }
}

static void segments(const std::vector<const Kernels*>& sets) {
  const std::vector<double> values = {1, -2, 3, 4, 5, 6, 7, 8, -9, 10};  // 5 edges of width 2
  const std::vector<int64_t> order = {4, 2, 0, 1, 3}, first = {0, 2, 2, 5};
  for (const Kernels* k : sets) {
    std::vector<double> out(6), soft(10), scratch(4);
    std::vector<int64_t> where(6);
    k->f64.segment_sum(values.data(), order.data(), first.data(), 2, out.data(), 0, 3);
    expect(out == std::vector<double>({-4, 16, 0, 0, 11, 10}), "segment sum");
    k->f64.segment_max(values.data(), order.data(), first.data(), 2, out.data(), where.data(), 0, 3);
    expect(out == std::vector<double>({5, 10, 0, 0, 7, 8}), "segment max");
    expect(where == std::vector<int64_t>({2, 4, -1, -1, 3, 3}), "segment max: where");
    k->f64.segment_softmax(values.data(), order.data(), first.data(), 2, soft.data(), scratch.data(), 0, 3);
    expect(std::fabs(soft[0] + soft[2] + soft[6] - 1) < 1e-14, "segment softmax");
    k->f64.segment_sum(values.data(), nullptr, first.data(), 2, out.data(), 0, 3);
    expect(out == std::vector<double>({4, 2, 0, 0, 3, 24}), "segment sum of edges in order");
  }
}

int main() {
  std::vector<const Kernels*> sets = {&kernels_baseline()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&kernels_avx2());
  if (cpu_capability() == 2) sets.push_back(&kernels_avx512());
#endif
  harmonics(sets);
  segments(sets);
  std::printf("%zu instruction sets, %d failures\n", sets.size(), failures);
  return failures != 0;
}
