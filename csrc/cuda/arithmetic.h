// The arithmetic of single numbers that core/eigh3.h and its kin are written for: a matrix has a thread.
#pragma once

#include <cmath>
#include <cstring>

#include "../core/portable.h"

namespace equitools {
namespace gpu {

template <typename U>
struct Arithmetic;
template <>
struct Arithmetic<float> {
  using T = float;
  using V = float;
  using Int = int32_t;
  static EQUITOOLS_HD float root(float v) { return sqrtf(v); }
  static EQUITOOLS_HD Int bits(float v) {
    Int i;
    memcpy(&i, &v, sizeof(i));
    return i;
  }
  static EQUITOOLS_HD float number(Int i) {
    float v;
    memcpy(&v, &i, sizeof(v));
    return v;
  }
  static EQUITOOLS_HD V convert(Int i) { return V(i); }
  static EQUITOOLS_HD bool any(bool condition) { return condition; }
};
template <>
struct Arithmetic<double> {
  using T = double;
  using V = double;
  using Int = int64_t;
  static EQUITOOLS_HD double root(double v) { return sqrt(v); }
  static EQUITOOLS_HD Int bits(double v) {
    Int i;
    memcpy(&i, &v, sizeof(i));
    return i;
  }
  static EQUITOOLS_HD double number(Int i) {
    double v;
    memcpy(&v, &i, sizeof(v));
    return v;
  }
  static EQUITOOLS_HD V convert(Int i) { return V(i); }
  static EQUITOOLS_HD bool any(bool condition) { return condition; }
};

}  // namespace gpu
}  // namespace equitools
