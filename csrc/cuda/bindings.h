// What every CUDA operation needs of torch, through libtorch's stable ABI: the device, the current stream, the edges.
#pragma once

#include "../torch/common.h"
#include "graph.h"

// In tests the same operations run on a CPU, under another name (tests/csrc/test_cuda_on_host.py).
#ifndef EQUITOOLS_CUDA_ON_HOST
#define EQUITOOLS_NAMESPACE equitools
#define EQUITOOLS_KEY CUDA
#else
#define EQUITOOLS_NAMESPACE equitools_on_host
#define EQUITOOLS_KEY CPU
#endif

namespace equitools {
namespace gpu {

// Makes the device of a tensor the current one until it goes, and knows its current stream.
class Here {
 public:
  explicit Here(const Tensor& t);
  void* stream;
  int32_t device;

 private:
#ifndef EQUITOOLS_CUDA_ON_HOST
  torch::stable::accelerator::DeviceGuard guard_;
#endif
};

inline void check_same_device(const Tensor& a, const Tensor& b, const char* name) {
  STD_TORCH_CHECK(a.is_cuda() == b.is_cuda() && a.get_device_index() == b.get_device_index(), name,
                  " must be on the device of the first argument");
}

// Whether an index of a call is out of range, as the device finds it. A call that may wait raises an error then; one that
// may not (EQUITOOLS_CUDA_CHECK=0, or while a CUDA graph is captured) returns NaN.
class Range {
 public:
  explicit Range(const Tensor& owner);
  // index [E] within 0 to N - 1
  Range(const Here& here, const Tensor& index, int64_t N, const char* message);

  const int64_t* outside() const { return found_; }

  // Called with every floating result after the kernels.
  template <typename T>
  void finish(const Here& here, const Tensor& result) const {
    if (!checked_) spoil(result.mutable_data_ptr<T>(), result.numel(), found_, here.stream);
  }

 protected:
  void settle(const Here& here, const char* message);

  std::vector<Tensor> kept_;
  int64_t* found_;  // Findings
  bool checked_ = false;
};

// The edges of a call: in order of their receivers, and of their senders where that is asked for.
class Edges : public Range {
 public:
  // receiver and sender are [E], contiguous, on the device of `owner`; sender may be null.
  Edges(const Here& here, const Tensor& owner, const int64_t* receiver, const int64_t* sender, int64_t E,
        int64_t receivers, int64_t senders, const char* message);

  Order by_receiver() const { return receivers_; }
  Order by_sender(const Here& here);
  const int64_t* receiver() const { return receiver_; }
  const int64_t* sender() const { return sender_; }

 private:
  Order order(const Here& here, const int64_t* key, int64_t N, int64_t* mixed);

  Tensor owner_;
  const int64_t *receiver_, *sender_;
  int64_t E_, senders_count_;
  Order receivers_{nullptr, nullptr}, senders_{nullptr, nullptr};
};

}  // namespace gpu
}  // namespace equitools
