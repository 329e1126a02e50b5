// How rows become whole numbers in columns: those of `_ledger`, cut as `_exact.quantise` cuts them.
//
// The columns are the limbs of the features, those of the weight, the number of weighted rows.
#include "common.cuh"

static __device__ __forceinline__ void add(i64* sum, i64 value) {
  // two's complement: the same bits as a signed sum
  if (value) atomicAdd((u64*)sum, (u64)value);
}

// The limbs of a number, highest first: put(limb, whole).
template <class Put>
static __device__ __forceinline__ void cut(double rest, int limbs, Put put) {
  for (int limb = 0; limb < limbs; limb++) {
    const double whole = limb < limbs - 1 ? trunc(rest) : rint(rest);
    rest = __dmul_rn(__dsub_rn(rest, whole), ONE_LIMB);
    put(limb, (i64)whole);
  }
}

template <class Row>
struct Cells {
  const Row* x;
  i64 row_stride, column_stride;
  const double *weight, *up;
  int d, limbs, weight_limbs;
  double weight_up;

  __device__ __forceinline__ int columns() const { return limbs * d + weight_limbs + 1; }
  // A row of weight 0 is nothing but zeros.
  __device__ __forceinline__ bool has_weight(i64 row) const {
    return !(weight && !(weight[row] > 0.0));
  }
  __device__ __forceinline__ Row at(i64 row, int f) const {
    return x[row * row_stride + f * column_stride];
  }
  // put(column, whole) for a row and its feature f; f == d is the weight.
  template <class Put>
  __device__ __forceinline__ void each(i64 row, int f, Put put) const {
    const double factor = weight ? weight[row] : 1.0;
    if (f < d) {
      const double value = __dmul_rn(__dmul_rn(widen(at(row, f)), factor), up[f]);
      cut(value, limbs, [&](int limb, i64 whole) { put(limb * d + f, whole); });
    } else {
      const double value = __dmul_rn(factor, weight_up);
      cut(value, weight_limbs, [&](int limb, i64 whole) { put(limbs * d + limb, whole); });
      put(limbs * d + weight_limbs, factor > 0.0);
    }
  }
};
