// Coefficients of the spherical harmonics, and what a call asks for. No torch.
#pragma once

#include <cstdint>

namespace equitools {

constexpr int kMaxDegree = 32;
constexpr double kZeroLength = 1e-12;  // a shorter vector has no direction

constexpr int triangle(int l, int m) { return l * (l + 1) / 2 + m; }

template <typename T>
struct Table {
  static constexpr int kSize = triangle(kMaxDegree, kMaxDegree) + 1;
  T sectoral[kMaxDegree + 1];  // Q_mm
  T a[kSize], b[kSize];        // Q_lm = a y Q_{l-1,m} - b r^2 Q_{l-2,m}
  T axial[kSize];              // derivative along the polar axis, to (l - 1, m)
  T up[kSize], down[kSize];    // derivatives across it, to (l - 1, m + 1) and (l - 1, m - 1)
  T scale[3][kMaxDegree + 1];  // of a degree: component, norm, integral
};

struct ShSpec {
  int lmax;
  bool normalize;
  int normalization;
};

template <typename T>
const Table<T>& coefficients();

extern template const Table<float>& coefficients<float>();
extern template const Table<double>& coefficients<double>();

}  // namespace equitools
