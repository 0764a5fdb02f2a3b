// Sums of rows with fixed coefficients, as an operation of torch.
#include "sparse_table.h"

namespace equitools {
namespace {

// x is [inner, channels, batch], or [batch, channels, inner] with last_in; the result is [rows, channels, batch], or
// [batch, channels, rows] with last_out.
Tensor sums(const Tensor& x_, const Tensor& starts, const Tensor& columns, const Tensor& values, bool last_in,
            bool last_out) {
  STD_TORCH_CHECK(x_.dim() == 3, "sparse_rows: x must have three dimensions");
  check_floating(x_, "sparse_rows: x");
  const Tensor x = dense(x_);
  const TableTensors table(starts, columns, values, x, x.size(last_in ? 2 : 0), "sparse_rows");
  Tensor out = new_rows(x, table.rows, x.size(1), x.size(last_in ? 0 : 2), last_out);
  if (!out.numel()) return out;
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SparseRowsOf<T>& kernels = sparse_rows_of<T>();
    const RowsOf<const T> in = rows_of<T>(x, last_in);
    const SparseRowsCall<T> call{
        in, table.as<T>(), {out.mutable_data_ptr<T>(), table.rows, in.channels, in.batch, last_out}};
    const int64_t lanes = 2 * kernels.lanes, blocks = (in.channels * in.batch + lanes - 1) / lanes;
    const int64_t grain = 1 + 20000 / (1 + table.entries + table.rows + in.size);
    torch::stable::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
      const ThreadMemory<T> memory(kernels.scratch(call));
      kernels.sums(call, memory.get(), begin, end);
    });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def(
      "sparse_rows(Tensor x, Tensor starts, Tensor columns, Tensor values, bool last_in=False, bool last_out=False) -> "
      "Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) { m.impl("sparse_rows", TORCH_BOX(&sums)); }

}  // namespace equitools
