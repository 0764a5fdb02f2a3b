// What a convolution's last radial layer is fed, as functions of the distance: the hidden layers of a radial network.
// Values and derivatives by the distance together, for inference. No torch.
#pragma once

#include "gemm.h"
#include "radial_network_plan.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
struct IntegerOf;
template <>
struct IntegerOf<float> {
  typedef int32_t I;
  static constexpr int mantissa = 23, bias = 127, terms = 8;
  static constexpr float largest = 87.0f;
};
template <>
struct IntegerOf<double> {
  typedef int64_t I;
  static constexpr int mantissa = 52, bias = 1023, terms = 14;
  static constexpr double largest = 700.0;
};

constexpr double reciprocal_factorial(int k) { return k < 2 ? 1.0 : reciprocal_factorial(k - 1) / k; }

// exp, its argument held within the range of the type: 2^n times the power series of what is left, |rest| <= ln(2) / 2.
template <typename T>
EQUITOOLS_INLINE Vec<T> exponential(Vec<T> x) {
  typedef IntegerOf<T> N;
  typedef typename N::I I;
  typedef I Integers __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);  // rounds to whole numbers
  constexpr T high = sizeof(T) == 4 ? T(0.693359375) : T(0.693145751953125);  // few digits: n high is exact
  constexpr T low = sizeof(T) == 4 ? T(-2.1219444005469058e-4) : T(1.42860682030941723212e-6);
  const Vec<T> most = Vec<T>{} + N::largest;
  x = x > most ? most : x;
  x = x < -most ? -most : x;
  const Vec<T> n = (x * T(1.4426950408889634074) + magic) - magic;
  const Vec<T> rest = (x - n * high) - n * low;
  Vec<T> sum = Vec<T>{} + T(reciprocal_factorial(N::terms - 1));
  unroll<1, N::terms>(
      [&](auto k) { sum = sum * rest + T(reciprocal_factorial(N::terms - 1 - decltype(k)::value)); });
  const Integers power = (__builtin_convertvector(n, Integers) + N::bias) << N::mantissa;
  return sum * (Vec<T>)power;  // the bits as they are
}

// z -> z sigmoid(z), and the derivative.
template <typename T>
EQUITOOLS_INLINE void silu(Vec<T> z, Vec<T>& value, Vec<T>& slope) {
  const Vec<T> sigmoid = T(1) / (T(1) + exponential<T>(-z));
  value = z * sigmoid;
  slope = sigmoid * (T(1) + z * (T(1) - sigmoid));
}

template <typename T>
static int64_t radial_network_scratch(const RadialNetwork& net) {
  int64_t widest = 0;
  for (int i = 0; i <= net.layers; ++i) widest = net.widths[i] > widest ? net.widths[i] : widest;
  return 4 * kRadialTile * padded<T>(widest);
}

// Hidden layers [widths[0], widths[1], ...] of edges [begin, end): basis and slope [E, widths[0]] are the radial functions
// and their derivatives, hidden and tangent [E, widths[layers]] what comes out. Each layer is silu(a W). The matrices
// stand one after the other, their rows filled up to whole vectors with zeros.
template <typename T>
static void radial_network(const RadialNetwork& net, const T* weights, const T* basis, const T* slope, T* hidden,
                           T* tangent, T* scratch, int64_t begin, int64_t end) {
  constexpr int W = Simd<T>::W;
  const int last = net.widths[net.layers];
  for (int64_t e = begin; e < end; e += kRadialTile) {
    const int edges = int(end - e < kRadialTile ? end - e : kRadialTile);
    T* now = scratch;  // [2 edges][stride]: values, then tangents
    T* next = scratch + radial_network_scratch<T>(net) / 2;
    int64_t stride = padded<T>(net.widths[0]);
    for (int i = 0; i < edges; ++i)
      for (int k = 0; k < net.widths[0]; ++k) {
        now[i * stride + k] = basis[(e + i) * net.widths[0] + k];
        now[(edges + i) * stride + k] = slope[(e + i) * net.widths[0] + k];
      }
    const T* w = weights;
    for (int layer = 1; layer <= net.layers; ++layer) {
      const int64_t columns = padded<T>(net.widths[layer]);
      gemm<T, false>(2 * edges, columns, net.widths[layer - 1], now, stride, 1, w, columns, next, columns);
      for (int i = 0; i < edges; ++i)
        for (int64_t k = 0; k < columns; k += W) {
          T* z = next + i * columns + k;
          T* dz = next + (edges + i) * columns + k;
          Vec<T> value, by;
          silu<T>(load(z), value, by);
          store(z, value);
          store(dz, load(dz) * by);
        }
      w += net.widths[layer - 1] * columns;
      stride = columns;
      T* const used = now;
      now = next;
      next = used;
    }
    for (int i = 0; i < edges; ++i)
      for (int k = 0; k < last; ++k) {
        hidden[(e + i) * last + k] = now[i * stride + k];
        tangent[(e + i) * last + k] = now[(edges + i) * stride + k];
      }
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
