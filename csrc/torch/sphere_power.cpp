// Powers of functions on the sphere, and their derivatives, as operations of torch.
#include <memory>
#include <vector>

#include "../cpu/sphere.h"
#include "common.h"

namespace equitools {
namespace {

constexpr int64_t kMaxPowers = 16;

SpherePowerShape shape_of(const Tensor& x, const Tensor& others, const std::vector<int64_t>& degrees, int64_t powers) {
  check_floating(x, "x");
  check_same_dtype(x, others, "x and the others");
  STD_TORCH_CHECK(degrees.size() == 2, "powers have two degrees, of the function and of the result");
  for (const int64_t lmax : degrees)
    STD_TORCH_CHECK(0 <= lmax && lmax <= kMaxSphereDegree, "degrees must lie in 0 to ", kMaxSphereDegree, ", one is ", lmax);
  STD_TORCH_CHECK(1 <= powers && powers <= kMaxPowers, "there are powers 1 to ", kMaxPowers, ", not ", powers);
  const int64_t degree = powers * degrees[0] + degrees[1];
  STD_TORCH_CHECK(others.dim() == 4, "the others must be [k, N, components, C]");
  const SpherePowerShape s{int(degrees[0]),  int(degrees[1]), powers, others.size(0), degree / 2 + 1, degree + 1};
  STD_TORCH_CHECK(x.dim() == 3 && x.size(1) == s.components(), "x must be [N, ", s.components(), ", C]");
  STD_TORCH_CHECK(s.others == 0 || (others.size(1) == x.size(0) && others.size(2) == x.size(1) && others.size(3) == x.size(2)),
                  "the others must have the shape of x");
  return s;
}

template <typename T, typename F>
void run(const SpherePowerShape& s, const Tensor& table, int64_t items, const F& kernel) {
  SphereTables<T> tables;
  const int lmax[3] = {s.lmax, s.lmax_out, 0};
  const int64_t wanted = tables.set(lmax, s.rings, s.angles, false, table.const_data_ptr<T>());
  STD_TORCH_CHECK(table.dim() == 1 && table.numel() == wanted, "the table must hold ", wanted, " numbers");
  if (!items) return;
  const SphereOf<T>& kernels = sphere_of<T>();
  const int64_t blocks = (items + kernels.lanes - 1) / kernels.lanes;
  const int64_t work = s.rings * s.angles * (s.orders() + s.powers * s.orders_out()) * kernels.lanes;
  torch::stable::parallel_for(0, blocks, 1 + 100000 / (1 + work), [&](int64_t begin, int64_t end) {
    const int64_t size = kernels.power_scratch(s);
    std::unique_ptr<T[]> memory(new T[size + 64 / sizeof(T)]);
    T* aligned = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) / 64 * 64);
    kernel(kernels, tables, aligned, begin, end);
  });
}

Tensor powers(const Tensor& x_, const Tensor& others_, const Tensor& table_, const std::vector<int64_t> degrees,
              int64_t count) {
  const SpherePowerShape s = shape_of(x_, others_, degrees, count);
  check_same_dtype(x_, table_, "x and the table");
  const Tensor x = dense(x_), others = dense(others_), table = dense(table_);
  const int64_t rows = x.size(0), channels = x.size(2), items = rows * channels;
  Tensor out = torch::stable::new_empty(x, {rows, count, s.components_out(), channels});
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T *xp = x.const_data_ptr<T>(), *op = others.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    run<T>(s, table, items, [&](const auto& kernels, const auto& tables, T* memory, int64_t begin, int64_t end) {
      kernels.powers(s, tables, xp, op, items, channels, to, memory, begin, end);
    });
  });
  return out;
}

Tensor pull(const Tensor& x_, const Tensor& others_, const Tensor& g_, const Tensor& table_,
            const std::vector<int64_t> degrees) {
  STD_TORCH_CHECK(g_.dim() == 4, "g must be [N, powers, components, C]");
  const SpherePowerShape s = shape_of(x_, others_, degrees, g_.size(1));
  check_same_dtype(x_, table_, "x and the table");
  check_same_dtype(x_, g_, "x and g");
  STD_TORCH_CHECK(g_.size(0) == x_.size(0) && g_.size(2) == s.components_out() && g_.size(3) == x_.size(2),
                  "g must be [N, powers, ", s.components_out(), ", C]");
  const Tensor x = dense(x_), others = dense(others_), g = dense(g_), table = dense(table_);
  const int64_t channels = x.size(2), items = x.size(0) * channels;
  Tensor out = torch::stable::new_empty(x, {x.size(0), x.size(1), channels});
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const T *xp = x.const_data_ptr<T>(), *op = others.const_data_ptr<T>(), *gp = g.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    run<T>(s, table, items, [&](const auto& kernels, const auto& tables, T* memory, int64_t begin, int64_t end) {
      kernels.powers_pull(s, tables, xp, op, gp, items, channels, to, memory, begin, end);
    });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("sphere_powers(Tensor x, Tensor others, Tensor table, int[] degrees, int powers) -> Tensor");
  m.def("sphere_powers_pull(Tensor x, Tensor others, Tensor g, Tensor table, int[] degrees) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("sphere_powers", TORCH_BOX(&powers));
  m.impl("sphere_powers_pull", TORCH_BOX(&pull));
}

}  // namespace equitools
