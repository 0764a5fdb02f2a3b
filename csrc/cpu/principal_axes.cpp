#include "principal_axes.h"

#include "kernels.h"

namespace equitools {

const PrincipalAxes& principal_axes() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return principal_axes_avx512();
  if (cpu_capability() == 1) return principal_axes_avx2();
#endif
  return principal_axes_baseline();
}

}  // namespace equitools
