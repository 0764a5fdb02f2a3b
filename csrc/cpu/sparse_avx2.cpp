#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "sparse_isa.h"

const equitools::Sparse& equitools::sparse_avx2() { return equitools::avx2::sparse_table; }
