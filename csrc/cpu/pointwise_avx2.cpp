#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "pointwise_isa.h"

const equitools::Pointwise& equitools::pointwise_avx2() { return equitools::avx2::pointwise_table; }
