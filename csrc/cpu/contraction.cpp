#include "contraction.h"

#include "kernels.h"

namespace equitools {
namespace {

constexpr int64_t kHeader = 8;

// Whether `count` ends, `stride` apart, never fall and reach `last`.
bool ascends(const int32_t* ends, int64_t count, int64_t stride, int32_t last) {
  int32_t before = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (ends[i * stride] < before || ends[i * stride] > last) return false;
    before = ends[i * stride];
  }
  return before == last;
}

bool outside(int32_t index, int64_t size) { return index < 0 || index >= size; }

// Whether the uses name every term once, with its leaf and its group.
bool uses_agree(const ContractionProgram& p) {
  int64_t k = 0;
  for (int32_t v = 0; v < p.variables(); ++v) {
    for (int32_t before = -1; k < p.use_end[v]; ++k) {
      const int32_t term = p.use[2 * k], group = p.use[2 * k + 1];
      // Ascending terms of one leaf, as many in all as there are terms: no term is there twice.
      if (term <= before || outside(term, p.terms) || outside(group, p.groups) || p.leaf[term] != v) return false;
      if (term >= p.group[2 * group + 1] || (group > 0 && term < p.group[2 * group - 1])) return false;
      before = term;
    }
  }
  return true;
}

}  // namespace

const char* read_contraction_program(const int32_t* data, int64_t size, int64_t values, ContractionProgram* program) {
  if (size < kHeader) return "it is shorter than its header";
  ContractionProgram& p = *program;
  p = {};
  p.dim_in = data[0], p.dim_out = data[1], p.paths = data[2];
  p.terms = data[3], p.products = data[4], p.groups = data[5];
  for (int64_t i = 0; i < kHeader; ++i)
    if (data[i] < 0 || data[i] > (1 << 28)) return "a size is negative or huge";
  const int64_t variables = int64_t(p.dim_in) + 1 + p.products;
  int64_t at = kHeader;
  auto part = [&](int64_t count) { return data + (at += count) - count; };
  const int64_t sizes[] = {2 * int64_t(p.terms), 2 * int64_t(p.products), p.dim_out, 2 * int64_t(p.groups), p.terms,
                           variables, 2 * int64_t(p.terms)};
  int64_t total = kHeader;
  for (int64_t s : sizes) total += s;
  if (total != size) return "its length is not what its header says";
  p.ranges = part(sizes[0]), p.factors = part(sizes[1]), p.output_end = part(sizes[2]), p.group = part(sizes[3]);
  p.leaf = part(sizes[4]), p.use_end = part(sizes[5]), p.use = part(sizes[6]);
  int64_t used = 0;
  for (int64_t t = 0; t < p.terms; ++t) {
    const int64_t first = p.ranges[2 * t], count = p.ranges[2 * t + 1];
    if (first < 0 || count < 0 || first + count > p.paths) return "a term has a path that is not there";
    if (outside(p.leaf[t], variables)) return "a term has a variable that is not there";
    used += count;
  }
  if (used != values) return "the number of values is another";
  for (int64_t k = 0; k < p.products; ++k)
    if (outside(p.factors[2 * k], p.dim_in + 1 + k) || outside(p.factors[2 * k + 1], p.dim_in + 1 + k))
      return "a product has a factor that does not come before it";
  for (int64_t g = 0; g < p.groups; ++g)
    if (outside(p.group[2 * g], variables)) return "a group has a variable that is not there";
  if (!ascends(p.output_end, p.dim_out, 1, p.groups)) return "the groups of the outputs are damaged";
  if (!ascends(p.group + 1, p.groups, 2, p.terms)) return "the terms of the groups are damaged";
  if (!ascends(p.use_end, variables, 1, p.terms) || !uses_agree(p)) return "the uses of the variables are damaged";
  return nullptr;
}

const ContractionKernels& contraction_kernels() {
#if defined(__x86_64__)
  if (cpu_capability() == 2) return contraction_avx512();
  if (cpu_capability() == 1) return contraction_avx2();
#endif
  return contraction_baseline();
}

}  // namespace equitools
