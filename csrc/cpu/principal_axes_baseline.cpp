#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "principal_axes_isa.h"

const equitools::PrincipalAxes& equitools::principal_axes_baseline() { return equitools::baseline::principal_axes_table; }
