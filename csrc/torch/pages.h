// Large results on large pages.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "common.h"

namespace equitools {

// A new tensor's memory is not there yet: the first touch of each page enters the kernel. A gradient of a few ten
// megabytes costs more that way than the arithmetic that fills it; pages of 2 MiB make it few entries. Advice only.
template <typename T>
void on_large_pages(T* data, int64_t count) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t(1) << 21;
  const uintptr_t begin = (uintptr_t(data) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (uintptr_t(data) + uintptr_t(count) * sizeof(T)) / kPage * kPage;
  if (end > begin + kPage) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)count;
#endif
}

// An uninitialised matrix like t.
inline Tensor fresh(const Tensor& like, int64_t rows, int64_t columns) {
  Tensor t = torch::stable::new_empty(like, {rows, columns});
  if (t.scalar_type() == ScalarType::Float)
    on_large_pages(t.mutable_data_ptr<float>(), rows * columns);
  else if (t.scalar_type() == ScalarType::Double)
    on_large_pages(t.mutable_data_ptr<double>(), rows * columns);
  return t;
}

}  // namespace equitools
