#include "matrix_functions.h"

#include "kernels.h"

namespace equitools {

const MatrixFunctions& matrix_functions() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return matrix_functions_avx512();
  if (cpu_capability() == 1) return matrix_functions_avx2();
#endif
  return matrix_functions_baseline();
}

}  // namespace equitools
