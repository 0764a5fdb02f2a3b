#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "linear_isa.h"

const equitools::Linear& equitools::linear_baseline() { return equitools::baseline::linear_table; }
