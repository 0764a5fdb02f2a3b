// The kernels of eigenvectors and principal axes without torch, under sanitizers, in all instruction sets: on buffers that are
// exactly as long as they must be, against their definitions and finite differences.
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "cpu/principal_axes.h"

using namespace equitools;

static int failures = 0, comparisons = 0;
static std::mt19937 engine(0);

static void expect(bool good, const std::string& what) {
  ++comparisons;
  if (good) return;
  std::printf("failed: %s\n", what.c_str());
  ++failures;
}

template <typename T>
static std::vector<T> normal(int64_t n) {
  std::normal_distribution<double> d;
  std::vector<T> v(n);
  for (T& x : v) x = T(float(d(engine)));
  return v;
}

template <typename T>
static int64_t blocks(const PrincipalAxesOf<T>& k, int64_t rows) {
  return (rows + k.lanes - 1) / k.lanes;
}

template <typename T>
static constexpr double eps() {
  return sizeof(T) == 4 ? 1.1920928955078125e-07 : 2.220446049250313e-16;
}

// Residual, orthonormality, orientation, order.
template <typename T>
static void check_eigen(const T* a, const T* w, const T* v, const std::string& name) {
  double size = 1e-300, worst = 0, skew = 0;
  for (int i = 0; i < 9; ++i) size = std::fmax(size, std::fabs(double(a[i])));
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k) {
      double residual = -double(w[k]) * v[3 * i + k], product = i == k ? -1 : 0;
      for (int j = 0; j < 3; ++j) {
        residual += 0.5 * (double(a[3 * i + j]) + double(a[3 * j + i])) * v[3 * j + k];
        product += double(v[3 * j + i]) * v[3 * j + k];
      }
      worst = std::fmax(worst, std::fabs(residual) / size);
      skew = std::fmax(skew, std::fabs(product));
    }
  const double det = v[0] * (double(v[4]) * v[8] - double(v[5]) * v[7]) - v[1] * (double(v[3]) * v[8] - double(v[5]) * v[6]) +
                     v[2] * (double(v[3]) * v[7] - double(v[4]) * v[6]);
  expect(worst < 20 * eps<T>(), name + ": residual");
  expect(skew < 12 * eps<T>(), name + ": orthonormal");
  expect(std::fabs(det - 1) < 30 * eps<T>(), name + ": right-handed");
  expect(w[0] <= w[1] && w[1] <= w[2], name + ": ascending");
}

template <typename T>
static void eigen(const PrincipalAxesOf<T>& k, int64_t rows, const std::string& name) {
  std::vector<T> a = normal<T>(9 * rows);
  for (int64_t r = 0; r < rows; ++r) {  // among general ones: zero, unit, rank one, nearly repeated, huge, tiny
    T* m = a.data() + 9 * r;
    const T x[3] = {m[0], m[1], m[2]};
    const double scale = sizeof(T) == 4 ? 1e30 : 1e200;
    for (int i = 0; i < 9; ++i) {
      const T one = T(i % 4 == 0), outer = x[i / 3] * x[i % 3];
      m[i] = r % 7 == 1 ? T(0) : r % 7 == 2 ? one : r % 7 == 3 ? outer : r % 7 == 4 ? one + T(1e-6) * outer
           : r % 7 == 5 ? T(m[i] * scale) : r % 7 == 6 ? T(m[i] / scale) : m[i];
    }
  }
  std::vector<T> w(3 * rows, T(NAN)), v(9 * rows, T(NAN));
  k.eigh3(rows, a.data(), w.data(), v.data(), 0, blocks(k, rows));
  for (int64_t r = 0; r < rows; ++r) check_eigen(&a[9 * r], &w[3 * r], &v[9 * r], name);
  const auto gw = normal<T>(3 * rows), gv = normal<T>(9 * rows);
  std::vector<T> grad(9 * rows, T(NAN));
  k.eigh3_vjp(rows, w.data(), v.data(), gw.data(), gv.data(), grad.data(), 0, blocks(k, rows));
  bool finite = true;
  for (T g : grad) finite &= std::isfinite(g);
  expect(finite, name + ": gradients are finite");
  if (rows) {
    a[5] = T(NAN);
    k.eigh3(rows, a.data(), w.data(), v.data(), 0, 1);
    expect(std::isnan(w[0]) && std::isnan(v[8]), name + ": NaN");
  }
}

template <typename T>
static double function(const std::vector<T>& mean, const std::vector<T>& w, const std::vector<T>& v,
                       const std::vector<T>& gm, const std::vector<T>& gw, const std::vector<T>& gv) {
  double sum = 0;
  for (size_t i = 0; i < mean.size(); ++i) sum += double(mean[i]) * gm[i] + double(w[i]) * gw[i];
  for (size_t i = 0; i < v.size(); ++i) sum += double(v[i]) * gv[i];
  return sum;
}

template <typename T>
static void clouds(const PrincipalAxesOf<T>& k, int64_t batch, int64_t points, bool centred, bool masked,
                   const std::string& name) {
  std::vector<T> x = normal<T>(3 * batch * points);
  for (size_t i = 0; i < x.size(); ++i) x[i] = x[i] * T(1 + 2 * (i % 3)) + T(0.5);
  std::vector<uint8_t> mask(batch * points);
  for (uint8_t& m : mask) m = engine() % 4 != 0;
  if (masked)
    for (size_t i = 0; i < mask.size(); ++i)
      if (!mask[i]) x[3 * i] = T(NAN);
  const uint8_t* there = masked ? mask.data() : nullptr;
  const CloudShape s{batch, points, centred, true, 1e-4};
  std::vector<T> mean(3 * batch, T(NAN)), w = mean, v(9 * batch, T(NAN));
  std::vector<int32_t> state(batch, -1);
  const AxesOf<T> out{mean.data(), w.data(), v.data(), state.data()};
  k.axes(s, x.data(), there, out, 0, blocks(k, batch));
  for (int64_t b = 0; b < batch; ++b) {
    double m[3] = {}, a[9] = {}, count = 0;
    for (int64_t i = 0; i < points; ++i)
      if (!masked || mask[b * points + i]) {
        for (int c = 0; c < 3; ++c) m[c] += x[3 * (b * points + i) + c];
        ++count;
      }
    for (double& c : m) c = centred ? c / std::fmax(count, 1.0) : 0;
    double size = 1;
    for (int64_t i = 0; i < points; ++i)
      if (!masked || mask[b * points + i])
        for (int c = 0; c < 9; ++c) {
          const T* p = &x[3 * (b * points + i)];
          a[c] += (p[c / 3] - m[c / 3]) * (p[c % 3] - m[c % 3]);
          size = std::fmax(size, std::fabs(a[c]));
        }
    double off = 0, rebuilt_error = 0;
    for (int c = 0; c < 3; ++c) off = std::fmax(off, std::fabs(m[c] - mean[3 * b + c]));
    for (int c = 0; c < 9; ++c) {
      double rebuilt = 0;
      for (int j = 0; j < 3; ++j) rebuilt += double(v[9 * b + c / 3 * 3 + j]) * w[3 * b + j] * v[9 * b + c % 3 * 3 + j];
      rebuilt_error = std::fmax(rebuilt_error, std::fabs(rebuilt - a[c]));
    }
    expect(off < 40 * eps<T>(), name + ": mean");
    expect(rebuilt_error < 100 * eps<T>() * size, name + ": moments");
    expect(0 <= state[b] && state[b] < 512 && !(state[b] & kNotFinite), name + ": state");
  }
  const auto gm = normal<T>(3 * batch), gw = normal<T>(3 * batch), gv = normal<T>(9 * batch);
  std::vector<T> grad(x.size(), T(NAN));
  k.axes_vjp(s, x.data(), there, {mean.data(), w.data(), v.data(), nullptr}, {gm.data(), gw.data(), gv.data(), nullptr},
             grad.data(), 0, blocks(k, batch));
  for (size_t i = 0; masked && i < mask.size(); ++i)
    if (!mask[i]) expect(grad[3 * i] == 0 && grad[3 * i + 1] == 0 && grad[3 * i + 2] == 0, name + ": masked gradient");
  if (sizeof(T) == 4 || points < 30) return;  // few points may have gaps that differences do not resolve
  const auto along = normal<T>(x.size());
  const double h = 1e-6;
  double values[2], slope = 0;
  for (size_t i = 0; i < x.size(); ++i) slope += double(grad[i]) * along[i];
  for (int side = 0; side < 2; ++side) {
    std::vector<T> moved = x, m2 = mean, w2 = w, v2 = v;
    for (size_t i = 0; i < x.size(); ++i) moved[i] += T((side ? h : -h) * along[i]);
    k.axes(s, moved.data(), there, {m2.data(), w2.data(), v2.data(), state.data()}, 0, blocks(k, batch));
    values[side] = function(m2, w2, v2, gm, gw, gv);
  }
  const double difference = (values[1] - values[0]) / (2 * h);
  expect(std::fabs(difference - slope) < 1e-5 * (1 + std::fabs(slope)), name + ": gradient against differences");
}

template <typename T>
static void signs(const PrincipalAxesOf<T>& k, bool affine, bool chosen, const std::string& name) {
  const int64_t batch = 5, each = chosen ? 2 : 3, d = affine ? 4 : 3;
  const auto v = normal<T>(9 * batch), mean = normal<T>(3 * batch), table = normal<T>(9), g = normal<T>(batch * each * d * d);
  std::vector<int32_t> choice(batch * each);
  for (int32_t& c : choice) c = int32_t(engine() % 3);
  std::vector<T> out(batch * each * d * d, T(NAN)), gv(9 * batch, T(NAN)), gm(3 * batch, T(NAN));
  const SignedShape<T> s{batch, 3, each, table.data(), chosen ? choice.data() : nullptr, affine, T(0)};
  k.signed_axes(s, mean.data(), v.data(), out.data(), 0, batch);
  k.signed_axes_vjp(s, g.data(), gm.data(), gv.data(), 0, batch);
  double left = 0, right = 0;
  for (size_t i = 0; i < out.size(); ++i) left += double(out[i]) * g[i];
  for (size_t i = 0; i < v.size(); ++i) right += double(v[i]) * gv[i];
  for (size_t i = 0; affine && i < mean.size(); ++i) right += double(mean[i]) * gm[i];
  expect(std::fabs(left - right) < 100 * eps<T>() * (1 + std::fabs(left)), name + ": adjoint");
  const int64_t which = chosen ? choice[each + 1] : 1;
  expect(out[(each + 1) * d * d + d + 2] == v[9 + 5] * table[3 * which + 2], name + ": an entry");
}

template <typename T>
static void all(const PrincipalAxesOf<T>& k, const std::string& name) {
  for (int64_t rows : {0, 1, 7, 16, 35}) eigen(k, rows, name + " eigh3");
  for (bool centred : {true, false})
    for (bool masked : {true, false}) {
      clouds(k, 0, 3, centred, masked, name + " axes of none");
      clouds(k, 3, 0, centred, masked, name + " axes of nothing");
      clouds(k, 19, 7, centred, masked, name + " axes of 7");
      clouds(k, 16, 32, centred, masked, name + " axes of 32");
      clouds(k, 33, 131, centred, masked, name + " axes of 131");  // two chunks
    }
  for (bool affine : {true, false})
    for (bool chosen : {true, false}) signs(k, affine, chosen, name + " signs");
}

int main() {
  std::vector<std::pair<std::string, const PrincipalAxes*>> sets = {{"baseline", &principal_axes_baseline()}};
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) sets.push_back({"avx2", &principal_axes_avx2()});
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    sets.push_back({"avx512", &principal_axes_avx512()});
#endif
  for (const auto& [name, kernels] : sets) {
    all<double>(kernels->f64, name + " f64");
    all<float>(kernels->f32, name + " f32");
  }
  std::printf("%zu instruction sets, %d comparisons, %d failures\n", sets.size(), comparisons, failures);
  return failures != 0 || comparisons == 0;
}
