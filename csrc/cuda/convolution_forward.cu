#include "convolution_kernels.h"

namespace equitools {
namespace gpu {
namespace {

// Edges whose M is in shared memory together: 32 KiB.
template <typename T, bool Second>
constexpr int kTileEdges = 128 / (sizeof(T) * (Second ? 2 : 1));

template <typename T>
struct Tile {
  int edges;
  int slots;            // of a row of m
  const T *m, *mb;      // [edges][slots], at the path's first entry
  const int64_t* row;   // of y and w
  const int64_t* from;  // sender
};

// One path, channels from + 32 n + lane of it.
template <typename T, bool Second, int L1, int L2, int L3>
EQUITOOLS_DEVICE void unrolled(const Tables& t, const Arrays<T>& d, const Path& path, const Tile<T>& tile, int from,
                               T* out, bool add) {
  using Math = ChannelMath<T, L1, L2, L3>;
  constexpr int N = kPerLane<T>, A = Math::P::A, B = Math::P::B;
  bool live[N];
  each<0, N>([&](auto n) { live[n.value] = from + n.value * kWarp + lane() < path.channels; });
  const auto get = [&](const T* p, auto n) { return live[n.value] ? p[n.value * kWarp] : T(0); };
  const int64_t channel = from + lane();
  out += path.offset3 + channel;
  T sum[B][N];
  each<0, B>([&](auto m3) {
    each<0, N>([&](auto n) { sum[m3.value][n.value] = add ? get(out + m3.value * path.stride3, n) : T(0); });
  });
  for (int e = 0; e < tile.edges; ++e) {
    const int64_t at = tile.from[e] * t.dim1 + path.offset1 + channel;
    const int64_t weight = tile.row[e] * t.weights + path.weight + channel;
    T w[N], left[A][N];
    each<0, N>([&](auto n) { w[n.value] = get(d.w + weight, n); });
    if constexpr (!Second) {
      each<0, A>([&](auto m1) {
        each<0, N>([&](auto n) {
          left[m1.value][n.value] = get(d.x + at + m1.value * path.stride1, n) * w[n.value];
        });
      });
      Math::push(tile.m + e * tile.slots, left, sum);
    } else {
      T c[N], other[A][N];
      each<0, N>([&](auto n) { c[n.value] = get(d.c + weight, n); });
      each<0, A>([&](auto m1) {
        each<0, N>([&](auto n) {
          const T x = get(d.x + at + m1.value * path.stride1, n);
          left[m1.value][n.value] = get(d.a + at + m1.value * path.stride1, n) * w[n.value] + c[n.value] * x;
          other[m1.value][n.value] = w[n.value] * x;
        });
      });
      Math::push(tile.m + e * tile.slots, left, sum);
      Math::push(tile.mb + e * tile.slots, other, sum);
    }
  }
  each<0, B>([&](auto m3) {
    each<0, N>([&](auto n) {
      if (live[n.value]) out[m3.value * path.stride3 + n.value * kWarp] = sum[m3.value][n.value];
    });
  });
}

// The same for any path, by the list of its entries.
template <typename T, bool Second>
EQUITOOLS_DEVICE void listed(const Tables& t, const Arrays<T>& d, const Path& path, const Tile<T>& tile, int from,
                             T* out, bool add) {
  for (int channel = from + lane(); channel < path.channels && channel < from + kPerLane<T> * kWarp; channel += kWarp) {
    T* to = out + path.offset3 + channel;
    T sum[kMostOrders];
    for (int m3 = 0; m3 <= 2 * path.l3; ++m3) sum[m3] = add ? to[m3 * path.stride3] : T(0);
    for (int e = 0; e < tile.edges; ++e) {
      const int64_t at = tile.from[e] * t.dim1 + path.offset1 + channel;
      const int64_t weight = tile.row[e] * t.weights + path.weight + channel;
      const T w = d.w[weight], c = Second ? d.c[weight] : T(0);
      for (int k = 0; k < path.pairs;) {
        const int m1 = t.pair_m1[path.pair + k];
        const T x = d.x[at + m1 * path.stride1];
        const T left = Second ? d.a[at + m1 * path.stride1] * w + c * x : x * w, other = w * x;
        for (; k < path.pairs && t.pair_m1[path.pair + k] == m1; ++k) {
          const int m3 = t.pair_m3[path.pair + k];
          sum[m3] += tile.m[e * tile.slots + k] * left;
          if (Second) sum[m3] += tile.mb[e * tile.slots + k] * other;
        }
      }
    }
    for (int m3 = 0; m3 <= 2 * path.l3; ++m3) to[m3 * path.stride3] = sum[m3];
  }
}

// Block: a receiver; its parts share the units, a unit being a chain of paths and some channels.
template <typename T, bool Second>
EQUITOOLS_KERNEL EQUITOOLS_BOUNDS(kBlockThreads)
    forward_kernel(const Tables t, const Arrays<T> d, const EdgesOf g, int parts) {
  if (*g.outside) return;
  constexpr int kTile = kTileEdges<T, Second>, kUnit = kPerLane<T> * kWarp;
  T* m = reinterpret_cast<T*>(shared());
  T* mb = m + (Second ? kTile * t.most_slots : 0);
  int64_t* row = reinterpret_cast<int64_t*>(mb + kTile * t.most_slots);
  int64_t* from = row + kTile;
  const int64_t begin = g.order.first[block()], end = g.order.first[block() + 1];
  T* out = d.out + block() * t.dim3;
  if (begin == end) {
    for (int64_t i = part() * threads() + thread(); i < t.dim3; i += int64_t(parts) * threads()) out[i] = T(0);
    return;
  }
  const int units = (t.most_channels + kUnit - 1) / kUnit, sharers = parts * kWarps;
  const int mine = part() * kWarps + warp();
  for (int64_t first = begin; first < end; first += kTile) {
    const int edges = end - first < kTile ? int(end - first) : kTile;
    block_barrier();
    if (thread() < edges) {
      row[thread()] = g.order.order[first + thread()];
      from[thread()] = g.sender[row[thread()]];
    }
    for (int number = 0; number < t.num_groups; ++number) {
      const Group group = t.groups[number];
      block_barrier();
      for (int i = thread(); i < edges * group.slots; i += threads()) {
        const int e = i / group.slots, slot = i - e * group.slots;
        const int32_t* entries = t.slot_entries + 2 * (group.first_slot + slot);
        m[i] = matrix_entry(d.coupling, t.entry_column, entries[0], entries[1], d.y + row[e] * t.dim2);
        if (Second) mb[i] = matrix_entry(d.coupling, t.entry_column, entries[0], entries[1], d.b + row[e] * t.dim2);
      }
      block_barrier();
      for (int p = group.path_begin; p < group.path_end; ++p) {
        const Path& path = t.paths[p];
        for (int unit = 0; unit * kUnit < path.channels; ++unit) {
          if ((path.chain * units + unit) % sharers != mine) continue;
          const Tile<T> tile{edges, group.slots, m + path.slot, mb + path.slot, row, from};
          const bool add = path.add || first > begin;
          const auto run = [&](auto l1, auto l2, auto l3) {
            unrolled<T, Second, decltype(l1)::value, decltype(l2)::value, decltype(l3)::value>(t, d, path, tile,
                                                                                               unit * kUnit, out, add);
          };
          if (!for_triple(path.triple, run)) listed<T, Second>(t, d, path, tile, unit * kUnit, out, add);
        }
      }
    }
  }
}

template <typename T, bool Second>
void start(const Tables& t, const Arrays<T>& d, const EdgesOf& g, void* stream) {
  constexpr int kTile = kTileEdges<T, Second>, kUnit = kPerLane<T> * kWarp;
  const int64_t units = int64_t(t.chains) * ((t.most_channels + kUnit - 1) / kUnit);
  const int64_t useful = units / kWarps > 1 ? units / kWarps : 1;
  const int64_t wanted = g.N > 0 ? (8 * multiprocessors() + g.N - 1) / g.N : 1;  // to fill the device
  const int parts = int(wanted < useful ? wanted : useful);
  const size_t bytes = size_t(kTile) * t.most_slots * sizeof(T) * (Second ? 2 : 1) + 2 * kTile * sizeof(int64_t);
  launch("tensor_product_conv", forward_kernel<T, Second>, g.N, parts, kBlockThreads, bytes, stream, t, d, g, parts);
}

}  // namespace

template <typename T>
void ConvolutionOf<T>::forward(const Tables& t, const Arrays<T>& d, const EdgesOf& g, bool second, void* stream) {
  if (second)
    start<T, true>(t, d, g, stream);
  else
    start<T, false>(t, d, g, stream);
}

template void ConvolutionOf<float>::forward(const Tables&, const Arrays<float>&, const EdgesOf&, bool, void*);
template void ConvolutionOf<double>::forward(const Tables&, const Arrays<double>&, const EdgesOf&, bool, void*);

}  // namespace gpu
}  // namespace equitools
