// Tables of sparse matrices that come as tensors: checked, for one that reads outside of x would read memory of others.
#pragma once

#include <memory>

#include "../cpu/sparse_rows.h"
#include "common.h"

namespace equitools {

struct TableTensors {
  Tensor starts, columns, values;
  int64_t rows, entries;

  TableTensors(const Tensor& starts_, const Tensor& columns_, const Tensor& values_, const Tensor& x, int64_t inner,
               const char* name)
      : starts(dense(starts_)), columns(dense(columns_)), values(dense(values_)) {
    STD_TORCH_CHECK(starts.dim() == 1 && columns.dim() == 1 && values.dim() == 1 && starts.size(0) > 0 &&
                        columns.size(0) == values.size(0),
                    name, ": a table must be starts [rows + 1], columns [entries] and values [entries]");
    STD_TORCH_CHECK(starts.scalar_type() == ScalarType::Long && columns.scalar_type() == ScalarType::Long, name,
                    ": starts and columns must be int64");
    STD_TORCH_CHECK(values.scalar_type() == x.scalar_type(), name, ": x and the table's values must have the same dtype");
    rows = starts.size(0) - 1;
    entries = columns.size(0);
    const int64_t *s = starts.const_data_ptr<int64_t>(), *c = columns.const_data_ptr<int64_t>();
    bool good = s[0] == 0 && s[rows] == entries;
    for (int64_t i = 0; i < rows; ++i) good &= s[i] <= s[i + 1];
    uint64_t most = 0;
    for (int64_t e = 0; e < entries; ++e) most = uint64_t(c[e]) > most ? uint64_t(c[e]) : most;
    STD_TORCH_CHECK(good && (!entries || most < uint64_t(inner)), name, ": a table does not fit to ", inner, " rows");
  }

  template <typename T>
  SparseTable<T> as() const {
    return {rows, starts.const_data_ptr<int64_t>(), columns.const_data_ptr<int64_t>(), values.const_data_ptr<T>()};
  }
};

// The tensor's three dimensions as rows of numbers.
template <typename T>
RowsOf<const T> rows_of(const Tensor& x, bool last) {
  return {x.const_data_ptr<T>(), x.size(last ? 2 : 0), x.size(1), x.size(last ? 0 : 2), last};
}

inline Tensor new_rows(const Tensor& like, int64_t size, int64_t channels, int64_t batch, bool last) {
  return last ? torch::stable::new_empty(like, {batch, channels, size})
              : torch::stable::new_empty(like, {size, channels, batch});
}

// Memory of a thread, at a multiple of 64 bytes.
template <typename T>
class ThreadMemory {
 public:
  explicit ThreadMemory(int64_t size) : owner_(new T[size + 64 / sizeof(T)]) {}
  T* get() const { return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(owner_.get()) + 63) / 64 * 64); }

 private:
  std::unique_ptr<T[]> owner_;
};

}  // namespace equitools
