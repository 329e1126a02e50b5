// The nearest center of each row: tiles of rows against streamed tiles of centers.
//
// A block holds ROWS rows; each of its 16 x 16 threads scores LANE_ROWS of them against 4 of 64
// centers at a time.  Scores never leave the registers: best, second-best and label are kept as
// they come.  PART features are added up before their sum joins the others, which is the depth
// that the error bound is told (`_primitives`).
#include "verdict.cuh"

typedef ROW_TYPE Row;
typedef WORK_TYPE Work;
// rows are shifted in the wider of the two
typedef decltype(Row() + Work()) Wide;

constexpr int SIDE = 16, THREADS = SIDE * SIDE, LANE_CENTERS = 4, CENTERS = SIDE * LANE_CENTERS;
constexpr int ROW_STRIDE = ROWS + 1, CENTER_STRIDE = CENTERS + 1;

extern "C" __global__ void __launch_bounds__(THREADS, 2) assign(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ list, const i64* __restrict__ counted, i64 n, int d, int k,
    const Work* __restrict__ weights, const Work* __restrict__ bias,
    const u8* __restrict__ twinned, const Wide* __restrict__ shift, Wide scale,
    double own, double slope, double common, double largest,
    int* labels, Work* scores, u8* is_open, i64* open_rows, u64* open_count,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower) {
  extern __shared__ double memory[];
  i64* places = (i64*)memory;                        // where each row is, -1 for none
  Work* rows_tile = (Work*)(places + ROWS);          // [PART][ROW_STRIDE]
  Work* centers_tile = rows_tile + PART * ROW_STRIDE;  // [PART][CENTER_STRIDE]

  const int thread = threadIdx.x, across = thread % SIDE, down = thread / SIDE;
  const i64 total = rows_meant(n, counted), first = (i64)blockIdx.x * ROWS;
  if (first >= total) return;
  for (int r = thread; r < ROWS; r += THREADS)
    places[r] = first + r >= total ? -1 : list ? list[first + r] : first + r;

  Found<Work> found[LANE_ROWS];
#pragma unroll
  for (int i = 0; i < LANE_ROWS; i++) found[i].clear();
  Work half = 0;

  for (int center = 0; center < k; center += CENTERS) {
    Work sums[LANE_ROWS][LANE_CENTERS] = {};
    for (int start = 0; start < d; start += PART) {
      const int width = min(PART, d - start);
      __syncthreads();
      for (int q = thread; q < ROWS * PART; q += THREADS) {
        const int r = q / PART, f = q % PART;
        if (f >= width) continue;
        const i64 place = places[r];
        Wide value = 0;
        if (place >= 0) {
          const Row stored = x[place * row_stride + (start + f) * column_stride];
          value = sizeof(Wide) > sizeof(Row) ? (Wide)widen(stored) : (Wide)stored;
          if (shift) value -= shift[start + f];
          value *= scale;
        }
        rows_tile[f * ROW_STRIDE + r] = (Work)value;
      }
      for (int q = thread; q < CENTERS * PART; q += THREADS) {
        const int c = q / PART, f = q % PART;
        if (f < width)
          centers_tile[f * CENTER_STRIDE + c] =
              center + c < k ? weights[(i64)(center + c) * d + start + f] : (Work)0;
      }
      __syncthreads();
      if (center == 0 && thread < ROWS) {
        Work squares = 0;
        for (int f = 0; f < width; f++) {
          const Work value = rows_tile[f * ROW_STRIDE + thread];
          squares += value * value;
        }
        half += squares * (Work)0.5;
      }
      Work part[LANE_ROWS][LANE_CENTERS] = {};
// more at a time would not fit the registers of two blocks a multiprocessor
#pragma unroll 1
      for (int f = 0; f < width; f++) {
        Work mine[LANE_ROWS], theirs[LANE_CENTERS];
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++)
          mine[i] = rows_tile[f * ROW_STRIDE + down * LANE_ROWS + i];
#pragma unroll
        for (int j = 0; j < LANE_CENTERS; j++)
          theirs[j] = centers_tile[f * CENTER_STRIDE + across + j * SIDE];
#pragma unroll
        for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
          for (int j = 0; j < LANE_CENTERS; j++) part[i][j] += mine[i] * theirs[j];
      }
#pragma unroll
      for (int i = 0; i < LANE_ROWS; i++)
#pragma unroll
        for (int j = 0; j < LANE_CENTERS; j++) sums[i][j] += part[i][j];
    }
#pragma unroll
    for (int j = 0; j < LANE_CENTERS; j++) {
      const int c = center + across + j * SIDE;
      if (c >= k) continue;
      const Work added = bias[c];
#pragma unroll
      for (int i = 0; i < LANE_ROWS; i++) found[i].see(added + sums[i][j], c);
    }
  }

  // the 16 threads that share rows; then each row to one thread, by way of the tile's memory
  Work *best = rows_tile, *second = best + ROWS;
  int* label = (int*)(second + ROWS);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < LANE_ROWS; i++) {
#pragma unroll
    for (int o = 1; o < SIDE; o *= 2) found[i].join_lane(o);
    if (across == 0) {
      const int r = down * LANE_ROWS + i;
      best[r] = found[i].best;
      second[r] = found[i].second;
      label[r] = found[i].label;
    }
  }
  __syncthreads();
  if (thread >= ROWS || places[thread] < 0) return;

  const Verdict<Work> verdict = {own,        slope,  common,  largest,   n,
                                 k,          labels, scores,  is_open,   open_rows,
                                 open_count, twinned, {slack, upper, lower, tables, tables_are_double}};
  verdict.give(places[thread], {best[thread], second[thread], label[thread]}, half);
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
