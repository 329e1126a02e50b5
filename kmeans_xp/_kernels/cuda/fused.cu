// One pass over the rows for few clusters: labels, exact wherever scores do not prove them, and the
// sums of the rows that changed.  Rows are read once from memory, then from the caches.
//
// A block takes tiles of rows in turn and keeps the sums (k, columns) in shared memory, in copies.
#include "sweep.cuh"
#include "tile.cuh"

// blocks that share a multiprocessor: of float64 two would not fit its registers
constexpr int MIN_SWEEPS = sizeof(Wide) > 4 ? 1 : 2;

// Against few centers, in registers of its own: with those of the wide tile there are too many.
static __device__ __noinline__ void score_few(const Moved& rows, const i64* places, Work* tile, int d,
                                              int k, const Work* weights, const Work* bias,
                                              Found<Work>& mine, Work& half) {
  score_tile<FEW_SIDE, FEW_LANE_CENTERS>(rows, places, tile, d, k, weights, bias, mine, half);
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
  const int thread = threadIdx.x;
  i64* places = (i64*)memory;  // [ROWS]
  const Desk desk = {(double*)(places + ROWS)};
  Work* tile = (Work*)desk.end();
  if (stop && *stop) return;
  const Moved rows = {x, row_stride, column_stride, shift, scale};
  const Cells<Row> cells = {x, row_stride, column_stride, weight,   up,
                            d, limbs,      weight_limbs,  weight_up};
  const Sums sums = {change, k * cells.columns(), copies, (unsigned*)(tile + TILE)};
  const Sweep<Row> pass = {cells, sums, centers, k, {scale_before, scale_after}, lanes,
                           before, after, desk};
  const Room<Work> room = {own, slope, common, largest, bias};
  sums.clear();
  const i64 end = min(n, ((i64)blockIdx.x + 1) * tiles_a_block * ROWS);
  int changed = 0, left = 0;
  for (i64 first = (i64)blockIdx.x * tiles_a_block * ROWS; first < end; first += ROWS) {
    const int height = (int)min((i64)ROWS, end - first);
    __syncthreads();
    if (thread < ROWS) places[thread] = thread < height ? first + thread : -1;
    pass.begin(first, height);
    __syncthreads();
    if (first + ROWS < end) pass.call_next(first + ROWS, end);
    Found<Work> found;
    Work half;
    if (!is_exact) {
      if (k <= FEW_CENTERS)
        score_few(rows, places, tile, d, k, weights, bias, found, half);
      else
        score_tile(rows, places, tile, d, k, weights, bias, found, half);
    }
    if (thread < height) {
      desk.labels()[thread] = is_exact ? 0 : found.label;
      const bool settled = !is_exact && room.settles(found.best, found.second, half,
                                                     room.of(half, 0.0, found.label));
      if (!settled) pass.leave_open(thread);
    }
    changed += pass.conclude(first, height);
    left += desk.counts()[0];
  }
  if (thread == 0 && changed) atomicAdd(tally, (u64)changed);
  if (thread == 0 && left) atomicAdd(tally + 1, (u64)left);
  sums.flush();
}
