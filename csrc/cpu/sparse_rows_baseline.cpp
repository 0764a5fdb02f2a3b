#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "sparse_rows_isa.h"

const equitools::SparseRows& equitools::sparse_rows_baseline() { return equitools::baseline::sparse_rows_table; }
