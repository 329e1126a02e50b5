// One pass over the rows for few clusters: labels, exact wherever scores do not prove them, and the
// sums of the rows that changed.  Rows are read once from memory, then from the caches.
//
// A block takes tiles of rows in turn and keeps the sums (k, columns) in shared memory, in copies.
#include "exact.cuh"
#include "sums.cuh"
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
    int weight_limbs, i64 tiles_a_block, int copies, i64* __restrict__ change, u64* tally) {
  extern __shared__ double memory[];
  const int thread = threadIdx.x, wide = d + 1;
  i64* places = (i64*)memory;                // [ROWS]
  double* distance = (double*)(places + ROWS);  // [THREADS]
  int* number = (int*)(distance + THREADS);  // [THREADS]
  int* labels = number + THREADS;            // [ROWS]
  int* old = labels + ROWS;                  // [ROWS]
  int* list = old + ROWS;                    // [ROWS], of rows that are open, then of those that moved
  int* counts = list + ROWS;                 // of both
  Work* tile = (Work*)(counts + 2);
  if (stop && *stop) return;
  const Moved rows = {x, row_stride, column_stride, shift, scale};
  const Cells<Row> cells = {x, row_stride, column_stride, weight,   up,
                            d, limbs,      weight_limbs,  weight_up};
  const int columns = cells.columns();
  const Sums sums = {change, k * columns, copies, (unsigned*)(tile + TILE)};
  sums.clear();
  const Room room = {own, slope, common, largest};
  const i64 end = min(n, ((i64)blockIdx.x + 1) * tiles_a_block * ROWS);
  u64 changed = 0, left = 0;
  for (i64 first = (i64)blockIdx.x * tiles_a_block * ROWS; first < end; first += ROWS) {
    const int height = (int)min((i64)ROWS, end - first);
    const i64 mine = first + thread;
    __syncthreads();
    if (thread < ROWS) {
      places[thread] = thread < height ? mine : -1;
      old[thread] = before && thread < height ? before[mine] : -1;
    }
    if (thread < 2) counts[thread] = 0;
    __syncthreads();
    if (!is_exact) {
      Found<Work> found;
      Work half;
      score_tile(rows, places, tile, d, k, weights, bias, found, half);
      if (thread < height) {
        labels[thread] = found.label;
        if (!room.settles(found.best, found.second, half)) list[atomicAdd(counts, 1)] = thread;
      }
    } else if (thread < height) {
      list[thread] = thread;
    }
    __syncthreads();
    const int open = is_exact ? height : counts[0];
    if (open)
      settle_rows(rows, places, list, open, centers, d, k, {scale_before, scale_after}, lanes,
                  distance, number, labels);
    if (thread == 0) left += open;
    if (thread < height) {
      after[mine] = labels[thread];
      if (old[thread] != labels[thread] && cells.has_weight(mine))
        list[atomicAdd(counts + 1, 1)] = thread;
    }
    __syncthreads();
    for (int at = thread; at < counts[1] * wide; at += THREADS) {
      const int turn = at / wide, f = at % wide, row = list[turn];
      const i64 into = (i64)labels[row] * columns, from = (i64)old[row] * columns;
      cells.each(first + row, f, [&](int column, i64 whole) {
        sums.put(into + column, turn, whole);
        if (from >= 0) sums.put(from + column, turn, -whole);
      });
    }
    if (thread == 0) changed += counts[1];
  }
  if (changed) atomicAdd(tally, changed);
  if (left) atomicAdd(tally + 1, left);
  sums.flush();
}
