// Fills the table of the symmetric contraction for one instruction set. Included once by each contraction_*.cpp.
#include "../core/contraction.h"
#include "contraction.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr ContractionOf<T> contraction_table_of() {
  return {Channels<T>::W,         contraction_scratch<T>,  contraction_fold<T>,  contraction_unfold<T>,
          contraction_value<T>, contraction_gradient<T>, contraction_second<T>};
}

static constexpr ContractionKernels contraction_table = {contraction_table_of<float>(), contraction_table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
