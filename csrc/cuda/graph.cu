#include "graph.h"

#include "device.h"

namespace equitools {
namespace gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kStrips = 1024;       // threads that add up the numbers of edges
constexpr int64_t kSorters = 8192;  // blocks that order the edges of nodes, one node after the other
constexpr int kRank = 1024;         // a node's edges are ordered in shared memory up to this number

EQUITOOLS_KERNEL find_outside(const int64_t* key, int64_t E, int64_t N, int64_t* outside) {
  for (int64_t e = global_thread(); e < E; e += global_threads())
    if (key[e] < 0 || key[e] >= N) *outside = 1;
}

EQUITOOLS_KERNEL count_keys(const int64_t* key, int64_t E, int64_t N, int64_t* outside, int64_t* mixed,
                            int64_t* count) {
  for (int64_t e = global_thread(); e < E; e += global_threads()) {
    const int64_t k = key[e];
    if (k < 0 || k >= N)
      *outside = 1;  // every thread that writes writes the same
    else
      add_atomic(count + k + 1, int64_t(1));
    if (e > 0 && key[e - 1] > k) *mixed = 1;
  }
}

// Sums in place: count[n] becomes the sum of count[0 .. n]. One block; each thread takes a strip.
EQUITOOLS_KERNEL add_up(int64_t* count, int64_t n) {
  int64_t* part = reinterpret_cast<int64_t*>(shared());
  const int64_t strip = (n + threads() - 1) / threads();
  const int64_t begin = thread() * strip, end = begin + strip < n ? begin + strip : n;
  int64_t sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += count[i];
  part[thread()] = sum;
  for (int step = 1; step < threads(); step *= 2) {
    block_barrier();
    const int64_t before = thread() >= step ? part[thread() - step] : 0;
    block_barrier();
    part[thread()] += before;
  }
  sum = part[thread()] - sum;
  for (int64_t i = begin; i < end; ++i) count[i] = sum += count[i];
}

EQUITOOLS_KERNEL place_edges(const int64_t* key, int64_t E, const int64_t* outside, const int64_t* mixed,
                             const int64_t* first, int64_t* cursor, int64_t* order) {
  if (*outside) return;
  for (int64_t e = global_thread(); e < E; e += global_threads())
    order[*mixed ? first[key[e]] + add_atomic(cursor + key[e], int64_t(1)) : e] = e;
}

EQUITOOLS_DEVICE void order_pair(int64_t* row, int64_t n, int64_t i, int64_t j) {
  if (j < n && row[i] > row[j]) {
    const int64_t held = row[i];
    row[i] = row[j];
    row[j] = held;
  }
}

// The edges of each node came in any order; they are sorted, so that sums are the same in every run.
EQUITOOLS_KERNEL sort_edges(int64_t N, const int64_t* outside, const int64_t* mixed, const int64_t* first,
                            int64_t* order) {
  if (*outside || !*mixed) return;
  int64_t* held = reinterpret_cast<int64_t*>(shared());
  for (int64_t node = block(); node < N; node += blocks()) {
    int64_t* row = order + first[node];
    const int64_t n = first[node + 1] - first[node];
    if (n <= kRank) {
      for (int64_t i = thread(); i < n; i += threads()) held[i] = row[i];
      block_barrier();
      for (int64_t i = thread(); i < n; i += threads()) {
        const int64_t mine = held[i];
        int64_t rank = 0;
        for (int64_t j = 0; j < n; ++j) rank += held[j] < mine;
        row[rank] = mine;
      }
      block_barrier();
    } else {  // a bitonic network in place, all comparisons ascending, for any n: what lies beyond n counts as largest
      int64_t size = 1;
      while (size < n) size *= 2;
      for (int64_t width = 2; width <= size; width *= 2) {
        for (int64_t i = thread(); i < size / 2; i += threads()) {
          const int64_t base = i / (width / 2) * width, offset = i % (width / 2);
          order_pair(row, n, base + offset, base + width - 1 - offset);
        }
        block_barrier();
        for (int64_t half = width / 4; half > 0; half /= 2) {
          for (int64_t i = thread(); i < size / 2; i += threads()) {
            const int64_t low = i / half * 2 * half + i % half;
            order_pair(row, n, low, low + half);
          }
          block_barrier();
        }
      }
    }
  }
}

template <typename T>
EQUITOOLS_KERNEL fill_if(T* p, int64_t n, const int64_t* outside, T value) {
  if (!*outside) return;
  for (int64_t i = global_thread(); i < n; i += global_threads()) p[i] = value;
}

}  // namespace

void check_range(const int64_t* key, int64_t E, int64_t N, int64_t* outside, void* stream) {
  launch("checking indices", find_outside, blocks_for(E, kThreads), 1, kThreads, 0, stream, key, E, N, outside);
}

void order_edges(const int64_t* key, int64_t E, int64_t N, int64_t* outside, int64_t* mixed, int64_t* first,
                 int64_t* cursor, int64_t* order, void* stream) {
  launch("counting edges", count_keys, blocks_for(E, kThreads), 1, kThreads, 0, stream, key, E, N, outside, mixed,
         first);
  launch("adding up", add_up, 1, 1, kStrips, kStrips * sizeof(int64_t), stream, first, N + 1);
  launch("placing edges", place_edges, blocks_for(E, kThreads), 1, kThreads, 0, stream, key, E, outside, mixed, first,
         cursor, order);
  launch("ordering edges", sort_edges, N < kSorters ? N : kSorters, 1, 64, kRank * sizeof(int64_t), stream, N, outside, mixed,
         first, order);
}

template <typename T>
void spoil(T* p, int64_t n, const int64_t* outside, void* stream) {
  launch("spoiling a result", fill_if<T>, blocks_for(n, kThreads), 1, kThreads, 0, stream, p, n, outside,
         T(__builtin_nan("")));
}

template void spoil(float*, int64_t, const int64_t*, void*);
template void spoil(double*, int64_t, const int64_t*, void*);

}  // namespace gpu
}  // namespace equitools
