#include "convolution.h"

#include "kernels.h"

namespace equitools {

const Convolution& convolution() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return convolution_avx512();
  if (cpu_capability() == 1) return convolution_avx2();
#endif
  return convolution_baseline();
}

}  // namespace equitools
