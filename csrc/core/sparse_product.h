// Products of functions on the sphere by their coefficients that are not zero, with a weight for each path, and the gradient
// of those weights. No torch.
//
// Lanes are items, a row and channel each, kSparseVectors vectors of them at a time: the coefficients are read once for all.
#pragma once

#include "simd.h"
#include "sparse_program.h"

namespace equitools {
namespace EQUITOOLS_ISA {

constexpr int kSparseVectors = EQUITOOLS_VECTOR_BYTES == 64 ? 2 : 1;  // there are 32 registers of 64 bytes

// The items of one vector: the first, and how many there are; the others repeat the first.
template <typename T>
struct SparseItems {
  static constexpr int W = Simd<T>::W;
  int64_t item;
  int count;
  int64_t channels;

  SparseItems(int64_t begin, int64_t items, int64_t channels)
      : item(begin < items ? begin : 0), count(begin >= items ? 0 : items - begin < W ? int(items - begin) : W),
        channels(channels) {}

  int64_t row(int lane) const { return (item + (lane < count ? lane : 0)) / channels; }
  int64_t channel(int lane) const { return (item + (lane < count ? lane : 0)) % channels; }
  bool together() const { return count == W && item % channels + W <= channels; }  // neighbours of one row

  // Of [rows, components, channels] (or one channel), to vectors every `step` numbers.
  void gather(const T* from, int64_t components, bool one, T* to, int64_t step) const {
    const int64_t width = one ? 1 : channels;
    if (together()) {
      const T* p = from + row(0) * components * width + (one ? 0 : channel(0));
      for (int64_t k = 0; k < components; ++k) store(to + k * step, one ? p[k] + Vec<T>{} : load(p + k * width));
      return;
    }
    for (int i = 0; i < W; ++i) {
      const T* p = from + row(i) * components * width + (one ? 0 : channel(i));
      for (int64_t k = 0; k < components; ++k) to[k * step + i] = p[k * width];
    }
  }

  void scatter(const T* from, int64_t step, int64_t components, T* to) const {
    if (together()) {
      T* p = to + row(0) * components * channels + channel(0);
      for (int64_t k = 0; k < components; ++k) store(p + k * channels, load(from + k * step));
      return;
    }
    for (int i = 0; i < count; ++i) {
      T* p = to + row(i) * components * channels + channel(i);
      for (int64_t k = 0; k < components; ++k) p[k * channels] = from[k * step + i];
    }
  }

  // Of weights [paths, channels].
  void gather_weights(const T* from, int64_t paths, bool one, T* to, int64_t step) const {
    for (int64_t k = 0; k < paths; ++k)
      if (one)
        store(to + k * step, from[k] + Vec<T>{});
      else if (together())
        store(to + k * step, load(from + k * channels + channel(0)));
      else
        for (int i = 0; i < W; ++i) to[k * step + i] = from[k * channels + channel(i)];
  }

  // Adds to weights [paths, channels].
  void add_weights(const T* from, int64_t step, int64_t paths, T* to) const {
    for (int64_t k = 0; k < paths; ++k)
      if (together()) {
        T* p = to + k * channels + channel(0);
        store(p, load(p) + load(from + k * step));
      } else {
        for (int i = 0; i < count; ++i) to[k * channels + channel(i)] += from[k * step + i];
      }
  }
};

// Of one block of items; places of the program are those of NB vectors.
template <typename T>
struct SparseBlock {
  using V = Vec<T>;
  static constexpr int NB = kSparseVectors, W = Simd<T>::W;
  const T *x_, *y_;

  EQUITOOLS_SPARSE V x(int k, int n) const { return load(x_ + k + n * W); }
  EQUITOOLS_SPARSE V y(int k, int n) const { return load(y_ + k + n * W); }
};

template <typename T, bool Weighted>
struct SparseForward : SparseBlock<T> {
  using V = Vec<T>;
  static constexpr int NB = kSparseVectors, W = Simd<T>::W;
  T* z;
  const T* weight;
  EQUITOOLS_SPARSE void add(int p, int m, int path, const V (&plus)[NB], const V (&minus)[NB]) const {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB * W; n += W) {
      if constexpr (Weighted) {
        const V factor = load(weight + path + n);
        store(z + p + n, load(z + p + n) + factor * plus[n / W]);
        store(z + m + n, load(z + m + n) + factor * minus[n / W]);
      } else {
        store(z + p + n, load(z + p + n) + plus[n / W]);
        store(z + m + n, load(z + m + n) + minus[n / W]);
      }
    }
  }
};

template <typename T>
struct SparseGradient : SparseBlock<T> {
  using V = Vec<T>;
  static constexpr int NB = kSparseVectors, W = Simd<T>::W;
  const T* z;
  T* weight;
  EQUITOOLS_SPARSE void add(int p, int m, int path, const V (&plus)[NB], const V (&minus)[NB]) const {
    EQUITOOLS_UNROLL
    for (int n = 0; n < NB * W; n += W)
      store(weight + path + n, load(weight + path + n) + plus[n / W] * load(z + p + n) + minus[n / W] * load(z + m + n));
  }
};

template <typename T>
static void sparse_fill_zero(T* p, int64_t count) {
  for (int64_t i = 0; i < count; i += Simd<T>::W) store(p + i, Vec<T>{});
}

// What a thread works in: x, y, z with a place behind its components, and weights.
template <typename T>
struct SparseMemory {
  static constexpr int64_t step = kSparseVectors * Simd<T>::W;
  T *x, *y, *z, *weight;
  SparseMemory(const SparseShape& s, T* at) {
    x = at, at += s.components(0) * step;
    y = at, at += s.components(1) * step;
    z = at, at += (s.components(2) + 1) * step;
    weight = at;
  }
  static int64_t size(const SparseShape& s, int64_t paths) {
    return (s.components(0) + s.components(1) + s.components(2) + 1 + paths) * step;
  }
};

// Blocks [begin, end) of items. c.weight: null, or [paths, channels or one].
template <typename T>
static void sparse_product(const SparseShape& s, const SparseCall<T>& c, T* out, T* memory, int64_t begin, int64_t end) {
  constexpr int NB = kSparseVectors, W = Simd<T>::W;
  constexpr int64_t step = NB * W;
  const SparseMemory<T> at(s, memory);
  for (int64_t block = begin; block < end; ++block) {
    sparse_fill_zero(at.z, (s.components(2) + 1) * step);
    for (int n = 0; n < NB; ++n) {
      const SparseItems<T> items(block * step + n * W, c.items, c.channels);
      items.gather(c.x, s.components(0), c.one[0], at.x + n * W, step);
      items.gather(c.y, s.components(1), c.one[1], at.y + n * W, step);
      if (c.weight && (!c.one_weight || block == begin))
        items.gather_weights(c.weight, c.paths, c.one_weight, at.weight + n * W, step);
    }
    if (c.weight) {
      SparseForward<T, true> site{{at.x, at.y}, at.z, at.weight};
      sparse_run(c.program, c.program_size, c.table, site);
    } else {
      SparseForward<T, false> site{{at.x, at.y}, at.z, nullptr};
      sparse_run(c.program, c.program_size, c.table, site);
    }
    for (int n = 0; n < NB; ++n)
      SparseItems<T>(block * step + n * W, c.items, c.channels).scatter(at.z + n * W, step, s.components(2), out);
  }
}

// Adds the sums over the items of blocks [begin, end) to gradient [paths, channels].
template <typename T>
static void sparse_weights(const SparseShape& s, const SparseCall<T>& c, T* gradient, T* memory, int64_t begin, int64_t end) {
  constexpr int NB = kSparseVectors, W = Simd<T>::W;
  constexpr int64_t step = NB * W;
  const SparseMemory<T> at(s, memory);
  sparse_fill_zero(at.z + s.components(2) * step, step);
  for (int64_t block = begin; block < end; ++block) {
    sparse_fill_zero(at.weight, c.paths * step);
    for (int n = 0; n < NB; ++n) {
      const SparseItems<T> items(block * step + n * W, c.items, c.channels);
      items.gather(c.x, s.components(0), c.one[0], at.x + n * W, step);
      items.gather(c.y, s.components(1), c.one[1], at.y + n * W, step);
      items.gather(c.z, s.components(2), c.one[2], at.z + n * W, step);
    }
    SparseGradient<T> site{{at.x, at.y}, at.z, at.weight};
    sparse_run(c.program, c.program_size, c.table, site);
    for (int n = 0; n < NB; ++n)
      SparseItems<T>(block * step + n * W, c.items, c.channels).add_weights(at.weight + n * W, step, c.paths, gradient);
  }
}

template <typename T>
static int64_t sparse_scratch(const SparseShape& s, int64_t paths) {
  return SparseMemory<T>::size(s, paths);
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
