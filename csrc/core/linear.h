// Micro-kernels of the equivariant linear map: for each irrep one matrix product of (rows and components) by channels. No
// torch, no standard templates.
//
// A tile of rows is packed, so that blocks, layout and the order of the elements matter to the packing only. Rows are
// visited in `order` (null: as they stand); those of element s are first[s] <= i < first[s + 1].
#pragma once

#include "gemm.h"
#include "lanes.h"
#include "linear_plan.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static int64_t linear_padded(int64_t n) {
  return (n + Lanes<T>::W - 1) / Lanes<T>::W * Lanes<T>::W;
}

static inline int64_t linear_nodes(int64_t components) {
  return components < kLinearRows ? kLinearRows / components : 1;
}

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Numbers of the packed matrices of one element.
template <typename T>
static int64_t linear_packed_size(const LinearPlan& plan) {
  int64_t n = 0;
  for (int64_t k = 0; k < plan.num_keys; ++k) n += plan.keys[k].from * linear_padded<T>(plan.keys[k].to);
  return n;
}

// Numbers that a thread works in.
template <typename T>
static int64_t linear_scratch(const LinearPlan& plan) {
  int64_t n = 0;
  for (int64_t k = 0; k < plan.num_keys; ++k) {
    const LinearKey& key = plan.keys[k];
    const int64_t rows = linear_nodes(key.components) * key.components, to = linear_padded<T>(key.to);
    n = larger(n, rows * (larger(key.from, kLinearChunk) + to) + kLinearChunk * to);
  }
  return n;
}

constexpr int64_t kPackPieces = 4;  // in which the matrix of one irrep and one element is packed

static inline int64_t linear_pack_pieces(const LinearPlan& plan) { return plan.num_keys * kPackPieces; }

// The matrices of all elements, [from, to padded with zeros] each, times the scale: pieces [begin, end) of
// elements * num_keys * kPackPieces.
template <typename T>
static void linear_pack(const LinearPlan& plan, const T* weights, T* packed, int64_t begin, int64_t end) {
  constexpr int W = Lanes<T>::W;
  const int64_t size = linear_packed_size<T>(plan);
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t part = piece % kPackPieces, number = piece / kPackPieces % plan.num_keys;
    const int64_t element = piece / kPackPieces / plan.num_keys;
    const LinearKey& key = plan.keys[number];
    const int64_t K = key.from, N = key.to, P = linear_padded<T>(N);
    const T* w = weights + element * plan.weights + key.weight;
    T* to = packed + element * size;
    for (int64_t k = 0; k < number; ++k) to += plan.keys[k].from * linear_padded<T>(plan.keys[k].to);
    const T scale = T(key.scale);
    if (!plan.transposed) {
      for (int64_t i = K * part / kPackPieces; i < K * (part + 1) / kPackPieces; ++i) {
        for (int64_t j = 0; j < N; ++j) to[i * P + j] = scale * w[i * N + j];
        for (int64_t j = N; j < P; ++j) to[i * P + j] = T(0);
      }
    } else {
      const int64_t vectors = P / W;
      for (int64_t j = vectors * part / kPackPieces * W; j < vectors * (part + 1) / kPackPieces * W; j += W) {
        int64_t i = 0;
        for (; j + W <= N && i + W <= K; i += W) {
          Vec<T> v[W];
          unroll<0, W>([&](auto n) EQUITOOLS_FORCED { v[n] = scale * load(w + (j + n) * K + i); });
          transpose<T>(v);
          unroll<0, W>([&](auto n) EQUITOOLS_FORCED { store(to + (i + n) * P + j, v[n]); });
        }
        for (; i < K; ++i)
          for (int64_t n = j; n < j + W; ++n) to[i * P + n] = n < N ? scale * w[n * K + i] : T(0);
      }
    }
  }
}

// Channels [begin, end) of the blocks, of all components of one row, to lines of `stride` numbers.
template <typename T>
EQUITOOLS_INLINE void linear_gather(const LinearBlock* blocks, int64_t count, int64_t components, bool mul_ir,
                                    const T* row, int64_t begin, int64_t end, T* lines, int64_t stride) {
  int64_t start = 0;
  for (int64_t b = 0; b < count; ++b) {
    const int64_t from = larger(begin - start, 0);
    const int64_t to = end - start < blocks[b].mul ? end - start : blocks[b].mul;
    const T* block = row + blocks[b].offset;
    for (int64_t m = 0; m < components; ++m) {
      T* line = lines + m * stride + (start - begin);
      if (mul_ir)
        for (int64_t u = from; u < to; ++u) line[u] = block[u * components + m];
      else
        for (int64_t u = from; u < to; ++u) line[u] = block[m * blocks[b].mul + u];
    }
    start += blocks[b].mul;
  }
}

template <typename T>
EQUITOOLS_INLINE void linear_scatter(const LinearBlock* blocks, int64_t count, int64_t components, bool mul_ir,
                                     const T* lines, int64_t stride, T* row) {
  for (int64_t b = 0; b < count; ++b) {
    T* block = row + blocks[b].offset;
    for (int64_t m = 0; m < components; ++m) {
      const T* line = lines + m * stride;
      if (mul_ir)
        for (int64_t u = 0; u < blocks[b].mul; ++u) block[u * components + m] = line[u];
      else
        for (int64_t u = 0; u < blocks[b].mul; ++u) block[m * blocks[b].mul + u] = line[u];
    }
    lines += blocks[b].mul;
  }
}

// out[row] for the rows at places [begin, end) of the order.
template <typename T>
static void linear_apply(const LinearPlan& plan, const T* x, const T* packed, const int64_t* order,
                         const int64_t* first, int64_t elements, T* out, T* scratch, int64_t begin, int64_t end) {
  const int64_t size = linear_packed_size<T>(plan);
  for (int64_t s = 0; s < elements; ++s, packed += size) {
    const int64_t low = larger(first[s], begin), high = first[s + 1] < end ? first[s + 1] : end;
    const T* matrix = packed;
    for (int64_t k = 0; k < plan.num_keys; ++k) {
      const LinearKey& key = plan.keys[k];
      const int64_t d = key.components, K = key.from, P = linear_padded<T>(key.to), nodes = linear_nodes(d);
      T* left = scratch;
      T* result = scratch + nodes * d * K;
      for (int64_t i = low; i < high; i += nodes) {
        const int64_t n = high - i < nodes ? high - i : nodes;
        for (int64_t j = 0; j < n; ++j)
          linear_gather(key.in, key.blocks_in, d, plan.mul_ir, x + (order ? order[i + j] : i + j) * plan.dim_in, 0, K,
                        left + j * d * K, K);
        gemm<T, false>(n * d, P, K, left, K, 1, matrix, P, result, P);
        for (int64_t j = 0; j < n; ++j)
          linear_scatter(key.out, key.blocks_out, d, plan.mul_ir, result + j * d * P, P,
                         out + (order ? order[i + j] : i + j) * plan.dim_out);
      }
      matrix += K * P;
    }
  }
}

// Pieces of the gradient of the weights: of each element and irrep, kLinearChunk input channels.
static inline int64_t linear_pieces(const LinearPlan& plan) {
  int64_t n = 0;
  for (int64_t k = 0; k < plan.num_keys; ++k) n += (plan.keys[k].from + kLinearChunk - 1) / kLinearChunk;
  return n;
}

// Pieces [begin, end) of gradient[element, from, to] = scale sum over rows of x grad.
template <typename T>
static void linear_weight_grad(const LinearPlan& plan, const T* x, const T* grad, const int64_t* order,
                               const int64_t* first, T* gradient, T* scratch, int64_t begin, int64_t end) {
  const int64_t pieces = linear_pieces(plan);
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t s = piece / pieces;
    int64_t c = piece % pieces, k = 0;
    for (;; ++k) {
      const int64_t here = (plan.keys[k].from + kLinearChunk - 1) / kLinearChunk;
      if (c < here) break;
      c -= here;
    }
    const LinearKey& key = plan.keys[k];
    const int64_t d = key.components, N = key.to, P = linear_padded<T>(N), nodes = linear_nodes(d);
    const int64_t from = c * kLinearChunk, to = from + kLinearChunk < key.from ? from + kLinearChunk : key.from;
    T* left = scratch;
    T* right = left + nodes * d * kLinearChunk;
    T* sum = right + nodes * d * P;
    for (int64_t i = 0; i < kLinearChunk * P; ++i) sum[i] = T(0);
    for (int64_t i = 0; i < nodes * d * P; ++i) right[i] = T(0);  // so are the columns that pad it
    for (int64_t i = first[s]; i < first[s + 1]; i += nodes) {
      const int64_t n = first[s + 1] - i < nodes ? first[s + 1] - i : nodes;
      for (int64_t j = 0; j < n; ++j) {
        const int64_t row = order ? order[i + j] : i + j;
        linear_gather(key.in, key.blocks_in, d, plan.mul_ir, x + row * plan.dim_in, from, to,
                      left + j * d * kLinearChunk, kLinearChunk);
        linear_gather(key.out, key.blocks_out, d, plan.mul_ir, grad + row * plan.dim_out, 0, N, right + j * d * P, P);
      }
      gemm<T, true>(to - from, P, n * d, left, 1, kLinearChunk, right, P, sum, P);
    }
    T* target = gradient + s * plan.weights + key.weight + from * N;
    for (int64_t i = 0; i < to - from; ++i)
      for (int64_t j = 0; j < N; ++j) target[i * N + j] = T(key.scale) * sum[i * P + j];
  }
}

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
