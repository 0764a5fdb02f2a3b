#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "radial_isa.h"

const equitools::Radial& equitools::radial_avx512() { return equitools::avx512::radial_table; }
