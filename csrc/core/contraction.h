// Micro-kernels of the symmetric contraction: value, gradients, and gradients of the gradients. No torch, no standard
// templates; compiled once for each instruction set.
//
// Each output component of a node and channel is a polynomial in that channel's components of x. With the variables
// v = (x, 1, products of x) it is
//     out_z = sum_groups v_outer * t,    t = sum_terms c * v_leaf,
// with coefficients c[term] of the node's species and the channel (contraction_program.py says how monomials are cut).
// Lanes are channels; NB nodes go through the program together, so that one coefficient and one step of the program serve
// NB vectors. All sums stay in registers: the sums t run over the terms of a group, and the gradient with respect to a
// leaf runs over the uses of that leaf (the same terms in another order), with q = grad_z * v_outer of the groups made
// once. What is stored is only one number for each variable and group.
//
// Work for a node and channel, with T terms, G groups, P products: the value takes T + G + P multiply-adds, the gradient
// with respect to x about 2 T + 3 G + 3 P, that with respect to the coefficients T more; second derivatives twice that.
// Each needs one load from the first-level cache, so that loads bind as soon as arithmetic does. Memory: x, the
// gradients and the outputs once; a chunk of nodes stays in the second-level cache while the blocks of W channels pass
// over it, and the coefficients of a block in the first-level cache.
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

// The products of the variables, and with TANGENT their derivatives along the direction of x.
template <typename T, int NB, bool TANGENT>
EQUITOOLS_INLINE void make_products(const ContractionProgram& p, VectorOf<T>* v, VectorOf<T>* dv) {
  using V = VectorOf<T>;
  int64_t to = int64_t(p.dim_in + 1) * NB;
  for (const int32_t *f = p.factors, *last = f + 2 * int64_t(p.products); f < last;) {
    const int32_t first = f[0];
    V a[NB], da[NB];
    EQUITOOLS_EACH a[n] = v[int64_t(first) * NB + n];
    if constexpr (TANGENT) EQUITOOLS_EACH da[n] = dv[int64_t(first) * NB + n];
    do {
      const int64_t b = int64_t(f[1]) * NB;
      if constexpr (TANGENT) EQUITOOLS_EACH dv[to + n] = da[n] * v[b + n] + a[n] * dv[b + n];
      EQUITOOLS_EACH v[to + n] = a[n] * v[b + n];
      to += NB;
      f += 2;
    } while (f < last && f[0] == first);
  }
}

// Hands the gradients of the products to their factors; with TANGENT the derivatives of the gradients, where the
// gradients themselves are wanted only of products. g: gradients; dg, dv: along the direction.
template <typename T, int NB, bool TANGENT>
EQUITOOLS_INLINE void split_products(const ContractionProgram& p, const VectorOf<T>* v, const VectorOf<T>* dv,
                                     VectorOf<T>* g, VectorOf<T>* dg) {
  using V = VectorOf<T>;
  int64_t from = int64_t(p.variables()) * NB;
  for (const int32_t* f = p.factors + 2 * int64_t(p.products); f > p.factors;) {
    const int32_t first = f[-2];
    const int64_t a = int64_t(first) * NB;
    V va[NB], dva[NB], sum[NB], dsum[NB];
    EQUITOOLS_EACH va[n] = v[a + n];
    EQUITOOLS_EACH sum[n] = V{};
    if constexpr (TANGENT) {
      EQUITOOLS_EACH dva[n] = dv[a + n];
      EQUITOOLS_EACH dsum[n] = V{};
    }
    do {  // `sum` is kept apart from g[first], which is also written as that of a second factor
      f -= 2;
      from -= NB;
      const int64_t b = int64_t(f[1]) * NB;
      if constexpr (TANGENT) {
        EQUITOOLS_EACH dsum[n] += dg[from + n] * v[b + n] + g[from + n] * dv[b + n];
        EQUITOOLS_EACH dg[b + n] += dg[from + n] * va[n] + g[from + n] * dva[n];
      }
      if (!TANGENT || first > p.dim_in) EQUITOOLS_EACH sum[n] += g[from + n] * v[b + n];
      if (!TANGENT || f[1] > p.dim_in) EQUITOOLS_EACH g[b + n] += g[from + n] * va[n];
    } while (f > p.factors && f[-2] == first);
    if (!TANGENT || first > p.dim_in) EQUITOOLS_EACH g[a + n] += sum[n];
    if constexpr (TANGENT) EQUITOOLS_EACH dg[a + n] += dsum[n];
  }
}

template <typename T, int NB>
static void value_of_nodes(const ContractionProgram& p, const Rows<T>& rows, const T* x, const T* coef, T* out,
                           T* scratch) {
  using V = VectorOf<T>;
  V* v = reinterpret_cast<V*>(scratch);
  V* results = v + int64_t(p.variables()) * NB;
  const V* c = reinterpret_cast<const V*>(coef);
  rows.template load<NB>(x, p.dim_in, v);
  fill<T, NB>(v + int64_t(p.dim_in) * NB, T(1));
  make_products<T, NB, false>(p, v, nullptr);
  const int32_t *group = p.group, *leaf = p.leaf;
  for (int32_t z = 0; z < p.dim_out; ++z) {
    V sum[NB];
    EQUITOOLS_EACH sum[n] = V{};
    for (const int32_t* last = p.group + 2 * int64_t(p.output_end[z]); group < last; group += 2) {
      V t[NB];
      EQUITOOLS_EACH t[n] = V{};
      for (const int32_t* end = p.leaf + group[1]; leaf < end; ++leaf) {
        const V* from = v + int64_t(*leaf) * NB;
        const V factor = *c++;
        EQUITOOLS_EACH t[n] += factor * from[n];
      }
      const V* outer = v + int64_t(group[0]) * NB;
      EQUITOOLS_EACH sum[n] += outer[n] * t[n];
    }
    EQUITOOLS_EACH results[z * NB + n] = sum[n];
  }
  rows.template store<NB>(results, p.dim_out, out);
}

// q[group] = grad of its output * outer variable; the arrays here hold NB vectors for each entry.
template <typename T, int NB>
EQUITOOLS_INLINE void times_outer(const ContractionProgram& p, const VectorOf<T>* grad, const VectorOf<T>* v,
                                  VectorOf<T>* q) {
  using V = VectorOf<T>;
  int32_t g = 0;
  for (int32_t z = 0; z < p.dim_out; ++z) {
    V a[NB];
    EQUITOOLS_EACH a[n] = grad[z * NB + n];
    for (; g < p.output_end[z]; ++g) {
      const V* outer = v + int64_t(p.group[2 * g]) * NB;
      EQUITOOLS_EACH q[int64_t(g) * NB + n] = a[n] * outer[n];
    }
  }
}

template <typename T, int NB, bool COEF>
static void gradient_of_nodes(const ContractionProgram& p, const Rows<T>& rows, const T* x, const T* coef,
                              const T* grad, T* dx, T* dcoef, T* scratch) {
  using V = VectorOf<T>;
  const int64_t size = int64_t(p.variables()) * NB;
  V *v = reinterpret_cast<V*>(scratch), *g = v + size, *q = g + size, *a = q + int64_t(p.groups) * NB;
  const V* c = reinterpret_cast<const V*>(coef);
  rows.template load<NB>(x, p.dim_in, v);
  rows.template load<NB>(grad, p.dim_out, a);
  fill<T, NB>(v + int64_t(p.dim_in) * NB, T(1));
  make_products<T, NB, false>(p, v, nullptr);
  times_outer<T, NB>(p, a, v, q);
  const int32_t* use = p.use;
  for (int32_t k = 0, variables = p.variables(); k < variables; ++k) {
    V sum[NB];
    EQUITOOLS_EACH sum[n] = V{};
    for (const int32_t* last = p.use + 2 * int64_t(p.use_end[k]); use < last; use += 2) {
      const V factor = c[use[0]];
      const V* from = q + int64_t(use[1]) * NB;
      EQUITOOLS_EACH sum[n] += factor * from[n];
    }
    EQUITOOLS_EACH g[int64_t(k) * NB + n] = sum[n];
  }
  const int32_t *group = p.group, *leaf = p.leaf;
  V* dc = reinterpret_cast<V*>(dcoef);
  for (int32_t z = 0; z < p.dim_out; ++z, a += NB)
    for (const int32_t* last = p.group + 2 * int64_t(p.output_end[z]); group < last; group += 2, q += NB) {
      V t[NB], w[NB];
      EQUITOOLS_EACH t[n] = V{};
      if constexpr (COEF) EQUITOOLS_EACH w[n] = q[n];
      for (const int32_t* end = p.leaf + group[1]; leaf < end; ++leaf) {
        const V* from = v + int64_t(*leaf) * NB;
        const V factor = *c++;
        EQUITOOLS_EACH t[n] += factor * from[n];
        if constexpr (COEF) {
          V s = *dc;
          EQUITOOLS_EACH s += w[n] * from[n];
          *dc++ = s;
        }
      }
      V* outer = g + int64_t(group[0]) * NB;
      EQUITOOLS_EACH outer[n] += a[n] * t[n];
    }
  split_products<T, NB, false>(p, v, nullptr, g, nullptr);
  if (dx != nullptr) rows.template store<NB>(g, p.dim_in, dx);
}

// The derivative of the value along (u, w), w a direction of the coefficients (absent unless DIRECTION), and its
// gradients. A name with d in front is the derivative along (u, w) of what the name without it is in the gradient, except
// dx and dcoef, the results, which are such derivatives.
template <typename T, int NB, bool COEF, bool DIRECTION>
static void second_of_nodes(const ContractionProgram& p, const Rows<T>& rows, const T* x, const T* coef, const T* grad,
                            const T* u, const T* direction, T* dgrad, T* dx, T* dcoef, T* scratch) {
  using V = VectorOf<T>;
  const int64_t size = int64_t(p.variables()) * NB, groups = int64_t(p.groups) * NB;
  V *v = reinterpret_cast<V*>(scratch), *dv = v + size, *g = dv + size, *dg = g + size, *q = dg + size, *dq = q + groups;
  V *a = dq + groups, *results = a + int64_t(p.dim_out) * NB;
  const V *c = reinterpret_cast<const V*>(coef), *w = reinterpret_cast<const V*>(direction);
  rows.template load<NB>(x, p.dim_in, v);
  rows.template load<NB>(u, p.dim_in, dv);
  rows.template load<NB>(grad, p.dim_out, a);
  fill<T, NB>(v + int64_t(p.dim_in) * NB, T(1));
  fill<T, NB>(dv + int64_t(p.dim_in) * NB, T(0));
  make_products<T, NB, true>(p, v, dv);
  times_outer<T, NB>(p, a, v, q);
  times_outer<T, NB>(p, a, dv, dq);
  const int32_t* use = p.use;
  for (int32_t k = 0, variables = p.variables(); k < variables; ++k) {
    V sum[NB], dsum[NB];
    EQUITOOLS_EACH sum[n] = V{};
    EQUITOOLS_EACH dsum[n] = V{};
    const int32_t* last = p.use + 2 * int64_t(p.use_end[k]);
    if (k > p.dim_in || DIRECTION) {
      for (; use < last; use += 2) {
        const V factor = c[use[0]];
        const V *from = q + int64_t(use[1]) * NB, *dfrom = dq + int64_t(use[1]) * NB;
        EQUITOOLS_EACH dsum[n] += factor * dfrom[n];
        EQUITOOLS_EACH sum[n] += factor * from[n];
        if constexpr (DIRECTION) {
          const V slope = w[use[0]];
          EQUITOOLS_EACH dsum[n] += slope * from[n];
        }
      }
    } else {  // the gradient itself is not wanted
      for (; use < last; use += 2) {
        const V factor = c[use[0]];
        const V* dfrom = dq + int64_t(use[1]) * NB;
        EQUITOOLS_EACH dsum[n] += factor * dfrom[n];
      }
    }
    EQUITOOLS_EACH g[int64_t(k) * NB + n] = sum[n];
    EQUITOOLS_EACH dg[int64_t(k) * NB + n] = dsum[n];
  }
  const int32_t *group = p.group, *leaf = p.leaf;
  V* dc = reinterpret_cast<V*>(dcoef);
  for (int32_t z = 0; z < p.dim_out; ++z, a += NB) {
    V total[NB];
    EQUITOOLS_EACH total[n] = V{};
    for (const int32_t* last = p.group + 2 * int64_t(p.output_end[z]); group < last; group += 2, q += NB, dq += NB) {
      V t[NB], dt[NB], b[NB], db[NB];
      EQUITOOLS_EACH t[n] = V{};
      EQUITOOLS_EACH dt[n] = V{};
      if constexpr (COEF) {
        EQUITOOLS_EACH b[n] = q[n];
        EQUITOOLS_EACH db[n] = dq[n];
      }
      for (const int32_t* end = p.leaf + group[1]; leaf < end; ++leaf) {
        const V *from = v + int64_t(*leaf) * NB, *dfrom = dv + int64_t(*leaf) * NB;
        const V factor = *c++;
        EQUITOOLS_EACH t[n] += factor * from[n];
        EQUITOOLS_EACH dt[n] += factor * dfrom[n];
        if constexpr (DIRECTION) {
          const V slope = *w++;
          EQUITOOLS_EACH dt[n] += slope * from[n];
        }
        if constexpr (COEF) {
          V s = *dc, r = db[0] * from[0];
          EQUITOOLS_EACH s += b[n] * dfrom[n];
          _Pragma("GCC unroll 16") for (int n = 1; n < NB; ++n) r += db[n] * from[n];
          *dc++ = s + r;
        }
      }
      const int64_t outer = int64_t(group[0]) * NB;
      EQUITOOLS_EACH total[n] += dv[outer + n] * t[n] + v[outer + n] * dt[n];
      EQUITOOLS_EACH dg[outer + n] += a[n] * dt[n];
      if (group[0] > p.dim_in) EQUITOOLS_EACH g[outer + n] += a[n] * t[n];
    }
    EQUITOOLS_EACH results[z * NB + n] = total[n];
  }
  split_products<T, NB, true>(p, v, dv, g, dg);
  rows.template store<NB>(results, p.dim_out, dgrad);
  rows.template store<NB>(dg, p.dim_in, dx);
}

// An array of rows [dim, C] that the next chunk will read, or write.
struct Stream {
  const void* base;  // null: none
  int64_t dim;
  bool write;
};

// Fetches part `step` of `steps` of what the nodes of the next chunk need of an array into the second-level cache: the
// blocks are visited in strides that the processor does not foresee.
template <typename T>
EQUITOOLS_INLINE void fetch(const Stream& s, const int64_t* order, int64_t nodes, int64_t channels, int64_t first,
                            int64_t last, int64_t step, int64_t steps) {
  if (s.base == nullptr) return;
  const int64_t rows = nodes * s.dim, end = rows * (step + 1) / steps;
  for (int64_t row = rows * step / steps; row < end; ++row) {
    const int64_t node = row / s.dim;
    const char* at = static_cast<const char*>(s.base) + (order[node] * s.dim + row - node * s.dim) * channels * sizeof(T);
    for (int64_t byte = first * sizeof(T); byte < int64_t(last * sizeof(T)); byte += 64)
      if (s.write)
        __builtin_prefetch(at + byte, 1, 2);
      else
        __builtin_prefetch(at + byte, 0, 2);
  }
}

// Calls f.template run<NB>(rows, block) for the nodes order[begin] to order[end - 1] and blocks of W channels, chunk by
// chunk. What is left over of the nodes is filled up with zeros, or single.
template <typename T, int NB, int STREAMS, typename F>
EQUITOOLS_INLINE void over_nodes(int64_t channels, const int64_t* order, int64_t begin, int64_t end,
                                 int64_t block_begin, int64_t block_end, const Stream* streams, const F& f) {
  constexpr int W = Channels<T>::W;
  constexpr int64_t kChunk = 16;
  const int64_t lane_end = block_end * W < channels ? block_end * W : channels;
  for (; begin < end; begin += kChunk) {
    const int64_t last = begin + kChunk < end ? begin + kChunk : end;
    const int64_t next = last + kChunk < end ? kChunk : end - last;
    const int64_t steps = (block_end - block_begin) * (kChunk / NB);
    int64_t step = 0;
    for (int64_t block = block_begin; block < block_end; ++block) {
      const int64_t left = channels - block * W;
      Rows<T> rows{order + begin, NB, channels, block * W, left < W ? int(left) : W};
      int64_t n = begin;
      for (; n + NB / 2 < last; n += NB, rows.order += NB) {
        rows.count = last - n < NB ? int(last - n) : NB;
        if (next > 0)  // then this chunk is a full one
          for (int i = 0; i < STREAMS; ++i)
            fetch<T>(streams[i], order + last, next, channels, block_begin * W, lane_end, step, steps);
        ++step;
        f.template run<NB>(rows, block);
      }
      rows.count = 1;
      for (; n < last; ++n, ++rows.order) f.template run<1>(rows, block);
    }
  }
}

template <typename T>
struct RunValue {
  const ContractionProgram& p;
  const T *x, *coef;
  T *out, *scratch;
  template <int NB>
  EQUITOOLS_INLINE void run(const Rows<T>& rows, int64_t block) const {
    value_of_nodes<T, NB>(p, rows, x, coef + block * p.terms * Channels<T>::W, out, scratch);
  }
};

template <typename T, bool COEF>
struct RunGradient {
  const ContractionProgram& p;
  const T *x, *coef, *grad;
  T *dx, *dcoef, *scratch;
  template <int NB>
  EQUITOOLS_INLINE void run(const Rows<T>& rows, int64_t block) const {
    const int64_t at = block * p.terms * Channels<T>::W;
    gradient_of_nodes<T, NB, COEF>(p, rows, x, coef + at, grad, dx, COEF ? dcoef + at : nullptr, scratch);
  }
};

template <typename T, bool COEF, bool DIRECTION>
struct RunSecond {
  const ContractionProgram& p;
  const T *x, *coef, *grad, *u, *v;
  T *dgrad, *dx, *dcoef, *scratch;
  template <int NB>
  EQUITOOLS_INLINE void run(const Rows<T>& rows, int64_t block) const {
    const int64_t at = block * p.terms * Channels<T>::W;
    second_of_nodes<T, NB, COEF, DIRECTION>(p, rows, x, coef + at, grad, u, DIRECTION ? v + at : nullptr, dgrad, dx,
                                            COEF ? dcoef + at : nullptr, scratch);
  }
};

// How many nodes go through the program together; measured, and flat around these values.
constexpr int kValueNodes = EQUITOOLS_VECTOR_BYTES == 64 ? 8 : 4;
constexpr int kGradientNodes = EQUITOOLS_VECTOR_BYTES == 64 ? 8 : 4;
constexpr int kSecondNodes = EQUITOOLS_VECTOR_BYTES == 64 ? 4 : 2;
constexpr int kMostNodes = 8;

template <typename T>
static void contraction_value(const ContractionProgram& p, const T* x, const T* coef, int64_t channels,
                              const int64_t* order, int64_t begin, int64_t end, int64_t block_begin,
                              int64_t block_end, T* out, T* scratch) {
  const Stream streams[] = {{x, p.dim_in, false}};
  over_nodes<T, kValueNodes, 1>(channels, order, begin, end, block_begin, block_end, streams,
                                          RunValue<T>{p, x, coef, out, scratch});
}

template <typename T>
static void contraction_gradient(const ContractionProgram& p, const T* x, const T* coef, const T* grad,
                                 int64_t channels, const int64_t* order, int64_t begin, int64_t end,
                                 int64_t block_begin, int64_t block_end, T* dx, T* dcoef, T* scratch) {
  constexpr int NB = kGradientNodes;
  const Stream streams[] = {{x, p.dim_in, false}, {dx, p.dim_in, true}, {grad, p.dim_out, false}};
  if (dcoef != nullptr)
    over_nodes<T, NB, 3>(channels, order, begin, end, block_begin, block_end, streams,
                         RunGradient<T, true>{p, x, coef, grad, dx, dcoef, scratch});
  else
    over_nodes<T, NB, 3>(channels, order, begin, end, block_begin, block_end, streams,
                         RunGradient<T, false>{p, x, coef, grad, dx, dcoef, scratch});
}

template <typename T>
static void contraction_second(const ContractionProgram& p, const T* x, const T* coef, const T* grad, const T* u,
                               const T* v, int64_t channels, const int64_t* order, int64_t begin, int64_t end,
                               int64_t block_begin, int64_t block_end, T* dgrad, T* dx, T* dcoef, T* scratch) {
  auto run = [&](const auto& f) __attribute__((always_inline)) {
    const Stream streams[] = {
        {x, p.dim_in, false}, {u, p.dim_in, false}, {dx, p.dim_in, true}, {grad, p.dim_out, false}};
    over_nodes<T, kSecondNodes, 4>(channels, order, begin, end, block_begin, block_end, streams, f);
  };
  if (dcoef != nullptr && v != nullptr)
    run(RunSecond<T, true, true>{p, x, coef, grad, u, v, dgrad, dx, dcoef, scratch});
  else if (dcoef != nullptr)
    run(RunSecond<T, true, false>{p, x, coef, grad, u, v, dgrad, dx, dcoef, scratch});
  else if (v != nullptr)
    run(RunSecond<T, false, true>{p, x, coef, grad, u, v, dgrad, dx, dcoef, scratch});
  else
    run(RunSecond<T, false, false>{p, x, coef, grad, u, v, dgrad, dx, dcoef, scratch});
}

template <typename T>
static int64_t contraction_scratch(const ContractionProgram& p) {
  const int64_t rows = (4 * int64_t(p.variables()) + 2 * int64_t(p.groups) + 2 * int64_t(p.dim_out)) * kMostNodes;
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
