#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "sparse_isa.h"

const equitools::Sparse& equitools::sparse_avx512() { return equitools::avx512::sparse_table; }
