#include "sphere.h"

#include "kernels.h"

namespace equitools {

const Sphere& sphere() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return sphere_avx512();
  if (cpu_capability() == 1) return sphere_avx2();
#endif
  return sphere_baseline();
}

}  // namespace equitools
