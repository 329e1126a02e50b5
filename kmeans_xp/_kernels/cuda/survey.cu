// The statistics pass (`_stats.Surveyor`) by column: ranges, exact sums, and squares about a middle.
//
// `wide` threads, a power of two, stand side by side in a row of numbers; the others take further
// rows.  Extremes are compared as whole numbers that are ordered alike, and sums are whole numbers:
// the order of blocks is nothing to them.
#include "cells.cuh"

typedef ROW_TYPE Row;

enum { LOW, HIGH, WEIGHTED_LOW, WEIGHTED_HIGH, LARGEST, RANGES };

// A whole number that is ordered as the values are.  NaN lies beyond one of the infinities, by its
// sign: among lows or highs it is seen.
static __device__ __forceinline__ i64 key_of(double value) {
  const i64 bits = __double_as_longlong(value);
  return bits ^ (bits >> 63 & 0x7fffffffffffffffLL);
}

// Rows of a block, and where a thread stands in them.
struct Span {
  i64 start, end;
  int wide, column, slot, slots;

  __device__ __forceinline__ Span(i64 n, i64 rows_a_block, int wide)
      : start(blockIdx.x * rows_a_block),
        end(min(n, start + rows_a_block)),
        wide(wide),
        column(threadIdx.x % wide),
        slot(threadIdx.x / wide),
        slots(THREADS / wide) {}
  // One number of a column from all of its threads, for the first of them: the block meets.
  template <class Join>
  __device__ __forceinline__ i64 joined(i64 value, i64* room, Join join) const {
    room[threadIdx.x] = value;
    for (int step = THREADS / 2; step >= wide; step /= 2) {
      __syncthreads();
      if (threadIdx.x < step) room[threadIdx.x] = join(room[threadIdx.x], room[threadIdx.x + step]);
    }
    value = room[threadIdx.x];
    __syncthreads();
    return value;
  }
};

// Keys of the extremes (RANGES, d), lows negated; the largest weight, and rows that carry some.
extern "C" __global__ void __launch_bounds__(THREADS) find_ranges(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    const double* __restrict__ weight, i64 rows_a_block, int wide, i64* ranges, i64* heaviest,
    u64* carrying) {
  extern __shared__ double memory[];
  i64* room = (i64*)memory;
  const Span span(n, rows_a_block, wide);
  const auto larger = [](i64 a, i64 b) { return a > b ? a : b; };
  for (int first = 0; first < d; first += wide) {
    const int f = first + span.column;
    i64 best[RANGES], heavy = 0;
    u64 count = 0;
#pragma unroll
    for (int q = 0; q < RANGES; q++) best[q] = key_of(-infinity());
    for (i64 row = span.start + span.slot; f < d && row < span.end; row += span.slots) {
      const double value = widen(x[row * row_stride + f * column_stride]);
      const i64 low = key_of(-value), high = key_of(value);
      best[LOW] = larger(best[LOW], low);
      best[HIGH] = larger(best[HIGH], high);
      if (!weight) continue;
      if (weight[row] > 0.0) {
        best[WEIGHTED_LOW] = larger(best[WEIGHTED_LOW], low);
        best[WEIGHTED_HIGH] = larger(best[WEIGHTED_HIGH], high);
        count += f == 0;
      }
      best[LARGEST] = larger(best[LARGEST], key_of(fabs(weighed(value, weight, row))));
      heavy = larger(heavy, key_of(weight[row]));
    }
#pragma unroll
    for (int q = 0; q < RANGES; q++) {
      const i64 found = span.joined(best[q], room, larger);
      if (threadIdx.x < wide && f < d) atomicMax(ranges + (i64)q * d + f, found);
    }
    if (first > 0) continue;
    heavy = span.joined(heavy, room, larger);
    if (threadIdx.x == 0) atomicMax(heaviest, heavy);
    if (count) atomicAdd(carrying, count);
  }
}

// Limbs on which a number on its grid is whole (`_exact.limbs_needed`).
static __device__ __forceinline__ i64 limbs_for(double value) {
  i64 limbs = 1;
  double rest = __dsub_rn(value, trunc(value));
  for (; rest != 0.0; limbs++) {
    rest = __dmul_rn(rest, ONE_LIMB);
    rest = __dsub_rn(rest, trunc(rest));
  }
  return limbs;
}

// Sums of the weighted values on their grid (d,), then those of the weights on two limbs of theirs;
// the limbs that values and weights need.
extern "C" __global__ void __launch_bounds__(THREADS) sum_columns(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    const double* __restrict__ weight, i64 rows_a_block, int wide, const double* __restrict__ up,
    double weight_up, i64* sums, i64* limbs) {
  extern __shared__ double memory[];
  i64* room = (i64*)memory;
  const Span span(n, rows_a_block, wide);
  const auto larger = [](i64 a, i64 b) { return a > b ? a : b; };
  const auto both = [](i64 a, i64 b) { return a + b; };
  const int columns = d + (weight ? 1 : 0);
  for (int first = 0; first < columns; first += wide) {
    const int f = first + span.column;
    i64 upper = 0, lower = 0, most = 1;
    for (i64 row = span.start + span.slot; f < columns && row < span.end; row += span.slots) {
      if (f < d) {
        const double value = widen(x[row * row_stride + f * column_stride]);
        const double scaled = __dmul_rn(weighed(value, weight, row), up[f]);
        upper += (i64)rint(scaled);
        most = larger(most, limbs_for(scaled));
      } else {
        const double scaled = __dmul_rn(weight[row], weight_up);
        cut(scaled, 2, [&](int limb, i64 whole) { (limb ? lower : upper) += whole; });
        most = larger(most, limbs_for(scaled));
      }
    }
    upper = span.joined(upper, room, both);
    lower = span.joined(lower, room, both);
    most = span.joined(most, room, larger);
    if (threadIdx.x >= wide || f >= columns) continue;
    add(sums + f, upper);
    if (f == d) add(sums + d + 1, lower);
    atomicMax(limbs + (f == d), most);
  }
}

// Weighted squared distances from the middle, by column, on their grid.
extern "C" __global__ void __launch_bounds__(THREADS) sum_squares(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    const double* __restrict__ weight, i64 rows_a_block, int wide, const double* __restrict__ up,
    const double* __restrict__ middle, double factor, i64* sums) {
  extern __shared__ double memory[];
  i64* room = (i64*)memory;
  const Span span(n, rows_a_block, wide);
  for (int first = 0; first < d; first += wide) {
    const int f = first + span.column;
    i64 sum = 0;
    for (i64 row = span.start + span.slot; f < d && row < span.end; row += span.slots) {
      const double value = widen(x[row * row_stride + f * column_stride]);
      const double apart = __dmul_rn(__dsub_rn(value, middle[f]), factor);
      sum += (i64)rint(__dmul_rn(weighed(__dmul_rn(apart, apart), weight, row), up[f]));
    }
    sum = span.joined(sum, room, [](i64 a, i64 b) { return a + b; });
    if (threadIdx.x < wide && f < d) add(sums + f, sum);
  }
}
