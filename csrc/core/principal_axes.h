// Eigenvectors of symmetric 3x3 matrices, and principal axes of clouds of points, with their derivatives. No torch, no
// standard templates; a matrix or a cloud in each lane.
//
// The points of W clouds are transposed in registers into vectors with a cloud in each lane, a chunk of points at a time.
// A cloud that fits into one chunk is read from memory once: mean, second moments and, where they are asked for, third
// moments along the axes are passes over the chunk, which is in the first cache.
#pragma once

#include "axes_shape.h"
#include "eigh3.h"
#include "lane_rows.h"

namespace equitools {
namespace EQUITOOLS_ISA {

// 1 where the mask is set, else 0.
template <typename T>
static inline void load_weights(const uint8_t* rows, int64_t stride, int columns, int count, Vec<T>* to) {
  constexpr int W = Lanes<T>::W;
  typedef uint8_t Bytes __attribute__((vector_size(Lanes<T>::W)));
  typedef uint8_t UnalignedBytes __attribute__((vector_size(Lanes<T>::W), aligned(1), may_alias));
  int k = 0;
  if (count == W)
    for (; k + W <= columns; k += W) {
      unroll<0, W>([&](auto i) EQUITOOLS_FORCED {
        const Bytes row = *reinterpret_cast<const UnalignedBytes*>(rows + i * stride + k);
        to[k + i] = __builtin_convertvector(row, Vec<T>);
      });
      transpose<T>(to + k);
    }
  for (; k < columns; ++k) {
    to[k] = Vec<T>{};
    for (int i = 0; i < count; ++i) to[k][i] = T(rows[i * stride + k]);
  }
}

constexpr int kChunk = 128;  // points

// A chunk of the points of W clouds.
template <typename T>
struct Chunk {
  Vec<T> x[3 * kChunk], weight[kChunk];

  // Masked points are at the origin, whatever stands there.
  EQUITOOLS_INLINE void load(Chunk& c, const CloudShape& s, const T* points, const uint8_t* mask, int64_t cloud,
                             int count, int64_t first, int size) {
    load_columns<T>(points + (cloud * s.points + first) * 3, s.points * 3, 3 * size, count, c.x);
    if (!mask) return;
    load_weights<T>(mask + cloud * s.points + first, s.points, size, count, c.weight);
    for (int i = 0; i < size; ++i)
      for (int k = 0; k < 3; ++k) c.x[3 * i + k] = c.weight[i] > T(0) ? c.x[3 * i + k] : Vec<T>{};
  }
};

// Calls f(first point, points) for the chunks of a cloud.
template <typename F>
EQUITOOLS_INLINE void chunks(int64_t points, const F& f) {
  for (int64_t first = 0; first < points; first += kChunk)
    f(first, int(points - first < kChunk ? points - first : kChunk));
}

template <typename T>
EQUITOOLS_INLINE Eigen3<LaneArithmetic<T>> load_eigen(const T* values, const T* vectors, int64_t row, int count) {
  Eigen3<LaneArithmetic<T>> e;
  load_whole<T, 3>(values + 3 * row, count, e.value);
  load_whole<T, 9>(vectors + 9 * row, count, e.vector[0]);
  return e;
}

template <typename T>
EQUITOOLS_INLINE void store_eigen(const Eigen3<LaneArithmetic<T>>& e, T* values, T* vectors, int64_t row, int count) {
  store_whole<T, 3>(e.value, count, values + 3 * row);
  store_whole<T, 9>(e.vector[0], count, vectors + 9 * row);
}

// a, vectors [rows, 3, 3], values [rows, 3]; of a the symmetric part.
template <typename T>
static void eigh3(int64_t rows, const T* a, T* values, T* vectors, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    const int64_t row = block * Lanes<T>::W;
    const int count = present<T>(rows, block);
    Vec<T> v[9];
    load_whole<T, 9>(a + 9 * row, count, v);
    const T half = T(0.5);
    store_eigen<T>(eigen3<LaneArithmetic<T>>({v[0], half * v[1] + half * v[3], half * v[2] + half * v[6], v[4],
                                              half * v[5] + half * v[7], v[8]}),
                   values, vectors, row, count);
  }
}

template <typename T>
static void eigh3_vjp(int64_t rows, const T* values, const T* vectors, const T* grad_values, const T* grad_vectors, T* grad,
                      int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    const int64_t row = block * Lanes<T>::W;
    const int count = present<T>(rows, block);
    const auto e = load_eigen<T>(values, vectors, row, count), g = load_eigen<T>(grad_values, grad_vectors, row, count);
    const auto s = eigen3_vjp<LaneArithmetic<T>>(e, g);
    const Vec<T> v[9] = {s.xx, s.xy, s.xz, s.xy, s.yy, s.yz, s.xz, s.yz, s.zz};
    store_whole<T, 9>(v, count, grad + 9 * row);
  }
}

// How many points of the clouds count; at least 1.
template <typename T>
EQUITOOLS_INLINE Vec<T> count_points(Chunk<T>& c, const CloudShape& s, const uint8_t* mask, int64_t cloud, int count) {
  if (!mask) return Vec<T>{} + T(s.points > 0 ? s.points : 1);
  Vec<T> total{};
  chunks(s.points, [&](int64_t first, int size) EQUITOOLS_FORCED {
    load_weights<T>(mask + cloud * s.points + first, s.points, size, count, c.weight);
    for (int i = 0; i < size; ++i) total += c.weight[i];
  });
  return total > T(1) ? total : Vec<T>{} + T(1);
}

// Points of a chunk about the mean, zero where they do not count.
template <typename T>
EQUITOOLS_INLINE Triple<T> about(const Chunk<T>& c, int i, const Vec<T>* mean, bool masked) {
  using V = Vec<T>;
  const V x = c.x[3 * i] - mean[0], y = c.x[3 * i + 1] - mean[1], z = c.x[3 * i + 2] - mean[2];
  if (!masked) return {x, y, z};
  const auto there = c.weight[i] > T(0);
  return {there ? x : V{}, there ? y : V{}, there ? z : V{}};
}

// What the axes are like, but for those bits of third moments.
template <typename T>
EQUITOOLS_INLINE typename LaneArithmetic<T>::Int look_at(const CloudShape& s, const Vec<T>* mean, Vec<T> total,
                                                         const Vec<T>* values) {
  using V = Vec<T>;
  using Int = typename LaneArithmetic<T>::Int;
  // The moments of a single point far from the origin are the rounding of its mean.
  const V length = square_root<T>(mean[0] * mean[0] + mean[1] * mean[1] + mean[2] * mean[2]);
  const V rounding = T(16) * Rounding<T>::unit * length;
  const V limit = greater<V>(T(s.threshold) * values[2], total * rounding * rounding);
  const V none = (values[0] + values[1] + values[2]) * T(0);
  return (none != none ? Int{} + kNotFinite : Int{}) | (values[1] - values[0] <= limit ? Int{} + kRepeated : Int{}) |
         (values[2] - values[1] <= limit ? Int{} + 2 * kRepeated : Int{});
}

template <typename T>
static void axes(const CloudShape& s, const T* points, const uint8_t* mask, const AxesOf<T>& out, int64_t begin,
                 int64_t end) {
  using V = Vec<T>;
  using M = LaneArithmetic<T>;
  using Int = typename M::Int;
  Chunk<T> c;
  const bool once = s.points <= kChunk, masked = mask != nullptr;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t cloud = block * Lanes<T>::W;
    const int count = present<T>(s.clouds, block);
    const auto passes = [&](const auto& f) EQUITOOLS_FORCED {
      chunks(s.points, [&](int64_t first, int size) EQUITOOLS_FORCED {
        if (!once) Chunk<T>::load(c, s, points, mask, cloud, count, first, size);
        f(size);
      });
    };
    if (once) Chunk<T>::load(c, s, points, mask, cloud, count, 0, int(s.points));
    V mean[3]{}, total{};
    passes([&](int size) EQUITOOLS_FORCED {
      V sum[3]{}, weight{};  // sums of chunks, then the sum of these: fewer roundings
      if (s.centred)
        for (int i = 0; i < size; ++i) unroll<0, 3>([&](auto k) EQUITOOLS_FORCED { sum[k] += c.x[3 * i + k]; });
      if (masked)
        for (int i = 0; i < size; ++i) weight += c.weight[i];
      unroll<0, 3>([&](auto k) EQUITOOLS_FORCED { mean[k] += sum[k]; });
      total += masked ? weight : V{} + T(size);
    });
    const V divisor = total > T(1) ? total : V{} + T(1);
    unroll<0, 3>([&](auto k) EQUITOOLS_FORCED { mean[k] /= divisor; });
    Symmetric3<M> a{};
    passes([&](int size) EQUITOOLS_FORCED {
      Symmetric3<M> part{};
      for (int i = 0; i < size; ++i) {
        const Triple<T> p = about<T>(c, i, mean, masked);
        part.xx += p.x * p.x;
        part.xy += p.x * p.y;
        part.xz += p.x * p.z;
        part.yy += p.y * p.y;
        part.yz += p.y * p.z;
        part.zz += p.z * p.z;
      }
      a.xx += part.xx;
      a.xy += part.xy;
      a.xz += part.xz;
      a.yy += part.yy;
      a.yz += part.yz;
      a.zz += part.zz;
    });
    const Eigen3<M> e = eigen3<M>(a);
    Int state = look_at<T>(s, mean, total, e.value);
    if (s.moments) {
      V moment[3]{}, size_of[3]{};
      passes([&](int size) EQUITOOLS_FORCED {
        V sum[3]{}, sizes[3]{};
        for (int i = 0; i < size; ++i) {
          const Triple<T> p = about<T>(c, i, mean, masked);
          unroll<0, 3>([&](auto k) EQUITOOLS_FORCED {
            const V along = p.x * e.vector[0][k] + p.y * e.vector[1][k] + p.z * e.vector[2][k];
            const V cube = along * along * along;
            sum[k] += cube;
            sizes[k] += magnitude(cube);
          });
        }
        unroll<0, 3>([&](auto k) EQUITOOLS_FORCED {
          moment[k] += sum[k];
          size_of[k] += sizes[k];
        });
      });
      const T threshold = T(s.threshold);
      unroll<0, 3>([&](auto k) EQUITOOLS_FORCED {
        state |= magnitude(moment[k]) <= threshold * size_of[k] ? Int{} + (kOpen << k) : Int{};
        state |= e.value[k] <= threshold * threshold * e.value[2] ? Int{} + (kOpen << k) : Int{};
        state |= moment[k] > T(0) ? Int{} + (kPositive << k) : Int{};
      });
    }
    store_whole<T, 3>(mean, count, out.mean + 3 * cloud);
    store_eigen<T>(e, out.values, out.vectors, cloud, count);
    for (int i = 0; i < count; ++i) out.state[cloud + i] = int32_t(state[i]);
  }
}

template <typename T>
static void axes_vjp(const CloudShape& s, const T* points, const uint8_t* mask, const AxesOf<const T>& axes,
                     const AxesOf<const T>& grad, T* gradient, int64_t begin, int64_t end) {
  using V = Vec<T>;
  using M = LaneArithmetic<T>;
  Chunk<T> c;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t cloud = block * Lanes<T>::W;
    const int count = present<T>(s.clouds, block);
    Symmetric3<M> g = eigen3_vjp<M>(load_eigen<T>(axes.values, axes.vectors, cloud, count),
                                    load_eigen<T>(grad.values, grad.vectors, cloud, count));
    V* entry[6] = {&g.xx, &g.xy, &g.xz, &g.yy, &g.yz, &g.zz};
    unroll<0, 6>([&](auto i) EQUITOOLS_FORCED { *entry[i] *= T(2); });
    V mean[3]{}, shift[3]{};
    if (s.centred) {
      load_whole<T, 3>(axes.mean + 3 * cloud, count, mean);
      load_whole<T, 3>(grad.mean + 3 * cloud, count, shift);
      const V share = T(1) / count_points<T>(c, s, mask, cloud, count);
      unroll<0, 3>([&](auto k) EQUITOOLS_FORCED { shift[k] *= share; });
    }
    chunks(s.points, [&](int64_t first, int size) EQUITOOLS_FORCED {
      Chunk<T>::load(c, s, points, mask, cloud, count, first, size);
      for (int i = 0; i < size; ++i) {
        const V x = c.x[3 * i] - mean[0], y = c.x[3 * i + 1] - mean[1], z = c.x[3 * i + 2] - mean[2];
        V out[3] = {shift[0] + g.xx * x + g.xy * y + g.xz * z, shift[1] + g.xy * x + g.yy * y + g.yz * z,
                    shift[2] + g.xz * x + g.yz * y + g.zz * z};
        unroll<0, 3>([&](auto k) EQUITOOLS_FORCED {
          c.x[3 * i + k] = mask ? (c.weight[i] > T(0) ? out[k] : V{}) : out[k];
        });
      }
      store_columns<T>(c.x, 3 * size, count, gradient + (cloud * s.points + first) * 3, s.points * 3);
    });
  }
}

// Matrices of axes and signs, and what is pulled back from them; clouds, not blocks of them.
template <typename T>
static void signed_axes(const SignedShape<T>& s, const T* mean, const T* vectors, T* out, int64_t begin, int64_t end) {
  const int64_t each = s.each;
  for (int64_t b = begin; b < end; ++b) {
    const T* v = vectors + 9 * b;
    for (int64_t f = 0; f < each; ++f) {
      const T* sign = s.signs + 3 * (s.choice ? s.choice[b * each + f] : f);
      if (!s.affine) {
        T* to = out + 9 * (b * each + f);
        unroll<0, 9>([&](auto i) EQUITOOLS_FORCED { to[i] = v[i] * sign[i % 3]; });
      } else {
        T* to = out + 16 * (b * each + f);
        unroll<0, 12>([&](auto i) EQUITOOLS_FORCED {
          to[i] = i % 4 == 3 ? mean[3 * b + i / 4] : v[i / 4 * 3 + i % 4 % 3] * sign[i % 4 % 3];
        });
        to[12] = to[13] = to[14] = T(0);
        to[15] = s.corner;
      }
    }
  }
}

template <typename T>
static void signed_axes_vjp(const SignedShape<T>& s, const T* grad, T* grad_mean, T* grad_vectors, int64_t begin,
                            int64_t end) {
  const int64_t each = s.each;
  for (int64_t b = begin; b < end; ++b) {
    T v[9] = {}, m[3] = {};
    for (int64_t f = 0; f < each; ++f) {
      const T* sign = s.signs + 3 * (s.choice ? s.choice[b * each + f] : f);
      const T* g = grad + (s.affine ? 16 : 9) * (b * each + f);
      if (!s.affine) {
        unroll<0, 9>([&](auto i) EQUITOOLS_FORCED { v[i] += g[i] * sign[i % 3]; });
      } else {
        unroll<0, 9>([&](auto i) EQUITOOLS_FORCED { v[i] += g[i / 3 * 4 + i % 3] * sign[i % 3]; });
        unroll<0, 3>([&](auto i) EQUITOOLS_FORCED { m[i] += g[4 * i + 3]; });
      }
    }
    unroll<0, 9>([&](auto i) EQUITOOLS_FORCED { grad_vectors[9 * b + i] = v[i]; });
    if (s.affine) unroll<0, 3>([&](auto i) EQUITOOLS_FORCED { grad_mean[3 * b + i] = m[i]; });
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
