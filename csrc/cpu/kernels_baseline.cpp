#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "kernels_isa.h"

const equitools::Kernels& equitools::kernels_baseline() { return equitools::baseline::table; }
