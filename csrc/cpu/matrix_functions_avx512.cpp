#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "matrix_functions_isa.h"

const equitools::MatrixFunctions& equitools::matrix_functions_avx512() { return equitools::avx512::matrix_functions_table; }
