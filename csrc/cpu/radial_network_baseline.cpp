#define EQUITOOLS_ISA baseline
#define EQUITOOLS_VECTOR_BYTES 16
#include "radial_network_isa.h"

const equitools::RadialNetworks& equitools::radial_networks_baseline() { return equitools::baseline::radial_networks_table; }
