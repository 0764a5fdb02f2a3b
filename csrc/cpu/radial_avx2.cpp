#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "radial_isa.h"

const equitools::Radial& equitools::radial_avx2() { return equitools::avx2::radial_table; }
