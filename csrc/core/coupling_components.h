// Which components m2 a real Clebsch-Gordan tensor couples to a pair (m1, m3), by the selection rules of real harmonics,
// so that the compiler knows where the gradient of an entry of M goes. Compile-time only: kernels of several instruction sets
// include it. No torch.
#pragma once

namespace equitools {

// At most two: of orders |m1| + |m3| (which = 0) and ||m1| - |m3|| (which = 1). Counted from 0 to 2 l2, as m1 and m3 are;
// -1: none. Orders below zero are odd in the azimuth: l1 + l2 + l3 even couples an even number of those, odd an odd one.
constexpr int component_of(int l1, int l2, int l3, int m1, int m3, int which) {
  const int a = m1 - l1, b = m3 - l3, high = a < 0 ? -a : a, low = b < 0 ? -b : b;
  if (which && (high == 0 || low == 0)) return -1;  // the same as the first
  const int order = which == 0 ? high + low : high < low ? low - high : high - low;
  const bool negative = (a < 0) ^ (b < 0) ^ ((l1 + l2 + l3) % 2 != 0);
  if (order > l2 || (order == 0 && negative)) return -1;
  return l2 + (negative ? -order : order);
}

}  // namespace equitools
