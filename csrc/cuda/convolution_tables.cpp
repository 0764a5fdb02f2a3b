#include "convolution_tables.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "../core/convolution_channel.h"
#include "../core/coupling_pattern.h"

namespace equitools {
namespace gpu {
namespace {

constexpr int kUnrolled = 3;  // highest degree of the unrolled kernels

void require(bool good, const char* message) {
  if (!good) throw std::runtime_error(message);
}

// The number of the unrolled kernel that fits the path's pairs, or -1.
int32_t triple_of(const Path& p, const std::vector<int32_t>& m1, const std::vector<int32_t>& m3) {
  if (std::max({p.l1, p.l2, p.l3}) > kUnrolled || !triangle_rule(p.l1, p.l2, p.l3)) return -1;
  int k = p.pair;
  for (int i = 0; i < 2 * p.l1 + 1; ++i)
    for (int j = 0; j < 2 * p.l3 + 1; ++j)
      if (kCouplingPattern[p.l1][p.l2][p.l3][i] >> j & 1) {
        if (k == p.pair + p.pairs || m1[k] != i || m3[k] != j) return -1;
        ++k;
      }
  return k == p.pair + p.pairs ? (p.l1 * (kUnrolled + 1) + p.l2) * (kUnrolled + 1) + p.l3 : -1;
}

bool same_input(const Path& a, const Path& b) {
  return a.l1 == b.l1 && a.channels == b.channels && a.offset1 == b.offset1 && a.stride1 == b.stride1;
}

bool same_output(const Path& a, const Path& b) {
  return a.l3 == b.l3 && a.channels == b.channels && a.offset3 == b.offset3 && a.stride3 == b.stride3;
}

// Columns that blocks have marked.
class Cover {
 public:
  explicit Cover(int64_t n) : seen_(n, false) {}
  void mark(int64_t offset, int64_t stride, int orders, int channels) {
    for (int64_t m = 0; m < orders; ++m)
      for (int64_t u = 0; u < channels; ++u) {
        std::vector<bool>::reference at = seen_[offset + m * stride + u];
        overlaps_ |= at;
        at = true;
      }
  }
  bool overlaps() const { return overlaps_; }
  bool complete() const { return std::find(seen_.begin(), seen_.end(), false) == seen_.end(); }

 private:
  std::vector<bool> seen_;
  bool overlaps_ = false;
};

class Packer {
 public:
  template <typename T>
  const T* add(const std::vector<T>& v) {
    bytes.resize((bytes.size() + 15) / 16 * 16);
    const size_t at = bytes.size();
    bytes.resize(at + v.size() * sizeof(T) + 16);
    if (!v.empty()) std::memcpy(bytes.data() + at, v.data(), v.size() * sizeof(T));
    return reinterpret_cast<const T*>(at);
  }
  std::vector<unsigned char> bytes;
};

template <typename T>
void rebase(const T*& p, const unsigned char* base) {
  p = reinterpret_cast<const T*>(base + reinterpret_cast<uintptr_t>(p));
}

}  // namespace

Tables PackedTables::at(const unsigned char* base) const {
  Tables t = offsets;
  rebase(t.paths, base);
  rebase(t.groups, base);
  rebase(t.pair_m1, base);
  rebase(t.pair_m3, base);
  rebase(t.slot_entries, base);
  rebase(t.entry_column, base);
  rebase(t.column_begin, base);
  rebase(t.column_slot, base);
  rebase(t.column_entry, base);
  return t;
}

PackedTables pack_tables(const RawTables& raw) {
  std::vector<int32_t> m1, m3, first_entry{0}, column;
  for (int64_t k = 0; k < raw.num_pairs; ++k) {
    const int64_t* q = raw.pairs + 3 * k;
    require(q[2] >= 0 && q[2] <= raw.num_entries, "a pair has an impossible number of entries");
    require(q[0] >= 0 && q[0] < kMostOrders && q[1] >= 0 && q[1] < kMostOrders, "malformed pair");
    m1.push_back(int32_t(q[0]));
    m3.push_back(int32_t(q[1]));
    first_entry.push_back(first_entry.back() + int32_t(q[2]));
    require(first_entry.back() <= raw.num_entries, "the pairs count more entries than there are");
  }
  require(first_entry.back() == raw.num_entries, "the pairs count fewer entries than there are");
  for (int64_t i = 0; i < raw.num_entries; ++i) {
    require(0 <= raw.entries[i] && raw.entries[i] < raw.dim2,
            "an entry names a component that the edge attributes do not have");
    column.push_back(int32_t(raw.entries[i]));
  }

  std::vector<Path> paths;
  std::vector<Group> groups;
  std::vector<int32_t> slot_entries, column_begin, column_slot, column_entry;
  Cover out(raw.dim3), x(raw.dim1), weights(raw.weights);
  Tables t{};
  int32_t next_pair = 0, chain = -1;
  const auto close_group = [&] {
    if (groups.empty()) return;
    Group& group = groups.back();
    group.path_end = int32_t(paths.size());
    group.slots = int32_t(slot_entries.size() / 2) - group.first_slot;
    t.most_slots = std::max(t.most_slots, group.slots);
    group.columns = int32_t(column_begin.size());
    std::vector<std::vector<std::pair<int32_t, int32_t>>> by_column(raw.dim2);
    for (int32_t s = 0; s < group.slots; ++s) {
      const int32_t* entries = &slot_entries[2 * (group.first_slot + s)];
      for (int32_t i = entries[0]; i < entries[1]; ++i) by_column[column[i]].push_back({s, i});
    }
    for (const auto& list : by_column) {
      column_begin.push_back(int32_t(column_slot.size()));
      for (const auto& [slot, entry] : list) {
        column_slot.push_back(slot);
        column_entry.push_back(entry);
      }
    }
    column_begin.push_back(int32_t(column_slot.size()));
  };
  for (int64_t k = 0; k < raw.num_paths; ++k) {
    const int64_t* r = raw.paths + kPathColumns * k;
    require(std::min({r[0], r[1], r[2]}) >= 0 && std::max({r[0], r[1], r[2]}) <= (kMostOrders - 1) / 2,
            "the convolution's kernels take degrees up to 6");
    require(r[3] > 0 && r[3] <= (int64_t(1) << 24) && r[9] >= 0 && r[9] <= raw.num_pairs - next_pair, "malformed path");
    Path p{};
    p.l1 = int32_t(r[0]);
    p.l2 = int32_t(r[1]);
    p.l3 = int32_t(r[2]);
    p.channels = int32_t(r[3]);
    p.offset1 = r[4];
    p.stride1 = r[5];
    p.offset3 = r[6];
    p.stride3 = r[7];
    p.weight = r[8];
    p.pair = next_pair;
    p.pairs = int32_t(r[9]);
    p.add = r[10] != 0;
    const int64_t orders1 = 2 * p.l1 + 1, orders3 = 2 * p.l3 + 1;
    const auto within = [&](int64_t offset, int64_t stride, int64_t orders, int64_t dim) {
      return 0 <= offset && offset <= dim && 0 <= stride && stride <= dim &&
             offset + (orders - 1) * stride + p.channels <= dim;
    };
    require(within(p.offset1, p.stride1, orders1, raw.dim1), "a path reads beyond the node features");
    require(within(p.offset3, p.stride3, orders3, raw.dim3), "a path writes beyond the output");
    require(within(p.weight, 0, 1, raw.weights), "a path reads beyond the weights");
    require(p.pairs <= orders1 * orders3, "malformed path");
    for (int i = p.pair; i < p.pair + p.pairs; ++i)
      require(m1[i] < orders1 && m3[i] < orders3 && (i == p.pair || m1[i - 1] <= m1[i]), "malformed pair");
    next_pair += p.pairs;
    p.triple = triple_of(p, m1, m3);
    require(!p.add || (!paths.empty() && same_output(paths.back(), p)), "a path adds to a block that is not before it");
    if (!p.add) {
      ++chain;
      out.mark(p.offset3, p.stride3, int(orders3), p.channels);
    }
    p.chain = chain;
    weights.mark(p.weight, 0, 1, p.channels);
    p.opens = paths.empty() || !same_input(paths.back(), p);
    if (p.opens) {
      x.mark(p.offset1, p.stride1, int(orders1), p.channels);
      if (!paths.empty()) paths.back().closes = 1;
    }
    if (groups.empty() || int32_t(slot_entries.size() / 2) - groups.back().first_slot + whole_quads(p.pairs) >
                              kGroupSlots) {
      close_group();
      groups.push_back({int32_t(paths.size()), 0, 0, int32_t(slot_entries.size() / 2), 0, 0});
    }
    p.slot = int32_t(slot_entries.size() / 2) - groups.back().first_slot;
    for (int i = 0; i < whole_quads(p.pairs); ++i) {
      slot_entries.push_back(i < p.pairs ? first_entry[p.pair + i] : 0);
      slot_entries.push_back(i < p.pairs ? first_entry[p.pair + i + 1] : 0);
    }
    t.most_orders1 = std::max(t.most_orders1, int32_t(orders1));
    t.most_channels = std::max(t.most_channels, p.channels);
    paths.push_back(p);
  }
  require(next_pair == raw.num_pairs, "pairs that belong to no path");
  close_group();
  if (!paths.empty()) paths.back().closes = 1;
  require(!out.overlaps(), "two paths write one output block");
  require(!weights.overlaps(), "two paths read one weight");

  PackedTables packed;
  Packer packer;
  t.paths = packer.add(paths);
  t.groups = packer.add(groups);
  t.pair_m1 = packer.add(m1);
  t.pair_m3 = packer.add(m3);
  t.slot_entries = packer.add(slot_entries);
  t.entry_column = packer.add(column);
  t.column_begin = packer.add(column_begin);
  t.column_slot = packer.add(column_slot);
  t.column_entry = packer.add(column_entry);
  t.num_groups = int32_t(groups.size());
  t.chains = chain + 1;
  t.dim1 = raw.dim1;
  t.dim2 = raw.dim2;
  t.dim3 = raw.dim3;
  t.weights = raw.weights;
  packed.covers_x = x.complete() && !x.overlaps();
  packed.covers_out = out.complete();
  packed.covers_weights = weights.complete();
  t.add_dx = !packed.covers_x;
  packed.offsets = t;
  packed.bytes = std::move(packer.bytes);
  return packed;
}

}  // namespace gpu
}  // namespace equitools
