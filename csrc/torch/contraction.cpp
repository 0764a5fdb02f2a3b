#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <vector>

#include "../cpu/contraction_species.h"
#include "common.h"
#include "functions.h"

namespace equitools {
namespace {

// A buffer on a cache line of its own.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size)
      : data_(static_cast<T*>(::operator new(std::max<int64_t>(size, 1) * sizeof(T), std::align_val_t{64}))) {}
  ~Buffer() { ::operator delete(data_, std::align_val_t{64}); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() const { return data_; }

 private:
  T* data_;
};

struct Problem {
  ContractionProgram program{};
  int64_t nodes, channels, species;
  SpeciesOrder sorted;
  std::vector<int64_t> present;  // the species that have nodes
};

void check_rows(const Tensor& t, const Tensor& x, int64_t dim, const char* name) {
  check_same_dtype(x, t, "the tensors of the symmetric contraction");
  STD_TORCH_CHECK(t.dim() == 3 && t.size(0) == x.size(0) && t.size(1) == dim && t.size(2) == x.size(2), name,
                  " must have shape [", x.size(0), ", ", dim, ", ", x.size(2), "]");
}

void check_weight(const Tensor& t, const Tensor& x, const Problem& problem, const char* name) {
  check_same_dtype(x, t, "the tensors of the symmetric contraction");
  STD_TORCH_CHECK(t.dim() == 3 && t.size(0) == problem.species && t.size(1) == problem.program.paths &&
                      t.size(2) == problem.channels,
                  name, " must have shape [", problem.species, ", ", problem.program.paths, ", ", problem.channels,
                  "]");
}

// The checks that all calls share, and the nodes in the order of their species. `program` must be dense already.
Problem prepare(const Tensor& x, const Tensor& weight, const Tensor& species, const Tensor& program,
                const Tensor& values) {
  check_floating(x, "x");
  STD_TORCH_CHECK(program.dim() == 1 && program.scalar_type() == ScalarType::Int, "program must be int32 [size]");
  check_same_dtype(x, values, "x and values");
  STD_TORCH_CHECK(values.dim() == 1, "values must have shape [size]");
  STD_TORCH_CHECK(weight.dim() == 3, "weight must have shape [S, paths, C]");
  Problem p;
  const char* wrong = read_contraction_program(program.const_data_ptr<int32_t>(), program.size(0), values.size(0),
                                               &p.program);
  STD_TORCH_CHECK(wrong == nullptr, "the program of the symmetric contraction is not valid: ", wrong);
  STD_TORCH_CHECK(x.dim() == 3 && x.size(1) == p.program.dim_in, "x must have shape [N, ", p.program.dim_in, ", C]");
  p.nodes = x.size(0);
  p.channels = x.size(2);
  p.species = weight.size(0);
  check_weight(weight, x, p, "weight");
  STD_TORCH_CHECK(species.dim() == 1 && species.scalar_type() == ScalarType::Long && species.size(0) == p.nodes,
                  "species must be int64 [", p.nodes, "]");
  const Tensor dense_species = dense(species);
  STD_TORCH_CHECK(order_by_species(dense_species.const_data_ptr<int64_t>(), p.nodes, p.species, &p.sorted),
                  "species holds an index outside 0 to ", p.species - 1);
  for (int64_t k = 0; k < p.species; ++k)
    if (p.sorted.first[k] < p.sorted.first[k + 1]) p.present.push_back(k);
  return p;
}

// Nodes of one species that one call of a kernel has, at most. With a gradient of the coefficients, each span has a sum
// of its own, and the spans do not depend on the number of threads: nor do the sums.
constexpr int64_t kSpan = 64, kSegment = 1024;

struct Span {
  int64_t which;  // position of the species in `present`
  int64_t begin, end;
};

std::vector<Span> spans(const Problem& p, int64_t size) {
  std::vector<Span> out;
  for (size_t i = 0; i < p.present.size(); ++i)
    for (int64_t n = p.sorted.first[p.present[i]], end = p.sorted.first[p.present[i] + 1]; n < end; n += size)
      out.push_back({int64_t(i), n, std::min(n + size, end)});
  return out;
}

// One call: what is needed to go over nodes and blocks in parallel.
template <typename T>
struct Engine {
  const Problem& p;
  const ContractionOf<T>& kernels = contraction_of<T>();
  int64_t blocks = (p.channels + kernels.lanes - 1) / kernels.lanes;
  int64_t coef_size = blocks * p.program.terms * kernels.lanes;  // of one species
  int64_t scratch_size = kernels.scratch_size(p.program);

  // How many items of `work` multiply-adds a thread should have at least.
  static int64_t grain(int64_t work) { return 1 + 100000 / (work + 1); }

  // The coefficients of the species that are present.
  std::unique_ptr<Buffer<T>> fold(const Tensor& values, const Tensor& weight) const {
    auto coef = std::make_unique<Buffer<T>>(int64_t(p.present.size()) * coef_size);
    const T *v = values.const_data_ptr<T>(), *w = weight.const_data_ptr<T>();
    const int64_t work = values.size(0) * kernels.lanes;
    torch::stable::parallel_for(0, int64_t(p.present.size()) * blocks, grain(work), [&](int64_t begin, int64_t end) {
      const Buffer<T> scratch(scratch_size);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t which = i / blocks, block = i % blocks;
        kernels.fold(p.program, v, w + p.present[which] * p.program.paths * p.channels, p.channels, block, block + 1,
                     coef->get() + which * coef_size, scratch.get());
      }
    });
    return coef;
  }

  // Calls f(which, begin, end, first block, last block, scratch) for chunks of nodes.
  template <typename F>
  void over_chunks(int64_t work, F&& f) const {
    const std::vector<Span> chunks = spans(p, kSpan);
    torch::stable::parallel_for(0, int64_t(chunks.size()) * blocks, grain(work * kSpan * kernels.lanes),
                                [&](int64_t begin, int64_t end) {
                                  const Buffer<T> scratch(scratch_size);
                                  while (begin < end) {
                                    const Span& c = chunks[begin / blocks];
                                    const int64_t first = begin % blocks, last = std::min(blocks, first + end - begin);
                                    f(c.which, c.begin, c.end, first, last, scratch.get());
                                    begin += last - first;
                                  }
                                });
  }

  // The same with f(..., dcoef), whose sums become dweight.
  template <typename F>
  void over_segments(int64_t work, const Tensor& values, Tensor& dweight, F&& f) const {
    const std::vector<Span> segments = spans(p, kSegment);
    const int64_t count = segments.size();
    const Buffer<T> sums(count * coef_size);
    // The blocks are outermost: each thread has its part of the channels of all nodes.
    torch::stable::parallel_for(0, count * blocks, grain(work * kSpan * kernels.lanes),
                                [&](int64_t begin, int64_t end) {
                                  const Buffer<T> scratch(scratch_size);
                                  for (int64_t s = 0; s < count; ++s) {
                                    const Span& segment = segments[s];
                                    const int64_t first = (begin - s + count - 1) / count,
                                                  last = (end - s + count - 1) / count;
                                    if (first >= last) continue;
                                    T* sum = sums.get() + s * coef_size;
                                    const int64_t block_size = p.program.terms * kernels.lanes;
                                    std::memset(sum + first * block_size, 0, (last - first) * block_size * sizeof(T));
                                    f(segment.which, segment.begin, segment.end, first, last, scratch.get(), sum);
                                  }
                                });
    T* out = dweight.mutable_data_ptr<T>();
    const T* v = values.const_data_ptr<T>();
    const int64_t row = p.program.paths * p.channels;
    for (int64_t k = 0; k < p.species; ++k)
      if (p.sorted.first[k] == p.sorted.first[k + 1]) std::memset(out + k * row, 0, row * sizeof(T));
    torch::stable::parallel_for(
        0, int64_t(p.present.size()) * blocks, grain(values.size(0) * kernels.lanes), [&](int64_t begin, int64_t end) {
          const Buffer<T> scratch(scratch_size);
          for (int64_t i = begin; i < end; ++i) {
            const int64_t which = i / blocks, block = i % blocks;
            const int64_t from = block * p.program.terms * kernels.lanes, size = p.program.terms * kernels.lanes;
            T* total = nullptr;
            for (int64_t s = 0; s < count; ++s) {
              if (segments[s].which != which) continue;
              T* part = sums.get() + s * coef_size + from;
              if (total == nullptr)
                total = part;
              else
                for (int64_t j = 0; j < size; ++j) total[j] += part[j];
            }
            kernels.unfold(p.program, v, total - from, p.channels, block, block + 1, out + p.present[which] * row,
                           scratch.get());
          }
        });
  }
};

Tensor value(const Tensor& x_in, const Tensor& weight_in, const Tensor& species, const Tensor& program_in,
             const Tensor& values_in, int64_t dim_out) {
  const Tensor x = dense(x_in), weight = dense(weight_in), program = dense(program_in), values = dense(values_in);
  const Problem p = prepare(x, weight, species, program, values);
  STD_TORCH_CHECK(dim_out == p.program.dim_out, "dim_out must be ", p.program.dim_out, ", as the program has it");
  Tensor out = torch::stable::new_empty(x, {p.nodes, p.program.dim_out, p.channels});
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const Engine<T> engine{p};
    const auto coef = engine.fold(values, weight);
    const T* xp = x.const_data_ptr<T>();
    T* o = out.mutable_data_ptr<T>();
    engine.over_chunks(2 * p.program.terms,
                       [&](int64_t which, int64_t begin, int64_t end, int64_t first, int64_t last, T* scratch) {
                         engine.kernels.value(p.program, xp, coef->get() + which * engine.coef_size, p.channels,
                                              p.sorted.order.data(), begin, end, first, last, o, scratch);
                       });
  });
  return out;
}

std::tuple<Tensor, Tensor> gradient(const Tensor& x_in, const Tensor& weight_in, const Tensor& species,
                                    const Tensor& grad_in, const Tensor& program_in, const Tensor& values_in,
                                    bool need_x, bool need_weight) {
  const Tensor x = dense(x_in), weight = dense(weight_in), program = dense(program_in), values = dense(values_in);
  const Tensor grad = dense(grad_in);
  const Problem p = prepare(x, weight, species, program, values);
  check_rows(grad, x, p.program.dim_out, "grad");
  Tensor dx = torch::stable::new_empty(x, {need_x ? p.nodes : 0, p.program.dim_in, p.channels});
  Tensor dweight = torch::stable::new_empty(x, {need_weight ? p.species : 0, p.program.paths, p.channels});
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const Engine<T> engine{p};
    const auto coef = engine.fold(values, weight);
    const T *xp = x.const_data_ptr<T>(), *g = grad.const_data_ptr<T>();
    T* dxp = need_x ? dx.mutable_data_ptr<T>() : nullptr;
    auto run = [&](int64_t which, int64_t begin, int64_t end, int64_t first, int64_t last, T* scratch, T* dcoef) {
      engine.kernels.gradient(p.program, xp, coef->get() + which * engine.coef_size, g, p.channels, p.sorted.order.data(),
                              begin, end, first, last, dxp, dcoef, scratch);
    };
    if (need_weight)
      engine.over_segments(6 * p.program.terms, values, dweight, run);
    else if (need_x)
      engine.over_chunks(6 * p.program.terms,
                         [&](int64_t which, int64_t begin, int64_t end, int64_t first, int64_t last, T* scratch) {
                           run(which, begin, end, first, last, scratch, nullptr);
                         });
  });
  return {dx, dweight};
}

std::tuple<Tensor, Tensor, Tensor> second(const Tensor& x_in, const Tensor& weight_in, const Tensor& species,
                                          const Tensor& grad_in, const Tensor& u_in, const std::optional<Tensor>& v_in,
                                          const Tensor& program_in, const Tensor& values_in, bool need_weight) {
  const Tensor x = dense(x_in), weight = dense(weight_in), program = dense(program_in), values = dense(values_in);
  const Tensor grad = dense(grad_in), u = dense(u_in);
  const Problem p = prepare(x, weight, species, program, values);
  check_rows(grad, x, p.program.dim_out, "grad");
  check_rows(u, x, p.program.dim_in, "the cotangent of the gradient of x");
  if (v_in) check_weight(*v_in, x, p, "the cotangent of the gradient of weight");
  Tensor dgrad = torch::stable::new_empty(x, {p.nodes, p.program.dim_out, p.channels});
  Tensor dx = torch::stable::new_empty(x, {p.nodes, p.program.dim_in, p.channels});
  Tensor dweight = torch::stable::new_empty(x, {need_weight ? p.species : 0, p.program.paths, p.channels});
  for_dtype(x, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const Engine<T> engine{p};
    const auto coef = engine.fold(values, weight);
    const auto v = v_in ? engine.fold(values, dense(*v_in)) : nullptr;
    const T *xp = x.const_data_ptr<T>(), *g = grad.const_data_ptr<T>(), *up = u.const_data_ptr<T>();
    T *dgp = dgrad.mutable_data_ptr<T>(), *dxp = dx.mutable_data_ptr<T>();
    auto run = [&](int64_t which, int64_t begin, int64_t end, int64_t first, int64_t last, T* scratch, T* dcoef) {
      const int64_t at = which * engine.coef_size;
      engine.kernels.second(p.program, xp, coef->get() + at, g, up, v ? v->get() + at : nullptr, p.channels,
                            p.sorted.order.data(), begin, end, first, last, dgp, dxp, dcoef, scratch);
    };
    if (need_weight)
      engine.over_segments(12 * p.program.terms, values, dweight, run);
    else
      engine.over_chunks(12 * p.program.terms,
                         [&](int64_t which, int64_t begin, int64_t end, int64_t first, int64_t last, T* scratch) {
                           run(which, begin, end, first, last, scratch, nullptr);
                         });
  });
  return {dgrad, dx, dweight};
}

}  // namespace

Tensor symmetric_contraction(const Tensor& x, const Tensor& weight, const Tensor& species, const Tensor& program,
                             const Tensor& values, int64_t dim_out) {
  return value(x, weight, species, program, values, dim_out);
}

Tensor symmetric_contraction_backward(const Tensor& x, const Tensor& weight, const Tensor& species, const Tensor& grad,
                                      const Tensor& program, const Tensor& values) {
  return std::get<0>(gradient(x, weight, species, grad, program, values, true, false));
}

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def(
      "symmetric_contraction(Tensor x, Tensor weight, Tensor species, Tensor program, Tensor values, int dim_out) -> "
      "Tensor");
  m.def(
      "symmetric_contraction_backward(Tensor x, Tensor weight, Tensor species, Tensor grad, Tensor program, "
      "Tensor values, bool need_x, bool need_weight) -> (Tensor, Tensor)");
  m.def(
      "symmetric_contraction_double_backward(Tensor x, Tensor weight, Tensor species, Tensor grad, Tensor cotangent_x, "
      "Tensor? cotangent_weight, Tensor program, Tensor values, bool need_weight) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) {
  m.impl("symmetric_contraction", TORCH_BOX(&value));
  m.impl("symmetric_contraction_backward", TORCH_BOX(&gradient));
  m.impl("symmetric_contraction_double_backward", TORCH_BOX(&second));
}

}  // namespace equitools
