// Layers of diagrams as operations of torch: bilinear in x and the weights, so derivatives of all orders are these two again.
#include <vector>

#include "sparse_table.h"

namespace equitools {
namespace {

// Parts of the batch, each with a sum of its own for the gradient of the weights; and how many numbers these may have.
constexpr int64_t kMostParts = 32, kMostNumbers = int64_t(1) << 22;

static_assert(sizeof(DiagramBlock) == 6 * sizeof(int64_t), "rows of a tensor are read as blocks");

// Whether `count` pieces of `each` fit behind `start`, without a product that could overflow.
bool fits(int64_t start, int64_t count, int64_t each, int64_t size) {
  return start <= size && (!count || !each || count <= (size - start) / each);
}

// The blocks [number, 6], as they are or with inputs and outputs in each other's place. Every row between must be of a block:
// what none of them writes would be read as it is found.
std::vector<DiagramBlock> blocks_of(const Tensor& blocks_, bool turned, int64_t rows_in, int64_t rows_out,
                                    int64_t weights) {
  const Tensor blocks = dense(blocks_);
  STD_TORCH_CHECK(blocks.dim() == 2 && blocks.size(1) == 6 && blocks.scalar_type() == ScalarType::Long,
                  "diagrams: blocks must be int64 [number, 6]");
  std::vector<DiagramBlock> found;
  int64_t covered = 0;
  const int64_t* p = blocks.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < blocks.size(0); ++b, p += 6) {
    DiagramBlock k{p[0], p[1], p[2], p[3], p[4], p[5]};
    if (turned) k = {p[0], p[2], p[1], p[4], p[3], p[5]};
    bool good = true;
    for (int i = 0; i < 6; ++i) good &= p[i] >= 0;
    good = good && fits(k.start_in, k.components, k.inputs, rows_in) && fits(k.start_weight, k.inputs, k.outputs, weights);
    STD_TORCH_CHECK(good && k.start_out == covered && fits(covered, k.components, k.outputs, rows_out), "diagrams: block ",
                    b, " does not fit to ", rows_in, " and ", rows_out, " rows and ", weights, " weights");
    covered += k.components * k.outputs;
    found.push_back(k);
  }
  STD_TORCH_CHECK(covered == rows_out, "diagrams: the blocks make ", covered, " of ", rows_out, " rows");
  return found;
}

// Of each block [outputs, C_out, inputs, C_in], from weights [.., C_out, C_in] at (output, input), or at (input, output) with
// their channels in each other's place where the blocks are turned. Scatter is the way back, by addition.
template <bool Scatter, typename T, typename W>
void matrices_of(const std::vector<DiagramBlock>& blocks, W* weights, int64_t c_out, int64_t c_in, bool turned, T* to) {
  for (const DiagramBlock& k : blocks)
    for (int64_t o = 0; o < k.outputs; ++o)
      for (int64_t co = 0; co < c_out; ++co)
        for (int64_t i = 0; i < k.inputs; ++i) {
          const int64_t pair = k.start_weight + (turned ? i * k.outputs + o : o * k.inputs + i);
          W* at = weights + pair * c_out * c_in + (turned ? co : co * c_in);
          const int64_t step = turned ? c_out : 1;
          for (int64_t ci = 0; ci < c_in; ++ci, ++to) {
            if constexpr (Scatter)
              at[ci * step] += *to;
            else
              *to = at[ci * step];
          }
        }
}

int64_t matrix_size(const std::vector<DiagramBlock>& blocks, int64_t c_out, int64_t c_in) {
  int64_t size = 0;
  for (const DiagramBlock& k : blocks) size += k.inputs * k.outputs * c_out * c_in;
  return size;
}

// Multiplications for one item of the batch.
int64_t work(const std::vector<DiagramBlock>& blocks, int64_t c_out, int64_t c_in) {
  int64_t total = 0;
  for (const DiagramBlock& k : blocks) total += k.components * k.inputs * k.outputs * c_out * c_in;
  return total;
}

// x: [size, C_in, batch], or [batch, C_in, size] with last_in. weights: [pairs, C_out, C_in]; turned: [pairs, C_in, C_out], and
// the tables are those of the transposed map. The result is [size, C_out, batch], or the like of last_out.
Tensor diagrams(const Tensor& x_, const Tensor& weights_, const Tensor& blocks_, const Tensor& starts_in,
                const Tensor& columns_in, const Tensor& values_in, const Tensor& starts_out, const Tensor& columns_out,
                const Tensor& values_out, int64_t between, bool turned, bool last_in, bool last_out) {
  STD_TORCH_CHECK(x_.dim() == 3 && weights_.dim() == 3, "diagrams: x and weights must have three dimensions");
  check_floating(x_, "diagrams: x");
  check_same_dtype(x_, weights_, "diagrams: x and weights");
  const Tensor x = dense(x_), weights = dense(weights_);
  STD_TORCH_CHECK(between >= 0, "diagrams: there cannot be ", between, " rows between");
  const TableTensors contraction(starts_in, columns_in, values_in, x, x.size(last_in ? 2 : 0), "diagrams");
  const TableTensors expansion(starts_out, columns_out, values_out, x, between, "diagrams");
  const std::vector<DiagramBlock> blocks = blocks_of(blocks_, turned, contraction.rows, between, weights.size(0));
  const int64_t c_out = weights.size(turned ? 2 : 1), c_in = weights.size(turned ? 1 : 2);
  STD_TORCH_CHECK(x.size(1) == c_in, "diagrams: x has ", x.size(1), " channels, the weights take ", c_in);
  const int64_t batch = x.size(last_in ? 0 : 2);
  Tensor out = new_rows(x, expansion.rows, c_out, batch, last_out);
  if (!out.numel()) return out;
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SparseRowsOf<T>& kernels = sparse_rows_of<T>();
    const ThreadMemory<T> matrices(matrix_size(blocks, c_out, c_in));
    matrices_of<false>(blocks, weights.const_data_ptr<T>(), c_out, c_in, turned, matrices.get());
    const DiagramCall<T> call{rows_of<T>(x, last_in), contraction.as<T>(), blocks.data(), int64_t(blocks.size()),
                              matrices.get(), expansion.as<T>(), between,
                              {out.mutable_data_ptr<T>(), expansion.rows, c_out, batch, last_out}};
    const int64_t parts = (batch + kernels.lanes - 1) / kernels.lanes;
    const int64_t each = 1 + work(blocks, c_out, c_in) + contraction.entries * c_in + expansion.entries * c_out;
    torch::stable::parallel_for(0, parts, 1 + 20000 / each, [&](int64_t begin, int64_t end) {
      const ThreadMemory<T> memory(kernels.diagrams_scratch(call));
      kernels.diagrams(call, memory.get(), begin, end);
    });
  });
  return out;
}

// The gradient [pairs, C_out, C_in] of the weights; grad is that of the result, and the second table the transposed expansion.
Tensor diagram_weights(const Tensor& x_, const Tensor& grad_, const Tensor& blocks_, const Tensor& starts_in,
                       const Tensor& columns_in, const Tensor& values_in, const Tensor& starts_back,
                       const Tensor& columns_back, const Tensor& values_back, int64_t pairs, bool last_in,
                       bool last_grad) {
  STD_TORCH_CHECK(x_.dim() == 3 && grad_.dim() == 3, "diagram_weights: x and grad must have three dimensions");
  check_floating(x_, "diagram_weights: x");
  check_same_dtype(x_, grad_, "diagram_weights: x and grad");
  const Tensor x = dense(x_), grad = dense(grad_);
  const TableTensors contraction(starts_in, columns_in, values_in, x, x.size(last_in ? 2 : 0), "diagram_weights");
  const TableTensors back(starts_back, columns_back, values_back, x, grad.size(last_grad ? 2 : 0), "diagram_weights");
  const std::vector<DiagramBlock> blocks = blocks_of(blocks_, false, contraction.rows, back.rows, pairs);
  const int64_t c_out = grad.size(1), c_in = x.size(1), batch = x.size(last_in ? 0 : 2);
  STD_TORCH_CHECK(batch == grad.size(last_grad ? 0 : 2), "diagram_weights: x and grad must have the same batch");
  Tensor out = torch::stable::new_zeros(x, {pairs, c_out, c_in});
  if (!out.numel() || !batch) return out;
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SparseRowsOf<T>& kernels = sparse_rows_of<T>();
    const DiagramMatricesCall<T> call{rows_of<T>(x, last_in), contraction.as<T>(), blocks.data(), int64_t(blocks.size()),
                                      rows_of<T>(grad, last_grad), back.as<T>()};
    // The parts do not depend on the threads, and are added up in their order: the same bits with any number of threads.
    const int64_t groups = (batch + kernels.lanes - 1) / kernels.lanes;
    const int64_t size = matrix_size(blocks, c_out, c_in), room = 1 + kMostNumbers / (1 + size);
    const int64_t most = room < kMostParts ? room : kMostParts, wanted = groups < most ? groups : most;
    const int64_t each = (groups + wanted - 1) / wanted, parts = (groups + each - 1) / each;
    const std::unique_ptr<T[]> sums(new T[parts * size]());
    torch::stable::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      const ThreadMemory<T> memory(kernels.matrices_scratch(call));
      for (int64_t part = begin; part < end; ++part) {
        const int64_t last = (part + 1) * each < groups ? (part + 1) * each : groups;
        kernels.matrices(call, sums.get() + part * size, memory.get(), part * each, last);
      }
    });
    T* o = out.mutable_data_ptr<T>();
    for (int64_t part = 0; part < parts; ++part)
      matrices_of<true>(blocks, o, c_out, c_in, false, sums.get() + part * size);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def(
      "diagrams(Tensor x, Tensor weights, Tensor blocks, Tensor starts_in, Tensor columns_in, Tensor values_in, "
      "Tensor starts_out, Tensor columns_out, Tensor values_out, int between, bool turned, bool last_in, bool last_out) "
      "-> Tensor");
  m.def(
      "diagram_weights(Tensor x, Tensor grad, Tensor blocks, Tensor starts_in, Tensor columns_in, Tensor values_in, "
      "Tensor starts_back, Tensor columns_back, Tensor values_back, int pairs, bool last_in, bool last_grad) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("diagrams", TORCH_BOX(&diagrams));
  m.impl("diagram_weights", TORCH_BOX(&diagram_weights));
}

}  // namespace equitools
