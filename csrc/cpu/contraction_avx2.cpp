#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "contraction_isa.h"

const equitools::ContractionKernels& equitools::contraction_avx2() { return equitools::avx2::contraction_table; }
