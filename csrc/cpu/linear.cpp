#include "linear.h"

#include "kernels.h"

namespace equitools {

const Linear& linear() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return linear_avx512();
  if (cpu_capability() == 1) return linear_avx2();
#endif
  return linear_baseline();
}

}  // namespace equitools
