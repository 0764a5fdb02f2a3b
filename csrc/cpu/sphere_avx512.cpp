#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "sphere_isa.h"

const equitools::Sphere& equitools::sphere_avx512() { return equitools::avx512::sphere_table; }
