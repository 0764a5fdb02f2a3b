#include "../cpu/linear.h"

#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include "functions.h"
#include "segments.h"

namespace equitools {
namespace {

using Numbers = std::vector<int64_t>;

// A plan and what it points to. The table holds dim_in, dim_out, then for each irrep: components, number of input blocks,
// number of output blocks, and (offset, mul) of each block.
struct Plan {
  LinearPlan plan{};
  std::vector<LinearKey> keys;
  std::vector<LinearBlock> blocks;
  bool covers_in = false, covers_out = false;  // every column belongs to an irrep of both sides
};

std::unique_ptr<Plan> read(const Numbers& table, bool mul_ir, bool transposed) {
  auto made = std::make_unique<Plan>();
  size_t at = 0;
  auto next = [&]() {
    STD_TORCH_CHECK(at < table.size(), "the table of the linear map ends too early");
    STD_TORCH_CHECK(table[at] >= 0 && table[at] < (int64_t(1) << 31), "the table of the linear map holds ", table[at]);
    return table[at++];
  };
  LinearPlan& p = made->plan;
  p.dim_in = next();
  p.dim_out = next();
  made->blocks.reserve(table.size() / 2 + 1);  // pointers into it must stay
  int64_t columns_in = 0, columns_out = 0;
  while (at < table.size()) {
    LinearKey key{};
    key.components = next();
    key.blocks_in = next();
    key.blocks_out = next();
    STD_TORCH_CHECK(key.components > 0, "an irrep of the linear map has no components");
    auto side = [&](int64_t count, int64_t width, int64_t& channels, int64_t& columns) {
      const LinearBlock* begin = made->blocks.data() + made->blocks.size();
      for (int64_t b = 0; b < count; ++b) {
        const LinearBlock block{next(), next()};
        STD_TORCH_CHECK(block.offset + block.mul * key.components <= width, "a block of the linear map ends outside");
        channels += block.mul;
        columns += block.mul * key.components;
        made->blocks.push_back(block);
      }
      return begin;
    };
    key.in = side(key.blocks_in, p.dim_in, key.from, columns_in);
    key.out = side(key.blocks_out, p.dim_out, key.to, columns_out);
    key.weight = p.weights;
    p.weights += key.from * key.to;
    key.scale = key.from ? 1 / std::sqrt(double(key.from)) : 0.0;
    made->keys.push_back(key);
  }
  made->covers_in = columns_in == p.dim_in;
  made->covers_out = columns_out == p.dim_out;
  p.mul_ir = mul_ir;
  p.transposed = transposed;
  if (transposed) {
    std::swap(p.dim_in, p.dim_out);
    std::swap(made->covers_in, made->covers_out);
    for (LinearKey& key : made->keys) {
      std::swap(key.from, key.to);
      std::swap(key.in, key.out);
      std::swap(key.blocks_in, key.blocks_out);
    }
  }
  p.keys = made->keys.data();
  p.num_keys = made->keys.size();
  return made;
}

// The rows in the order of their elements.
Segments elements_of(const std::optional<Tensor>& species, int64_t rows, int64_t elements) {
  Segments s;
  if (!species) {
    STD_TORCH_CHECK(elements == 1, "several sets of weights need the species of the rows");
    s.first = std::make_unique<int64_t[]>(2);
    s.first[1] = rows;
    return s;
  }
  STD_TORCH_CHECK(species->scalar_type() == ScalarType::Long && species->dim() == 1 && species->size(0) == rows,
                  "species must be int64 [N], one for each row");
  const Tensor dense_species = dense(*species);
  const int64_t* z = dense_species.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows; ++i)
    STD_TORCH_CHECK(0 <= z[i] && z[i] < elements, "species must lie in 0 to ", elements - 1, ", one is ", z[i]);
  return make_segments(dense_species.const_data_ptr<int64_t>(), rows, elements);
}

void check_rows(const Tensor& t, int64_t width, const char* name) {
  check_floating(t, name);
  STD_TORCH_CHECK(t.dim() == 2 && t.size(1) == width, name, " must have ", width, " columns");
}

Tensor apply(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& species, const Numbers& table,
             bool mul_ir, bool transposed) {
  const auto made = read(table, mul_ir, transposed);
  const LinearPlan& plan = made->plan;
  check_rows(x, plan.dim_in, "x");
  check_same_dtype(x, weight, "x and weight");
  STD_TORCH_CHECK(weight.dim() == 2 && weight.size(1) == plan.weights, "weight must have shape [S, ", plan.weights,
                  "]");
  const int64_t rows = x.size(0), elements = weight.size(0);
  const Segments s = elements_of(species, rows, elements);
  const Tensor in = dense(x), w = dense(weight);
  Tensor out = made->covers_out ? torch::stable::new_empty(in, {rows, plan.dim_out})
                                : torch::stable::new_zeros(in, {rows, plan.dim_out});
  if (!rows) return out;
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const LinearOf<T>& k = linear_of<T>();
    const std::unique_ptr<T[]> packed(new T[elements * k.packed_size(plan)]);
    const T *wp = w.const_data_ptr<T>(), *xp = in.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    const int64_t pieces = elements * k.pack_pieces(plan);
    torch::stable::parallel_for(0, pieces, 1 + pieces * 4096 / (1 + elements * plan.weights),
                                [&](int64_t begin, int64_t end) { k.pack(plan, wp, packed.get(), begin, end); });
    const int64_t grain = 1 + (1 << 20) / (1 + plan.weights);
    torch::stable::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
      const std::unique_ptr<T[]> scratch(new T[k.scratch(plan)]);
      k.apply(plan, xp, packed.get(), s.order.get(), s.first.get(), elements, o, scratch.get(), begin, end);
    });
  });
  return out;
}

Tensor forward(const Tensor& x, const Tensor& weight, const std::optional<Tensor> species, const Numbers table,
               bool mul_ir) {
  return apply(x, weight, species, table, mul_ir, false);
}

Tensor adjoint(const Tensor& grad, const Tensor& weight, const std::optional<Tensor> species, const Numbers table,
               bool mul_ir) {
  return apply(grad, weight, species, table, mul_ir, true);
}

Tensor weight_grad(const Tensor& x, const Tensor& grad, const std::optional<Tensor> species, int64_t elements,
                   const Numbers table, bool mul_ir) {
  const auto made = read(table, mul_ir, false);
  const LinearPlan& plan = made->plan;
  check_rows(x, plan.dim_in, "x");
  check_rows(grad, plan.dim_out, "grad");
  check_same_dtype(x, grad, "x and grad");
  STD_TORCH_CHECK(x.size(0) == grad.size(0), "x and grad must have the same number of rows");
  STD_TORCH_CHECK(elements >= 0, "the number of elements must not be negative");
  const Segments s = elements_of(species, x.size(0), elements);
  const Tensor in = dense(x), g = dense(grad);
  Tensor out = torch::stable::new_empty(in, {elements, plan.weights});
  for_dtype(in, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const LinearOf<T>& k = linear_of<T>();
    const T* xp = in.const_data_ptr<T>();
    const T* gp = g.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, elements * k.pieces(plan), 1, [&](int64_t begin, int64_t end) {
      const std::unique_ptr<T[]> scratch(new T[k.scratch(plan)]);
      k.weight_grad(plan, xp, gp, s.order.get(), s.first.get(), o, scratch.get(), begin, end);
    });
  });
  return out;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& species,
              const std::vector<int64_t>& table, bool mul_ir, bool transposed) {
  return apply(x, weight, species, table, mul_ir, transposed);
}

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("irreps_linear(Tensor x, Tensor weight, Tensor? species, int[] table, bool mul_ir) -> Tensor");
  m.def("irreps_linear_adjoint(Tensor grad, Tensor weight, Tensor? species, int[] table, bool mul_ir) -> Tensor");
  m.def(
      "irreps_linear_weight_grad(Tensor x, Tensor grad, Tensor? species, SymInt elements, int[] table, bool mul_ir) -> "
      "Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("irreps_linear", TORCH_BOX(&forward));
  m.impl("irreps_linear_adjoint", TORCH_BOX(&adjoint));
  m.impl("irreps_linear_weight_grad", TORCH_BOX(&weight_grad));
}

}  // namespace equitools
