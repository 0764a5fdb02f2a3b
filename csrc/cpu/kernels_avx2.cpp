#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "kernels_isa.h"

const equitools::Kernels& equitools::kernels_avx2() { return equitools::avx2::table; }
