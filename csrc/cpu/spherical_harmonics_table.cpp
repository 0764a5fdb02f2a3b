#include "../core/spherical_harmonics_table.h"

#include <cmath>

namespace equitools {
namespace {

template <typename T>
Table<T> make() {
  Table<T> t{};
  double sectoral = 1.0;
  for (int m = 0; m <= kMaxDegree; ++m) {
    if (m > 0) sectoral *= m == 1 ? std::sqrt(3.0) : std::sqrt((2.0 * m + 1.0) / (2.0 * m));
    t.sectoral[m] = T(sectoral);
  }
  for (int l = 0; l <= kMaxDegree; ++l) {
    t.scale[0][l] = T(1);
    t.scale[1][l] = T(1.0 / std::sqrt(2.0 * l + 1.0));
    t.scale[2][l] = T(1.0 / std::sqrt(4.0 * std::acos(-1.0)));
    for (int m = 0; m <= l && l > 0; ++m) {
      const int k = triangle(l, m);
      const double ratio = (2.0 * l + 1.0) / (2.0 * l - 1.0);
      t.axial[k] = T(std::sqrt(ratio * (l - m) * (l + m)));
      // Half of the factor between the norms; order 0 has no sine partner and its own norm.
      t.up[k] = T(m == 0 ? std::sqrt(0.5 * ratio * l * (l - 1)) : 0.5 * std::sqrt(ratio * (l - m) * (l - m - 1)));
      t.down[k] = T(0.5 * std::sqrt((m == 1 ? 2.0 : 1.0) * ratio * (l + m) * (l + m - 1)));
      if (l > m) {
        const double a = std::sqrt((2.0 * l + 1.0) * (2.0 * l - 1.0) / ((l - m) * (l + m)));
        t.a[k] = T(a);
        if (l > m + 1)
          t.b[k] = T(a * std::sqrt((l - 1.0 - m) * (l - 1.0 + m) / ((2.0 * l - 3.0) * (2.0 * l - 1.0))));
      }
    }
  }
  return t;
}

}  // namespace

template <typename T>
const Table<T>& coefficients() {
  static const Table<T> table = make<T>();
  return table;
}

template const Table<float>& coefficients<float>();
template const Table<double>& coefficients<double>();

}  // namespace equitools
