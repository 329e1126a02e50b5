// One pass over the rows for few clusters: labels, exact wherever scores do not prove them, and the
// sums of the rows that changed.  Rows are read once from memory, then from the caches.
//
// A block takes tiles of rows in turn and keeps the sums (k, columns) in shared memory.
#include "cells.cuh"
#include "exact.cuh"
#include "tile.cuh"

// blocks that share a multiprocessor: of float64 two would not fit its registers
constexpr int MIN_SWEEPS = sizeof(Wide) > 4 ? 1 : 2;

// Write the labels of a tile's rows that are listed in `open`, judged by canonical distances.
static __device__ void settle_rows(const Moved& rows, const i64* places, const int* open, int count,
                                   const Row* __restrict__ centers, int d, int k, Scale scale,
                                   int lanes, double* distance, int* number, int* labels) {
  const int lane = threadIdx.x % lanes, group = threadIdx.x / lanes, groups = THREADS / lanes;
  for (int at = 0; at < count; at++) {
    const Row* row = rows.x + places[open[at]] * rows.row_stride;
    double best = infinity();
    // where all distances overflow, the lowest label
    int winner = group < k ? group : 0;
    for (int center = group; center < k; center += groups) {
      const double found = canonical(row, rows.column_stride, centers + (i64)center * d, d, lanes,
                                     lane, scale);
      if (found < best) {
        best = found;
        winner = center;
      }
    }
    __syncthreads();
    if (lane == 0) {
      distance[group] = best;
      number[group] = winner;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int other = 1; other < min(groups, k); other++)
        if (distance[other] < best || (distance[other] == best && number[other] < winner)) {
          best = distance[other];
          winner = number[other];
        }
      labels[open[at]] = winner;
    }
  }
  __syncthreads();
}

// `tally` counts the weighted rows that changed, and those that the scores left open; `is_exact`
// leaves all of them open.  Without labels `before` every row is new.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_SWEEPS) sweep(
    const i64* stop, const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    int k, const Work* __restrict__ weights, const Work* __restrict__ bias,
    const Wide* __restrict__ shift, Wide scale, double own, double slope, double common,
    double largest, int is_exact, const Row* __restrict__ centers, double scale_before,
    double scale_after, int lanes, const int* before, int* after,
    const double* __restrict__ weight, const double* __restrict__ up, int limbs, double weight_up,
    int weight_limbs, i64 tiles_a_block, i64* __restrict__ change, u64* tally) {
  extern __shared__ double memory[];
  const int columns = limbs * d + weight_limbs + 1, thread = threadIdx.x;
  i64* sums = (i64*)memory;  // [k][columns]
  i64* places = sums + k * columns;
  double* distance = (double*)(places + ROWS);  // [THREADS]
  int* number = (int*)(distance + THREADS);     // [THREADS]
  int* labels = number + THREADS;               // [ROWS]
  int* old = labels + ROWS;                     // [ROWS]
  int* open = old + ROWS;                       // [ROWS]
  int* open_count = open + ROWS;                // and one to spare
  Work* tile = (Work*)(open_count + 2);
  if (stop && *stop) return;
  for (int at = thread; at < k * columns; at += THREADS) sums[at] = 0;

  const Moved rows = {x, row_stride, column_stride, shift, scale};
  const Cells<Row> cells = {x, row_stride, column_stride, weight,   up,
                            d, limbs,      weight_limbs,  weight_up};
  const Room room = {own, slope, common, largest};
  const i64 end = min(n, ((i64)blockIdx.x + 1) * tiles_a_block * ROWS);
  u64 changed = 0, left = 0;
  for (i64 first = (i64)blockIdx.x * tiles_a_block * ROWS; first < end; first += ROWS) {
    const int height = (int)min((i64)ROWS, end - first);
    __syncthreads();
    if (thread < ROWS) {
      places[thread] = thread < height ? first + thread : -1;
      old[thread] = before && thread < height ? before[first + thread] : -1;
    }
    if (thread == 0) *open_count = 0;
    __syncthreads();
    if (!is_exact) {
      Found<Work> mine;
      Work half;
      score_tile(rows, places, tile, d, k, weights, bias, mine, half);
      if (thread < height) {
        labels[thread] = mine.label;
        if (!room.settles(mine.best, mine.second, half)) open[atomicAdd(open_count, 1)] = thread;
      }
    } else if (thread < height) {
      open[thread] = thread;
    }
    __syncthreads();
    const int count = is_exact ? height : *open_count;
    if (count)
      settle_rows(rows, places, open, count, centers, d, k, {scale_before, scale_after}, lanes,
                  distance, number, labels);
    if (thread == 0) left += count;
    if (thread < height) {
      after[first + thread] = labels[thread];
      changed += old[thread] != labels[thread] && !(weight && !(weight[first + thread] > 0.0));
    }
    const int wide = d + 1;
    for (int at = thread; at < height * wide; at += THREADS) {
      const int r = at / wide, f = at % wide, label = labels[r];
      if (old[r] == label) continue;
      i64 *into = sums + label * columns, *from = sums + old[r] * columns;
      cells.each(first + r, f, [&](int column, i64 whole) {
        add(into + column, whole);
        if (old[r] >= 0) add(from + column, -whole);
      });
    }
  }
  if (changed) atomicAdd(tally, changed);
  if (left) atomicAdd(tally + 1, left);
  __syncthreads();
  for (int at = thread; at < k * columns; at += THREADS)
    if (sums[at]) add(change + at, sums[at]);
}
