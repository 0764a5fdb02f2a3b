#include "device_calls.h"

#include "device.h"

namespace equitools {
namespace gpu {

bool is_capturing(void* stream) { return capturing(stream); }
void choose_device(int index) { set_device(index); }
void copy_to_host(void* to, const void* from, size_t bytes, void* stream) { read_back(to, from, bytes, stream); }
void copy_to_device(void* to, const void* from, size_t bytes, void* stream) { upload(to, from, bytes, stream); }
void clear(void* p, size_t bytes, void* stream) { set_zero(p, bytes, stream); }
int count_multiprocessors() { return multiprocessors(); }

}  // namespace gpu
}  // namespace equitools
