#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "principal_axes_isa.h"

const equitools::PrincipalAxes& equitools::principal_axes_avx2() { return equitools::avx2::principal_axes_table; }
