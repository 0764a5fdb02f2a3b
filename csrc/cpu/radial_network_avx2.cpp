#define EQUITOOLS_ISA avx2
#define EQUITOOLS_VECTOR_BYTES 32
#include "radial_network_isa.h"

const equitools::RadialNetworks& equitools::radial_networks_avx2() { return equitools::avx2::radial_networks_table; }
