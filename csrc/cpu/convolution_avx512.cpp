#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "convolution_isa.h"

const equitools::Convolution& equitools::convolution_avx512() { return equitools::avx512::convolution_table; }
