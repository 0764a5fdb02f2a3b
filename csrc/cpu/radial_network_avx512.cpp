#define EQUITOOLS_ISA avx512
#define EQUITOOLS_VECTOR_BYTES 64
#include "radial_network_isa.h"

const equitools::RadialNetworks& equitools::radial_networks_avx512() { return equitools::avx512::radial_networks_table; }
