#include "axes.h"

#include <cmath>

#include "../core/eigh3.h"
#include "arithmetic.h"
#include "device.h"

namespace equitools {
namespace gpu {
namespace {

constexpr int kThreads = 128;

template <typename T>
EQUITOOLS_DEVICE Eigen3<Arithmetic<T>> load_eigen(const T* values, const T* vectors, int64_t row) {
  Eigen3<Arithmetic<T>> e;
  each<0, 3>([&](auto i) { e.value[i.value] = values[3 * row + i.value]; });
  each<0, 9>([&](auto i) { e.vector[i.value / 3][i.value % 3] = vectors[9 * row + i.value]; });
  return e;
}

template <typename T>
EQUITOOLS_DEVICE void store_eigen(const Eigen3<Arithmetic<T>>& e, T* values, T* vectors, int64_t row) {
  each<0, 3>([&](auto i) { values[3 * row + i.value] = e.value[i.value]; });
  each<0, 9>([&](auto i) { vectors[9 * row + i.value] = e.vector[i.value / 3][i.value % 3]; });
}

template <typename T>
EQUITOOLS_KERNEL eigh3_kernel(int64_t rows, const T* a, T* values, T* vectors) {
  for (int64_t row = global_thread(); row < rows; row += global_threads()) {
    const T* m = a + 9 * row;
    const T half = T(0.5);
    const Symmetric3<Arithmetic<T>> s{m[0], half * m[1] + half * m[3], half * m[2] + half * m[6],
                                      m[4], half * m[5] + half * m[7], m[8]};
    store_eigen<T>(eigen3<Arithmetic<T>>(s), values, vectors, row);
  }
}

template <typename T>
EQUITOOLS_KERNEL eigh3_vjp_kernel(int64_t rows, const T* values, const T* vectors, const T* grad_values,
                                  const T* grad_vectors, T* grad) {
  for (int64_t row = global_thread(); row < rows; row += global_threads()) {
    const auto s = eigen3_vjp<Arithmetic<T>>(load_eigen(values, vectors, row), load_eigen(grad_values, grad_vectors, row));
    const T all[9] = {s.xx, s.xy, s.xz, s.xy, s.yy, s.yz, s.xz, s.yz, s.zz};
    each<0, 9>([&](auto i) { grad[9 * row + i.value] = all[i.value]; });
  }
}

// The sum over the threads of a warp, the same bits in each of them.
template <typename T>
EQUITOOLS_DEVICE T warp_sum(T v) {
  for (int h = 1; h < kWarp; h *= 2) v += shuffle_xor(v, h);
  return v;
}

template <typename T>
struct Place {
  T x, y, z;
};

// The points of a cloud about a mean, those of a warp's threads in turn. Those that do not count are left out.
template <typename T, typename F>
EQUITOOLS_DEVICE void each_point(const CloudShape& s, const T* points, const uint8_t* mask, int64_t cloud, const T* mean,
                                 const F& f) {
  for (int64_t i = lane(); i < s.points; i += kWarp) {
    const int64_t at = cloud * s.points + i;
    const T* p = points + 3 * at;
    if (!mask || mask[at]) f(Place<T>{p[0] - mean[0], p[1] - mean[1], p[2] - mean[2]});
  }
}

EQUITOOLS_DEVICE int64_t first_warp() { return global_thread() / kWarp; }
EQUITOOLS_DEVICE int64_t all_warps() { return global_threads() / kWarp; }

template <typename T>
EQUITOOLS_DEVICE T count_points(const CloudShape& s, const uint8_t* mask, int64_t cloud) {
  if (!mask) return T(s.points);
  T count = T(0);
  for (int64_t i = lane(); i < s.points; i += kWarp) count += T(mask[cloud * s.points + i] != 0);
  return warp_sum(count);
}

// A warp has a cloud.
template <typename T>
EQUITOOLS_KERNEL axes_kernel(CloudShape s, const T* points, const uint8_t* mask, AxesOf<T> out) {
  using M = Arithmetic<T>;
  for (int64_t cloud = first_warp(); cloud < s.clouds; cloud += all_warps()) {
    const T total = count_points<T>(s, mask, cloud);
    T mean[3] = {T(0), T(0), T(0)};
    if (s.centred) {
      T sum[3] = {T(0), T(0), T(0)};
      each_point(s, points, mask, cloud, mean, [&](const Place<T>& p) { sum[0] += p.x, sum[1] += p.y, sum[2] += p.z; });
      each<0, 3>([&](auto k) { mean[k.value] = warp_sum(sum[k.value]) / (total > T(1) ? total : T(1)); });
    }
    T a[6] = {T(0), T(0), T(0), T(0), T(0), T(0)};
    each_point(s, points, mask, cloud, mean, [&](const Place<T>& p) {
      a[0] += p.x * p.x, a[1] += p.x * p.y, a[2] += p.x * p.z;
      a[3] += p.y * p.y, a[4] += p.y * p.z, a[5] += p.z * p.z;
    });
    each<0, 6>([&](auto k) { a[k.value] = warp_sum(a[k.value]); });
    const Eigen3<M> e = eigen3<M>({a[0], a[1], a[2], a[3], a[4], a[5]});
    // The moments of a single point far from the origin are the rounding of its mean.
    const T rounding =
        T(16) * Rounding<T>::unit * M::root(mean[0] * mean[0] + mean[1] * mean[1] + mean[2] * mean[2]);
    const T limit = greater(T(s.threshold) * e.value[2], total * rounding * rounding);
    const T none = (e.value[0] + e.value[1] + e.value[2]) * T(0);
    int32_t state = none != none ? kNotFinite : 0;
    each<0, 2>([&](auto k) {
      if (e.value[k.value + 1] - e.value[k.value] <= limit) state |= kRepeated << k.value;
    });
    if (s.moments) {
      T moment[3] = {T(0), T(0), T(0)}, size[3] = {T(0), T(0), T(0)};
      each_point(s, points, mask, cloud, mean, [&](const Place<T>& p) {
        each<0, 3>([&](auto k) {
          const T along = p.x * e.vector[0][k.value] + p.y * e.vector[1][k.value] + p.z * e.vector[2][k.value];
          const T cube = along * along * along;
          moment[k.value] += cube;
          size[k.value] += magnitude(cube);
        });
      });
      const T threshold = T(s.threshold);
      each<0, 3>([&](auto k) {
        const T m = warp_sum(moment[k.value]), whole = warp_sum(size[k.value]);
        if (magnitude(m) <= threshold * whole || e.value[k.value] <= threshold * threshold * e.value[2])
          state |= kOpen << k.value;
        if (m > T(0)) state |= kPositive << k.value;
      });
    }
    if (lane() == 0) {
      each<0, 3>([&](auto k) { out.mean[3 * cloud + k.value] = mean[k.value]; });
      store_eigen<T>(e, out.values, out.vectors, cloud);
      out.state[cloud] = state;
    }
  }
}

template <typename T>
EQUITOOLS_KERNEL axes_vjp_kernel(CloudShape s, const T* points, const uint8_t* mask, AxesOf<const T> axes,
                                 AxesOf<const T> grad, T* gradient) {
  for (int64_t cloud = first_warp(); cloud < s.clouds; cloud += all_warps()) {
    const auto g = eigen3_vjp<Arithmetic<T>>(load_eigen(axes.values, axes.vectors, cloud),
                                             load_eigen(grad.values, grad.vectors, cloud));
    T mean[3] = {T(0), T(0), T(0)}, shift[3] = {T(0), T(0), T(0)};
    if (s.centred) {
      const T total = count_points<T>(s, mask, cloud);
      each<0, 3>([&](auto k) {
        mean[k.value] = axes.mean[3 * cloud + k.value];
        shift[k.value] = grad.mean[3 * cloud + k.value] / (total > T(1) ? total : T(1));
      });
    }
    for (int64_t i = lane(); i < s.points; i += kWarp) {
      const int64_t at = cloud * s.points + i;
      const T* p = points + 3 * at;
      T* to = gradient + 3 * at;
      const bool there = !mask || mask[at];
      const T x = T(2) * (p[0] - mean[0]), y = T(2) * (p[1] - mean[1]), z = T(2) * (p[2] - mean[2]);
      to[0] = there ? shift[0] + g.xx * x + g.xy * y + g.xz * z : T(0);
      to[1] = there ? shift[1] + g.xy * x + g.yy * y + g.yz * z : T(0);
      to[2] = there ? shift[2] + g.xz * x + g.yz * y + g.zz * z : T(0);
    }
  }
}

// A thread has one number of the result. A choice outside the table gives NaN: the host does not know the numbers.
template <typename T>
EQUITOOLS_KERNEL signed_axes_kernel(SignedShape<T> s, const T* mean, const T* vectors, T* out) {
  const int d = s.affine ? 4 : 3;
  const int64_t size = s.clouds * s.each * d * d;
  for (int64_t i = global_thread(); i < size; i += global_threads()) {
    const int column = int(i % d), row = int(i / d % d);
    const int64_t f = i / (d * d) % s.each, cloud = i / (d * d) / s.each;
    const int64_t which = s.choice ? s.choice[cloud * s.each + f] : f;
    if (which < 0 || which >= s.rows)
      out[i] = T(NAN);
    else if (row == 3)
      out[i] = column == 3 ? s.corner : T(0);
    else
      out[i] = column == 3 ? mean[3 * cloud + row] : vectors[9 * cloud + 3 * row + column] * s.signs[3 * which + column];
  }
}

template <typename T>
EQUITOOLS_KERNEL signed_axes_vjp_kernel(SignedShape<T> s, const T* grad, T* grad_mean, T* grad_vectors) {
  const int d = s.affine ? 4 : 3;
  for (int64_t i = global_thread(); i < s.clouds * 3 * d; i += global_threads()) {
    const int column = int(i % d), row = int(i / d % 3);
    const int64_t cloud = i / d / 3;
    T sum = T(0);
    for (int64_t f = 0; f < s.each; ++f) {
      const int64_t which = s.choice ? s.choice[cloud * s.each + f] : f;
      const T g = grad[(cloud * s.each + f) * d * d + row * d + column];
      if (which < 0 || which >= s.rows)
        sum += T(NAN);
      else
        sum += column == 3 ? g : g * s.signs[3 * which + column];
    }
    if (column == 3)
      grad_mean[3 * cloud + row] = sum;
    else
      grad_vectors[9 * cloud + 3 * row + column] = sum;
  }
}

}  // namespace

template <typename T>
void PrincipalAxesOf<T>::eigh3(int64_t rows, const T* a, T* values, T* vectors, void* stream) {
  launch("eigh3", eigh3_kernel<T>, blocks_for(rows, kThreads), 1, kThreads, 0, stream, rows, a, values, vectors);
}

template <typename T>
void PrincipalAxesOf<T>::eigh3_vjp(int64_t rows, const T* values, const T* vectors, const T* grad_values,
                                   const T* grad_vectors, T* grad, void* stream) {
  launch("eigh3_vjp", eigh3_vjp_kernel<T>, blocks_for(rows, kThreads), 1, kThreads, 0, stream, rows, values, vectors,
         grad_values, grad_vectors, grad);
}

template <typename T>
void PrincipalAxesOf<T>::axes(const CloudShape& s, const T* points, const uint8_t* mask, const AxesOf<T>& out,
                              void* stream) {
  launch("principal_axes", axes_kernel<T>, blocks_for(s.clouds * kWarp, kThreads), 1, kThreads, 0, stream, s, points,
         mask, out);
}

template <typename T>
void PrincipalAxesOf<T>::axes_vjp(const CloudShape& s, const T* points, const uint8_t* mask, const AxesOf<const T>& axes,
                                  const AxesOf<const T>& grad, T* gradient, void* stream) {
  launch("principal_axes_vjp", axes_vjp_kernel<T>, blocks_for(s.clouds * kWarp, kThreads), 1, kThreads, 0, stream, s,
         points, mask, axes, grad, gradient);
}

template <typename T>
void PrincipalAxesOf<T>::signed_axes(const SignedShape<T>& s, const T* mean, const T* vectors, T* out, void* stream) {
  const int64_t size = s.clouds * s.each * (s.affine ? 16 : 9);
  launch("signed_axes", signed_axes_kernel<T>, blocks_for(size, kThreads), 1, kThreads, 0, stream, s, mean, vectors, out);
}

template <typename T>
void PrincipalAxesOf<T>::signed_axes_vjp(const SignedShape<T>& s, const T* grad, T* grad_mean, T* grad_vectors,
                                         void* stream) {
  const int64_t size = s.clouds * (s.affine ? 12 : 9);
  launch("signed_axes_vjp", signed_axes_vjp_kernel<T>, blocks_for(size, kThreads), 1, kThreads, 0, stream, s, grad,
         grad_mean, grad_vectors);
}

template struct PrincipalAxesOf<float>;
template struct PrincipalAxesOf<double>;

}  // namespace gpu
}  // namespace equitools
