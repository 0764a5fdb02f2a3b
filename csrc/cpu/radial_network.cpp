#include "radial_network.h"

#include "kernels.h"

namespace equitools {

const RadialNetworks& radial_networks() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return radial_networks_avx512();
  if (cpu_capability() == 1) return radial_networks_avx2();
#endif
  return radial_networks_baseline();
}

}  // namespace equitools
