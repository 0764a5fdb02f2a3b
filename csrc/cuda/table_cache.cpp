#include "table_cache.h"

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "device_calls.h"

namespace equitools {
namespace gpu {

const void* on_device(const Here& here, const Tensor& like, const void* bytes, size_t size) {
  // Never destroyed: when a process ends, torch's allocator may be gone before this library is.
  static std::mutex& lock = *new std::mutex;
  static auto& kept = *new std::map<std::pair<int32_t, std::string>, Tensor>;
  const std::pair<int32_t, std::string> key(here.device, std::string(static_cast<const char*>(bytes), size));
  const std::lock_guard<std::mutex> guard(lock);
  const auto found = kept.find(key);
  if (found != kept.end()) return found->second.const_data_ptr<int64_t>();
  STD_TORCH_CHECK(!is_capturing(here.stream),
                  "the tables of an operation are copied to the device when it is first called: call it once before a "
                  "CUDA graph is captured");
  Tensor copy = torch::stable::new_empty(like, {int64_t(size / sizeof(int64_t) + 1)}, ScalarType::Long);
  int64_t* p = copy.mutable_data_ptr<int64_t>();
  copy_to_device(p, bytes, size, here.stream);
  int64_t wait = 0;  // another stream may use the table next
  copy_to_host(&wait, p, size < sizeof(wait) ? size : sizeof(wait), here.stream);
  kept.emplace(key, std::move(copy));
  return p;
}

}  // namespace gpu
}  // namespace equitools
