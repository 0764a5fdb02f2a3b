#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "contraction_isa.h"

const equitools::ContractionKernels& equitools::contraction_baseline() { return equitools::baseline::contraction_table; }
