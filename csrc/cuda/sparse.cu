#include "sparse.h"

#include "../core/sparse_program.h"
#include "device.h"

namespace equitools {
namespace gpu {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kMostParts = 256;

// A thread has one item, a row and channel: threads of neighbouring channels read neighbouring numbers, and all read the
// same coefficient. Sums of a degree are in registers, the components of the product in memory that no other thread writes.

template <typename T>
struct Factor {
  const T* p;
  int64_t stride;
  EQUITOOLS_HD Factor(const T* from, int64_t components, int64_t row, int64_t channel, int64_t channels, bool one)
      : p(from + (one ? row * components : row * components * channels + channel)), stride(one ? 1 : channels) {}
  EQUITOOLS_HD T operator[](int k) const { return p[k * stride]; }
};

template <typename T>
struct Site {
  using V = T;
  static constexpr int NB = 1;
  Factor<T> x_, y_;
  EQUITOOLS_HD T x(int k, int) const { return x_[k]; }
  EQUITOOLS_HD T y(int k, int) const { return y_[k]; }
};

template <typename T>
struct ProductSite : Site<T> {
  const T* weight;  // of the channel; null: none
  int64_t weight_stride;
  T* out;  // of the row and channel
  int64_t stride;
  int none;  // the place of the component that order 0 does not have
  EQUITOOLS_HD void add(int p, int m, int path, const T (&plus)[1], const T (&minus)[1]) const {
    const T factor = weight ? weight[path * weight_stride] : T(1);
    out[p * stride] += factor * plus[0];
    if (m != none) out[m * stride] += factor * minus[0];
  }
};

template <typename T>
struct WeightSite : Site<T> {
  Factor<T> z;
  T* sums;  // of the channel
  int64_t stride;
  int none;
  EQUITOOLS_HD void add(int p, int m, int path, const T (&plus)[1], const T (&minus)[1]) const {
    T sum = plus[0] * z[p];
    if (m != none) sum += minus[0] * z[m];
    sums[path * stride] += sum;
  }
};

template <typename T>
EQUITOOLS_DEVICE Site<T> site_of(const SparseShape& s, const SparseCall<T>& c, int64_t row, int64_t channel) {
  return {Factor<T>(c.x, s.components(0), row, channel, c.channels, c.one[0]),
          Factor<T>(c.y, s.components(1), row, channel, c.channels, c.one[1])};
}

template <typename T>
EQUITOOLS_KERNEL product_kernel(SparseShape s, SparseCall<T> c, T* out) {
  const int64_t components = s.components(2);
  for (int64_t i = global_thread(); i < c.items; i += global_threads()) {
    const int64_t row = i / c.channels, channel = i - row * c.channels;
    T* mine = out + row * components * c.channels + channel;
    for (int64_t k = 0; k < components; ++k) mine[k * c.channels] = T(0);
    const T* weight = c.weight && !c.one_weight ? c.weight + channel : c.weight;
    ProductSite<T> site{site_of(s, c, row, channel), weight, c.one_weight ? 1 : c.channels, mine, c.channels,
                        int(components)};
    sparse_run(c.program, c.program_size, c.table, site);
  }
}

// A thread has a part of the rows, and one channel.
template <typename T>
EQUITOOLS_KERNEL weights_kernel(SparseShape s, SparseCall<T> c, int64_t parts, T* sums) {
  const int64_t rows = c.items / c.channels, each = (rows + parts - 1) / parts;
  for (int64_t i = global_thread(); i < parts * c.channels; i += global_threads()) {
    const int64_t part = i / c.channels, channel = i - part * c.channels;
    T* mine = sums + part * c.paths * c.channels + channel;
    for (int64_t k = 0; k < c.paths; ++k) mine[k * c.channels] = T(0);
    const int64_t end = (part + 1) * each < rows ? (part + 1) * each : rows;
    for (int64_t row = part * each; row < end; ++row) {
      const Factor<T> z(c.z, s.components(2), row, channel, c.channels, c.one[2]);
      WeightSite<T> site{site_of(s, c, row, channel), z, mine, c.channels, int(s.components(2))};
      sparse_run(c.program, c.program_size, c.table, site);
    }
  }
}

template <typename T>
EQUITOOLS_KERNEL add_kernel(const T* sums, int64_t parts, int64_t size, T* out) {
  for (int64_t i = global_thread(); i < size; i += global_threads()) {
    T sum = T(0);
    for (int64_t part = 0; part < parts; ++part) sum += sums[part * size + i];
    out[i] = sum;
  }
}

}  // namespace

template <typename T>
void SparseOf<T>::product(const SparseShape& s, const SparseCall<T>& call, T* out, void* stream) {
  launch("sparse_product", product_kernel<T>, blocks_for(call.items, kThreads), 1, kThreads, 0, stream, s, call, out);
}

template <typename T>
int64_t SparseOf<T>::parts(const SparseCall<T>& call) {
  const int64_t wanted = call.items / call.channels / 4 + 1;
  return wanted < kMostParts ? wanted : kMostParts;
}

template <typename T>
void SparseOf<T>::weights(const SparseShape& s, const SparseCall<T>& call, T* sums, T* gradient, void* stream) {
  const int64_t n = parts(call), size = call.paths * call.channels;
  launch("sparse_product_weights", weights_kernel<T>, blocks_for(n * call.channels, kThreads), 1, kThreads, 0, stream, s,
         call, n, sums);
  launch("sparse_product_weights", add_kernel<T>, blocks_for(size, kThreads), 1, kThreads, 0, stream, sums, n, size,
         gradient);
}

template struct SparseOf<float>;
template struct SparseOf<double>;

}  // namespace gpu
}  // namespace equitools
