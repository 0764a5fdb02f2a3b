#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "contraction_isa.h"

const equitools::ContractionKernels& equitools::contraction_avx512() { return equitools::avx512::contraction_table; }
