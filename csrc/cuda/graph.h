// Edges in the order of their receivers, or of their senders, made on the device. No torch.
#pragma once

#include <cstdint>

namespace equitools {
namespace gpu {

// What was found out about the edges; three numbers in device memory, zero at first.
struct Findings {
  int64_t outside;  // an index lies outside its range
  int64_t mixed_receivers, mixed_senders;  // these indices are not ascending
};

// The edges of node n stand at first[n] <= k < first[n + 1]; order[k] is their row, ascending within a node.
struct Order {
  const int64_t* first;
  const int64_t* order;
};

// `mixed` is one of the two in `found`; first [N + 1] and cursor [N + 1] are zero, order is [E]. If an index lies
// outside 0 to N - 1, only found->outside is of use.
void order_edges(const int64_t* key, int64_t E, int64_t N, int64_t* found_outside, int64_t* mixed, int64_t* first,
                 int64_t* cursor, int64_t* order, void* stream);

// Sets found_outside if a key lies outside 0 to N - 1.
void check_range(const int64_t* key, int64_t E, int64_t N, int64_t* found_outside, void* stream);

// Fills with NaN if an index lies outside: what a call returns that is not allowed to wait for the answer.
template <typename T>
void spoil(T* p, int64_t n, const int64_t* found_outside, void* stream);

extern template void spoil(float*, int64_t, const int64_t*, void*);
extern template void spoil(double*, int64_t, const int64_t*, void*);

}  // namespace gpu
}  // namespace equitools
