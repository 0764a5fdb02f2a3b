// Fills the radial networks' table of functions for one instruction set. Included once by each csrc/cpu/radial_network_*.cpp.
#include "../core/radial_network.h"
#include "radial_network.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr RadialNetworkOf<T> radial_networks_table_of() {
  return {64 / int64_t(sizeof(T)), radial_network_scratch<T>, radial_network<T>};
}

static constexpr RadialNetworks radial_networks_table = {radial_networks_table_of<float>(),
                                                         radial_networks_table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
