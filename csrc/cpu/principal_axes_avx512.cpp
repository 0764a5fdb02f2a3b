#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "principal_axes_isa.h"

const equitools::PrincipalAxes& equitools::principal_axes_avx512() { return equitools::avx512::principal_axes_table; }
