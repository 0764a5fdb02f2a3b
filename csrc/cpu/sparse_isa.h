// Fills the table of functions of sparse products for one instruction set. Included once by each csrc/cpu/sparse_*.cpp.
#include "../core/sparse_product.h"
#include "sparse.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr SparseOf<T> sparse_table_of() {
  return {kSparseVectors * Simd<T>::W, sparse_scratch<T>, sparse_product<T>, sparse_weights<T>};
}

static constexpr Sparse sparse_table = {sparse_table_of<float>(), sparse_table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
