#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "sparse_isa.h"

const equitools::Sparse& equitools::sparse_baseline() { return equitools::baseline::sparse_table; }
