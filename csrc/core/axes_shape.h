// What a call asks of the principal axes. No torch.
#pragma once

#include "portable.h"

namespace equitools {

// Clouds of points [clouds, points, 3]; centred: about their mean, else about the origin. `threshold` is the relative size
// below which gaps and third moments vanish; third moments are looked at only where `moments` is set.
struct CloudShape {
  int64_t clouds, points;
  bool centred, moments;
  double threshold;
};

// What the axes of a cloud are like: bits of one number.
constexpr int32_t kNotFinite = 1;
constexpr int32_t kRepeated = 2;   // shifted by k: moments k and k + 1 along the axes coincide
constexpr int32_t kOpen = 8;       // shifted by k: the third moment along axis k vanishes
constexpr int32_t kPositive = 64;  // shifted by k: it is positive

// Matrices made of axes and signs, `each` for a cloud: `signs` has rows of three; where `choice` is not null, it says which of
// them, else a cloud has all of them. With a mean the matrices are homogeneous, [4, 4], with `corner` in the last place.
template <typename T>
struct SignedShape {
  int64_t clouds, rows, each;
  const T* signs;
  const int32_t* choice;  // [clouds, each]
  bool affine;
  T corner;
};

// mean, values [clouds, 3], vectors [clouds, 3, 3], state [clouds].
template <typename T>
struct AxesOf {
  T *mean, *values, *vectors;
  int32_t* state;
};

}  // namespace equitools
