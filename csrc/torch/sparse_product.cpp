// Products of functions on the sphere by their coefficients that are not zero, as operations of torch.
#include "../cpu/sparse.h"

#include <memory>
#include <optional>
#include <vector>

#include "sparse_checks.h"

namespace equitools {
namespace {

using Degrees = const std::vector<int64_t>;
constexpr int64_t kMostParts = 32;  // of the rows, each with a sum of its own for the gradient of the weights

template <typename T>
struct Memory {
  std::unique_ptr<T[]> owner;
  T* aligned;
  explicit Memory(int64_t size) : owner(new T[size + 64 / sizeof(T)]) {
    aligned = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(owner.get()) + 63) / 64 * 64);
  }
};

// Blocks for which a task of its own is worth while.
int64_t grain(const SparseShape& s, int64_t lanes) {
  return 1 + 100000 / (1 + lanes * (sparse_table_size(s) + s.components(0) + s.components(1) + s.components(2)));
}

// The coefficients [N, (l + 1)^2, C] of the product of x and y; what has one channel has it for all. `degrees` are those of a
// triple, of which the product is number `third`, x the next and y the next but one, counted in a ring. table0, table1 and
// table2 are those of the products that have these numbers; only one is read here, derivatives need the others.
Tensor product(const Tensor& x_, const Tensor& y_, const std::optional<Tensor> weight_, const Tensor& table0,
               const Tensor& table1, const Tensor& table2, Degrees degrees, int64_t third, int64_t sums) {
  SparseArguments a(degrees, third, sums);
  a.factor(x_, 0, "x", x_);
  a.factor(y_, 1, "y", x_);
  if (weight_) a.weight(*weight_, x_);
  const Tensor table = dense(third == 0 ? table0 : third == 1 ? table1 : table2), x = dense(x_), y = dense(y_);
  a.table(table, x);
  Tensor out = torch::stable::new_empty(x, {a.rows, a.shape.components(2), a.channels});
  const int64_t items = a.rows * a.channels;
  if (!items) return out;
  std::optional<Tensor> weight;
  if (weight_) weight = dense(*weight_);
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SparseOf<T>& kernels = sparse_of<T>();
    const T* w = weight ? weight->const_data_ptr<T>() : nullptr;
    const std::vector<int32_t>& program = a.program(int(kernels.lanes));
    const SparseCall<T> call{x.const_data_ptr<T>(), y.const_data_ptr<T>(), nullptr, {a.one(x), a.one(y), false},
                             items, a.channels, table.const_data_ptr<T>(), w, weight && a.one(*weight, 1),
                             a.paths, program.data(), int64_t(program.size())};
    T* o = out.mutable_data_ptr<T>();
    const int64_t blocks = (items + kernels.lanes - 1) / kernels.lanes;
    torch::stable::parallel_for(0, blocks, grain(a.shape, kernels.lanes), [&](int64_t begin, int64_t end) {
      const Memory<T> memory(kernels.scratch(a.shape, w ? a.paths : 0));
      kernels.product(a.shape, call, o, memory.aligned, begin, end);
    });
  });
  return out;
}

// The gradient [paths, C] of the weights, summed over rows: x, y and z are of numbers 0, 1 and 2 of the triple.
Tensor weights(const Tensor& x_, const Tensor& y_, const Tensor& z_, const Tensor&, const Tensor&, const Tensor& table2,
               Degrees degrees, int64_t sums) {
  SparseArguments a(degrees, 2, sums);
  a.factor(x_, 0, "x", x_);
  a.factor(y_, 1, "y", x_);
  a.factor(z_, 2, "z", x_);
  const Tensor x = dense(x_), y = dense(y_), z = dense(z_), table = dense(table2);
  a.table(table, x);
  Tensor out = torch::stable::new_zeros(x, {a.paths, a.channels});
  const int64_t items = a.rows * a.channels;
  if (!items) return out;
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SparseOf<T>& kernels = sparse_of<T>();
    const std::vector<int32_t>& program = a.program(int(kernels.lanes));
    const SparseCall<T> call{x.const_data_ptr<T>(), y.const_data_ptr<T>(), z.const_data_ptr<T>(),
                             {a.one(x), a.one(y), a.one(z)}, items, a.channels, table.const_data_ptr<T>(), nullptr, false,
                             a.paths, program.data(), int64_t(program.size())};
    // The parts do not depend on the threads, and are added up in their order: the same bits with any number of threads.
    const int64_t blocks = (items + kernels.lanes - 1) / kernels.lanes, least = grain(a.shape, kernels.lanes);
    const int64_t wanted = (blocks + least - 1) / least, parts = wanted < kMostParts ? wanted : kMostParts;
    const int64_t size = a.paths * a.channels, each = (blocks + parts - 1) / parts;
    T* o = out.mutable_data_ptr<T>();
    const std::unique_ptr<T[]> others(new T[(parts - 1) * size]());
    const auto sum_of = [&](int64_t part) { return part ? others.get() + (part - 1) * size : o; };
    torch::stable::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      const Memory<T> memory(kernels.scratch(a.shape, a.paths));
      for (int64_t part = begin; part < end; ++part) {
        const int64_t last = (part + 1) * each;
        kernels.weights(a.shape, call, sum_of(part), memory.aligned, part * each, last < blocks ? last : blocks);
      }
    });
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t k = 0; k < size; ++k) o[k] += sum_of(part)[k];
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def(
      "sparse_product(Tensor x, Tensor y, Tensor? weight, Tensor table0, Tensor table1, Tensor table2, int[] degrees, "
      "int third, int sums) -> Tensor");
  m.def(
      "sparse_product_weights(Tensor x, Tensor y, Tensor z, Tensor table0, Tensor table1, Tensor table2, int[] degrees, "
      "int sums) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("sparse_product", TORCH_BOX(&product));
  m.impl("sparse_product_weights", TORCH_BOX(&weights));
}

}  // namespace equitools
