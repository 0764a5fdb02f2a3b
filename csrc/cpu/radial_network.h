// The radial networks' kernels of one instruction set, and the choice among the sets at run time. No torch.
#pragma once

#include "../core/radial_network_plan.h"

namespace equitools {

template <typename T>
struct RadialNetworkOf {
  int64_t lanes;
  int64_t (*scratch)(const RadialNetwork&);  // numbers that a thread works in
  void (*network)(const RadialNetwork&, const T* weights, const T* basis, const T* slope, T* hidden, T* tangent,
                  T* scratch, int64_t begin, int64_t end);
};

struct RadialNetworks {
  RadialNetworkOf<float> f32;
  RadialNetworkOf<double> f64;
};

const RadialNetworks& radial_networks_baseline();
const RadialNetworks& radial_networks_avx2();    // only where the build has x86-64
const RadialNetworks& radial_networks_avx512();  // only where the build has x86-64
const RadialNetworks& radial_networks();

template <typename T>
const RadialNetworkOf<T>& radial_networks_of();
template <>
inline const RadialNetworkOf<float>& radial_networks_of<float>() {
  return radial_networks().f32;
}
template <>
inline const RadialNetworkOf<double>& radial_networks_of<double>() {
  return radial_networks().f64;
}

}  // namespace equitools
