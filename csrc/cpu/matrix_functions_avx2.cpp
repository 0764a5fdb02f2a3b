#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "matrix_functions_isa.h"

const equitools::MatrixFunctions& equitools::matrix_functions_avx2() { return equitools::avx2::matrix_functions_table; }
