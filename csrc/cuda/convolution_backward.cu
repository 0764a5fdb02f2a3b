#include "convolution_kernels.h"

namespace equitools {
namespace gpu {
namespace {

// What a warp knows of its edge.
template <typename T>
struct Edge {
  int64_t row, from, into;  // of y and w; sender; receiver
  int begin, end;           // channels
  const T *m, *mb;          // at the path's first entry
  T* dm;                    // null: not wanted
  T* dx;                    // [2 l1 + 1][kChannels], of the lane's own channels
};

template <typename T, bool Second, int L1, int L2, int L3>
EQUITOOLS_DEVICE void unrolled(const Tables& t, const Arrays<T>& d, const Path& path, const Edge<T>& edge) {
  using Math = ChannelMath<T, L1, L2, L3>;
  constexpr int A = Math::P::A, B = Math::P::B, pairs = Math::P::count;
  T dm[pairs];
  each<0, pairs>([&](auto k) { dm[k.value] = T(0); });
  for (int u = edge.begin + lane(); u < edge.end; u += kWarp) {
    const int64_t at = edge.from * t.dim1 + path.offset1 + u, weight = edge.row * t.weights + path.weight + u;
    const T* gp = d.g + edge.into * t.dim3 + path.offset3 + u;
    T* dx = edge.dx + (u - edge.begin);
    T g[B], x[A], back[A], left[A];
    each<0, B>([&](auto m3) { g[m3.value] = gp[m3.value * path.stride3]; });
    each<0, A>([&](auto m1) { x[m1.value] = d.x[at + m1.value * path.stride1]; });
    const T w = d.w[weight];
    Math::pull(edge.m, g, back);
    T first = T(0);
    each<0, A>([&](auto m1) { first += x[m1.value] * back[m1.value]; });
    if constexpr (!Second) {
      each<0, A>([&](auto m1) {
        dx[m1.value * kChannels<T>] += w * back[m1.value];
        left[m1.value] = w * x[m1.value];
      });
      if (d.dw) d.dw[weight] = first;
    } else {
      T other[A];
      Math::pull(edge.mb, g, other);
      const T c = d.c[weight];
      T second = T(0);
      each<0, A>([&](auto m1) {
        const T a = d.a[at + m1.value * path.stride1];
        second += a * back[m1.value] + x[m1.value] * other[m1.value];
        dx[m1.value * kChannels<T>] += c * back[m1.value] + w * other[m1.value];
        left[m1.value] = w * a + c * x[m1.value];
      });
      if (d.dw) d.dw[weight] = second;
      if (d.dw1) d.dw1[weight] = first;
    }
    Math::outer(left, g, dm);
  }
  if (edge.dm) sum_over_lanes(dm, edge.dm);
}

// Any path, by the list of its entries.
template <typename T, bool Second>
EQUITOOLS_DEVICE void listed(const Tables& t, const Arrays<T>& d, const Path& path, const Edge<T>& edge) {
  const int32_t *m1 = t.pair_m1 + path.pair, *m3 = t.pair_m3 + path.pair;
  for (int u = edge.begin + lane(); u < edge.end; u += kWarp) {
    const int64_t at = edge.from * t.dim1 + path.offset1 + u, weight = edge.row * t.weights + path.weight + u;
    const T* g = d.g + edge.into * t.dim3 + path.offset3 + u;
    const T w = d.w[weight], c = Second ? d.c[weight] : T(0);
    T first = T(0), second = T(0);
    for (int k = 0; k < path.pairs;) {
      const int order = m1[k];
      T back = T(0), other = T(0);
      for (; k < path.pairs && m1[k] == order; ++k) {
        const T gv = g[m3[k] * path.stride3];
        back += edge.m[k] * gv;
        if (Second) other += edge.mb[k] * gv;
      }
      const T x = d.x[at + order * path.stride1];
      T* dx = edge.dx + order * kChannels<T> + (u - edge.begin);
      first += x * back;
      if (Second) {
        second += d.a[at + order * path.stride1] * back + x * other;
        *dx += c * back + w * other;
      } else {
        *dx += w * back;
      }
    }
    if (d.dw) d.dw[weight] = Second ? second : first;
    if (Second && d.dw1) d.dw1[weight] = first;
  }
  if (!edge.dm) return;
  for (int k = 0; k < path.pairs; ++k) {
    T sum[1] = {T(0)};
    for (int u = edge.begin + lane(); u < edge.end; u += kWarp) {
      const int64_t at = edge.from * t.dim1 + path.offset1 + m1[k] * path.stride1 + u;
      const int64_t weight = edge.row * t.weights + path.weight + u;
      const T g = d.g[edge.into * t.dim3 + path.offset3 + m3[k] * path.stride3 + u];
      sum[0] += (Second ? d.w[weight] * d.a[at] + d.c[weight] * d.x[at] : d.w[weight] * d.x[at]) * g;
    }
    sum_over_lanes(sum, edge.dm + k);
  }
}

// The gradient of x of one edge for one input block, from shared memory to where it belongs.
template <typename T>
EQUITOOLS_DEVICE void put_dx(const Tables& t, const Arrays<T>& d, const Path& path, const Edge<T>& edge) {
  for (int m1 = 0; m1 <= 2 * path.l1; ++m1)
    for (int u = edge.begin + lane(); u < edge.end; u += kWarp) {
      const T v = edge.dx[m1 * kChannels<T> + (u - edge.begin)];
      const int64_t column = path.offset1 + m1 * path.stride1 + u;
      if (d.dx_edges) {
        T* to = d.dx_edges + edge.row * t.dim1 + column;
        *to = t.add_dx ? *to + v : v;
      } else if (d.dx) {
        add_atomic(d.dx + edge.from * t.dim1 + column, v);
      }
    }
}

template <typename T>
EQUITOOLS_DEVICE void clear_dx(const Path& path, const Edge<T>& edge) {
  for (int m1 = 0; m1 <= 2 * path.l1; ++m1)
    for (int u = edge.begin + lane(); u < edge.end; u += kWarp) edge.dx[m1 * kChannels<T> + (u - edge.begin)] = T(0);
}

// Warp: an edge, in the order of the receivers, so that neighbours read the same row of g; part: kChannels channels.
template <typename T, bool Second>
EQUITOOLS_KERNEL EQUITOOLS_BOUNDS(kBlockThreads)
    backward_kernel(const Tables t, const Arrays<T> d, const EdgesOf g) {
  const int64_t position = block() * kWarps + warp();
  if (*g.outside || position >= g.E) return;
  const int stride = t.most_slots;
  T* m = reinterpret_cast<T*>(shared()) + warp() * ((Second ? 3 : 2) * stride + t.most_orders1 * kChannels<T>);
  T* dm = m + stride;
  T* mb = Second ? dm + stride : m;
  Edge<T> edge{};
  edge.row = g.order.order[position];
  edge.from = g.sender[edge.row];
  edge.into = g.receiver[edge.row];
  edge.begin = part() * kChannels<T>;
  edge.dx = m + (Second ? 3 : 2) * stride;
  for (int number = 0; number < t.num_groups; ++number) {
    const Group group = t.groups[number];
    for (int slot = lane(); slot < group.slots; slot += kWarp) {
      const int32_t* entries = t.slot_entries + 2 * (group.first_slot + slot);
      m[slot] = matrix_entry(d.coupling, t.entry_column, entries[0], entries[1], d.y + edge.row * t.dim2);
      if (Second)
        mb[slot] = matrix_entry(d.coupling, t.entry_column, entries[0], entries[1], d.b + edge.row * t.dim2);
      dm[slot] = T(0);  // of paths with fewer channels, and of slots between paths
    }
    warp_barrier();
    for (int p = group.path_begin; p < group.path_end; ++p) {
      const Path& path = t.paths[p];
      edge.end = path.channels < edge.begin + kChannels<T> ? path.channels : edge.begin + kChannels<T>;
      if (edge.end <= edge.begin) continue;
      edge.m = m + path.slot;
      edge.mb = mb + path.slot;
      edge.dm = d.dy ? dm + path.slot : nullptr;
      if (path.opens) clear_dx(path, edge);
      const auto run = [&](auto l1, auto l2, auto l3) {
        unrolled<T, Second, decltype(l1)::value, decltype(l2)::value, decltype(l3)::value>(t, d, path, edge);
      };
      if (!for_triple(path.triple, run)) listed<T, Second>(t, d, path, edge);
      if (path.closes) put_dx(t, d, path, edge);
    }
    warp_barrier();
    if (d.dy) {
      T* dy = d.dy + (int64_t(part()) * g.E + edge.row) * t.dim2;
      const int32_t* columns = t.column_begin + group.columns;
      for (int64_t column = lane(); column < t.dim2; column += kWarp) {
        T sum = number > 0 ? dy[column] : T(0);
        for (int i = columns[column]; i < columns[column + 1]; ++i)
          sum += d.coupling[t.column_entry[i]] * dm[t.column_slot[i]];
        dy[column] = sum;
      }
      warp_barrier();
    }
  }
}

template <typename T>
EQUITOOLS_KERNEL add_parts_kernel(const T* from, int parts, int64_t n, T* to) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) {
    T sum = from[i];
    for (int p = 1; p < parts; ++p) sum += from[p * n + i];
    to[i] = sum;
  }
}

template <typename T, bool Second>
void start(const Tables& t, const Arrays<T>& d, const EdgesOf& g, void* stream) {
  const size_t bytes =
      size_t(kWarps) * ((Second ? 3 : 2) * t.most_slots + t.most_orders1 * kChannels<T>) * sizeof(T);
  launch("tensor_product_conv_backward", backward_kernel<T, Second>, (g.E + kWarps - 1) / kWarps,
         ConvolutionOf<T>::channel_parts(t), kBlockThreads, bytes, stream, t, d, g);
}

}  // namespace

template <typename T>
int ConvolutionOf<T>::channel_parts(const Tables& t) {
  return (t.most_channels + kChannels<T> - 1) / kChannels<T>;
}

template <typename T>
void ConvolutionOf<T>::backward(const Tables& t, const Arrays<T>& d, const EdgesOf& g, bool second, void* stream) {
  if (second)
    start<T, true>(t, d, g, stream);
  else
    start<T, false>(t, d, g, stream);
}

template <typename T>
void ConvolutionOf<T>::add_parts(const T* from, int parts, int64_t n, T* to, void* stream) {
  launch("adding parts", add_parts_kernel<T>, blocks_for(n, 256), 1, 256, 0, stream, from, parts, n, to);
}

#define EQUITOOLS_INSTANTIATE(T)                                                                             \
  template int ConvolutionOf<T>::channel_parts(const Tables&);                                               \
  template void ConvolutionOf<T>::backward(const Tables&, const Arrays<T>&, const EdgesOf&, bool, void*);    \
  template void ConvolutionOf<T>::add_parts(const T*, int, int64_t, T*, void*);
EQUITOOLS_INSTANTIATE(float)
EQUITOOLS_INSTANTIATE(double)

}  // namespace gpu
}  // namespace equitools
