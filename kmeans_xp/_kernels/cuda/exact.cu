// Canonical distances of rows, and labels judged by them.
#include "exact.cuh"
#include "lottery.cuh"
#include "powers.cuh"
#include "rounded.cuh"

typedef ROW_TYPE Row;

// Values as float64.
extern "C" __global__ void __launch_bounds__(THREADS) widened(
    const Row* __restrict__ values, i64 n, double* __restrict__ out) {
  for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < n; at += (i64)gridDim.x * THREADS)
    out[at] = widen(values[at]);
}

// Float64 values in the type of the rows.
extern "C" __global__ void __launch_bounds__(THREADS) rounded(
    const double* __restrict__ values, i64 n, Row* __restrict__ out) {
  for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < n; at += (i64)gridDim.x * THREADS)
    store(out + at, rounded_to(Row(), values[at]));
}

// Raise `top` to the largest of values that are not negative.
extern "C" __global__ void __launch_bounds__(THREADS) raise_top(
    const double* __restrict__ values, i64 n, double* __restrict__ top) {
  double most = 0.0;
  for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < n; at += (i64)gridDim.x * THREADS)
    most = fmax(most, values[at]);
  most = warp_max(most);
  if (threadIdx.x % WARP == 0) raise(top, most);
}

// Sums of values as two limbs, on the grid of the larger of `least` and `top` (`_exact.grid_sums`).
extern "C" __global__ void __launch_bounds__(THREADS) add_limbs(
    const double* __restrict__ values, i64 n, double least, const double* __restrict__ top,
    u64* __restrict__ sums) {
  const double up = power(GRID_BITS - exponent_above(fmax(least, *top)));
  u64 high = 0, low = 0;
  for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < n; at += (i64)gridDim.x * THREADS) {
    const double scaled = __dmul_rn(values[at], up), whole = trunc(scaled);
    high += (u64)whole;
    low += (u64)rint(__dmul_rn(__dsub_rn(scaled, whole), ONE_LIMB));
  }
  high = warp_sum(high);
  low = warp_sum(low);
  if (threadIdx.x % WARP) return;
  atomicAdd(sums, high);
  atomicAdd(sums + 1, low);
}

// Of the rows of a list (or all), the distance to the center of the label (or of the number);
// with no labels and `crosses` to each center, as (k, n).
extern "C" __global__ void __launch_bounds__(THREADS, 4) distances(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, const i64* __restrict__ list,
    i64 n, int d, int k, const double* __restrict__ centers, const int* __restrict__ labels,
    int crosses, double before, double after, int lanes, double* __restrict__ out) {
  const int lane = threadIdx.x % lanes, groups = THREADS / lanes;
  const i64 number = (i64)blockIdx.x * groups + threadIdx.x / lanes;
  if (number >= n) return;  // whole warps, where lanes talk
  const Row* row = x + (list ? list[number] : number) * row_stride;
  const Scale scale = {before, after};
  if (!crosses) {
    const i64 own = labels ? labels[number] : number;
    const double found =
        canonical(row, column_stride, centers + own * d, d, lanes, lane, scale);
    if (lane == 0) out[number] = found;
    return;
  }
  for (int center = 0; center < k; center++) {
    const double found =
        canonical(row, column_stride, centers + (i64)center * d, d, lanes, lane, scale);
    if (lane == 0) out[center * n + number] = found;
  }
}

// The label of each listed row (or all): the nearest by canonical distance, the lowest of equals.
extern "C" __global__ void __launch_bounds__(THREADS, 4) settle(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, const i64* __restrict__ list,
    const i64* __restrict__ counted, i64 n, int d, int k, const double* __restrict__ centers,
    double before, double after, int lanes, int* __restrict__ labels) {
  extern __shared__ double memory[];
  double* distance = memory;
  int* label = (int*)(memory + THREADS);

  const i64 total = rows_meant(n, counted);
  const int lane = threadIdx.x % lanes, group = threadIdx.x / lanes, groups = THREADS / lanes;
  const Scale scale = {before, after};
  for (i64 number = blockIdx.x; number < total; number += gridDim.x) {
    const i64 place = list ? list[number] : number;
    double best = infinity();
    // where all distances overflow, the lowest label
    int winner = group < k ? group : 0;
    for (int center = group; center < k; center += groups) {
      const double found = canonical(x + place * row_stride, column_stride,
                                     centers + (i64)center * d, d, lanes, lane, scale);
      if (found < best) {
        best = found;
        winner = center;
      }
    }
    __syncthreads();
    if (lane == 0) {
      distance[group] = best;
      label[group] = winner;
    }
    __syncthreads();
    for (int step = groups / 2; step > 0; step /= 2) {
      if (threadIdx.x < step) {
        const double other = distance[threadIdx.x + step], mine = distance[threadIdx.x];
        const int theirs = label[threadIdx.x + step];
        if (other < mine || (other == mine && theirs < label[threadIdx.x])) {
          distance[threadIdx.x] = other;
          label[threadIdx.x] = theirs;
        }
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) labels[place] = label[0];
  }
}
