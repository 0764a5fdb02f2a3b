#include "sparse_rows.h"

#include "kernels.h"

namespace equitools {

const SparseRows& sparse_rows() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return sparse_rows_avx512();
  if (cpu_capability() == 1) return sparse_rows_avx2();
#endif
  return sparse_rows_baseline();
}

}  // namespace equitools
