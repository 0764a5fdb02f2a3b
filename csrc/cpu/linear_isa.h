// Fills the linear map's table of functions for one instruction set. Included once by each csrc/cpu/linear_*.cpp.
#include "../core/linear.h"
#include "linear.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr LinearOf<T> linear_table_of() {
  return {linear_scratch<T>, linear_packed_size<T>, linear_pack_pieces,    linear_pack<T>,
          linear_apply<T>,   linear_pieces,         linear_weight_grad<T>};
}

static constexpr Linear linear_table = {linear_table_of<float>(), linear_table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
