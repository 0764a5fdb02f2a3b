// Shapes and tables of products of functions on the sphere. No torch.
#pragma once

#include <cstdint>

namespace equitools {

constexpr int kSphereBlock = 4;  // rings, angles, orders or degrees that are done together; rows of tables are padded to it
constexpr int kMaxSphereDegree = 64;

static constexpr int64_t sphere_padded(int64_t n) { return (n + kSphereBlock - 1) / kSphereBlock * kSphereBlock; }

struct SphereShape {
  int lmax[3];  // of both factors and of the product
  int64_t rings, angles;
  bool curl;

  constexpr int64_t components(int i) const { return int64_t(lmax[i] + 1) * (lmax[i] + 1); }
  constexpr int64_t orders(int i) const { return 2 * lmax[i] + 1; }
  constexpr int64_t ring_values() const { return 2 * (angles / 2 + 1); }
};

// Powers of a function, each projected; `others` are the functions that stand beside it in derivatives.
struct SpherePowerShape {
  int lmax, lmax_out;
  int64_t powers, others;
  int64_t rings, angles;

  constexpr int64_t components() const { return int64_t(lmax + 1) * (lmax + 1); }
  constexpr int64_t components_out() const { return int64_t(lmax_out + 1) * (lmax_out + 1); }
  constexpr int64_t orders() const { return 2 * lmax + 1; }
  constexpr int64_t orders_out() const { return 2 * lmax_out + 1; }
  constexpr int64_t ring_values() const { return 2 * (angles / 2 + 1); }
};

// Where the parts of the flat table of a triple of degrees begin; equitools/ops/sphere_tables.py writes it in this order. Each
// of the three may be a factor or the product, so that derivatives, which are products too, read the same table.
template <typename T>
struct SphereTables {
  const T* value[3];   // [m][l >= m][rings / 2, padded]; for the curl derivatives by theta, and
  const T* turned[3];  // m / sin theta times the functions
  const T* back[3];    // [m][parity of l - m][rings / 2][degrees, padded], times the weights of the rings
  const T *cosine, *sine;            // [m][angles / 2 + 1, padded]
  const T *back_cosine, *back_sine;  // [angles / 2 + 1][m, padded]
  int64_t back_row;                  // of one angle of these

  static int64_t rings_size(int lmax, int64_t half) { return int64_t(lmax + 1) * (lmax + 2) / 2 * sphere_padded(half); }

  static int64_t back_size(int lmax, int64_t half) {
    int64_t n = 0;
    for (int m = 0; m <= lmax; ++m)
      for (int parity = 0; parity < 2; ++parity)
        if (m + parity <= lmax) n += half * sphere_padded((lmax - m - parity) / 2 + 1);
    return n;
  }

  // Sets the pointers for the triple; returns how many numbers the table must have.
  int64_t set(const int (&lmax)[3], int64_t rings, int64_t angles, bool curl, const T* at) {
    const int64_t half = (rings + 1) / 2, count = angles / 2 + 1;
    const T* begin = at;
    int highest = 0;
    for (int i = 0; i < 3; ++i) {
      const int64_t n = rings_size(lmax[i], half);
      value[i] = at, at += n;
      turned[i] = at, at += curl ? n : 0;
      back[i] = at, at += back_size(lmax[i], half);
      if (lmax[i] > highest) highest = lmax[i];
    }
    back_row = sphere_padded(highest + 1);
    cosine = at, at += (highest + 1) * sphere_padded(count);
    sine = at, at += (highest + 1) * sphere_padded(count);
    back_cosine = at, at += count * back_row;
    back_sine = at, at += count * back_row;
    return at - begin;
  }

  // The same with the degrees of a product in the order first factor, second factor, product.
  SphereTables ordered(int first, int second) const {
    SphereTables t = *this;
    const int order[3] = {first, second, 3 - first - second};
    for (int i = 0; i < 3; ++i) {
      t.value[i] = value[order[i]];
      t.turned[i] = turned[order[i]];
      t.back[i] = back[order[i]];
    }
    return t;
  }
};

}  // namespace equitools
