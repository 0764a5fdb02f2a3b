#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "linear_isa.h"

const equitools::Linear& equitools::linear_avx512() { return equitools::avx512::linear_table; }
