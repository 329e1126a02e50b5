// One problem and one run of it in one block: what a fit does again and again.
#include "block.cuh"
#include "cells.cuh"
#include "exact.cuh"
#include "few.cuh"
#include "lottery.cuh"
#include "means.cuh"
#include "powers.cuh"
#include "rounded.cuh"

typedef ROW_TYPE Row;

// What a block knows of its problem and its run; distances of a row are found by `lanes` threads.
struct Fit {
  const Row* x;
  const double *weight, *up, *down;
  int n, d, k, lanes, limbs, weight_limbs;
  double weight_up;
  int* labels;
  double* closest;
  // in shared memory
  double *centers, *fresh, *moves, *shared;
  i64* sums;

  __device__ __forceinline__ int lane() const { return threadIdx.x % lanes; }
  __device__ __forceinline__ int group() const { return threadIdx.x / lanes; }
  __device__ __forceinline__ int groups() const { return THREADS / lanes; }
  __device__ __forceinline__ int columns() const { return limbs * d + weight_limbs + 1; }
  __device__ __forceinline__ Cells<Row> cells() const {
    return {x, d, 1, weight, up, d, limbs, weight_limbs, weight_up};
  }
  __device__ __forceinline__ double weigh(int row, double value) const {
    return weighed(value, weight, row);
  }
  // the result is that of lane 0
  __device__ __forceinline__ double distance(int row, const double* center) const {
    if (d <= MOST_FEW) return few_distance(x + (i64)row * d, center, d);
    return canonical<false>(x + (i64)row * d, 1, center, d, lanes, lane(), Scale{1.0, 1.0});
  }
  // the label of a row in all its lanes
  __device__ __forceinline__ int nearest(int row) const {
    if (d <= MOST_FEW) return few_nearest(x + (i64)row * d, centers, d, k);
    double best = infinity();
    int label = 0;
    for (int center = 0; center < k; center++) {
      const double found = distance(row, centers + center * d);
      if (found < best) {
        best = found;
        label = center;
      }
    }
    return lanes > 1 ? __shfl_sync(WHOLE_WARP, label, 0) : label;
  }
  __device__ void load(int row, double* into) const {
    for (int f = threadIdx.x; f < d; f += THREADS) into[f] = widen(x[(i64)row * d + f]);
  }
  __device__ void clear_sums() const {
    for (int at = threadIdx.x; at < k * columns(); at += THREADS) sums[at] = 0;
  }

  // Means of the clusters, rounded to the rows' type; false if one has no rows.
  __device__ bool recenter(double* into) const {
    const bool is_short = n <= 2 * EXACT_ROWS && limbs <= 2;
    int empty = 0;
    for (int at = threadIdx.x; at < k * d; at += THREADS) {
      const Totals totals = {sums + at / d * columns(), nullptr, d, limbs, weight_limbs};
      if (totals.count() == 0) {
        empty = 1;
        continue;
      }
      const double mean = totals.mean(at % d, totals.weight(), is_short);
      into[at] = rounded_to(Row(), __dmul_rn(mean, down[at % d]));
    }
    return over_block(empty, shared, Largest()) == 0;
  }

  // Label every row; how many with weight changed.  `adds`: the sums follow.
  __device__ i64 assign(bool adds) const {
    const Cells<Row> cells = this->cells();
    i64 changed = 0;
    for (int row = group(); row < n; row += groups()) {
      const int old = labels[row];
      const int label = nearest(row);
      if (label == old) continue;
      if (lane() == 0) {
        labels[row] = label;
        changed += !weight || weight[row] > 0.0;
      }
      if (!adds) continue;
      i64 *into = sums + label * columns(), *from = old < 0 ? nullptr : sums + old * columns();
      for (int f = lane(); f <= d; f += lanes)
        cells.each(row, f, [&](int column, i64 whole) {
          add(into + column, whole);
          if (from) add(from + column, -whole);
        });
    }
    return over_block(changed, shared, Sum());
  }

  // The halving sum of the squared moves from `centers` to `fresh`.
  __device__ double moved() const {
    for (int center = group(); center < k; center += groups()) {
      const double found = canonical<false>(fresh + center * d, 1, centers + center * d, d, lanes, lane(),
                                     Scale{1.0, 1.0});
      if (lane() == 0) moves[center] = found;
    }
    __syncthreads();
    return halving_total(moves, k);
  }

  // Half the widest range of a feature over the centers.
  __device__ double half_range() const {
    double half = 0.0;
    for (int f = threadIdx.x; f < d; f += THREADS) {
      double low = centers[f], high = centers[f];
      for (int center = 1; center < k; center++) {
        low = Smallest()(low, centers[center * d + f]);
        high = Largest()(high, centers[center * d + f]);
      }
      half = Largest()(half, __dsub_rn(__dmul_rn(high, 0.5), __dmul_rn(low, 0.5)));
    }
    return over_block(half, shared, Largest());
  }

  // The weighted sum of squared distances, exact and rounded once; `taken` from the weights before.
  __device__ double inertia(int taken) const {
    double most = 0.0;
    for (int row = group(); row < n; row += groups()) {
      const double found = distance(row, centers + labels[row] * d);
      if (lane()) continue;
      closest[row] = weigh(row, found);
      most = Largest()(most, closest[row]);
    }
    const int exponent = exponent_above(over_block(most, shared, Largest()));
    const double factor = power(GRID_BITS - exponent);
    i64 high = 0, low = 0;
    for (int row = threadIdx.x; row < n; row += THREADS) {
      const double scaled = __dmul_rn(closest[row], factor), whole = trunc(scaled);
      high += (i64)whole;
      low += (i64)rint(__dmul_rn(__dsub_rn(scaled, whole), ONE_LIMB));
    }
    high = over_block(high, shared, Sum());
    low = over_block(low, shared, Sum());
    // few rows: both sums are below 2**53
    double value = __dadd_rn(__dmul_rn((double)high, ONE_LIMB), (double)low);
    value = __dmul_rn(__dmul_rn(value, 1.0 / ONE_LIMB), power(exponent - GRID_BITS));
    return __dmul_rn(__dmul_rn(value, power(taken >> 1)), power(taken - (taken >> 1)));
  }

  // Clusters that have a row, of any weight.
  __device__ int distinct() const {
    int* used = (int*)sums;
    for (int center = threadIdx.x; center < k; center += THREADS) used[center] = 0;
    __syncthreads();
    for (int row = threadIdx.x; row < n; row += THREADS) used[labels[row]] = 1;
    __syncthreads();
    i64 count = 0;
    for (int center = threadIdx.x; center < k; center += THREADS) count += used[center];
    return (int)over_block(count, shared, Sum());
  }
};
