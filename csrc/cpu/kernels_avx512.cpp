#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "kernels_isa.h"

const equitools::Kernels& equitools::kernels_avx512() { return equitools::avx512::table; }
