#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "convolution_isa.h"

const equitools::Convolution& equitools::convolution_avx2() { return equitools::avx2::convolution_table; }
