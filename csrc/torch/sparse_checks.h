// What sparse products on the sphere are asked for, checked: for the CPU and for CUDA.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "../core/sparse_program.h"
#include "common.h"

namespace equitools {

// x, y (and z) are factors of one triple of degrees, in turn: number third + 1, third + 2 and third of them.
struct SparseArguments {
  SparseShape shape{};
  int64_t rows = 0, channels = 1, paths = 0;

  SparseArguments(const std::vector<int64_t>& degrees, int64_t third, int64_t sums) : third_(int(third)) {
    STD_TORCH_CHECK(degrees.size() == 3, "a product has three degrees");
    for (const int64_t lmax : degrees)
      STD_TORCH_CHECK(0 <= lmax && lmax <= kMaxSparseDegree, "degrees must lie in 0 to ", kMaxSparseDegree, ", one is ", lmax);
    STD_TORCH_CHECK(0 <= third && third < 3, "the product is number 0, 1 or 2 of the three");
    STD_TORCH_CHECK(0 <= sums && sums < 3, "the sums of degrees are even (0), odd (1) or any (2)");
    for (int i = 0; i < 3; ++i) shape.lmax[i] = int(degrees[(third + 1 + i) % 3]);
    shape.sums = int(sums);
    paths = sparse_paths(given(), nullptr);
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

  // Made once for each shape and kept until the process ends.
  const std::vector<int32_t>& program(int step) const {
    static std::mutex& lock = *new std::mutex;
    static auto& kept = *new std::map<std::array<int, 6>, std::vector<int32_t>>;
    const std::array<int, 6> key{shape.lmax[0], shape.lmax[1], shape.lmax[2], shape.sums, third_, step};
    const std::lock_guard<std::mutex> guard(lock);
    const auto found = kept.find(key);
    if (found != kept.end()) return found->second;
    std::vector<int32_t> made;
    sparse_program(shape, numbers().data(), step, [&](int number) { made.push_back(number); });
    return kept.emplace(key, std::move(made)).first->second;
  }

 private:
  int third_;

  // The degrees in their own order, whichever is the product.
  SparseShape given() const {
    SparseShape s = shape;
    for (int i = 0; i < 3; ++i) s.lmax[(third_ + 1 + i) % 3] = shape.lmax[i];
    return s;
  }

  // Paths are numbered in that order.
  std::vector<int32_t> numbers() const {
    const SparseShape own = given();
    std::vector<int32_t> flat(size_t(own.at(own.lmax[0], own.lmax[1], own.lmax[2]) + 1), 0), turned(flat);
    sparse_paths(own, flat.data());
    int l[3];
    for (l[0] = 0; l[0] <= own.lmax[0]; ++l[0])
      for (l[1] = 0; l[1] <= own.lmax[1]; ++l[1])
        for (l[2] = 0; l[2] <= own.lmax[2]; ++l[2])
          turned[shape.at(l[(third_ + 1) % 3], l[(third_ + 2) % 3], l[third_])] = flat[own.at(l[0], l[1], l[2])];
    return turned;
  }

  void channel(int64_t count) {
    STD_TORCH_CHECK(count == channels || count == 1 || channels == 1,
                    "the factors (and weights) must have the same number of channels, or one");
    if (count != 1) channels = count;
  }
};

}  // namespace equitools
