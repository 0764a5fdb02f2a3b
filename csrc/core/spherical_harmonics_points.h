// The directions of W points, and the derivatives of normalisation. No torch, no standard templates.
#pragma once

#include "lanes.h"
#include "spherical_harmonics_table.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
struct Bits;
template <>
struct Bits<float> {
  typedef int32_t I __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  static constexpr int32_t exponent = 0x7f800000;
};
template <>
struct Bits<double> {
  typedef int64_t I __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  static constexpr int64_t exponent = 0x7ff0000000000000;
};

// The direction n and 1 / length of W points; both zero where the length is below the smallest one that has a direction.
template <typename T>
struct Points {
  Vec<T> x, y, z, inverse;
};

template <typename T>
EQUITOOLS_INLINE Points<T> load_points(const T* xyz, bool normalize) {
  using V = Vec<T>;
  using I = typename Bits<T>::I;
  const Triple<T> v = load_triple(xyz);
  if (!normalize) return {v.x, v.y, v.z, V{} + T(1)};
  const V ax = v.x < T(0) ? -v.x : v.x, ay = v.y < T(0) ? -v.y : v.y, az = v.z < T(0) ? -v.z : v.z;
  V largest = ax > ay ? ax : ay;
  largest = largest > az ? largest : az;
  // A power of two of the size of 1 / largest keeps the squares within range and rounds nothing. It comes from the
  // exponent alone: exponents add up to that of a half, and an infinity (or NaN) gives 0 and, times itself, NaN.
  const V size = (V)(Bits<T>::exponent - ((I)largest & Bits<T>::exponent));
  const V x = v.x * size, y = v.y * size, z = v.z * size;
  const auto finite = (v.x == v.x) & (v.y == v.y) & (v.z == v.z);
  const auto zero = (largest < T(kZeroLength)) & finite;
  const V inverse = T(1) / square_root<T>(x * x + y * y + z * z);
  return {zero ? V{} : x * inverse, zero ? V{} : y * inverse, zero ? V{} : z * inverse, zero ? V{} : inverse * size};
}

template <typename T>
EQUITOOLS_INLINE Vec<T> dot(const Triple<T>& a, const Points<T>& p) {
  return a.x * p.x + a.y * p.y + a.z * p.z;
}

// (1 - n n^T) a / length: the derivative of the direction, a symmetric matrix.
template <typename T>
EQUITOOLS_INLINE Triple<T> project(const Triple<T>& a, const Points<T>& p) {
  const auto along = dot(a, p);
  return {(a.x - along * p.x) * p.inverse, (a.y - along * p.y) * p.inverse, (a.z - along * p.z) * p.inverse};
}

// The derivative of v · project(g) along the point, for g that depends on the direction: h is the derivative of w · g
// by the direction with w = project(v).
template <typename T>
EQUITOOLS_INLINE Triple<T> second_of_direction(const Triple<T>& g, const Triple<T>& h, const Triple<T>& v,
                                                      const Triple<T>& w, const Points<T>& p) {
  using V = Vec<T>;
  const Triple<T> pg = project(g, p), ph = project(h, p);
  const V along_g = dot(g, p) * p.inverse, along_v = dot(v, p) * p.inverse;
  const V inner = (v.x * pg.x + v.y * pg.y + v.z * pg.z) * p.inverse;  // (v · P g) / length
  return {ph.x - (inner * p.x + along_g * w.x + along_v * pg.x),
          ph.y - (inner * p.y + along_g * w.y + along_v * pg.y),
          ph.z - (inner * p.z + along_g * w.z + along_v * pg.z)};
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
