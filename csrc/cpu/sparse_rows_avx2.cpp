#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "sparse_rows_isa.h"

const equitools::SparseRows& equitools::sparse_rows_avx2() { return equitools::avx2::sparse_rows_table; }
