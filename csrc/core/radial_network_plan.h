// Shapes of a radial network's hidden layers. No torch.
#pragma once

#include <cstdint>

#include "convolution_plan.h"

namespace equitools {

constexpr int kRadialTile = 48;       // edges whose layers are in cache together
constexpr int kMaxRadialLayers = 16;

struct RadialNetwork {
  int layers;                        // hidden layers; 0: what comes out is what goes in
  int widths[kMaxRadialLayers + 1];  // from the radial functions to the last hidden layer
};

}  // namespace equitools
