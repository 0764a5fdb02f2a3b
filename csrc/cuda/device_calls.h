// The few calls of the CUDA run time that the torch bindings make, which are compiled without its headers.
#pragma once

#include <cstddef>

namespace equitools {
namespace gpu {

bool is_capturing(void* stream);
void choose_device(int index);
void copy_to_host(void* to, const void* from, size_t bytes, void* stream);  // waits for the stream
void copy_to_device(void* to, const void* from, size_t bytes, void* stream);
void clear(void* p, size_t bytes, void* stream);
int count_multiprocessors();

}  // namespace gpu
}  // namespace equitools
