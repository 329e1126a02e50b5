// How rows become whole numbers in columns: those of `_ledger`, cut as `_exact.quantise` cuts them.
//
// The columns are the limbs of the features, those of the weight, the number of weighted rows.
#include "common.cuh"

static __device__ __forceinline__ void add(i64* sum, i64 value) {
  // two's complement: the same bits as a signed sum
  atomicAdd((u64*)sum, (u64)value);
}

// One row's share in one column group: features f < d, then the weight as f == d.
template <class Row>
struct Cells {
  const Row* x;
  i64 row_stride, column_stride;
  const double *weight, *up;
  int d, limbs, weight_limbs, columns;
  double weight_up;

  __device__ __forceinline__ void cut(double rest, int limbs, int first, int step, i64* into,
                                      i64* from) const {
    for (int limb = 0; limb < limbs; limb++) {
      double whole = limb < limbs - 1 ? trunc(rest) : rint(rest);
      rest = __dmul_rn(__dsub_rn(rest, whole), ONE_LIMB);
      put((i64)whole, first + limb * step, into, from);
    }
  }
  __device__ __forceinline__ void put(i64 value, int column, i64* into, i64* from) const {
    if (value == 0) return;
    add(into + column, value);
    if (from) add(from + column, -value);
  }
  // `into` and `from` are rows of the sums; null to take from none
  __device__ __forceinline__ void add_row(i64 row, int f, i64* into, i64* from) const {
    const double factor = weight ? weight[row] : 1.0;
    if (f < d) {
      const double value = widen(x[row * row_stride + f * column_stride]);
      cut(__dmul_rn(__dmul_rn(value, factor), up[f]), limbs, f, d, into, from);
    } else {
      if (weight) cut(__dmul_rn(factor, weight_up), weight_limbs, limbs * d, 1, into, from);
      put(factor > 0.0, columns - 1, into, from);
    }
  }
};
