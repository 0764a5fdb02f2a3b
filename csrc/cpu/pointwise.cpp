#include "pointwise.h"

#include "kernels.h"

namespace equitools {

const Pointwise& pointwise() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return pointwise_avx512();
  if (cpu_capability() == 1) return pointwise_avx2();
#endif
  return pointwise_baseline();
}

}  // namespace equitools
