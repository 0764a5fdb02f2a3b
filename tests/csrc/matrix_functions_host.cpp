// The kernels of matrix functions without torch, under sanitizers, in all instruction sets: on buffers that are exactly as
// long as they must be, against their definitions and against differences.
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cpu/matrix_functions.h"

using namespace equitools;

static int failures = 0, comparisons = 0;
static std::mt19937 engine(0);

static void expect(bool good, const std::string& what) {
  ++comparisons;
  if (good) return;
  std::printf("failed: %s\n", what.c_str());
  ++failures;
}

using Wide = std::vector<long double>;  // the series below squares, which costs digits

template <typename T>
static std::vector<T> normal(int64_t count, double size) {
  std::normal_distribution<double> d;
  std::vector<T> v(count);
  for (T& x : v) x = T(size * d(engine));
  return v;
}

template <typename T>
static constexpr double eps() {
  return sizeof(T) == 4 ? 1.1920928955078125e-07 : 2.220446049250313e-16;
}

static Wide product(const Wide& a, const Wide& b, int n) {
  Wide out(n * n, 0.0L);
  for (int i = 0; i < n; ++i)
    for (int k = 0; k < n; ++k)
      for (int j = 0; j < n; ++j) out[n * i + j] += a[n * i + k] * b[n * k + j];
  return out;
}

// By the series of a matrix scaled by 2^-8.
static Wide exponential(Wide x, int n) {
  Wide out(n * n, 0.0L), term(n * n, 0.0L);
  for (long double& v : x) v *= std::ldexp(1.0L, -8);
  for (int i = 0; i < n; ++i) out[n * i + i] = term[n * i + i] = 1;
  for (int k = 1; k < 20; ++k) {
    term = product(term, x, n);
    for (long double& v : term) v /= k;
    for (int i = 0; i < n * n; ++i) out[i] += term[i];
  }
  for (int k = 0; k < 8; ++k) out = product(out, out, n);
  return out;
}

template <typename T>
static Wide row_of(const std::vector<T>& rows, int64_t r, int n) {
  return Wide(rows.begin() + r * n * n, rows.begin() + (r + 1) * n * n);
}

static double distance(const Wide& a, const Wide& b) {
  long double difference = 0, size = 1e-300L;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return double(std::sqrt(difference / size));
}

template <typename T>
static double dot(const std::vector<T>& a, const std::vector<T>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * b[i];
  return sum;
}

// The VJP against a central difference along a random direction.
template <typename T>
static void slope(const std::vector<T>& at, const std::vector<T>& grad, const std::function<double(const std::vector<T>&)>& f,
                  const std::string& name) {
  if (sizeof(T) == 4) return;
  const auto along = normal<T>(at.size(), 1);
  double values[2];
  const double h = 1e-6;
  for (int side = 0; side < 2; ++side) {
    std::vector<T> moved = at;
    for (size_t i = 0; i < at.size(); ++i) moved[i] += T((side ? h : -h) * along[i]);
    values[side] = f(moved);
  }
  const double difference = (values[1] - values[0]) / (2 * h), exact = dot(grad, along);
  expect(std::fabs(difference - exact) < 1e-6 * (1 + std::fabs(exact)), name + ": gradient against differences");
}

template <typename T>
static void of_size(const MatrixFunctionsOf<T>& kernels, int n, int64_t rows, const std::string& name) {
  const auto& k = kernels.of(n);
  const int64_t blocks = (rows + kernels.lanes - 1) / kernels.lanes, size = rows * n * n;
  const double bound = 60 * eps<T>();
  auto x = normal<T>(size, 0.4);
  for (int64_t i = 0; i < size; ++i)  // among others zero, tiny and large ones
    x[i] *= i / (n * n) % 7 == 1 ? T(0) : i / (n * n) % 7 == 2 ? T(1e-20) : i / (n * n) % 7 == 3 ? T(3) : T(1);
  const auto g = normal<T>(size, 1), h = normal<T>(size, 1);
  std::vector<T> e(size, T(NAN)), l(size, T(NAN)), p(size, T(NAN)), o(size, T(NAN)), grad(size, T(NAN));

  k.exp(rows, x.data(), e.data(), 0, blocks);
  for (int64_t r = 0; r < rows; ++r)
    expect(distance(row_of(e, r, n), exponential(row_of(x, r, n), n)) < bound * (r % 7 == 3 ? 10 : 1), name + ": exp");
  k.exp_vjp(rows, x.data(), g.data(), grad.data(), 0, blocks);
  slope<T>(x, grad, [&](const std::vector<T>& at) {
    std::vector<T> out(size);
    k.exp(rows, at.data(), out.data(), 0, blocks);
    return dot(out, g);
  }, name + " exp");

  auto a = normal<T>(size, 0.2);
  std::vector<T> from(size);
  for (int64_t i = 0; i < size; ++i) a[i] *= i / (n * n) % 5 == 1 ? T(1e-6) : i / (n * n) % 5 == 2 ? T(0) : T(1);
  k.exp(rows, a.data(), from.data(), 0, blocks);
  k.log(rows, from.data(), l.data(), 0, blocks);
  for (int64_t r = 0; r < rows; ++r)
    expect(distance(exponential(row_of(l, r, n), n), row_of(from, r, n)) < bound, name + ": log");
  k.log_vjp(rows, l.data(), g.data(), grad.data(), 0, blocks);
  slope<T>(from, grad, [&](const std::vector<T>& at) {
    std::vector<T> out(size);
    k.log(rows, at.data(), out.data(), 0, blocks);
    return dot(out, g);
  }, name + " log");

  auto b = normal<T>(size, 1);
  for (int64_t i = 0; i < size; ++i)
    if (i / (n * n) % 4 == 1) b[i] = T(i % (n * n) % (n + 1) == 0);  // 1: all singular values are equal
  k.polar(rows, b.data(), p.data(), o.data(), 0, blocks);
  for (int64_t r = 0; r < rows; ++r) {
    const Wide left = row_of(p, r, n), right = row_of(o, r, n);
    Wide turned(n * n), one(n * n, 0.0L);
    for (int i = 0; i < n * n; ++i) turned[i] = right[n * (i % n) + i / n];
    for (int i = 0; i < n; ++i) one[n * i + i] = 1;
    expect(distance(product(left, right, n), row_of(b, r, n)) < bound, name + ": polar");
    expect(distance(product(turned, right, n), one) < 8 * eps<T>(), name + ": orthogonal");
    for (int i = 0; i < n * n; ++i) expect(left[i] == left[n * (i % n) + i / n], name + ": symmetric");
  }
  k.polar_vjp(rows, b.data(), g.data(), h.data(), grad.data(), 0, blocks);
  bool finite = true;
  for (T v : grad) finite &= bool(std::isfinite(v));
  expect(finite, name + ": gradients of polar are finite");
  if (rows == 35)
    slope<T>(b, grad, [&](const std::vector<T>& at) {
      std::vector<T> left(size), right(size);
      k.polar(rows, at.data(), left.data(), right.data(), 0, blocks);
      return dot(left, g) + dot(right, h);
    }, name + " polar");

  if (rows < 2) return;
  const auto spoil = [&](std::vector<T> v) {
    v[n * n + 1] = T(NAN);
    return v;
  };
  const auto differs = [&](const std::vector<T>& now, const std::vector<T>& before, const std::string& what) {
    bool same = true, gone = true;
    for (int64_t i = 0; i < size; ++i) (i / (n * n) == 1 ? gone : same) &= i / (n * n) == 1 ? bool(std::isnan(now[i])) : now[i] == before[i];
    expect(same && gone, name + ": NaN of one in " + what);
  };
  std::vector<T> out(size), other(size);
  k.exp(rows, spoil(x).data(), out.data(), 0, blocks);
  differs(out, e, "exp");
  k.log(rows, spoil(from).data(), out.data(), 0, blocks);
  differs(out, l, "log");
  k.polar(rows, spoil(b).data(), out.data(), other.data(), 0, blocks);
  differs(out, p, "polar");
  differs(other, o, "polar");
  for (int i = 0; i < n * n; ++i) from[i] = T(i == 0 ? -1 : i % (n + 1) == 0);  // an eigenvalue -1
  k.log(rows, from.data(), out.data(), 0, blocks);
  expect(std::isnan(out[0]) && std::isnan(out[n * n - 1]) && !std::isnan(out[n * n]), name + ": no logarithm");
  for (int i = 0; i < n * n; ++i) b[i] = T(1);
  k.polar(rows, b.data(), out.data(), other.data(), 0, blocks);
  expect(std::isnan(out[0]) && std::isnan(other[0]) && !std::isnan(out[n * n]), name + ": singular");
}

template <typename T>
static void all(const MatrixFunctionsOf<T>& kernels, const std::string& name) {
  for (int n = kLeastMatrix; n <= kMostMatrix; ++n)
    for (int64_t rows : {0, 1, 7, 16, 35}) of_size(kernels, n, rows, name + " n = " + std::to_string(n));
}

int main() {
  std::vector<std::pair<std::string, const MatrixFunctions*>> sets = {{"baseline", &matrix_functions_baseline()}};
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) sets.push_back({"avx2", &matrix_functions_avx2()});
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    sets.push_back({"avx512", &matrix_functions_avx512()});
#endif
  for (const auto& [name, kernels] : sets) {
    all<double>(kernels->f64, name + " f64");
    all<float>(kernels->f32, name + " f32");
  }
  std::printf("%zu instruction sets, %d comparisons, %d failures\n", sets.size(), comparisons, failures);
  return failures != 0 || comparisons == 0;
}
