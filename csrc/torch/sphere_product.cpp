// Products of functions on the sphere as operations of torch.
#include "../cpu/sphere.h"

#include <memory>
#include <vector>

#include "common.h"

namespace equitools {
namespace {

// The coefficients [N, (l + 1)^2, C] of the product of x and y; a factor may have one channel for all. `degrees` are those of
// a triple, of which x is number `first`, y number `second` and the product the third.
Tensor product(const Tensor& x_, const Tensor& y_, const Tensor& table_, const std::vector<int64_t> degrees, int64_t first,
               int64_t second, bool curl) {
  check_floating(x_, "x");
  check_same_dtype(x_, y_, "x and y");
  check_same_dtype(x_, table_, "x and the table");
  STD_TORCH_CHECK(degrees.size() == 3, "a product has three degrees");
  for (const int64_t lmax : degrees)
    STD_TORCH_CHECK(0 <= lmax && lmax <= kMaxSphereDegree, "degrees must lie in 0 to ", kMaxSphereDegree, ", one is ", lmax);
  STD_TORCH_CHECK(0 <= first && first < 3 && 0 <= second && second < 3 && first != second,
                  "the factors are two different ones of three");
  const int64_t degree = degrees[0] + degrees[1] + degrees[2];
  const int all[3] = {int(degrees[0]), int(degrees[1]), int(degrees[2])};
  const SphereShape shape{{all[first], all[second], all[3 - first - second]}, degree / 2 + 1, degree + 1, curl};
  STD_TORCH_CHECK(x_.dim() == 3 && x_.size(1) == shape.components(0), "x must be [N, ", shape.components(0), ", C]");
  STD_TORCH_CHECK(y_.dim() == 3 && y_.size(1) == shape.components(1), "y must be [N, ", shape.components(1), ", C]");
  STD_TORCH_CHECK(x_.size(0) == y_.size(0), "x and y must have the same number of rows");
  const int64_t rows = x_.size(0), c1 = x_.size(2), c2 = y_.size(2);
  STD_TORCH_CHECK(c1 == c2 || c1 == 1 || c2 == 1, "x and y must have the same number of channels, or one of them one");
  const int64_t channels = c1 == 1 ? c2 : c1;
  const Tensor x = dense(x_), y = dense(y_), table = dense(table_);
  Tensor out = torch::stable::new_empty(x, {rows, shape.components(2), channels});
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    SphereTables<T> tables;
    const int64_t wanted = tables.set(all, shape.rings, shape.angles, curl, table.const_data_ptr<T>());
    STD_TORCH_CHECK(table.dim() == 1 && table.numel() == wanted, "the table must hold ", wanted, " numbers");
    tables = tables.ordered(int(first), int(second));
    const SphereOf<T>& kernels = sphere_of<T>();
    const int64_t items = rows * channels, blocks = (items + kernels.lanes - 1) / kernels.lanes;
    const int64_t work = shape.rings * (shape.components(0) + shape.angles * shape.orders(2)) * kernels.lanes;
    const T *xp = x.const_data_ptr<T>(), *yp = y.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    if (!items) return;
    torch::stable::parallel_for(0, blocks, 1 + 100000 / (1 + work), [&](int64_t begin, int64_t end) {
      const int64_t size = kernels.scratch(shape);
      std::unique_ptr<T[]> memory(new T[size + 64 / sizeof(T)]);
      T* aligned = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) / 64 * 64);
      kernels.product(shape, tables, xp, yp, items, channels, c1 == 1 && channels > 1, c2 == 1 && channels > 1, o, aligned,
                      begin, end);
    });
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def("sphere_product(Tensor x, Tensor y, Tensor table, int[] degrees, int first, int second, bool curl) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) { m.impl("sphere_product", TORCH_BOX(&product)); }

}  // namespace equitools
