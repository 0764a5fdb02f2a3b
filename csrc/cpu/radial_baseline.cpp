#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "radial_isa.h"

const equitools::Radial& equitools::radial_baseline() { return equitools::baseline::radial_table; }
