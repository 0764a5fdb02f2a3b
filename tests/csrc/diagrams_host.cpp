// Runs the kernels of sums of rows and of layers of diagrams of all instruction sets beside plain loops in double precision.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "cpu/sparse_rows.h"

using namespace equitools;

namespace {

std::mt19937 generator(1);

// A number that float32 holds exactly.
double drawn() { return double(float(std::normal_distribution<double>()(generator))); }

struct Sparse {
  int64_t rows, columns;
  std::vector<int64_t> starts{0}, places;
  std::vector<double> values;

  Sparse(int64_t rows_, int64_t columns_, double density) : rows(rows_), columns(columns_) {
    std::uniform_real_distribution<double> one(0, 1);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j)
        if (one(generator) < density) {
          places.push_back(j);
          values.push_back(drawn());
        }
      starts.push_back(int64_t(places.size()));
    }
  }
};

template <typename T>
struct Table {
  std::vector<T> values;
  SparseTable<T> table;
  explicit Table(const Sparse& s) : values(s.values.begin(), s.values.end()) {
    table = {s.rows, s.starts.data(), s.places.data(), values.data()};
  }
};

// [size, channels, batch] of numbers, and where they stand in one of the two orders.
struct Dense {
  int64_t size, channels, batch;
  std::vector<double> at;
  Dense(int64_t s, int64_t c, int64_t b, bool random) : size(s), channels(c), batch(b), at(size_t(s * c * b)) {
    if (random)
      for (double& v : at) v = drawn();
  }
  double& operator()(int64_t s, int64_t c, int64_t b) { return at[size_t((s * channels + c) * batch + b)]; }
  int64_t place(int64_t s, int64_t c, int64_t b, bool last) const {
    return last ? (b * channels + c) * size + s : (s * channels + c) * batch + b;
  }
  template <typename T>
  std::vector<T> laid(bool last) {
    std::vector<T> out(at.size());
    for (int64_t s = 0; s < size; ++s)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t b = 0; b < batch; ++b) out[size_t(place(s, c, b, last))] = T((*this)(s, c, b));
    return out;
  }
};

Dense multiplied(const Sparse& s, Dense& x) {
  Dense out(s.rows, x.channels, x.batch, false);
  for (int64_t i = 0; i < s.rows; ++i)
    for (int64_t e = s.starts[size_t(i)]; e < s.starts[size_t(i) + 1]; ++e)
      for (int64_t c = 0; c < x.channels; ++c)
        for (int64_t b = 0; b < x.batch; ++b) out(i, c, b) += s.values[size_t(e)] * x(s.places[size_t(e)], c, b);
  return out;
}

template <typename T>
void near(const std::vector<T>& found, const std::vector<T>& exact, const char* what) {
  double scale = 1, worst = 0;
  for (T v : exact) scale = std::fmax(scale, std::fabs(double(v)));
  for (size_t i = 0; i < exact.size(); ++i) {
    const double error = std::fabs(double(found[i]) - double(exact[i])) / scale;
    worst = error <= worst ? worst : error;  // also where it is NaN
  }
  if (!(worst <= (sizeof(T) == 4 ? 1e-5 : 1e-13))) {
    std::printf("%s: %g for %zu bytes\n", what, worst, sizeof(T));
    std::exit(1);
  }
}

// Memory of exactly so many numbers at a multiple of 64 bytes: the sanitizer sees what is beyond it.
template <typename T>
struct Memory {
  T* at;
  explicit Memory(int64_t size) : at(static_cast<T*>(std::aligned_alloc(64, size_t((size * int64_t(sizeof(T)) + 63) / 64 * 64)))) {}
  ~Memory() { std::free(at); }
};

template <typename T>
void sums(const SparseRowsOf<T>& kernels, int64_t rows, int64_t inner, int64_t channels, int64_t batch) {
  const Sparse matrix(rows, inner, 0.4);
  Dense x(inner, channels, batch, true), exact = multiplied(matrix, x);
  const Table<T> table(matrix);
  for (int order = 0; order < 4; ++order) {
    const std::vector<T> in = x.laid<T>(order & 1);
    std::vector<T> out(exact.at.size(), T(NAN));
    const SparseRowsCall<T> call{{in.data(), inner, channels, batch, bool(order & 1)},
                                 table.table,
                                 {out.data(), rows, channels, batch, bool(order & 2)}};
    const Memory<T> memory(kernels.scratch(call));
    kernels.sums(call, memory.at, 0, (channels * batch + 2 * kernels.lanes - 1) / (2 * kernels.lanes));
    near(out, exact.laid<T>(order & 2), "sums of rows");
  }
}

template <typename T>
void layer(const SparseRowsOf<T>& kernels, int64_t size_in, int64_t size_out, int64_t c_in, int64_t c_out, int64_t batch) {
  const std::vector<DiagramBlock> blocks = {{5, 2, 3, 0, 0, 0}, {1, 1, 1, 10, 15, 6}, {7, 3, 1, 11, 16, 7}, {2, 1, 4, 32, 23, 10}};
  const int64_t rows_in = 34, rows_out = 31;
  const Sparse down(rows_in, size_in, 0.3), up(size_out, rows_out, 0.3);
  Sparse back(rows_out, 0, 0);  // the transposed expansion
  back.columns = size_out;
  back.starts = {0};
  for (int64_t j = 0; j < rows_out; ++j) {
    for (int64_t i = 0; i < size_out; ++i)
      for (int64_t e = up.starts[size_t(i)]; e < up.starts[size_t(i) + 1]; ++e)
        if (up.places[size_t(e)] == j) {
          back.places.push_back(i);
          back.values.push_back(up.values[size_t(e)]);
        }
    back.starts.push_back(int64_t(back.places.size()));
  }
  Dense x(size_in, c_in, batch, true), grad(size_out, c_out, batch, true);
  Dense below = multiplied(down, x), above = multiplied(back, grad), between(rows_out, c_out, batch, false);
  std::vector<double> matrices, gradient;
  for (const DiagramBlock& k : blocks)
    for (int64_t o = 0; o < k.outputs * c_out; ++o)
      for (int64_t i = 0; i < k.inputs * c_in; ++i) {
        const double weight = drawn();
        double sum = 0;
        for (int64_t n = 0; n < k.components; ++n)
          for (int64_t b = 0; b < batch; ++b) {
            const double in = below(k.start_in + n * k.inputs + i / c_in, i % c_in, b);
            const int64_t row = k.start_out + n * k.outputs + o / c_out;
            between(row, o % c_out, b) += weight * in;
            sum += above(row, o % c_out, b) * in;
          }
        matrices.push_back(weight);
        gradient.push_back(sum);
      }
  Dense exact = multiplied(up, between);
  const Table<T> contraction(down), expansion(up), turned(back);
  const std::vector<T> weights(matrices.begin(), matrices.end()), sum(gradient.begin(), gradient.end());
  const int64_t parts = (batch + kernels.lanes - 1) / kernels.lanes;
  for (int order = 0; order < 4; ++order) {
    const std::vector<T> in = x.laid<T>(order & 1), g = grad.laid<T>(order & 2);
    std::vector<T> out(exact.at.size(), T(NAN)), found(sum.size(), T(0));
    const RowsOf<const T> rows{in.data(), size_in, c_in, batch, bool(order & 1)};
    const DiagramCall<T> call{rows, contraction.table, blocks.data(), int64_t(blocks.size()), weights.data(),
                              expansion.table, rows_out, {out.data(), size_out, c_out, batch, bool(order & 2)}};
    const Memory<T> memory(kernels.diagrams_scratch(call));
    kernels.diagrams(call, memory.at, 0, parts);
    near(out, exact.laid<T>(order & 2), "layer");
    const DiagramMatricesCall<T> other{rows, contraction.table, blocks.data(), int64_t(blocks.size()),
                                       {g.data(), size_out, c_out, batch, bool(order & 2)}, turned.table};
    const Memory<T> room(kernels.matrices_scratch(other));
    kernels.matrices(other, found.data(), room.at, 0, parts);
    near(found, sum, "gradient of the matrices");
  }
}

template <typename T>
void all(const SparseRowsOf<T>& kernels) {
  for (int64_t batch : {1, 3, 8, 16, 33})
    for (int64_t channels : {1, 2, 5}) {
      sums<T>(kernels, 7, 5, channels, batch);
      sums<T>(kernels, 16, 33, channels, batch);
      layer<T>(kernels, 9, 17, channels, 6 - channels, batch);
    }
  sums<T>(kernels, 3, 0, 2, 4);
  layer<T>(kernels, 40, 16, 11, 9, 5);
}

}  // namespace

int main() {
  std::vector<const SparseRows*> sets = {&sparse_rows_baseline()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    sets.push_back(&sparse_rows_avx2());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
      sets.push_back(&sparse_rows_avx512());
  }
#endif
  for (const SparseRows* set : sets) {
    all<float>(set->f32);
    all<double>(set->f64);
  }
  std::printf("%zu instruction sets\n", sets.size());
}
