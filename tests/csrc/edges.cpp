// Runs the torch-free kernels of the edges, spherical harmonics and radial basis, without torch: every instruction set
// against the baseline and float32 against float64, in buffers of exactly the right size.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/radial.h"

using namespace equitools;

static int failures = 0;

static void expect(bool good, const char* what) {
  if (!good) {
    std::printf("failed: %s\n", what);
    ++failures;
  }
}

template <typename T>
static std::vector<T> cast(const std::vector<double>& v) {
  return std::vector<T>(v.begin(), v.end());
}

template <typename T>
static bool close(const std::vector<T>& a, const std::vector<double>& b, double tolerance) {
  double largest = 1, d = 0;
  for (double x : b) largest = std::fmax(largest, std::fabs(x));
  for (size_t i = 0; i < b.size(); ++i) d = std::fmax(d, std::fabs(double(a[i]) - b[i]));
  return a.size() == b.size() && d <= tolerance * largest;
}

template <typename T>
struct Results {
  std::vector<T> value, first, second, along;
};

template <typename T>
static Results<T> harmonics_of(const KernelsOf<T>& k, const ShSpec& spec, const std::vector<double>& xyz,
                               const std::vector<double>& grad, const std::vector<double>& v) {
  const int64_t E = xyz.size() / 3;
  const auto x = cast<T>(xyz), g = cast<T>(grad), c = cast<T>(v);
  Results<T> r{std::vector<T>(grad.size()), std::vector<T>(3 * E), std::vector<T>(3 * E), std::vector<T>(grad.size())};
  k.sh_value(coefficients<T>(), spec, x.data(), r.value.data(), 0, E);
  k.sh_vjp(coefficients<T>(), spec, x.data(), g.data(), r.first.data(), 0, E);
  k.sh_vjp_vjp(coefficients<T>(), spec, x.data(), g.data(), c.data(), r.second.data(), r.along.data(), 0, E);
  return r;
}

template <typename T>
static Results<T> radial_results(const RadialOf<T>& k, const RadialSpec& spec, const std::vector<double>& lengths,
                                 const std::vector<double>& grad, const std::vector<double>& v) {
  const int64_t E = lengths.size();
  const auto x = cast<T>(lengths), g = cast<T>(grad), c = cast<T>(v);
  Results<T> r{std::vector<T>(grad.size()), std::vector<T>(E), std::vector<T>(E), std::vector<T>(grad.size())};
  std::vector<T> again(grad.size()), slope(grad.size());
  k.value(spec, x.data(), r.value.data(), nullptr, 0, E);
  k.value(spec, x.data(), again.data(), slope.data(), 0, E);
  expect(again == r.value, "radial value beside its slope");
  k.vjp(spec, x.data(), g.data(), r.first.data(), 0, E);
  k.vjp_vjp(spec, x.data(), g.data(), c.data(), r.second.data(), r.along.data(), 0, E);
  for (int64_t e = 0; e < E; ++e) {
    double sum = 0, size = 1;
    for (int n = 0; n < spec.num; ++n) {
      sum += double(g[e * spec.num + n]) * slope[e * spec.num + n];
      size += std::fabs(double(slope[e * spec.num + n]));
    }
    expect(std::fabs(sum - r.first[e]) < (sizeof(T) == 4 ? 1e-5 : 1e-13) * size * 4, "radial vjp by the slope");
  }
  return r;
}

template <typename T>
static void compare(const Results<T>& a, const Results<double>& b, double tolerance, const char* what) {
  expect(close(a.value, b.value, tolerance) && close(a.first, b.first, 10 * tolerance) &&
             close(a.second, b.second, 100 * tolerance) && close(a.along, b.along, 10 * tolerance),
         what);
}

int main() {
  std::vector<const Kernels*> sets = {&kernels_baseline()};
  std::vector<const Radial*> radials = {&radial_baseline()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    sets.push_back(&kernels_avx2());
    radials.push_back(&radial_avx2());
  }
  if (cpu_capability() == 2) {
    sets.push_back(&kernels_avx512());
    radials.push_back(&radial_avx512());
  }
#endif
  std::mt19937 engine(3);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0.3, 5.4);
  auto random = [&](int64_t n) {
    std::vector<double> a(n);
    for (double& x : a) x = float(normal(engine));
    return a;
  };
  for (int64_t E : {0, 1, 7, 33})
    for (int lmax = 0; lmax <= 8; ++lmax)
      for (bool normalize : {true, false}) {
        const ShSpec spec{lmax, normalize, lmax % 3};
        const int K = (lmax + 1) * (lmax + 1);
        auto xyz = random(3 * E);
        for (int64_t e = 0; e < E; ++e)  // not too short, where derivatives are large
          xyz[3 * e + e % 3] = float(xyz[3 * e + e % 3] + std::copysign(1.0, xyz[3 * e + e % 3]));
        if (E > 5) xyz[9] = xyz[10] = xyz[11] = 0;
        const auto grad = random(K * E), v = random(3 * E);
        const auto base = harmonics_of(sets[0]->f64, spec, xyz, grad, v);
        for (const Kernels* k : sets) {
          compare(harmonics_of(k->f64, spec, xyz, grad, v), base, 1e-12, "harmonics, float64");
          compare(harmonics_of(k->f32, spec, xyz, grad, v), base, 2e-5, "harmonics, float32");
        }
      }
  for (int64_t E : {0, 1, 7, 33})
    for (int num : {1, 3, 8, 17, kMaxRadial})
      for (int p : {0, 2, 5}) {
        const RadialSpec spec{num, p, 5.0, 1.25};
        std::vector<double> r(E);
        for (double& x : r) x = float(uniform(engine));
        if (E > 5) r[2] = 0, r[3] = 5, r[4] = 1e-20;
        const auto grad = random(num * E), v = random(E);
        const auto base = radial_results(radials[0]->f64, spec, r, grad, v);
        for (const Radial* k : radials) {
          compare(radial_results(k->f64, spec, r, grad, v), base, 1e-12, "radial basis, float64");
          compare(radial_results(k->f32, spec, r, grad, v), base, 2e-5, "radial basis, float32");
        }
      }
  std::printf("%zu instruction sets, %d failures\n", sets.size(), failures);
  return failures != 0;
}
