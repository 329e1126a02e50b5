// The nearest center of each row.
#include "tile.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 2) assign(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ list, const i64* __restrict__ counted, i64 n, int d, int k,
    const Work* __restrict__ weights, const Work* __restrict__ bias,
    const u8* __restrict__ twinned, const Wide* __restrict__ shift, Wide scale,
    double own, double slope, double common, double largest,
    int* labels, Work* scores, u8* is_open, i64* open_rows, u64* open_count,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower) {
  extern __shared__ double memory[];
  i64* places = (i64*)memory;
  const int thread = threadIdx.x;
  const i64 total = rows_meant(n, counted), first = (i64)blockIdx.x * ROWS;
  if (first >= total) return;
  for (int r = thread; r < ROWS; r += THREADS)
    places[r] = first + r >= total ? -1 : list ? list[first + r] : first + r;
  Found<Work> mine;
  Work half;
  score_tile({x, row_stride, column_stride, shift, scale}, places, (Work*)(places + ROWS), d, k,
             weights, bias, mine, half);
  if (thread >= ROWS || places[thread] < 0) return;

  const Verdict<Work> verdict = {
      {own, slope, common, largest, bias}, n, k, labels, scores, is_open, open_rows, open_count, twinned,
      {slack, upper, lower, tables, tables_are_double}, {}};
  verdict.give(places[thread], mine, half, 0.0);
}

// List the rows whose label is not proven: by slack, then by both sides (`_loops.list_doubtful`).
// `apart` (k,) is how far each center is at least from every other.
extern "C" __global__ void __launch_bounds__(THREADS) list_doubtful(
    i64 n, i64 k, const int* __restrict__ labels, const double* __restrict__ apart,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower, i64* list,
    u64* count) {
  const Kept kept = {slack, upper, lower, tables, tables_are_double};
  for (i64 row = (i64)blockIdx.x * THREADS + threadIdx.x; row < n; row += (i64)gridDim.x * THREADS) {
    const int label = labels[row];
    if (kept.at(slack, row) > kept.table(k + label)) continue;
    // so far from its own; so far from the others, by memory or by the triangle inequality
    const double near = (kept.at(upper, row) + kept.table(3 * k + label)) * (1.0 + TABLE);
    const double far = fmax((kept.at(lower, row) - kept.table(5 * k + label)) * (1.0 - TABLE),
                            apart[label] - near);
    kept.put(slack, row, (far - near + kept.table(label)) * (1.0 - TABLE));
    if (!(near < far)) append(list, count, row);
  }
}
