// Fills the convolution's table of functions for one instruction set. Included once by each csrc/cpu/convolution_*.cpp.
#include "../core/convolution.h"
#include "convolution.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr ConvolutionOf<T> convolution_table_of() {
  return {conv_scratch<T>, conv_forward<T>, conv_backward_of<T, false>, conv_backward_of<T, true>};
}

static constexpr Convolution convolution_table = {convolution_table_of<float>(), convolution_table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
