#include "contraction.h"

#include "kernels.h"

namespace equitools {
namespace {

constexpr int64_t kHeader = 6;
constexpr int kMaxDepth = 63;

// Walks one tree; false where it leaves the array or names a variable that is not there.
struct Reader {
  const int32_t* code;
  int64_t size;
  int32_t dim_in;
  int64_t at = 0, terms = 0;
  int depth = 0;

  bool node(int level) {
    if (level > kMaxDepth || size - at < 2) return false;
    if (level > depth) depth = level;
    const int64_t leaves = code[at], children = code[at + 1];
    at += 2;
    if (leaves < 0 || children < 0 || leaves > size - at) return false;
    for (const int64_t end = at + leaves; at < end; ++at)
      if (code[at] < 0 || code[at] > dim_in) return false;
    terms += leaves;
    for (int64_t i = 0; i < children; ++i) {
      if (at >= size || code[at] < 0 || code[at] > dim_in) return false;
      ++at;
      if (!node(level + 1)) return false;
    }
    return true;
  }
};

}  // namespace

const char* read_contraction_program(const int32_t* data, int64_t size, int64_t values, ContractionProgram* program) {
  if (size < kHeader) return "it is shorter than its header";
  ContractionProgram& p = *program;
  p = {data[0], data[1], data[2], data[3], data[4], data + kHeader, nullptr};
  if (p.dim_in < 0 || p.dim_out < 0 || p.paths < 0 || p.terms < 0) return "a size is negative";
  if ((size - kHeader) / 2 < p.terms) return "it is shorter than its terms";
  p.code = p.ranges + 2 * int64_t(p.terms);
  int64_t used = 0;
  for (int64_t t = 0; t < p.terms; ++t) {
    const int64_t first = p.ranges[2 * t], count = p.ranges[2 * t + 1];
    if (first < 0 || count < 0 || first + count > p.paths) return "a term has a path that is not there";
    used += count;
  }
  if (used != values) return "the number of values is another";
  Reader reader{p.code, size - kHeader - 2 * int64_t(p.terms), p.dim_in};
  for (int32_t z = 0; z < p.dim_out; ++z)
    if (!reader.node(0)) return "a tree is damaged";
  if (reader.at != reader.size || reader.terms != p.terms) return "the trees have another length";
  p.depth = reader.depth;
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
