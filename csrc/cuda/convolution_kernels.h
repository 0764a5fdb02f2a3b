// What the kernels of the convolution share: the choice of an unrolled path, sums over the lanes of a warp.
#pragma once

#include "../core/convolution_channel.h"
#include "convolution.h"
#include "device.h"

namespace equitools {
namespace gpu {

constexpr int kUnrolledDegree = 3;
constexpr int kUnrolledBase = kUnrolledDegree + 1;
constexpr int kWarps = 4;
constexpr int kBlockThreads = kWarps * kWarp;

// Channels of a lane in the forward kernel: an entry of M that is read serves so many.
template <typename T>
constexpr int kPerLane = sizeof(T) == 4 ? 2 : 1;

// Channels of a warp in the backward kernel.
template <typename T>
constexpr int kChannels = sizeof(T) == 4 ? 128 : 64;

// Calls f(l1, l2, l3) with the degrees of an unrolled path as types; false if it is none.
template <typename F>
EQUITOOLS_DEVICE bool for_triple(int triple, F&& f) {
  bool done = false;
  each<0, kUnrolledBase * kUnrolledBase * kUnrolledBase>([&](auto number) {
    constexpr int l1 = number.value / (kUnrolledBase * kUnrolledBase);
    constexpr int l2 = number.value / kUnrolledBase % kUnrolledBase, l3 = number.value % kUnrolledBase;
    if constexpr (triangle_rule(l1, l2, l3)) {
      if (number.value == triple) {
        f(Number<l1>{}, Number<l2>{}, Number<l3>{});
        done = true;
      }
    }
  });
  return done;
}

template <int Half, typename T, int N>
EQUITOOLS_DEVICE void halve(T (&v)[N]) {
  if constexpr (Half > 0) {
    const bool upper = lane() & Half;
    each<0, Half>([&](auto i) {
      const T away = upper ? v[i.value] : v[i.value + Half];
      const T kept = upper ? v[i.value + Half] : v[i.value];
      v[i.value] = kept + shuffle_xor(away, Half);
    });
    halve<Half / 2>(v);
  }
}

// to[i] = sum over the lanes of v[i]: each step halves the numbers that a lane holds, so that n numbers take about n
// shuffles. v is used up.
template <typename T, int N>
EQUITOOLS_DEVICE void sum_over_lanes(T (&v)[N], T* to) {
  constexpr int width = N > 16 ? 32 : N > 8 ? 16 : N > 4 ? 8 : N > 2 ? 4 : N;
  each<0, (N + width - 1) / width>([&](auto batch) {
    T part[width];
    each<0, width>([&](auto i) {
      constexpr int k = batch.value * width + i.value;
      if constexpr (k < N)
        part[i.value] = v[k];
      else
        part[i.value] = T(0);
    });
    halve<width / 2>(part);
    for (int lanes = width; lanes < kWarp; lanes *= 2) part[0] += shuffle_xor(part[0], lanes);
    if (lane() < width && batch.value * width + lane() < N) to[batch.value * width + lane()] = part[0];
  });
}

}  // namespace gpu
}  // namespace equitools
