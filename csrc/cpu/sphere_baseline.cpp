#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "sphere_isa.h"

const equitools::Sphere& equitools::sphere_baseline() { return equitools::baseline::sphere_table; }
