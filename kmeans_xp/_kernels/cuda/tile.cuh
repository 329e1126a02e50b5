// The two best scores of a tile of rows: rows against streamed tiles of centers.
//
// A block holds ROWS rows; each of its 16 x 16 threads scores 8 of them (of float64 4) against 4 of 64
// centers at a time, or of 32 x 8 threads half as many against 2 of 16.  Scores never leave the
// registers: best, second-best and label are kept as they come.  PART features are added up before
// their sum joins the others, which is the depth that the error bound is told (`_primitives`).
#include "verdict.cuh"

typedef ROW_TYPE Row;
typedef WORK_TYPE Work;
// rows are shifted in the wider of the two
typedef decltype(Row() + Work()) Wide;

// how threads share a tile of centers, wide or narrow: threads side by side, centers of each
constexpr int SIDE = 16, LANE_CENTERS = 4, CENTERS = SIDE * LANE_CENTERS;
constexpr int FEW_SIDE = 8, FEW_LANE_CENTERS = 2, FEW_CENTERS = FEW_SIDE * FEW_LANE_CENTERS;
constexpr int ROW_STRIDE = ROWS + 1, CENTER_STRIDE = CENTERS + 1;
constexpr int TILE = PART * (ROW_STRIDE + CENTER_STRIDE) + ROWS;  // numbers in shared memory
static_assert(ROWS * FEW_SIDE % THREADS == 0, "each thread has its place in a tile");

// Rows as the products want them.
struct Moved {
  const Row* x;
  i64 row_stride, column_stride;
  const Wide* shift;
  Wide scale;

  __device__ __forceinline__ Work at(i64 row, int f) const {
    const Row stored = x[row * row_stride + f * column_stride];
    Wide value = sizeof(Wide) > sizeof(Row) ? (Wide)widen(stored) : (Wide)stored;
    if (shift) value -= shift[f];
    return (Work)(value * scale);
  }
};

// Of the row of each thread below ROWS, what was found and half its squared norm.  `places` (ROWS,)
// says where rows are, -1 for none; it must be ready for all threads, and `tile` may be in use
// until they meet.
template <int SIDE = ::SIDE, int LANE_CENTERS = ::LANE_CENTERS>
static __device__ __forceinline__ void score_tile(const Moved& rows, const i64* places, Work* tile,
                                                  int d, int k, const Work* __restrict__ weights,
                                                  const Work* __restrict__ bias,
                                                  Found<Work>& mine, Work& half) {
  constexpr int LANE_ROWS = ROWS * SIDE / THREADS, CENTERS = SIDE * LANE_CENTERS;
  Work* rows_tile = tile;                                 // [PART][ROW_STRIDE]
  Work* centers_tile = rows_tile + PART * ROW_STRIDE;   // [PART][CENTER_STRIDE]
  Work* halves = centers_tile + PART * CENTER_STRIDE;   // [ROWS]
  const int thread = threadIdx.x, across = thread % SIDE, down = thread / SIDE;
  Found<Work> found[LANE_ROWS];
#pragma unroll
  for (int i = 0; i < LANE_ROWS; i++) found[i].clear();
  // not in a register: of float64 there are none to spare
  if (thread < ROWS) halves[thread] = 0;
  for (int center = 0; center < k; center += CENTERS) {
    Work sums[LANE_ROWS][LANE_CENTERS] = {};
    for (int start = 0; start < d; start += PART) {
      const int width = min(PART, d - start);
      __syncthreads();
      for (int q = thread; q < ROWS * PART; q += THREADS) {
        const int r = q / PART, f = q % PART;
        if (f >= width) continue;
        const i64 place = places[r];
        rows_tile[f * ROW_STRIDE + r] = place >= 0 ? rows.at(place, start + f) : (Work)0;
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
#pragma unroll 1
        for (int f = 0; f < width; f++) {
          const Work value = rows_tile[f * ROW_STRIDE + thread];
          squares += value * value;
        }
        halves[thread] += squares * (Work)0.5;
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
  if (thread < ROWS) {
    mine = {best[thread], second[thread], label[thread]};
    half = halves[thread];
  }
}
