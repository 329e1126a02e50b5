// One pass over the rows for few clusters, as fused.cu, with scores by tensor cores.
//
// A block of 8 warps keeps all centers in shared memory, as images, and the sums (k, columns).  It
// takes tiles of 128 rows in turn: they are drawn as images, a warp has 16 rows of them and meets 64
// centers at a time, as 8 fragments.  What a tile leaves open is scored again in float32, a warp a
// row, and then judged by canonical distances.  While a tile is worked on the next one is called into
// the second-level cache, so that memory is never idle.  What bounds it: `_route.sweeps`.
#include "mma.cuh"
#include "sweep.cuh"

constexpr int HALF_IMAGE = MINE * PART_BYTES, CENTERS_AT_ONCE = 4;
static_assert(ROWS == WARPS * 16, "a warp has 16 rows");
static_assert(HALF_IMAGE == THREADS * 16, "a thread copies a chunk of half an image");

// The two best scores of a row in float32; a warp's work.
static __device__ Found<float> score_again(const Tile& tile, i64 place,
                                           const float* __restrict__ weights,
                                           const float* __restrict__ bias, float share, int k) {
  const int lane = threadIdx.x % 32;
  Found<float> found;
  found.clear();
  for (int center = 0; center < k; center += CENTERS_AT_ONCE) {
    float sums[CENTERS_AT_ONCE] = {};
    for (int f = lane; f < tile.d; f += 32) {
      const float value = tile.moved(place, f);
#pragma unroll
      for (int i = 0; i < CENTERS_AT_ONCE; i++)
        if (center + i < k) sums[i] += value * weights[(i64)(center + i) * tile.d + f];
    }
#pragma unroll
    for (int i = 0; i < CENTERS_AT_ONCE; i++) {
#pragma unroll
      for (int o = 16; o > 0; o /= 2) sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], o);
      if (center + i < k) found.see(bias[center + i] * share + sums[i], center + i);
    }
  }
  return found;
}

// As in fused.cu.  `images`, `filled` and `held` are of whole tiles of centers (`draw_centers`); `weights`
// and `bias` are the centers before they lose bits, and `share` takes the bias to that of their
// products, whose errors are `again_`.  `tally` counts the rows that the first products left open.
extern "C" __global__ void __launch_bounds__(THREADS, 2) sweep(
    const i64* stop, const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    int k, const u8* __restrict__ images, const float* __restrict__ filled,
    const float* __restrict__ held, const float* __restrict__ weights,
    const float* __restrict__ bias, const Wide* __restrict__ shift, Wide scale, float up,
    float down, float finer, int parts, double own, double slope, double common, double largest,
    double again_own, double again_slope, double again_common, double again_largest, float share,
    const Row* __restrict__ centers, double scale_before, double scale_after, int lanes,
    const int* before, int* after, const double* __restrict__ weight,
    const double* __restrict__ to_grid, int limbs, double weight_up, int weight_limbs,
    i64 tiles_a_block, int copies, i64* __restrict__ change, u64* tally) {
  extern __shared__ __align__(ALIGNMENT) double memory[];
  if (stop && *stop) return;
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int group = lane / 4, member = lane % 4, halves = (k + MINE - 1) / MINE;
  u8* drawn = (u8*)memory;                                  // [parts][IMAGE]
  u8* kept = drawn + parts * IMAGE;                         // [halves][parts][HALF_IMAGE]
  const Desk desk = {(double*)(kept + halves * parts * HALF_IMAGE)};
  int *doubtful = (int*)desk.end(), *doubts = doubtful + ROWS;  // [ROWS], [2]: how many
  float* half = (float*)(doubts + 2);                           // [ROWS]
  float* rest = half + ROWS;                                    // [ROWS]
  const Findings findings(rest + ROWS, 1);
  const unsigned drawn_at = shared_address(drawn), kept_at = shared_address(kept);

  const Cells<Row> cells = {x, row_stride, column_stride, weight,   to_grid,
                            d, limbs,      weight_limbs,  weight_up};
  const Sums sums = {change, k * cells.columns(), copies, (unsigned*)(rest + 4 * ROWS)};
  const Sweep<Row> pass = {cells, sums, centers, k, {scale_before, scale_after}, lanes,
                           before, after, desk};
  const Room<float> room = {own, slope, common, largest, held};
  const Room<float> again = {again_own, again_slope, again_common, again_largest, bias};
  for (int at = 0; at < halves * parts; at++) {
    const int side = at / parts, part = at % parts;
    const i64 from = (i64)(side / 2 * parts + part) * IMAGE + side % 2 * HALF_IMAGE;
    begin_copy(kept_at + at * HALF_IMAGE + thread * 16, images + from + thread * 16);
  }
  close_copies();
  sums.clear();
  wait_for_copies(0);

  const i64 end = min(n, ((i64)blockIdx.x + 1) * tiles_a_block * ROWS);
  int changed = 0, left = 0;
  for (i64 first = (i64)blockIdx.x * tiles_a_block * ROWS; first < end; first += ROWS) {
    const int height = (int)min((i64)ROWS, end - first);
    const Tile tile = {x,     row_stride, column_stride, nullptr, shift, scale, up,
                       finer, d,          parts,         first,   end};
    // the tile before is done with everything
    __syncthreads();
    pass.begin(first, height);
    if (thread == 0) *doubts = 0;
    // more would not fit the registers
    tile.draw<1>(drawn, half, rest);
    __syncthreads();
    if (first + ROWS < end) pass.call_next(first + ROWS, end);

    Found<float> found[2];
    found[0].clear();
    found[1].clear();
    for (int side = 0; side < halves; side++) {
      float scores[1][8][4] = {};
      for (int part = 0; part < parts; part++)
        multiply_part(scores, drawn_at + part * IMAGE + warp * 16 * PART_BYTES,
                      kept_at + (side * parts + part) * HALF_IMAGE);
#pragma unroll
      for (int j = 0; j < 8; j++)
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
          const int c = side * MINE + j * 8 + member * 2 + odd;
          const float added = filled[c];
#pragma unroll
          for (int i = 0; i < 2; i++) look_at(found[i], added + scores[0][j][i * 2 + odd] * down, c);
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
      found[i].join_lane(1);
      found[i].join_lane(2);
      if (member == 0) findings.put(warp * 16 + i * 8 + group, found[i]);
    }
    __syncthreads();
    if (thread < height) {
      const Found<float> mine = findings.get(thread);
      desk.labels()[thread] = mine.label;
      const double apart = room.of(half[thread], rest[thread], mine.label);
      if (!room.settles(mine.best, mine.second, half[thread], apart))
        doubtful[atomicAdd(doubts, 1)] = thread;
    }
    __syncthreads();
    for (int at = warp; at < *doubts; at += WARPS) {
      const int row = doubtful[at];
      const Found<float> mine = score_again(tile, first + row, weights, bias, share, k);
      if (lane > 0) continue;
      desk.labels()[row] = mine.label;
      const double apart = again.of(half[row], 0.0, mine.label);
      if (!again.settles(mine.best, mine.second, half[row], apart)) pass.leave_open(row);
    }
    changed += pass.conclude(first, height);
    left += *doubts;
  }
  if (thread == 0 && changed) atomicAdd(tally, (u64)changed);
  if (thread == 0 && left) atomicAdd(tally + 1, (u64)left);
  sums.flush();
}
