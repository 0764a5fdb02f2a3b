#include "sparse.h"

#include "kernels.h"

namespace equitools {

const Sparse& sparse() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return sparse_avx512();
  if (cpu_capability() == 1) return sparse_avx2();
#endif
  return sparse_baseline();
}

}  // namespace equitools
