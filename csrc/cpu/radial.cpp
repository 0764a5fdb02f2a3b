#include "radial.h"

#include "kernels.h"

namespace equitools {

const Radial& radial() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return radial_avx512();
  if (cpu_capability() == 1) return radial_avx2();
#endif
  return radial_baseline();
}

}  // namespace equitools
