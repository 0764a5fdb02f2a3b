#include "bindings.h"
#include "sphere.h"

namespace equitools {
namespace gpu {
namespace {

// As on the CPU, csrc/torch/sphere_product.cpp.
Tensor product(const Tensor& x_, const Tensor& y_, const Tensor& table_, const std::vector<int64_t> degrees, int64_t first,
               int64_t second, bool curl) {
  check_floating(x_, "x");
  check_same_dtype(x_, y_, "x and y");
  check_same_dtype(x_, table_, "x and the table");
  check_same_device(x_, y_, "y");
  check_same_device(x_, table_, "the table");
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
  const Here here(x_);
  const Tensor x = dense(x_), y = dense(y_), table = dense(table_);
  Tensor out = torch::stable::new_empty(x, {rows, shape.components(2), channels});
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    SphereTables<T> tables;
    const int64_t wanted = tables.set(all, shape.rings, shape.angles, curl, table.const_data_ptr<T>());
    STD_TORCH_CHECK(table.dim() == 1 && table.numel() == wanted, "the table must hold ", wanted, " numbers");
    SphereOf<T>::product(shape, tables.ordered(int(first), int(second)), x.const_data_ptr<T>(), y.const_data_ptr<T>(),
                         rows * channels, channels, c1 == 1 && channels > 1, c2 == 1 && channels > 1,
                         out.mutable_data_ptr<T>(), here.stream);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(EQUITOOLS_NAMESPACE, EQUITOOLS_KEY, m) { m.impl("sphere_product", TORCH_BOX(&product)); }

}  // namespace gpu
}  // namespace equitools
