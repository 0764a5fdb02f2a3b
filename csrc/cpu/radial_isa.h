// Fills the radial basis's table of functions for one instruction set. Included once by each csrc/cpu/radial_*.cpp.
#include "../core/radial.h"
#include "radial.h"

namespace equitools {
namespace EQUITOOLS_ISA {

static constexpr Radial radial_table = {{radial_value<float>, radial_vjp<float>, radial_vjp_vjp<float>},
                                        {radial_value<double>, radial_vjp<double>, radial_vjp_vjp<double>}};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
