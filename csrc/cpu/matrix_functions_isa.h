// Fills the table of matrix functions for one instruction set. Included once by each csrc/cpu/matrix_functions_*.cpp.
#include "../core/matrix_functions.h"
#include "matrix_functions.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T, int n>
static constexpr MatrixFunctionsOfSize<T> matrix_functions_of_size() {
  return {matrix_exp<T, n>, matrix_exp_vjp<T, n>, matrix_log<T, n>, matrix_log_vjp<T, n>, polar<T, n>, polar_vjp<T, n>};
}

template <typename T>
static constexpr MatrixFunctionsOf<T> matrix_functions_table_of() {
  return {Lanes<T>::W,
          {matrix_functions_of_size<T, 2>(), matrix_functions_of_size<T, 3>(), matrix_functions_of_size<T, 4>()}};
}

static constexpr MatrixFunctions matrix_functions_table = {matrix_functions_table_of<float>(),
                                                           matrix_functions_table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
