// What sparse products on the sphere are asked for, checked: for the CPU and for CUDA.
#pragma once

#include <string>
#include <vector>

#include "../core/sparse_plan.h"
#include "common.h"

namespace equitools {

// x, y (and z) are factors of one triple of degrees, in turn: number third + 1, third + 2 and third of them.
struct SparseArguments {
  SparseShape shape{};
  int64_t rows = 0, channels = 1, paths = 0;
  std::vector<int32_t> numbers;  // of the paths, only with weights

  SparseArguments(const std::vector<int64_t>& degrees, int64_t third, int64_t sums) {
    STD_TORCH_CHECK(degrees.size() == 3, "a product has three degrees");
    for (const int64_t lmax : degrees)
      STD_TORCH_CHECK(0 <= lmax && lmax <= kMaxSparseDegree, "degrees must lie in 0 to ", kMaxSparseDegree, ", one is ", lmax);
    STD_TORCH_CHECK(0 <= third && third < 3, "the product is number 0, 1 or 2 of the three");
    STD_TORCH_CHECK(0 <= sums && sums < 3, "the sums of degrees are even (0), odd (1) or any (2)");
    for (int i = 0; i < 3; ++i) shape.lmax[i] = int(degrees[(third + 1 + i) % 3]);
    shape.sums = int(sums);
    // Paths are numbered in the order of the degrees as they are given, whichever is the product.
    const SparseShape given{{int(degrees[0]), int(degrees[1]), int(degrees[2])}, int(sums)};
    std::vector<int32_t> flat(size_t((degrees[0] + 1) * (degrees[1] + 1) * (degrees[2] + 1)), 0);
    paths = sparse_paths(given, flat.data());
    numbers.resize(flat.size());
    int l[3];
    for (l[0] = 0; l[0] <= given.lmax[0]; ++l[0])
      for (l[1] = 0; l[1] <= given.lmax[1]; ++l[1])
        for (l[2] = 0; l[2] <= given.lmax[2]; ++l[2])
          numbers[shape.at(l[(third + 1) % 3], l[(third + 2) % 3], l[third])] = flat[given.at(l[0], l[1], l[2])];
  }

  void factor(const Tensor& t, int i, const char* name, const Tensor& first) {
    check_floating(t, name);
    check_same_dtype(t, first, (std::string("x and ") + name).c_str());
    STD_TORCH_CHECK(t.dim() == 3 && t.size(1) == shape.components(i), name, " must be [N, ", shape.components(i), ", C]");
    if (i == 0) rows = t.size(0);
    STD_TORCH_CHECK(t.size(0) == rows, "x and ", name, " must have the same number of rows");
    channel(t.size(2));
  }

  void weight(const Tensor& t, const Tensor& first) {
    check_same_dtype(t, first, "x and the weights");
    STD_TORCH_CHECK(t.dim() == 2 && t.size(0) == paths, "the weights must be [", paths, ", C], a row for each path");
    channel(t.size(1));
  }

  void table(const Tensor& t, const Tensor& first) const {
    check_same_dtype(t, first, "x and the table");
    const int64_t wanted = sparse_table_size(shape);
    STD_TORCH_CHECK(t.dim() == 1 && t.numel() == wanted, "the table must hold ", wanted, " numbers");
  }

  // One channel among several is that of all.
  bool one(const Tensor& t, int dim = 2) const { return t.size(dim) == 1 && channels != 1; }

 private:
  void channel(int64_t count) {
    STD_TORCH_CHECK(count == channels || count == 1 || channels == 1,
                    "the factors (and weights) must have the same number of channels, or one");
    if (count != 1) channels = count;
  }
};

}  // namespace equitools
