// Runs the radial networks' kernels without torch, every instruction set, against loops in double precision: networks of
// any widths, the exponential. All arrays have their exact lengths on the heap, so that the sanitizers see a step
// beyond; memory that a kernel must not rely on holds NaN.
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/radial_network.h"

using namespace equitools;
using std::vector;

static int failures = 0, comparisons = 0;
static std::mt19937 engine(23);

static int below(int n) { return int(engine() % unsigned(n)); }

static vector<double> numbers(int64_t n, double scale = 1) {
  std::normal_distribution<double> normal;
  vector<double> v(n);
  for (double& x : v) x = float(scale * normal(engine));
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

template <typename T>
static void compare(const vector<T>& ours, const vector<double>& theirs, double tolerance, const std::string& what) {
  double scale = 1e-30, worst = 0;
  for (double v : theirs) scale = std::fmax(scale, std::fabs(v));
  for (size_t i = 0; i < ours.size(); ++i) {
    const double d = std::fabs(double(ours[i]) - theirs[i]);
    if (!(d <= worst)) worst = d;  // a NaN stays
  }
  ++comparisons;
  if (ours.size() == theirs.size() && worst <= tolerance * scale) return;
  std::printf("failed: %s (%zu numbers, error %g of %g)\n", what.c_str(), ours.size(), worst, scale);
  ++failures;
}

// ---- networks ------------------------------------------------------------------------------------------------------

template <typename T>
static void check_network(const RadialNetworkOf<T>& k, const vector<int>& widths, int64_t E, const char* set) {
  RadialNetwork net{int(widths.size()) - 1, {}};
  for (size_t i = 0; i < widths.size(); ++i) net.widths[i] = widths[i];
  const vector<double> basis = numbers(E * widths[0]), slope = numbers(E * widths[0]);
  vector<T> packed;
  vector<double> value = basis, tangent = slope;
  for (int layer = 1; layer <= net.layers; ++layer) {
    const int64_t from = widths[layer - 1], to = widths[layer], columns = (to + k.lanes - 1) / k.lanes * k.lanes;
    // the second layer sees large numbers, of both signs: the ends of the sigmoid
    const vector<double> w = numbers(from * to, (layer == 2 ? 8 : 1) / std::sqrt(double(from)));
    const size_t at = packed.size();
    packed.resize(at + from * columns);
    for (int64_t i = 0; i < from; ++i)
      for (int64_t j = 0; j < to; ++j) packed[at + i * columns + j] = T(w[i * to + j]);
    vector<double> z(E * to), dz(E * to);
    for (int64_t e = 0; e < E; ++e)
      for (int64_t j = 0; j < to; ++j) {
        double a = 0, b = 0;
        for (int64_t i = 0; i < from; ++i) {
          a += value[e * from + i] * w[i * to + j];
          b += tangent[e * from + i] * w[i * to + j];
        }
        const double s = 1 / (1 + std::exp(-a));
        z[e * to + j] = a * s;
        dz[e * to + j] = b * s * (1 + a * (1 - s));
      }
    value = z;
    tangent = dz;
  }
  const int64_t K = widths.back();
  vector<T> b = as<T>(basis), s = as<T>(slope), hidden = unset<T>(E * K), out = unset<T>(E * K);
  for (int64_t begin = 0; begin < E;) {
    const int64_t end = below(2) ? E : begin + 1 + below(int(E - begin));
    vector<T> scratch = unset<T>(k.scratch(net));
    k.network(net, packed.data(), b.data(), s.data(), hidden.data(), out.data(), scratch.data(), begin, end);
    begin = end;
  }
  std::string what = std::string(set) + (sizeof(T) == 4 ? " float" : " double") + " network of";
  for (int w : widths) what += " " + std::to_string(w);
  what += ", " + std::to_string(E) + " edges";
  const double tolerance = (sizeof(T) == 4 ? 1e-5 : 1e-14) * (1 + net.layers);
  compare(hidden, value, tolerance, what);
  compare(out, tangent, tolerance, what + ", tangent");
}

// ---- the exponential -----------------------------------------------------------------------------------------------

// silu(z) = z / (1 + exp(-z)) of a network of one channel and the weight 1. Far to the left it is z exp(z): the relative
// error there is that of the exponential, so the bound holds for it over all arguments that it does not clamp.
template <typename T>
static double exponential_error(const RadialNetworkOf<T>& k, bool* clamped) {
  const RadialNetwork net{1, {1, 1}};
  const double least = sizeof(T) == 4 ? -87 : -700, most = sizeof(T) == 4 ? 87 : 700;
  vector<T> weight(k.lanes, T(0)), z;
  weight[0] = T(1);
  for (int i = 0; i <= 40000; ++i) z.push_back(T(least + (most - least) * i / 40000.0));
  for (int i = 0; i <= 4000; ++i) z.push_back(T(1e-3 * (i - 2000)));
  const T inf = std::numeric_limits<T>::infinity(), big = std::numeric_limits<T>::max();
  const size_t regular = z.size();
  for (T end : {T(least * 1.2), T(-1e30), -big, T(most * 1.2), T(1e30), big, inf}) z.push_back(end);
  const int64_t E = int64_t(z.size());
  vector<T> one(E, T(1)), value = unset<T>(E), slope = unset<T>(E), scratch = unset<T>(k.scratch(net));
  k.network(net, weight.data(), z.data(), one.data(), value.data(), slope.data(), scratch.data(), 0, E);
  double worst = 0;
  for (size_t i = 0; i < regular; ++i) {
    const double x = double(z[i]), e = std::exp(-std::fabs(x)), sigmoid = x < 0 ? e / (1 + e) : 1 / (1 + e);
    if (x == 0) continue;
    const double error = std::fabs(double(value[i]) / (x * sigmoid) - 1) / std::numeric_limits<T>::epsilon();
    if (!(error <= worst)) worst = error;
    const double exact = sigmoid * (1 + x * (1 - sigmoid));
    // 1 - sigmoid is rounded to whole epsilons or halves, and multiplied with z: up to the z where it is none.
    const double bound = (4 + 0.5 * std::fabs(x)) * std::numeric_limits<T>::epsilon();
    if (!(std::fabs(double(slope[i]) - exact) <= bound)) {
      std::printf("slope at %g: %.9g, exact %.9g\n", x, double(slope[i]), exact);
      *clamped = false;
    }
  }
  // Beyond the range exp is held: towards minus infinity silu is 0 up to the smallest normal numbers times z.
  for (size_t i = regular; i < z.size(); ++i) {
    const bool right = z[i] > 0 ? value[i] == z[i] && (slope[i] == T(1) || z[i] == inf)
                                : std::fabs(value[i]) <= std::fabs(z[i]) * T(std::exp(least)) * T(1.0001);
    if (!right) std::printf("silu(%g) = %g, slope %g\n", double(z[i]), double(value[i]), double(slope[i]));
    if (!right) *clamped = false;
  }
  return worst;
}

template <typename T>
static void check_exponential(const RadialNetworkOf<T>& k, const char* set) {
  bool clamped = true;
  const double worst = exponential_error(k, &clamped);
  std::printf("%s %s: silu is within %.2f epsilon\n", set, sizeof(T) == 4 ? "float" : "double", worst);
  ++comparisons;
  if (worst <= 4 && clamped) return;  // of exp, 1 + exp, the division and the product, half an epsilon each and more
  std::printf("failed: %s exponential, %d bytes: error %g epsilon, ends %s\n", set, int(sizeof(T)), worst,
              clamped ? "right" : "wrong");
  ++failures;
}

template <typename T>
static void check_all(const RadialNetworkOf<T>& k, const char* set) {
  const vector<vector<int>> networks = {{1},        {8},          {64},         {1, 1},          {8, 20},
                                        {3, 5, 7},  {8, 64, 64},  {8, 17, 33},  {64, 15, 16, 17}, {6, 64, 64, 64},
                                        {2, 31, 1}, {5, 1, 1, 40}};
  for (const vector<int>& widths : networks)
    for (int64_t E : {1, 2, 47, 48, 49, 130}) check_network<T>(k, widths, E, set);
  vector<int> deepest(kMaxRadialLayers + 1, 3);
  check_network<T>(k, deepest, 50, set);
  check_exponential<T>(k, set);
}

static void check(const RadialNetworks& k, const char* set) {
  check_all<float>(k.f32, set);
  check_all<double>(k.f64, set);
}

int main() {
  check(radial_networks_baseline(), "baseline");
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) check(radial_networks_avx2(), "avx2");
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    check(radial_networks_avx512(), "avx512");
#endif
  std::printf("%d comparisons, %d failures\n", comparisons, failures);
  return failures ? 1 : 0;
}
