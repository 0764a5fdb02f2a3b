// Fills the table of sums of rows for one instruction set. Included once by each csrc/cpu/sparse_rows_*.cpp.
#include "../core/diagrams.h"
#include "../core/sparse_rows.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr SparseRowsOf<T> sparse_rows_table_of() {
  return {Simd<T>::W,  sparse_rows_scratch<T>, sparse_rows<T>,     diagrams_scratch<T>,
          diagrams<T>, matrices_scratch<T>,    diagram_matrices<T>};
}

static constexpr SparseRows sparse_rows_table = {sparse_rows_table_of<float>(), sparse_rows_table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
