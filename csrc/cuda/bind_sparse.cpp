#include <optional>

#include "../torch/sparse_checks.h"
#include "bindings.h"
#include "sparse.h"
#include "table_cache.h"

namespace equitools {
namespace gpu {
namespace {

using Degrees = const std::vector<int64_t>;

template <typename T>
SparseCall<T> call_of(const Here& here, const SparseArguments& a, const Tensor& x, const Tensor& y, const Tensor* z,
                      const Tensor& table, const Tensor* weight) {
  const std::vector<int32_t>& program = a.program(1);
  return {x.const_data_ptr<T>(), y.const_data_ptr<T>(), z ? z->const_data_ptr<T>() : nullptr,
          {a.one(x), a.one(y), z && a.one(*z)}, a.rows * a.channels, a.channels, table.const_data_ptr<T>(),
          weight ? weight->const_data_ptr<T>() : nullptr, weight && a.one(*weight, 1), a.paths,
          static_cast<const int32_t*>(on_device(here, x, program.data(), program.size() * sizeof(int32_t))),
          int64_t(program.size())};
}

// As on the CPU, csrc/torch/sparse_product.cpp.
Tensor product(const Tensor& x_, const Tensor& y_, const std::optional<Tensor> weight_, const Tensor& table0,
               const Tensor& table1, const Tensor& table2, Degrees degrees, int64_t third, int64_t sums) {
  SparseArguments a(degrees, third, sums);
  const Tensor& given = third == 0 ? table0 : third == 1 ? table1 : table2;
  a.factor(x_, 0, "x", x_);
  a.factor(y_, 1, "y", x_);
  check_same_device(x_, y_, "y");
  if (weight_) a.weight(*weight_, x_), check_same_device(x_, *weight_, "the weights");
  a.table(given, x_);
  check_same_device(x_, given, "the table");
  const Here here(x_);
  const Tensor x = dense(x_), y = dense(y_), table = dense(given);
  std::optional<Tensor> weight;
  if (weight_) weight = dense(*weight_);
  Tensor out = torch::stable::new_empty(x, {a.rows, a.shape.components(2), a.channels});
  if (!a.rows || !a.channels) return out;
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    SparseOf<T>::product(a.shape, call_of<T>(here, a, x, y, nullptr, table, weight ? &*weight : nullptr),
                         out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

Tensor weights(const Tensor& x_, const Tensor& y_, const Tensor& z_, const Tensor&, const Tensor&, const Tensor& table2,
               Degrees degrees, int64_t sums) {
  SparseArguments a(degrees, 2, sums);
  a.factor(x_, 0, "x", x_);
  a.factor(y_, 1, "y", x_);
  a.factor(z_, 2, "z", x_);
  check_same_device(x_, y_, "y");
  check_same_device(x_, z_, "z");
  a.table(table2, x_);
  check_same_device(x_, table2, "the table");
  const Here here(x_);
  const Tensor x = dense(x_), y = dense(y_), z = dense(z_), table = dense(table2);
  Tensor out = torch::stable::new_zeros(x, {a.paths, a.channels});
  if (!a.rows || !a.channels || !a.paths) return out;
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const SparseCall<T> call = call_of<T>(here, a, x, y, &z, table, nullptr);
    Tensor parts = torch::stable::new_empty(x, {SparseOf<T>::parts(call), a.paths, a.channels});
    SparseOf<T>::weights(a.shape, call, parts.mutable_data_ptr<T>(), out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(EQUITOOLS_NAMESPACE, EQUITOOLS_KEY, m) {
  m.impl("sparse_product", TORCH_BOX(&product));
  m.impl("sparse_product_weights", TORCH_BOX(&weights));
}

}  // namespace gpu
}  // namespace equitools
