#include "sphere.h"

#include "device.h"

namespace equitools {
namespace gpu {
namespace {

// A thread has one item, a row and channel, and goes from ring to ring: the orders of both factors on the ring, their values
// at one angle after the other, the orders of the product. Orders are in shared memory, those of neighbouring threads side by
// side; the components of the product are in memory that no other thread writes.

template <typename T>
struct Orders {  // -L to L
  T* centre;
  int64_t stride;
  EQUITOOLS_HD T& operator[](int m) const { return centre[m * stride]; }
};

template <typename T>
struct Coefficients {
  const T* p;
  int64_t stride;
  EQUITOOLS_HD T operator[](int k) const { return p[k * stride]; }
};

// Orders on a ring of the upper half, or (mirrored) on its mirror image. `flip`: of derivatives by theta, whose mirror
// symmetry is the other one.
template <typename T>
EQUITOOLS_DEVICE void ring_orders(const Coefficients<T>& x, int lmax, int64_t half, const T* table, int64_t ring,
                                  bool mirrored, bool flip, const Orders<T>& to) {
  const int64_t row = sphere_padded(half);
  for (int m = 0; m <= lmax; ++m) {
    T plus = T(0), minus = T(0);
    for (int l = m; l <= lmax; ++l, table += row) {
      const T p = mirrored && ((l - m) % 2 == 1) != flip ? -table[ring] : table[ring];
      plus += p * x[l * l + l + m];
      if (m) minus += p * x[l * l + l - m];
    }
    to[m] = plus;
    if (m) to[-m] = minus;
  }
}

// The value at an angle; `turned`: of the derivative by the angle.
template <typename T>
EQUITOOLS_DEVICE T value_at(const Orders<T>& ring, int lmax, const T* cosine, const T* sine, T sign, bool turned) {
  T sum = turned ? T(0) : cosine[0] * ring[0];
  for (int m = 1; m <= lmax; ++m) {
    if (turned)
      sum += cosine[m] * ring[-m] - sign * sine[m] * ring[m];
    else
      sum += cosine[m] * ring[m] + sign * sine[m] * ring[-m];
  }
  return sum;
}

EQUITOOLS_HD int64_t orders_of(const SphereShape& s) {
  return (s.curl ? 2 : 1) * (s.orders(0) + s.orders(1)) + s.orders(2);
}

template <typename T>
EQUITOOLS_KERNEL product_kernel(SphereShape s, SphereTables<T> t, const T* x, const T* y, int64_t items, int64_t channels,
                                bool one_x, bool one_y, T* out) {
  const int64_t stride = threads(), half = (s.rings + 1) / 2, count = s.angles / 2 + 1;
  T* memory = reinterpret_cast<T*>(shared()) + thread();
  int64_t used = 0;
  const auto take = [&](int i) {
    used += s.orders(i);
    return Orders<T>{memory + (used - s.lmax[i] - 1) * stride, stride};
  };
  const Orders<T> first = take(0), second = take(1), third = take(2);
  const Orders<T> turned1 = s.curl ? take(0) : first, turned2 = s.curl ? take(1) : second;
  for (int64_t i = global_thread(); i < items; i += global_threads()) {
    const int64_t row = i / channels, channel = i - row * channels;
    const int64_t width1 = one_x ? 1 : channels, width2 = one_y ? 1 : channels;
    const Coefficients<T> a{x + row * s.components(0) * width1 + (one_x ? 0 : channel), width1};
    const Coefficients<T> b{y + row * s.components(1) * width2 + (one_y ? 0 : channel), width2};
    T* mine = out + row * s.components(2) * channels + channel;
    for (int64_t k = 0; k < s.components(2); ++k) mine[k * channels] = T(0);
    for (int64_t n = 0; n < s.rings; ++n) {
      const bool mirrored = n >= half;
      const int64_t ring = mirrored ? s.rings - 1 - n : n;
      ring_orders(a, s.lmax[0], half, t.value[0], ring, mirrored, s.curl, first);
      ring_orders(b, s.lmax[1], half, t.value[1], ring, mirrored, s.curl, second);
      if (s.curl) {
        ring_orders(a, s.lmax[0], half, t.turned[0], ring, mirrored, false, turned1);
        ring_orders(b, s.lmax[1], half, t.turned[1], ring, mirrored, false, turned2);
      }
      for (int m = -s.lmax[2]; m <= s.lmax[2]; ++m) third[m] = T(0);
      for (int64_t k = 0; k < s.angles; ++k) {
        const int64_t angle = k < count ? k : s.angles - k;
        const T sign = k < count ? T(1) : T(-1);
        const T *cosine = t.back_cosine + angle * t.back_row, *sine = t.back_sine + angle * t.back_row;
        T value = value_at(first, s.lmax[0], cosine, sine, sign, false);
        if (s.curl)
          value = value * value_at(turned2, s.lmax[1], cosine, sine, sign, true) -
                  value_at(turned1, s.lmax[0], cosine, sine, sign, true) *
                      value_at(second, s.lmax[1], cosine, sine, sign, false);
        else
          value *= value_at(second, s.lmax[1], cosine, sine, sign, false);
        third[0] += value;
        for (int m = 1; m <= s.lmax[2]; ++m) {
          third[m] += cosine[m] * value;
          third[-m] += sign * sine[m] * value;
        }
      }
      const T* back = t.back[2];
      for (int m = 0; m <= s.lmax[2]; ++m)
        for (int parity = 0; parity < 2 && m + parity <= s.lmax[2]; ++parity) {
          const int degrees = (s.lmax[2] - m - parity) / 2 + 1;
          const int64_t width = sphere_padded(degrees);
          for (int j = 0; j < degrees; ++j) {
            const int l = m + parity + 2 * j, k = l * l + l;
            const T p = mirrored && parity ? -back[ring * width + j] : back[ring * width + j];
            mine[(k + m) * channels] += p * third[m];
            if (m) mine[(k - m) * channels] += p * third[-m];
          }
          back += half * width;
        }
    }
  }
}

}  // namespace

template <typename T>
void SphereOf<T>::product(const SphereShape& s, const SphereTables<T>& tables, const T* x, const T* y, int64_t items,
                          int64_t channels, bool one_x, bool one_y, T* out, void* stream) {
  const int64_t each = orders_of(s) * int64_t(sizeof(T));
  int threads = 128;
  while (threads > 32 && each * threads > 48 * 1024) threads /= 2;
  launch("sphere_product", product_kernel<T>, blocks_for(items, threads), 1, threads, size_t(each) * threads, stream, s,
         tables, x, y, items, channels, one_x, one_y, out);
}

template struct SphereOf<float>;
template struct SphereOf<double>;

}  // namespace gpu
}  // namespace equitools
