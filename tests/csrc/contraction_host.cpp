// Runs the kernels of the symmetric contraction without torch: against sums written out, against finite differences,
// every instruction set, and on damaged programs.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "cpu/contraction_species.h"
#include "cpu/kernels.h"

using namespace equitools;

static int failures = 0;

static void expect(bool good, const char* what) {
  if (!good) {
    std::printf("failed: %s\n", what);
    ++failures;
  }
}

static double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double d = 0;
  for (size_t i = 0; i < a.size(); ++i) d = std::fmax(d, std::fabs(a[i] - b[i]));
  return d;
}

struct Aligned {
  explicit Aligned(int64_t size) : data(static_cast<double*>(std::aligned_alloc(64, (size * 8 + 127) / 64 * 64))) {}
  ~Aligned() { std::free(data); }
  Aligned(const Aligned&) = delete;
  double* data;
};

struct Program {
  std::vector<int32_t> code;
  std::vector<double> values;
};

// A random program with products of products, empty groups, outputs without groups, and terms without paths.
static Program random_program(std::mt19937& engine, int dim_in, int dim_out, int paths, int products) {
  auto below = [&](int n) { return int32_t(engine() % unsigned(n)); };
  const int variables = dim_in + 1 + products;
  std::vector<int32_t> ranges, factors, output_end, group, leaf, group_of;
  Program p;
  for (int k = 0; k < products; ++k)
    for (int i = 0; i < 2; ++i) factors.push_back(below(dim_in + 1 + k));
  for (int z = 0; z < dim_out; ++z) {
    for (int g = below(4); g > 0; --g) {
      for (int t = below(5); t > 0; --t) {
        leaf.push_back(below(variables));
        group_of.push_back(int32_t(group.size() / 2));
        const int32_t first = below(paths + 1), count = below(paths - first + 1);
        ranges.insert(ranges.end(), {first, count});
        for (int i = 0; i < count; ++i) p.values.push_back(below(2001) * 1e-3 - 1);
      }
      group.insert(group.end(), {below(variables), int32_t(leaf.size())});
    }
    output_end.push_back(int32_t(group.size() / 2));
  }
  std::vector<int32_t> use_end, use;
  for (int v = 0; v < variables; ++v) {
    for (size_t t = 0; t < leaf.size(); ++t)
      if (leaf[t] == v) use.insert(use.end(), {int32_t(t), group_of[t]});
    use_end.push_back(int32_t(use.size() / 2));
  }
  p.code = {dim_in, dim_out, paths, int32_t(leaf.size()), products, int32_t(group.size() / 2), 0, 0};
  for (const auto* part : {&ranges, &factors, &output_end, &group, &leaf, &use_end, &use})
    p.code.insert(p.code.end(), part->begin(), part->end());
  return p;
}

struct Inputs {
  int64_t nodes, channels;
  std::vector<double> x, weight, grad, u, v;  // weight, v: [paths, C]
  std::vector<int64_t> order;
};

struct Outputs {
  std::vector<double> value, dx, dweight, dgrad, ddx, ddweight;
};

static Outputs evaluate(const ContractionOf<double>& k, const ContractionProgram& p, const std::vector<double>& values,
                        const Inputs& in) {
  const int64_t blocks = (in.channels + k.lanes - 1) / k.lanes, size = blocks * p.terms * k.lanes;
  const Aligned scratch(k.scratch_size(p)), coef(size), direction(size), dcoef(size), ddcoef(size);
  Outputs o{std::vector<double>(in.grad.size()), std::vector<double>(in.x.size()), std::vector<double>(in.weight.size()),
            std::vector<double>(in.grad.size()), std::vector<double>(in.x.size()), std::vector<double>(in.weight.size())};
  for (int64_t i = 0; i < size; ++i) dcoef.data[i] = ddcoef.data[i] = 0;
  k.fold(p, values.data(), in.weight.data(), in.channels, 0, blocks, coef.data, scratch.data);
  k.fold(p, values.data(), in.v.data(), in.channels, 0, blocks, direction.data, scratch.data);
  const int64_t half = in.nodes / 2;
  const int64_t ends[] = {0, half, in.nodes};
  for (int i = 0; i < 2; ++i) {
    k.value(p, in.x.data(), coef.data, in.channels, in.order.data(), ends[i], ends[i + 1], 0, blocks, o.value.data(),
            scratch.data);
    k.gradient(p, in.x.data(), coef.data, in.grad.data(), in.channels, in.order.data(), ends[i], ends[i + 1], 0,
               blocks, o.dx.data(), dcoef.data, scratch.data);
    k.second(p, in.x.data(), coef.data, in.grad.data(), in.u.data(), direction.data, in.channels, in.order.data(),
             ends[i], ends[i + 1], 0, blocks, o.dgrad.data(), o.ddx.data(), ddcoef.data, scratch.data);
  }
  std::vector<double> again(in.x.size());
  k.gradient(p, in.x.data(), coef.data, in.grad.data(), in.channels, in.order.data(), 0, in.nodes, 0, blocks,
             again.data(), nullptr, scratch.data);
  expect(distance(again, o.dx) < 1e-9, "gradient without that of the coefficients");
  k.unfold(p, values.data(), dcoef.data, in.channels, 0, blocks, o.dweight.data(), scratch.data);
  k.unfold(p, values.data(), ddcoef.data, in.channels, 0, blocks, o.ddweight.data(), scratch.data);
  return o;
}

// The definition, written out.
static std::vector<double> written_out(const ContractionProgram& p, const std::vector<double>& values,
                                       const Inputs& in) {
  const int64_t C = in.channels;
  std::vector<double> out(in.grad.size()), v(p.variables());
  for (int64_t n = 0; n < in.nodes; ++n)
    for (int64_t c = 0; c < C; ++c) {
      for (int i = 0; i < p.dim_in; ++i) v[i] = in.x[(n * p.dim_in + i) * C + c];
      v[p.dim_in] = 1;
      for (int i = 0; i < p.products; ++i) v[p.dim_in + 1 + i] = v[p.factors[2 * i]] * v[p.factors[2 * i + 1]];
      int64_t at = 0;
      for (int z = 0, g = 0, t = 0; z < p.dim_out; ++z)
        for (; g < p.output_end[z]; ++g)
          for (; t < p.group[2 * g + 1]; ++t)
            for (int i = 0; i < p.ranges[2 * t + 1]; ++i)
              out[(n * p.dim_out + z) * C + c] += values[at++] * in.weight[(p.ranges[2 * t] + i) * C + c] *
                                                  v[p.leaf[t]] * v[p.group[2 * g]];
    }
  return out;
}

static double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

static Inputs random_inputs(std::mt19937& engine, const ContractionProgram& p, int64_t nodes, int64_t channels) {
  std::normal_distribution<double> normal;
  Inputs in{nodes, channels, std::vector<double>(nodes * p.dim_in * channels),
            std::vector<double>(p.paths * channels), std::vector<double>(nodes * p.dim_out * channels), {}, {}, {}};
  in.u.resize(in.x.size());
  in.v.resize(in.weight.size());
  for (auto* a : {&in.x, &in.weight, &in.grad, &in.u, &in.v})
    for (double& y : *a) y = 0.5 * normal(engine);
  for (int64_t n = 0; n < nodes; ++n) in.order.push_back(nodes - 1 - n);
  return in;
}

static void derivatives(const std::vector<const ContractionKernels*>& sets) {
  std::mt19937 engine(11);
  for (int trial = 0; trial < 60; ++trial) {
    const Program program = random_program(engine, 1 + trial % 5, trial % 4, 1 + trial % 7, trial % 6);
    ContractionProgram p;
    const char* wrong = read_contraction_program(program.code.data(), program.code.size(), program.values.size(), &p);
    expect(wrong == nullptr, wrong == nullptr ? "" : wrong);
    const Inputs in = random_inputs(engine, p, (trial * 7) % 39, 1 + (trial * 5) % 19);
    const Outputs base = evaluate(sets[0]->f64, p, program.values, in);
    expect(distance(base.value, written_out(p, program.values, in)) < 1e-9, "value");
    for (const ContractionKernels* set : sets) {
      const Outputs o = evaluate(set->f64, p, program.values, in);
      expect(distance(o.value, base.value) < 1e-9, "value of another instruction set");
      expect(distance(o.dx, base.dx) < 1e-9, "gradient of another instruction set");
      expect(distance(o.dweight, base.dweight) < 1e-9, "gradient of the weights of another instruction set");
      expect(distance(o.dgrad, base.dgrad) < 1e-9, "second derivative of another instruction set");
      expect(distance(o.ddx, base.ddx) < 1e-9, "second derivative of another instruction set");
      expect(distance(o.ddweight, base.ddweight) < 1e-9, "second derivative of another instruction set");
    }
    const double h = 1e-5;
    auto along = [&](double s) {
      Inputs moved = in;
      for (size_t i = 0; i < in.x.size(); ++i) moved.x[i] += s * h * in.u[i];
      for (size_t i = 0; i < in.weight.size(); ++i) moved.weight[i] += s * h * in.v[i];
      return evaluate(sets[0]->f64, p, program.values, moved);
    };
    const Outputs plus = along(1), minus = along(-1);
    auto agrees = [&](const std::vector<double>& a, const std::vector<double>& b, const std::vector<double>& exact,
                      const char* what) {
      for (size_t i = 0; i < a.size(); ++i)
        expect(std::fabs((a[i] - b[i]) / (2 * h) - exact[i]) < 1e-5 * (1 + std::fabs(exact[i])), what);
    };
    agrees(plus.value, minus.value, base.dgrad, "derivative along a direction by differences");
    agrees(plus.dx, minus.dx, base.ddx, "second derivative by differences");
    agrees(plus.dweight, minus.dweight, base.ddweight, "second derivative of the weights by differences");
    const double left = dot(in.u, base.dx) + dot(in.v, base.dweight), right = dot(in.grad, base.dgrad);
    expect(std::fabs(left - right) < 1e-9 * (1 + std::fabs(left)), "the gradient is the adjoint of the derivative");
  }
}

// Any damage is found, or does no harm: the sanitizers watch.
static void damaged(const ContractionKernels& set) {
  std::mt19937 engine(5);
  int found = 0, passed = 0;
  for (int trial = 0; trial < 20; ++trial) {
    const Program program = random_program(engine, 3, 3, 4, 3);
    for (size_t at = 0; at < program.code.size(); ++at)
      for (int32_t number : {-1, 0, 1, 2, 5, 1000, INT32_MAX, INT32_MIN}) {
        // On the heap in its exact size, so that reading beyond it is seen.
        std::unique_ptr<int32_t[]> code(new int32_t[program.code.size()]);
        for (size_t i = 0; i < program.code.size(); ++i) code[i] = i == at ? number : program.code[i];
        ContractionProgram p;
        if (read_contraction_program(code.get(), program.code.size(), program.values.size(), &p) != nullptr) {
          ++found;
          continue;
        }
        ++passed;
        evaluate(set.f64, p, program.values, random_inputs(engine, p, 3, 5));
      }
    for (size_t size = 0; size < program.code.size(); ++size) {
      ContractionProgram p;
      std::unique_ptr<int32_t[]> code(new int32_t[size]);
      for (size_t i = 0; i < size; ++i) code[i] = program.code[i];
      expect(read_contraction_program(code.get(), size, program.values.size(), &p) != nullptr, "a program cut short");
    }
  }
  expect(found > passed && passed > 0, "damage is found");
}

static void species() {
  std::mt19937 engine(3);
  const Program program = random_program(engine, 4, 2, 5, 4);
  ContractionProgram p;
  read_contraction_program(program.code.data(), program.code.size(), program.values.size(), &p);
  const int64_t nodes = 23, channels = 13, count = 4;
  const Inputs in = random_inputs(engine, p, nodes, channels);
  std::vector<double> weight, out(in.grad.size()), dx(in.x.size());
  std::vector<int64_t> which;
  for (int64_t s = 0; s < count; ++s)
    for (double w : in.weight) weight.push_back(w * (s + 1));
  for (int64_t n = 0; n < nodes; ++n) which.push_back(n % 3 == 1 ? 3 : 1);  // 0 and 2 are missing
  SpeciesOrder sorted;
  expect(!order_by_species(which.data(), nodes, 3, &sorted), "a species out of range");
  expect(order_by_species(which.data(), nodes, count, &sorted), "species in range");
  const Aligned coefficients(count * contraction_coefficients_size<double>(p, channels)),
      scratch(contraction_of<double>().scratch_size(p));
  contraction_coefficients(p, program.values.data(), weight.data(), count, channels, coefficients.data, scratch.data);
  for (int64_t begin : {0, 9}) {
    const int64_t end = begin == 0 ? 9 : nodes;
    contraction_forward(p, coefficients.data, sorted, begin, end, channels, in.x.data(), out.data(), scratch.data);
    contraction_backward(p, coefficients.data, sorted, begin, end, channels, in.x.data(), in.grad.data(), dx.data(),
                         scratch.data);
  }
  const Outputs one = evaluate(contraction_of<double>(), p, program.values, in);
  for (int64_t n = 0; n < nodes; ++n) {
    for (int64_t i = 0; i < p.dim_out * channels; ++i)
      expect(std::fabs(out[n * p.dim_out * channels + i] - (which[n] + 1) * one.value[n * p.dim_out * channels + i]) <
                 1e-9, "value over species");
    for (int64_t i = 0; i < p.dim_in * channels; ++i)
      expect(std::fabs(dx[n * p.dim_in * channels + i] - (which[n] + 1) * one.dx[n * p.dim_in * channels + i]) < 1e-9,
             "gradient over species");
  }
}

int main() {
  std::vector<const ContractionKernels*> sets = {&contraction_baseline()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&contraction_avx2());
  if (cpu_capability() == 2) sets.push_back(&contraction_avx512());
#endif
  derivatives(sets);
  damaged(contraction_kernels());
  species();
  std::printf("%zu instruction sets, %d failures\n", sets.size(), failures);
  return failures != 0;
}
