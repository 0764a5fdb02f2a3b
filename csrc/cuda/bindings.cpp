#include "bindings.h"

#include <cstdlib>
#include <cstring>

#include "device_calls.h"

#ifndef EQUITOOLS_CUDA_ON_HOST
#include <dlfcn.h>
#endif

namespace equitools {
namespace gpu {
namespace {

#ifndef EQUITOOLS_CUDA_ON_HOST
// torch's own function for the current stream. It lives in libtorch_cuda, which this library does not name as a
// dependency, so that it also loads beside a torch without CUDA (there it is never called). torch has loaded it privately:
// so it is asked for by name.
void* current_stream(int32_t device) {
  using Function = AOTITorchError (*)(int32_t, void**);
  static const Function function = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    void* found = dlsym(library ? library : RTLD_DEFAULT, "aoti_torch_get_current_cuda_stream");
    return reinterpret_cast<Function>(found);
  }();
  STD_TORCH_CHECK(function != nullptr,
                  "this torch does not offer aoti_torch_get_current_cuda_stream: is it a torch with CUDA, 2.10 or newer?");
  void* stream = nullptr;
  STD_TORCH_CHECK(function(device, &stream) == 0, "torch does not tell the current CUDA stream");
  return stream;
}
#endif

bool may_wait(void* stream) {
  const char* setting = std::getenv("EQUITOOLS_CUDA_CHECK");
  return !(setting && std::strcmp(setting, "0") == 0) && !is_capturing(stream);
}

}  // namespace

#ifdef EQUITOOLS_CUDA_ON_HOST
Here::Here(const Tensor&) : stream(nullptr), device(-1) {}
#else
static int32_t cuda_index(const Tensor& t) {
  STD_TORCH_CHECK(t.is_cuda(), "the CUDA kernels were given a first argument that is not on a CUDA device");
  return t.get_device_index();
}

Here::Here(const Tensor& t) : device(cuda_index(t)), guard_(device) {
  choose_device(device);
  stream = current_stream(device);
}
#endif

Range::Range(const Tensor& owner) {
  kept_.push_back(torch::stable::new_zeros(owner, {int64_t(sizeof(Findings) / sizeof(int64_t))}, ScalarType::Long));
  found_ = kept_.back().mutable_data_ptr<int64_t>();
}

Range::Range(const Here& here, const Tensor& index, int64_t N, const char* message) : Range(index) {
  check_range(index.const_data_ptr<int64_t>(), index.size(0), N, found_, here.stream);
  settle(here, message);
}

void Range::settle(const Here& here, const char* message) {
  if (!may_wait(here.stream)) return;
  int64_t outside = 0;
  copy_to_host(&outside, found_, sizeof(outside), here.stream);
  STD_TORCH_CHECK(!outside, message);
  checked_ = true;
}

Edges::Edges(const Here& here, const Tensor& owner, const int64_t* receiver, const int64_t* sender, int64_t E,
             int64_t receivers, int64_t senders, const char* message)
    : Range(owner), owner_(owner), receiver_(receiver), sender_(sender), E_(E), senders_count_(senders) {
  receivers_ = order(here, receiver, receivers, found_ + 1);
  if (sender) check_range(sender, E, senders, found_, here.stream);
  settle(here, message);
}

Order Edges::order(const Here& here, const int64_t* key, int64_t N, int64_t* mixed) {
  kept_.push_back(torch::stable::new_zeros(owner_, {2 * (N + 1)}, ScalarType::Long));
  int64_t* first = kept_.back().mutable_data_ptr<int64_t>();
  kept_.push_back(torch::stable::new_empty(owner_, {E_}, ScalarType::Long));
  int64_t* rows = kept_.back().mutable_data_ptr<int64_t>();
  order_edges(key, E_, N, found_, mixed, first, first + N + 1, rows, here.stream);
  return {first, rows};
}

Order Edges::by_sender(const Here& here) {
  if (!senders_.first) senders_ = order(here, sender_, senders_count_, found_ + 2);
  return senders_;
}

}  // namespace gpu
}  // namespace equitools
