#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "pointwise_isa.h"

const equitools::Pointwise& equitools::pointwise_avx512() { return equitools::avx512::pointwise_table; }
