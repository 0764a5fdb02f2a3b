// Micro-kernels of the symmetric contraction: value, gradients, and gradients of the gradients. No torch, no standard
// templates; compiled once for each instruction set.
//
// Each output component of a node and channel is a polynomial in that channel's d components of x, a tree of nodes
//     t = sum_leaves c * x_leaf + sum_children x_child * t_child,
// with coefficients c[term] of the node's species and the channel, met in the order in which the tree is walked. The row
// x[d] holds ones, so that a constant is a leaf too. Lanes are channels; NB nodes go through the tree together, so that
// one coefficient and one step of the program serve NB vectors. The trees of programs up to depth 3 are nested loops
// with their sums in registers; deeper ones call functions.
//
// Work, with F leaves and children in all: the value takes F FMAs of a node and channel, the gradient with respect to x
// 3 F less the leaves, that with respect to the coefficients one more for each leaf. Memory: x, the gradients and the
// outputs once; the coefficients of one species and of W channels stay in the first- or second-level cache.
#pragma once

#include <cstdint>

#include "contraction_program.h"

#if !defined(EQUITOOLS_ISA) || !defined(EQUITOOLS_VECTOR_BYTES)
#error "compile through csrc/cpu/contraction_*.cpp, which name the instruction set"
#endif

#define EQUITOOLS_INLINE inline __attribute__((always_inline))
#define EQUITOOLS_EACH _Pragma("GCC unroll 16") for (int n = 0; n < NB; ++n)

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
struct Channels {
  typedef T V __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES)));
  typedef T Unaligned __attribute__((vector_size(EQUITOOLS_VECTOR_BYTES), aligned(alignof(T)), may_alias));
  static constexpr int W = EQUITOOLS_VECTOR_BYTES / sizeof(T);
};
template <typename T>
using VectorOf = typename Channels<T>::V;

constexpr int kDeep = -1;  // a level whose children are reached by function calls

// The value. x is [dim_in + 1][NB].
template <typename T, int NB>
struct ContractionValue {
  using V = VectorOf<T>;
  const int32_t* code;
  const V* coef;
  const V* x;

  template <int LEVEL>
  EQUITOOLS_INLINE void node(V* t) {
    V sum[NB];
    EQUITOOLS_EACH sum[n] = V{};
    const int32_t* last = code + 2 + code[0];
    int32_t children = code[1];
    for (code += 2; code < last; ++code) {
      const V c = *coef++;
      const V* xk = x + int64_t(*code) * NB;
      EQUITOOLS_EACH sum[n] += c * xk[n];
    }
    if constexpr (LEVEL != 0)
      for (; children > 0; --children) {
        const V* xk = x + int64_t(*code++) * NB;
        V below[NB];
        if constexpr (LEVEL > 0)
          node<LEVEL - 1>(below);
        else
          deep(below);
        EQUITOOLS_EACH sum[n] += xk[n] * below[n];
      }
    EQUITOOLS_EACH t[n] = sum[n];
  }
  __attribute__((noinline)) void deep(V* t) { node<kDeep>(t); }
};

// The value t and the gradients, for the cotangent a of a node of the tree: dx is added to, and dcoef if COEF.
template <typename T, int NB, bool COEF>
struct ContractionGradient {
  using V = VectorOf<T>;
  const int32_t* code;
  const V* coef;
  const V* x;
  V* dx;
  V* dcoef;

  template <int LEVEL>
  EQUITOOLS_INLINE void node(const V* a, V* t) {
    V sum[NB];
    EQUITOOLS_EACH sum[n] = V{};
    const int32_t* last = code + 2 + code[0];
    int32_t children = code[1];
    for (code += 2; code < last; ++code) {
      const V c = *coef++;
      const int64_t k = int64_t(*code) * NB;
      V xk[NB];  // read before dx is written: the compiler cannot know that they are apart
      EQUITOOLS_EACH xk[n] = x[k + n];
      EQUITOOLS_EACH sum[n] += c * xk[n];
      if constexpr (COEF) {
        V s = *dcoef;
        EQUITOOLS_EACH s += a[n] * xk[n];
        *dcoef++ = s;
      }
      EQUITOOLS_EACH dx[k + n] += c * a[n];
    }
    if constexpr (LEVEL != 0)
      for (; children > 0; --children) {
        const int64_t k = int64_t(*code++) * NB;
        V inner[NB], below[NB];
        EQUITOOLS_EACH inner[n] = a[n] * x[k + n];
        if constexpr (LEVEL > 0)
          node<LEVEL - 1>(inner, below);
        else
          deep(inner, below);
        EQUITOOLS_EACH sum[n] += x[k + n] * below[n];
        EQUITOOLS_EACH dx[k + n] += a[n] * below[n];
      }
    EQUITOOLS_EACH t[n] = sum[n];
  }
  __attribute__((noinline)) void deep(const V* a, V* t) { node<kDeep>(a, t); }
};

// The derivative of the value along (u, v), v a direction of the coefficients (absent unless DIRECTION), and its
// gradients with respect to x (added to dx) and, if COEF, the coefficients. Beside the cotangent a and value t of a node
// of the tree stand their derivatives along (u, v), b and s.
template <typename T, int NB, bool COEF, bool DIRECTION>
struct ContractionSecond {
  using V = VectorOf<T>;
  const int32_t* code;
  const V* coef;
  const V* v;
  const V* x;
  const V* u;
  V* dx;
  V* dcoef;

  template <int LEVEL>
  EQUITOOLS_INLINE void node(const V* a, const V* b, V* t, V* s) {
    V value[NB], slope[NB];
    EQUITOOLS_EACH value[n] = V{};
    EQUITOOLS_EACH slope[n] = V{};
    const int32_t* last = code + 2 + code[0];
    int32_t children = code[1];
    for (code += 2; code < last; ++code) {
      const V c = *coef++;
      const int64_t k = int64_t(*code) * NB;
      V xk[NB], uk[NB];
      EQUITOOLS_EACH xk[n] = x[k + n];
      EQUITOOLS_EACH uk[n] = u[k + n];
      EQUITOOLS_EACH value[n] += c * xk[n];
      EQUITOOLS_EACH slope[n] += c * uk[n];
      if constexpr (COEF) {
        V p = *dcoef, q = b[0] * xk[0];
        EQUITOOLS_EACH p += a[n] * uk[n];
        _Pragma("GCC unroll 16") for (int n = 1; n < NB; ++n) q += b[n] * xk[n];
        *dcoef++ = p + q;
      }
      if constexpr (DIRECTION) {
        const V w = *v++;
        EQUITOOLS_EACH slope[n] += w * xk[n];
        EQUITOOLS_EACH dx[k + n] += c * b[n] + w * a[n];
      } else {
        EQUITOOLS_EACH dx[k + n] += c * b[n];
      }
    }
    if constexpr (LEVEL != 0)
      for (; children > 0; --children) {
        const int64_t k = int64_t(*code++) * NB;
        V ai[NB], bi[NB], ti[NB], si[NB];
        EQUITOOLS_EACH ai[n] = a[n] * x[k + n];
        EQUITOOLS_EACH bi[n] = b[n] * x[k + n] + a[n] * u[k + n];
        if constexpr (LEVEL > 0)
          node<LEVEL - 1>(ai, bi, ti, si);
        else
          deep(ai, bi, ti, si);
        EQUITOOLS_EACH value[n] += x[k + n] * ti[n];
        EQUITOOLS_EACH slope[n] += u[k + n] * ti[n] + x[k + n] * si[n];
        EQUITOOLS_EACH dx[k + n] += b[n] * ti[n] + a[n] * si[n];
      }
    EQUITOOLS_EACH t[n] = value[n];
    EQUITOOLS_EACH s[n] = slope[n];
  }
  __attribute__((noinline)) void deep(const V* a, const V* b, V* t, V* s) { node<kDeep>(a, b, t, s); }
};

// Rows of up to NB nodes and one block of W channels between [node, dim, C] and [dim][NB] vectors.
template <typename T>
struct Rows {
  const int64_t* order;  // which nodes
  int count;             // how many of the NB; the others are zeros
  int64_t channels, first;
  int lanes;  // W, fewer in the last block

  template <int NB>
  EQUITOOLS_INLINE void load(const T* from, int dim, VectorOf<T>* to) const {
    for (int n = 0; n < NB; ++n) {
      if (n >= count) {
        for (int i = 0; i < dim; ++i) to[i * NB + n] = VectorOf<T>{};
        continue;
      }
      const T* row = from + order[n] * dim * channels + first;
      if (lanes == Channels<T>::W)
        for (int i = 0; i < dim; ++i)
          to[i * NB + n] = *reinterpret_cast<const typename Channels<T>::Unaligned*>(row + i * channels);
      else
        for (int i = 0; i < dim; ++i) {
          VectorOf<T> v{};
          for (int j = 0; j < lanes; ++j) v[j] = row[i * channels + j];
          to[i * NB + n] = v;
        }
    }
  }
  template <int NB>
  EQUITOOLS_INLINE void store(const VectorOf<T>* from, int dim, T* to) const {
    for (int n = 0; n < count; ++n) {
      T* row = to + order[n] * dim * channels + first;
      if (lanes == Channels<T>::W)
        for (int i = 0; i < dim; ++i)
          *reinterpret_cast<typename Channels<T>::Unaligned*>(row + i * channels) = from[i * NB + n];
      else
        for (int i = 0; i < dim; ++i)
          for (int j = 0; j < lanes; ++j) row[i * channels + j] = from[i * NB + n][j];
    }
  }
};

template <typename T, int NB>
EQUITOOLS_INLINE void fill(VectorOf<T>* row, T value) {
  EQUITOOLS_EACH row[n] = VectorOf<T>{} + value;
}

template <typename T, int NB, int LEVEL>
static void value_of_nodes(const ContractionProgram& p, const Rows<T>& rows, const T* x, const T* coef, T* out,
                           T* scratch) {
  using V = VectorOf<T>;
  V* xs = reinterpret_cast<V*>(scratch);
  V* results = xs + int64_t(p.dim_in + 1) * NB;
  rows.template load<NB>(x, p.dim_in, xs);
  fill<T, NB>(xs + int64_t(p.dim_in) * NB, T(1));
  ContractionValue<T, NB> walk{p.code, reinterpret_cast<const V*>(coef), xs};
  for (int z = 0; z < p.dim_out; ++z) walk.template node<LEVEL>(results + z * NB);
  rows.template store<NB>(results, p.dim_out, out);
}

template <typename T, int NB, int LEVEL, bool COEF>
static void gradient_of_nodes(const ContractionProgram& p, const Rows<T>& rows, const T* x, const T* coef,
                              const T* grad, T* dx, T* dcoef, T* scratch) {
  using V = VectorOf<T>;
  const int64_t size = int64_t(p.dim_in + 1) * NB;
  V *xs = reinterpret_cast<V*>(scratch), *dxs = xs + size, *g = dxs + size;
  rows.template load<NB>(x, p.dim_in, xs);
  fill<T, NB>(xs + int64_t(p.dim_in) * NB, T(1));
  rows.template load<NB>(grad, p.dim_out, g);
  for (int64_t i = 0; i < size; ++i) dxs[i] = V{};
  ContractionGradient<T, NB, COEF> walk{p.code, reinterpret_cast<const V*>(coef), xs, dxs, reinterpret_cast<V*>(dcoef)};
  for (int z = 0; z < p.dim_out; ++z) {
    V a[NB], t[NB];
    EQUITOOLS_EACH a[n] = g[z * NB + n];
    walk.template node<LEVEL>(a, t);
  }
  if (dx != nullptr) rows.template store<NB>(dxs, p.dim_in, dx);
}

template <typename T, int NB, int LEVEL, bool COEF, bool DIRECTION>
static void second_of_nodes(const ContractionProgram& p, const Rows<T>& rows, const T* x, const T* coef, const T* grad,
                            const T* u, const T* v, T* dgrad, T* dx, T* dcoef, T* scratch) {
  using V = VectorOf<T>;
  const int64_t size = int64_t(p.dim_in + 1) * NB;
  V *xs = reinterpret_cast<V*>(scratch), *us = xs + size, *dxs = us + size, *g = dxs + size;
  rows.template load<NB>(x, p.dim_in, xs);
  rows.template load<NB>(u, p.dim_in, us);
  fill<T, NB>(xs + int64_t(p.dim_in) * NB, T(1));
  fill<T, NB>(us + int64_t(p.dim_in) * NB, T(0));
  rows.template load<NB>(grad, p.dim_out, g);
  for (int64_t i = 0; i < size; ++i) dxs[i] = V{};
  ContractionSecond<T, NB, COEF, DIRECTION> walk{
      p.code, reinterpret_cast<const V*>(coef), reinterpret_cast<const V*>(v), xs, us, dxs,
      reinterpret_cast<V*>(dcoef)};
  for (int z = 0; z < p.dim_out; ++z) {
    V a[NB], b[NB], t[NB];
    EQUITOOLS_EACH a[n] = g[z * NB + n];
    EQUITOOLS_EACH b[n] = V{};
    walk.template node<LEVEL>(a, b, t, g + z * NB);
  }
  rows.template store<NB>(g, p.dim_out, dgrad);
  rows.template store<NB>(dxs, p.dim_in, dx);
}

// Calls f.template run<NB, LEVEL>(rows, block) for the nodes order[begin] to order[end - 1] and blocks of W channels.
// What is left over of the nodes is filled up with zeros.
template <typename T, int NB, int LEVEL, typename F>
EQUITOOLS_INLINE void over_nodes_at(int64_t channels, const int64_t* order, int64_t begin, int64_t end,
                                    int64_t block_begin, int64_t block_end, const F& f) {
  constexpr int W = Channels<T>::W, FEW = NB > 2 ? NB / 2 : 1;
  for (int64_t block = block_begin; block < block_end; ++block) {
    const int64_t left = channels - block * W;
    Rows<T> rows{order + begin, NB, channels, block * W, left < W ? int(left) : W};
    int64_t n = begin;
    for (; n + FEW < end; n += NB, rows.order += NB) {
      rows.count = end - n < NB ? int(end - n) : NB;
      f.template run<NB, LEVEL>(rows, block);
    }
    if (n < end) {
      rows.count = int(end - n);
      f.template run<FEW, LEVEL>(rows, block);
    }
  }
}

template <typename T, int NB, typename F>
static void over_nodes(const ContractionProgram& p, int64_t channels, const int64_t* order, int64_t begin, int64_t end,
                       int64_t block_begin, int64_t block_end, const F& f) {
  if (p.depth <= 2)
    over_nodes_at<T, NB, 2>(channels, order, begin, end, block_begin, block_end, f);
  else if (p.depth == 3)
    over_nodes_at<T, NB, 3>(channels, order, begin, end, block_begin, block_end, f);
  else
    over_nodes_at<T, NB, kDeep>(channels, order, begin, end, block_begin, block_end, f);
}

template <typename T>
struct RunValue {
  const ContractionProgram& p;
  const T *x, *coef;
  T *out, *scratch;
  template <int NB, int LEVEL>
  EQUITOOLS_INLINE void run(const Rows<T>& rows, int64_t block) const {
    const T* c = coef + block * p.terms * Channels<T>::W;
    value_of_nodes<T, NB, LEVEL>(p, rows, x, c, out, scratch);
  }
};

template <typename T>
struct RunGradient {
  const ContractionProgram& p;
  const T *x, *coef, *grad;
  T *dx, *dcoef, *scratch;
  template <int NB, int LEVEL>
  EQUITOOLS_INLINE void run(const Rows<T>& rows, int64_t block) const {
    const int64_t at = block * p.terms * Channels<T>::W;
    if (dcoef != nullptr)
      gradient_of_nodes<T, NB, LEVEL, true>(p, rows, x, coef + at, grad, dx, dcoef + at, scratch);
    else
      gradient_of_nodes<T, NB, LEVEL, false>(p, rows, x, coef + at, grad, dx, nullptr, scratch);
  }
};

template <typename T>
struct RunSecond {
  const ContractionProgram& p;
  const T *x, *coef, *grad, *u, *v;
  T *dgrad, *dx, *dcoef, *scratch;
  template <int NB, int LEVEL>
  EQUITOOLS_INLINE void run(const Rows<T>& rows, int64_t block) const {
    const int64_t at = block * p.terms * Channels<T>::W;
    const T* va = v != nullptr ? v + at : nullptr;
    T* dc = dcoef != nullptr ? dcoef + at : nullptr;
    if (dc != nullptr && va != nullptr)
      second_of_nodes<T, NB, LEVEL, true, true>(p, rows, x, coef + at, grad, u, va, dgrad, dx, dc, scratch);
    else if (dc != nullptr)
      second_of_nodes<T, NB, LEVEL, true, false>(p, rows, x, coef + at, grad, u, va, dgrad, dx, dc, scratch);
    else if (va != nullptr)
      second_of_nodes<T, NB, LEVEL, false, true>(p, rows, x, coef + at, grad, u, va, dgrad, dx, dc, scratch);
    else
      second_of_nodes<T, NB, LEVEL, false, false>(p, rows, x, coef + at, grad, u, va, dgrad, dx, dc, scratch);
  }
};

#ifndef EQUITOOLS_VALUE_NODES
#define EQUITOOLS_VALUE_NODES (EQUITOOLS_VECTOR_BYTES == 64 ? 8 : 4)
#define EQUITOOLS_GRADIENT_NODES 4
#define EQUITOOLS_SECOND_NODES (EQUITOOLS_VECTOR_BYTES == 64 ? 4 : 2)
#endif

template <typename T>
static void contraction_value(const ContractionProgram& p, const T* x, const T* coef, int64_t channels,
                              const int64_t* order, int64_t begin, int64_t end, int64_t block_begin,
                              int64_t block_end, T* out, T* scratch) {
  over_nodes<T, EQUITOOLS_VALUE_NODES>(p, channels, order, begin, end, block_begin, block_end,
                                       RunValue<T>{p, x, coef, out, scratch});
}

template <typename T>
static void contraction_gradient(const ContractionProgram& p, const T* x, const T* coef, const T* grad,
                                 int64_t channels, const int64_t* order, int64_t begin, int64_t end,
                                 int64_t block_begin, int64_t block_end, T* dx, T* dcoef, T* scratch) {
  over_nodes<T, EQUITOOLS_GRADIENT_NODES>(p, channels, order, begin, end, block_begin, block_end,
                                          RunGradient<T>{p, x, coef, grad, dx, dcoef, scratch});
}

template <typename T>
static void contraction_second(const ContractionProgram& p, const T* x, const T* coef, const T* grad, const T* u,
                               const T* v, int64_t channels, const int64_t* order, int64_t begin, int64_t end,
                               int64_t block_begin, int64_t block_end, T* dgrad, T* dx, T* dcoef, T* scratch) {
  over_nodes<T, EQUITOOLS_SECOND_NODES>(p, channels, order, begin, end, block_begin, block_end,
                                        RunSecond<T>{p, x, coef, grad, u, v, dgrad, dx, dcoef, scratch});
}

template <typename T>
static int64_t contraction_scratch(const ContractionProgram& p) {
  const int64_t rows = int64_t(3 * (int64_t(p.dim_in) + 1) + p.dim_out) * 8;
  return (rows > p.paths ? rows : p.paths) * Channels<T>::W;
}

// coef[term] = sum over the term's paths of value * weight[path], for one species and blocks of W channels.
template <typename T>
static void contraction_fold(const ContractionProgram& p, const T* values, const T* weight, int64_t channels,
                             int64_t block_begin, int64_t block_end, T* coef, T* scratch) {
  using V = VectorOf<T>;
  constexpr int W = Channels<T>::W;
  V* w = reinterpret_cast<V*>(scratch);
  for (int64_t block = block_begin; block < block_end; ++block) {
    const int64_t left = channels - block * W, zero = 0;
    Rows<T>{&zero, 1, channels, block * W, left < W ? int(left) : W}.template load<1>(weight, p.paths, w);
    V* c = reinterpret_cast<V*>(coef) + block * p.terms;
    const T* value = values;
    for (int32_t t = 0; t < p.terms; ++t) {
      const V* first = w + p.ranges[2 * t];
      V sum{};
      for (int32_t i = 0, count = p.ranges[2 * t + 1]; i < count; ++i) sum += *value++ * first[i];
      c[t] = sum;
    }
  }
}

// The adjoint of contraction_fold: writes dweight [paths, C] of the channels of these blocks.
template <typename T>
static void contraction_unfold(const ContractionProgram& p, const T* values, const T* dcoef, int64_t channels,
                               int64_t block_begin, int64_t block_end, T* dweight, T* scratch) {
  using V = VectorOf<T>;
  constexpr int W = Channels<T>::W;
  V* w = reinterpret_cast<V*>(scratch);
  for (int64_t block = block_begin; block < block_end; ++block) {
    const int64_t left = channels - block * W, zero = 0;
    for (int32_t i = 0; i < p.paths; ++i) w[i] = V{};
    const V* c = reinterpret_cast<const V*>(dcoef) + block * p.terms;
    const T* value = values;
    for (int32_t t = 0; t < p.terms; ++t) {
      V* first = w + p.ranges[2 * t];
      for (int32_t i = 0, count = p.ranges[2 * t + 1]; i < count; ++i) first[i] += *value++ * c[t];
    }
    Rows<T>{&zero, 1, channels, block * W, left < W ? int(left) : W}.template store<1>(w, p.paths, dweight);
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
