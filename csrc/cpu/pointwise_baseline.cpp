#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "pointwise_isa.h"

const equitools::Pointwise& equitools::pointwise_baseline() { return equitools::baseline::pointwise_table; }
