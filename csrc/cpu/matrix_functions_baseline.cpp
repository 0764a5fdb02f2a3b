#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "matrix_functions_isa.h"

const equitools::MatrixFunctions& equitools::matrix_functions_baseline() { return equitools::baseline::matrix_functions_table; }
