// Fills the table of functions for one instruction set. Included once by each csrc/cpu/kernels_*.cpp.
#include "../core/segment.h"
#include "../core/spherical_harmonics.h"
#include "kernels.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr KernelsOf<T> table_of() {
  return {sh_value<T>,    sh_vjp<T>,          sh_vjp_vjp<T>,         segment_sum<T>,
          segment_max<T>, segment_softmax<T>, segment_softmax_vjp<T>};
}

static constexpr Kernels table = {table_of<float>(), table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
