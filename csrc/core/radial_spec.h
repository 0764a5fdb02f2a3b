// What a call asks of the radial basis. No torch.
#pragma once

#include <cstdint>

namespace equitools {

constexpr int kMaxRadial = 64;    // functions
constexpr int kMaxEnvelope = 64;  // exponent

// scale sqrt(2 / cutoff) sin(n pi r / cutoff) / r for n = 1 ... num, times the polynomial envelope of exponent p, which is
// 1 at r = 0 and 0 from the cutoff on; p = 0: no envelope.
struct RadialSpec {
  int num;
  int p;
  double cutoff;
  double scale;
};

}  // namespace equitools
