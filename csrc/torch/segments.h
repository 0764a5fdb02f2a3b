// Edges in the order of their receivers.
#pragma once

#include <cstring>
#include <memory>

#include "common.h"

namespace equitools {

// Where each segment begins, and the order of the edges where they are not ascending already.
struct Segments {
  std::unique_ptr<int64_t[]> first;
  std::unique_ptr<int64_t[]> order;  // null: the edges are in order
};

// One pass: every index in range, and ascending or not.
inline bool check_indices(const int64_t* r, int64_t E, int64_t N) {
  bool outside = false, ascending = true;
  for (int64_t e = 0; e < E; ++e) outside |= (r[e] < 0) | (r[e] >= N);
  STD_TORCH_CHECK(!outside, "receiver holds an index outside 0 to num_segments - 1 = ", N - 1);
  for (int64_t e = 1; e < E; ++e) ascending &= r[e - 1] <= r[e];
  return ascending;
}

inline Segments make_segments(const int64_t* r, int64_t E, int64_t N) {
  const bool ascending = check_indices(r, E, N);
  Segments s;
  s.first = std::make_unique<int64_t[]>(N + 1);  // zeros
  if (ascending) {
    int64_t next = 0;
    for (int64_t e = 0; e < E; ++e)
      for (; next <= r[e]; ++next) s.first[next] = e;
    for (; next <= N; ++next) s.first[next] = E;
    return s;
  }
  for (int64_t e = 0; e < E; ++e) ++s.first[r[e] + 1];
  for (int64_t n = 0; n < N; ++n) s.first[n + 1] += s.first[n];
  auto cursor = std::make_unique<int64_t[]>(N);
  std::memcpy(cursor.get(), s.first.get(), N * sizeof(int64_t));
  s.order = std::make_unique<int64_t[]>(E);
  for (int64_t e = 0; e < E; ++e) s.order[cursor[r[e]]++] = e;  // stable: ties keep the order of the edges
  return s;
}

}  // namespace equitools
