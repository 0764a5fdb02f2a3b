// Small tables that kernels read: uploaded once for each device and content, and kept.
#pragma once

#include "bindings.h"

namespace equitools {
namespace gpu {

// The device's copy of these bytes; `like` is any tensor on the device.
const void* on_device(const Here& here, const Tensor& like, const void* bytes, size_t size);

}  // namespace gpu
}  // namespace equitools
