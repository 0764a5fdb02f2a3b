// Fills the activations' table of functions for one instruction set. Included once by each csrc/cpu/pointwise_*.cpp.
#include "../core/pointwise.h"
#include "pointwise.h"

namespace equitools {
namespace EQUITOOLS_ISA {

static constexpr Pointwise pointwise_table = {{silu_value<float>, silu_vjp<float>, silu_vjp_vjp<float>},
                                              {silu_value<double>, silu_vjp<double>, silu_vjp_vjp<double>}};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
