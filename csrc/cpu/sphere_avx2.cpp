#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "sphere_isa.h"

const equitools::Sphere& equitools::sphere_avx2() { return equitools::avx2::sphere_table; }
