#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "linear_isa.h"

const equitools::Linear& equitools::linear_avx2() { return equitools::avx2::linear_table; }
