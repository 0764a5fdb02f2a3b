#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "convolution_isa.h"

const equitools::Convolution& equitools::convolution_baseline() { return equitools::baseline::convolution_table; }
