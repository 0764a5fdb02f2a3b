// Vectors with an item in each lane, and their way to and from rows in memory. No torch, no standard templates; compiled
// once for each instruction set.
//
// A kernel computes with W points at once, lane i holding point i; in memory the numbers of a point stand together, a
// row. Reading or writing rows one number at a time costs more than the arithmetic, so rows are transposed in registers:
// tiles of W columns first, then groups of 128 bits, then single columns. Nothing outside the rows is touched.
#pragma once

#include "simd.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
struct Lanes : Simd<T> {
  typedef T Group __attribute__((vector_size(16)));
  typedef T UnalignedGroup __attribute__((vector_size(16), aligned(sizeof(T)), may_alias));
  static constexpr int G = 16 / sizeof(T);  // numbers in 128 bits
  static constexpr int N = Simd<T>::W / G;  // groups in a vector
};

template <typename T>
EQUITOOLS_INLINE Vec<T> square_root(Vec<T> v) {
  T a[Lanes<T>::W];
  for (int i = 0; i < Lanes<T>::W; ++i) a[i] = v[i];
  for (int i = 0; i < Lanes<T>::W; ++i) a[i] = sizeof(T) == 4 ? T(__builtin_sqrtf(float(a[i]))) : T(__builtin_sqrt(a[i]));
  return load(a);
}

// Shuffles: lane i of the result is lane P::at(i) of a followed by b.
template <int... I>
struct Indices {};
template <int Count, int... I>
struct Upto : Upto<Count - 1, Count - 1, I...> {};
template <int... I>
struct Upto<0, I...> {
  typedef Indices<I...> type;
};

template <typename P, typename V, int... I>
EQUITOOLS_INLINE V shuffle_by(V a, V b, Indices<I...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, P::at(I)...);
#else
  V out;
  ((out[I] = P::at(I) < int(sizeof...(I)) ? a[P::at(I)] : b[P::at(I) - int(sizeof...(I))]), ...);
  return out;
#endif
}

// Group q of a vector, and a vector from its groups.
template <typename T, int Q, int... I>
EQUITOOLS_INLINE typename Lanes<T>::Group take_group(Vec<T> v, Indices<I...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(v, v, (Q * Lanes<T>::G + I)...);
#else
  return typename Lanes<T>::Group{v[Q * Lanes<T>::G + I]...};
#endif
}

#if defined(__clang__) || __GNUC__ >= 12
template <typename H, int... I>
EQUITOOLS_INLINE auto concatenate(H a, H b, Indices<I...>) {
  return __builtin_shufflevector(a, b, I...);
}
#endif

template <typename T>
EQUITOOLS_INLINE Vec<T> join_groups(const typename Lanes<T>::Group* g) {
  constexpr int G = Lanes<T>::G, N = Lanes<T>::N;
#if defined(__clang__) || __GNUC__ >= 12
  using Two = typename Upto<2 * G>::type;
  if constexpr (N == 1) return g[0];
  if constexpr (N == 2) return concatenate(g[0], g[1], Two{});
  if constexpr (N == 4)
    return concatenate(concatenate(g[0], g[1], Two{}), concatenate(g[2], g[3], Two{}), typename Upto<4 * G>::type{});
#else
  Vec<T> v;
  for (int i = 0; i < N * G; ++i) v[i] = g[i / G][i % G];
  return v;
#endif
}

template <typename T, typename P>
EQUITOOLS_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b) {
  return shuffle_by<P>(a, b, typename Upto<Lanes<T>::W>::type{});
}

// Within each group: blocks of S numbers of a and b in turn, from the lower or upper half of the group.
template <typename T, int S, bool Upper>
struct Interleave {
  static constexpr int at(int i) {
    constexpr int G = Lanes<T>::G;
    const int block = i % G / S;
    return block % 2 * Lanes<T>::W + i / G * G + block / 2 * S + i % S + (Upper ? G / 2 : 0);
  }
};

// The even or the odd groups of a, then those of b.
template <typename T, int Odd>
struct EveryOther {
  static constexpr int at(int i) {
    constexpr int G = Lanes<T>::G, N = Lanes<T>::N;
    return 2 * (i / G % (N / 2)) * G + Odd * G + i % G + (i / G >= N / 2 ? Lanes<T>::W : 0);
  }
};

template <typename T, int Component, int Step>
struct TakeTriple {
  static constexpr int at(int i) {
    constexpr int W = Lanes<T>::W;
    const int n = 3 * i + Component;
    if (Step == 0) return n < 2 * W ? n : 0;
    return n < 2 * W ? i : n - W;
  }
};

template <typename T, int Part, int Step>
struct PutTriple {
  static constexpr int at(int i) {
    constexpr int W = Lanes<T>::W;
    const int n = Part * W + i;
    if (Step == 0) return n % 3 == 1 ? W + n / 3 : n / 3;
    return n % 3 == 2 ? W + n / 3 : i;
  }
};

// v[j], lanes gG + i, become v[j], lanes gG + i of what stood in v[i], lanes gG + j: transposed within groups.
template <typename T>
EQUITOOLS_INLINE void transpose_groups(Vec<T>* v) {
  using V = Vec<T>;
  if constexpr (Lanes<T>::G == 4) {
    const V a = shuffle<T, Interleave<T, 1, false>>(v[0], v[1]), b = shuffle<T, Interleave<T, 1, true>>(v[0], v[1]);
    const V c = shuffle<T, Interleave<T, 1, false>>(v[2], v[3]), d = shuffle<T, Interleave<T, 1, true>>(v[2], v[3]);
    v[0] = shuffle<T, Interleave<T, 2, false>>(a, c);
    v[1] = shuffle<T, Interleave<T, 2, true>>(a, c);
    v[2] = shuffle<T, Interleave<T, 2, false>>(b, d);
    v[3] = shuffle<T, Interleave<T, 2, true>>(b, d);
  } else {
    const V a = v[0], b = v[1];
    v[0] = shuffle<T, Interleave<T, 1, false>>(a, b);
    v[1] = shuffle<T, Interleave<T, 1, true>>(a, b);
  }
}

// A W x W tile, in place.
template <typename T>
EQUITOOLS_INLINE void transpose(Vec<T>* v) {
  using V = Vec<T>;
  constexpr int G = Lanes<T>::G, N = Lanes<T>::N;
  static_assert(N == 1 || N == 2 || N == 4, "vectors of 128, 256 or 512 bits");
  unroll<0, N>([&](auto q) EQUITOOLS_FORCED { transpose_groups<T>(v + q * G); });
  if constexpr (N == 2) {
    unroll<0, G>([&](auto j) EQUITOOLS_FORCED {
      const V a = v[j], b = v[G + j];
      v[j] = shuffle<T, EveryOther<T, 0>>(a, b);
      v[G + j] = shuffle<T, EveryOther<T, 1>>(a, b);
    });
  } else if constexpr (N == 4) {
    unroll<0, G>([&](auto j) EQUITOOLS_FORCED {
      const V a = v[j], b = v[G + j], c = v[2 * G + j], d = v[3 * G + j];
      const V ab = shuffle<T, EveryOther<T, 0>>(a, b), cd = shuffle<T, EveryOther<T, 0>>(c, d);
      const V AB = shuffle<T, EveryOther<T, 1>>(a, b), CD = shuffle<T, EveryOther<T, 1>>(c, d);
      v[j] = shuffle<T, EveryOther<T, 0>>(ab, cd);
      v[G + j] = shuffle<T, EveryOther<T, 0>>(AB, CD);
      v[2 * G + j] = shuffle<T, EveryOther<T, 1>>(ab, cd);
      v[3 * G + j] = shuffle<T, EveryOther<T, 1>>(AB, CD);
    });
  }
}

// W columns of W rows; G columns; one column. `stride` is the distance of rows.
template <typename T>
EQUITOOLS_INLINE void store_tile(const Vec<T>* columns, T* rows, int64_t stride) {
  Vec<T> v[Lanes<T>::W];
  unroll<0, Lanes<T>::W>([&](auto j) EQUITOOLS_FORCED { v[j] = columns[j]; });
  transpose<T>(v);
  unroll<0, Lanes<T>::W>([&](auto i) EQUITOOLS_FORCED { store(rows + i * stride, v[i]); });
}

template <typename T>
EQUITOOLS_INLINE void store_group(const Vec<T>* columns, T* rows, int64_t stride) {
  constexpr int G = Lanes<T>::G;
  Vec<T> v[G];
  unroll<0, G>([&](auto j) EQUITOOLS_FORCED { v[j] = columns[j]; });
  transpose_groups<T>(v);
  unroll<0, Lanes<T>::W>([&](auto i) EQUITOOLS_FORCED {
    *reinterpret_cast<typename Lanes<T>::UnalignedGroup*>(rows + i * stride) =
        take_group<T, i / G>(v[i % G], typename Upto<G>::type{});
  });
}

template <typename T>
EQUITOOLS_INLINE void store_column(Vec<T> column, T* rows, int64_t stride) {
  for (int i = 0; i < Lanes<T>::W; ++i) rows[i * stride] = column[i];
}

template <typename T>
EQUITOOLS_INLINE void load_tile(const T* rows, int64_t stride, Vec<T>* columns) {
  Vec<T> v[Lanes<T>::W];
  unroll<0, Lanes<T>::W>([&](auto i) EQUITOOLS_FORCED { v[i] = load(rows + i * stride); });
  transpose<T>(v);
  unroll<0, Lanes<T>::W>([&](auto j) EQUITOOLS_FORCED { columns[j] = v[j]; });
}

template <typename T>
EQUITOOLS_INLINE void load_group(const T* rows, int64_t stride, Vec<T>* columns) {
  constexpr int G = Lanes<T>::G, N = Lanes<T>::N;
  Vec<T> v[G];
  unroll<0, G>([&](auto i) EQUITOOLS_FORCED {
    typename Lanes<T>::Group part[N];
    unroll<0, N>([&](auto q) EQUITOOLS_FORCED {
      part[q] = *reinterpret_cast<const typename Lanes<T>::UnalignedGroup*>(rows + (q * G + i) * stride);
    });
    v[i] = join_groups<T>(part);
  });
  transpose_groups<T>(v);
  unroll<0, G>([&](auto j) EQUITOOLS_FORCED { columns[j] = v[j]; });
}

template <typename T>
EQUITOOLS_INLINE Vec<T> load_column(const T* rows, int64_t stride) {
  Vec<T> column{};
  for (int i = 0; i < Lanes<T>::W; ++i) column[i] = rows[i * stride];
  return column;
}

// W whole rows of K numbers; K is a constant in the unrolled kernels and a variable in the others.
template <typename T, int K>
EQUITOOLS_INLINE void store_rows(const Vec<T>* columns, T* rows) {
  constexpr int W = Lanes<T>::W, G = Lanes<T>::G, tiles = K / W, groups = K % W / G, done = tiles * W + groups * G;
  unroll<0, tiles>([&](auto t) EQUITOOLS_FORCED { store_tile<T>(columns + t * W, rows + t * W, K); });
  unroll<0, groups>([&](auto q) EQUITOOLS_FORCED {
    store_group<T>(columns + tiles * W + q * G, rows + tiles * W + q * G, K);
  });
  unroll<done, K>([&](auto k) EQUITOOLS_FORCED { store_column<T>(columns[k], rows + k, K); });
}

template <typename T, int K>
EQUITOOLS_INLINE void load_rows(const T* rows, Vec<T>* columns) {
  constexpr int W = Lanes<T>::W, G = Lanes<T>::G, tiles = K / W, groups = K % W / G, done = tiles * W + groups * G;
  unroll<0, tiles>([&](auto t) EQUITOOLS_FORCED { load_tile<T>(rows + t * W, K, columns + t * W); });
  unroll<0, groups>([&](auto q) EQUITOOLS_FORCED {
    load_group<T>(rows + tiles * W + q * G, K, columns + tiles * W + q * G);
  });
  unroll<done, K>([&](auto k) EQUITOOLS_FORCED { columns[k] = load_column<T>(rows + k, K); });
}

template <typename T>
static inline void store_rows(const Vec<T>* columns, int K, T* rows) {
  constexpr int W = Lanes<T>::W, G = Lanes<T>::G;
  int k = 0;
  for (; k + W <= K; k += W) store_tile<T>(columns + k, rows + k, K);
  if constexpr (G < W)
    for (; k + G <= K; k += G) store_group<T>(columns + k, rows + k, K);
  for (; k < K; ++k) store_column<T>(columns[k], rows + k, K);
}

template <typename T>
static inline void load_rows(const T* rows, int K, Vec<T>* columns) {
  constexpr int W = Lanes<T>::W, G = Lanes<T>::G;
  int k = 0;
  for (; k + W <= K; k += W) load_tile<T>(rows + k, K, columns + k);
  if constexpr (G < W)
    for (; k + G <= K; k += G) load_group<T>(rows + k, K, columns + k);
  for (; k < K; ++k) columns[k] = load_column<T>(rows + k, K);
}

template <typename T>
struct Triple {
  Vec<T> x, y, z;
};

// W rows of three numbers.
template <typename T>
EQUITOOLS_INLINE Triple<T> load_triple(const T* rows) {
  constexpr int W = Lanes<T>::W;
  const auto a = load(rows), b = load(rows + W), c = load(rows + 2 * W);
  return {shuffle<T, TakeTriple<T, 0, 1>>(shuffle<T, TakeTriple<T, 0, 0>>(a, b), c),
          shuffle<T, TakeTriple<T, 1, 1>>(shuffle<T, TakeTriple<T, 1, 0>>(a, b), c),
          shuffle<T, TakeTriple<T, 2, 1>>(shuffle<T, TakeTriple<T, 2, 0>>(a, b), c)};
}

template <typename T>
EQUITOOLS_INLINE void store_triple(const Triple<T>& v, T* rows) {
  constexpr int W = Lanes<T>::W;
  store(rows, shuffle<T, PutTriple<T, 0, 1>>(shuffle<T, PutTriple<T, 0, 0>>(v.x, v.y), v.z));
  store(rows + W, shuffle<T, PutTriple<T, 1, 1>>(shuffle<T, PutTriple<T, 1, 0>>(v.x, v.y), v.z));
  store(rows + 2 * W, shuffle<T, PutTriple<T, 2, 1>>(shuffle<T, PutTriple<T, 2, 0>>(v.x, v.y), v.z));
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
