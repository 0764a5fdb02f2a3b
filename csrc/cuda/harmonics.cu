#include "harmonics.h"

#include "../core/harmonics_of_point.h"
#include "device.h"

namespace equitools {
namespace gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kRegisterDegree = 4;            // to this degree the arrays of a point are in registers
constexpr int64_t kScratchThreads = 1 << 15;  // beyond it, in memory, for so many points at a time

// The array of one thread in memory, where those of neighbours lie side by side.
template <typename T>
struct Strided {
  T* p;
  int64_t stride;
  EQUITOOLS_HD T& operator[](int k) { return p[k * stride]; }
  EQUITOOLS_HD const T& operator[](int k) const { return p[k * stride]; }
};

template <typename T, int N>
struct Held {
  T v[N];
  EQUITOOLS_HD T& operator[](int k) { return v[k]; }
  EQUITOOLS_HD const T& operator[](int k) const { return v[k]; }
};

template <typename T>
EQUITOOLS_DEVICE Direction<T> load_direction(const T* xyz, int64_t e, bool normalize) {
  return direction(xyz[3 * e], xyz[3 * e + 1], xyz[3 * e + 2], normalize);
}

template <typename T>
EQUITOOLS_DEVICE void store_point(T* to, int64_t e, const Point3<T>& v) {
  to[3 * e] = v.x;
  to[3 * e + 1] = v.y;
  to[3 * e + 2] = v.z;
}

// L < 0: the degree is spec.lmax.
template <typename T, int L>
EQUITOOLS_KERNEL value_kernel(const Table<T>* table, ShSpec spec, const T* xyz, T* out, int64_t E) {
  const int lmax = L < 0 ? spec.lmax : L;
  const int K = (lmax + 1) * (lmax + 1);
  const T* scale = table->scale[spec.normalization];
  for (int64_t e = global_thread(); e < E; e += global_threads()) {
    T* row = out + e * K;
    harmonics_of(*table, lmax, load_direction(xyz, e, spec.normalize),
                 [&](int l, int k, T v) { row[k] = v * scale[l]; });
  }
}

template <typename T, int L>
EQUITOOLS_KERNEL vjp_kernel(const Table<T>* table, ShSpec spec, const T* xyz, const T* grad, T* gradient, T* scratch,
                            int64_t E) {
  const int lmax = L < 0 ? spec.lmax : L;
  const int K = (lmax + 1) * (lmax + 1);
  const T* scale = table->scale[spec.normalization];
  for (int64_t e = global_thread(); e < E; e += global_threads()) {
    const Direction<T> p = load_direction(xyz, e, spec.normalize);
    const T* row = grad + e * K;
    const auto get = [&](int l, int k) { return row[k] * scale[l]; };
    if constexpr (L >= 0) {
      Held<T, (L > 0 ? L * L : 1)> R;
      store_point(gradient, e, point_vjp<T>(*table, L, spec.normalize, p, R, get));
    } else {
      Strided<T> R{scratch + global_thread(), global_threads()};
      store_point(gradient, e, point_vjp<T>(*table, lmax, spec.normalize, p, R, get));
    }
  }
}

template <typename T, int L>
EQUITOOLS_KERNEL vjp_vjp_kernel(const Table<T>* table, ShSpec spec, const T* xyz, const T* grad, const T* cotangent,
                                T* grad_xyz, T* grad_grad, T* scratch, int64_t E) {
  const int lmax = L < 0 ? spec.lmax : L;
  const int K = (lmax + 1) * (lmax + 1);
  const T* scale = table->scale[spec.normalization];
  for (int64_t e = global_thread(); e < E; e += global_threads()) {
    const Direction<T> p = load_direction(xyz, e, spec.normalize);
    const Point3<T> v{cotangent[3 * e], cotangent[3 * e + 1], cotangent[3 * e + 2]};
    const T* row = grad + e * K;
    T* to = grad_grad + e * K;
    const auto get = [&](int l, int k) { return row[k] * scale[l]; };
    const auto put = [&](int l, int k, T j) { to[k] = j * scale[l]; };
    if constexpr (L >= 0) {
      Held<T, (L > 0 ? L * L : 1)> R, F;
      store_point(grad_xyz, e, point_vjp_vjp<T>(*table, L, spec.normalize, p, v, R, F, get, put));
    } else {
      Strided<T> R{scratch + global_thread(), global_threads()};
      Strided<T> F{scratch + lmax * lmax * global_threads() + global_thread(), global_threads()};
      store_point(grad_xyz, e, point_vjp_vjp<T>(*table, lmax, spec.normalize, p, v, R, F, get, put));
    }
  }
}

// Calls f(Number<L>) with the degree, or with -1 where it is too high for registers.
template <typename F>
void for_degree(int lmax, F&& f) {
  bool done = false;
  each<0, kRegisterDegree + 1>([&](auto L) {
    if (L.value == lmax) {
      f(L);
      done = true;
    }
  });
  if (!done) f(Number<-1>{});
}

int64_t grid(int lmax, int64_t E) {
  const int64_t most = lmax > kRegisterDegree ? kScratchThreads / kThreads : int64_t(1) << 30;
  const int64_t wanted = blocks_for(E, kThreads);
  return wanted < most ? wanted : most;
}

}  // namespace

template <typename T>
int64_t HarmonicsOf<T>::scratch_size(int lmax, int64_t E) {
  return lmax > kRegisterDegree ? 2 * int64_t(lmax) * lmax * grid(lmax, E) * kThreads : 0;
}

template <typename T>
void HarmonicsOf<T>::value(const Table<T>* t, ShSpec spec, const T* xyz, T* out, int64_t E, void* stream) {
  for_degree(spec.lmax, [&](auto L) {
    launch("spherical_harmonics", value_kernel<T, decltype(L)::value>, blocks_for(E, kThreads), 1, kThreads, 0, stream,
           t, spec, xyz, out, E);
  });
}

template <typename T>
void HarmonicsOf<T>::vjp(const Table<T>* t, ShSpec spec, const T* xyz, const T* grad, T* gradient, T* scratch,
                         int64_t E, void* stream) {
  for_degree(spec.lmax, [&](auto L) {
    launch("spherical_harmonics_vjp", vjp_kernel<T, decltype(L)::value>, grid(spec.lmax, E), 1, kThreads, 0, stream, t,
           spec, xyz, grad, gradient, scratch, E);
  });
}

template <typename T>
void HarmonicsOf<T>::vjp_vjp(const Table<T>* t, ShSpec spec, const T* xyz, const T* grad, const T* cotangent,
                             T* grad_xyz, T* grad_grad, T* scratch, int64_t E, void* stream) {
  for_degree(spec.lmax, [&](auto L) {
    launch("spherical_harmonics_vjp_vjp", vjp_vjp_kernel<T, decltype(L)::value>, grid(spec.lmax, E), 1, kThreads, 0,
           stream, t, spec, xyz, grad, cotangent, grad_xyz, grad_grad, scratch, E);
  });
}

template struct HarmonicsOf<float>;
template struct HarmonicsOf<double>;

}  // namespace gpu
}  // namespace equitools
