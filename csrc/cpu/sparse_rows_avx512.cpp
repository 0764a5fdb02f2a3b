#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "sparse_rows_isa.h"

const equitools::SparseRows& equitools::sparse_rows_avx512() { return equitools::avx512::sparse_rows_table; }
