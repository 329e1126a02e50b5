// Seeds of k-means++, picked without the host (`_plusplus`).
//
// Rows are cut into pieces, a block for each.  A step of k-means++ is five launches: the pieces are
// counted anew if the grid of the integers changed, candidates are drawn, limits tell which rows of
// each seed they may bring nearer (the proof stands in `_gains`), exact gains appraise them, and the
// best one is accepted.  Each step has places of its own in `tops`, `gains` and `chosen`, so that
// no block reads what another one writes in the same launch.  Sums are of whole numbers, in any
// order.  Once no row is away from all seeds, `drawn` begins with -1 and nothing happens any more.
#include "exact.cuh"
#include "lottery.cuh"

typedef ROW_TYPE Row;

// Candidates of a step, a block each: rows drawn in proportion to their distances.
extern "C" __global__ void __launch_bounds__(THREADS) draw_candidates(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    const double* __restrict__ weight, i64 size, i64 pieces, const double* __restrict__ closest,
    const double* __restrict__ tops, const u64* __restrict__ totals, u64 key, int step,
    i64* __restrict__ drawn, Row* __restrict__ tried) {
  extern __shared__ double memory[];
  u64 *sums = (u64*)memory, *place = sums + THREADS;

  const int trial = blockIdx.x;
  const auto of_piece = [=](i64 piece) { return totals[piece]; };
  Run mine = dealt(of_piece, pieces, sums);
  const u64 total = sums[THREADS - 1];
  if (total == 0) {
    if (threadIdx.x == 0) drawn[trial] = -1;
    return;
  }
  u64 ticket = drawn_below(total, mixed(mixed(key, step), trial));
  const i64 start = located(of_piece, mine, ticket, place) * size;
  const Units units(tops[step]);
  const auto of_row = [=](i64 at) {
    return units.of(weighed(closest[start + at], weight, start + at));
  };
  mine = dealt(of_row, min(size, n - start), sums);
  const i64 row = start + located(of_row, mine, ticket, place);
  for (int f = threadIdx.x; f < d; f += THREADS)
    tried[(i64)trial * d + f] = x[row * row_stride + f * column_stride];
  if (threadIdx.x == 0) drawn[trial] = row;
}

// Whether an earlier trial drew the same row: it gains alike, and comes first.
static __device__ __forceinline__ bool is_repeated(const i64* drawn, int trial) {
  for (int earlier = 0; earlier < trial; earlier++)
    if (drawn[earlier] == drawn[trial]) return true;
  return false;
}

// Squared distances up to which rows of each seed gain nothing (k,); a block takes `seeds` of them.
extern "C" __global__ void __launch_bounds__(THREADS) limit_seeds(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, int d,
    const i64* __restrict__ drawn, int trials, const Row* __restrict__ tried,
    const i64* __restrict__ chosen, int step, int seeds, double before, double after, int lanes,
    double least_square, double share, double* __restrict__ limits) {
  extern __shared__ double memory[];  // [seeds][trials]

  if (drawn[0] < 0) return;
  const int lane = threadIdx.x % lanes, groups = THREADS / lanes, first = blockIdx.x * seeds;
  const Scale scale = {before, after};
  // whole warps, where lanes talk
  for (int pair = threadIdx.x / lanes; pair < seeds * trials; pair += groups) {
    const int seed = first + pair / trials;
    if (seed >= step) break;
    const double square =
        canonical<false>(x + chosen[seed] * row_stride, column_stride, tried + (i64)(pair % trials) * d,
                  d, lanes, lane, scale);
    if (lane == 0) memory[pair] = square >= least_square ? __dmul_rn(square, share) : 0.0;
  }
  __syncthreads();
  for (int at = threadIdx.x; at < seeds && first + at < step; at += THREADS) {
    double least = memory[at * trials];
    for (int trial = 1; trial < trials; trial++)
      if (memory[at * trials + trial] < least) least = memory[at * trials + trial];
    limits[first + at] = least;
  }
}

// A bar for the sum of squares in float32 that proves a row no nearer to a candidate than to its
// seed, at the canonical square q.  Let u = 2**-24, a = (d + 8) u (below 0.005), and S be the true
// sum.  A difference errs by 2 u relatively and, where something was flushed to zero, by 2**-124
// more; so its square by 5 u and 2**-223, and the sum of them is at most (1 + 1.01 a) S + d 2**-222
// in any order.  A sum of at least (1 + 2 a) q then leaves S above (1 + 0.9 a) q, hence the
// canonical square above q, whose error is far smaller (`_primitives.errors`): as long as q does
// not fall below 2**-100.  Where the sum overflows, S is above 2**127.  `factor` is 1 + 3 a, for
// the roundings here; it is infinite, and so is the bar, where nothing is proven.
static __device__ __forceinline__ float bar_of(double closest, double factor) {
  const bool is_usual = closest >= 0x1p-100 && closest <= 0x1p120;
  return is_usual ? (float)__dmul_rn(closest, factor) : (float)infinity();
}

// The sum for that bar, in whatever order is quick: all lanes that share the row get it.
static __device__ __forceinline__ float loose_square(const Row* x, i64 stride, const Row* center,
                                                     int d, int lanes, int lane) {
  float sum = 0.0f;
  for (int f = lane; f < d; f += lanes) {
    const float apart = (float)(x[f * stride] - center[f]);
    sum += apart * apart;
  }
  if (lanes == 1) return sum;
  for (int o = WARP / 2; o > 0; o /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  return sum;
}

// By how much each candidate lowers the sum, in whole units; which candidates bring a row nearer is
// left in the bits of its mark.
extern "C" __global__ void __launch_bounds__(THREADS, 4) appraise(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    const double* __restrict__ weight, i64 size, const double* __restrict__ closest,
    const int* __restrict__ seeds, const i64* __restrict__ drawn, int trials,
    const Row* __restrict__ tried, const double* __restrict__ limits, double before,
    double after, double factor, int lanes, const double* __restrict__ tops, int step,
    int* __restrict__ marks, u64* __restrict__ gains) {
  extern __shared__ double memory[];
  u64* gained = (u64*)memory;               // [trials]
  int* is_first = (int*)(gained + trials);  // [trials]
  int *count = is_first + trials, *listed = count + 1;  // [size]

  if (drawn[0] < 0) return;
  const int thread = threadIdx.x, lane = thread % lanes, group = thread / lanes;
  const i64 start = blockIdx.x * size;
  const int rows = (int)min(size, n - start);
  if (thread < trials) {
    gained[thread] = 0;
    is_first[thread] = !is_repeated(drawn, thread);
  }
  if (thread == 0) *count = 0;
  __syncthreads();
  for (int r = thread; r < rows; r += THREADS) {
    if (closest[start + r] > limits[seeds[start + r]])
      listed[atomicAdd(count, 1)] = r;
    else
      marks[start + r] = 0;
  }
  __syncthreads();
  const int reached = *count, groups = THREADS / lanes;
  const Scale scale = {before, after};
  const Units units(tops[step]);
  for (int turn = 0; turn < reached; turn += groups) {
    // all threads stay: warps add up what their lanes found
    const bool has_row = turn + group < reached;
    const i64 row = start + (has_row ? listed[turn + group] : 0);
    const Row* mine = x + row * row_stride;
    const double old = closest[row];
    const float bar = bar_of(old, factor);
    unsigned mark = 0;
    for (int trial = 0; trial < trials; trial++) {
      if (!is_first[trial]) continue;
      u64 gain = 0;
      // whole warps, where lanes talk
      bool is_near = has_row;
      if (is_near && bar < (float)infinity())
        is_near =
            loose_square(mine, column_stride, tried + (i64)trial * d, d, lanes, lane) < bar;
      if (is_near) {
        const double found =
            canonical(mine, column_stride, tried + (i64)trial * d, d, lanes, lane, scale);
        if (lane == 0 && found < old) {
          mark |= 1u << trial;
          gain = units.of(weighed(old, weight, row)) - units.of(weighed(found, weight, row));
        }
      }
      if (lanes == 1) gain = warp_sum(gain);
      if (thread % WARP == 0 && gain) atomicAdd(gained + trial, gain);
    }
    if (has_row && lane == 0) marks[row] = (int)mark;
  }
  __syncthreads();
  if (thread < trials && gained[thread])
    atomicAdd(gains + (i64)step * trials + thread, gained[thread]);
}

// The candidate that gains most becomes a seed; rows that it brings nearer are its own from now on.
// The first seed gets all rows.
extern "C" __global__ void __launch_bounds__(THREADS, 4) accept_best(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    const double* __restrict__ weight, i64 size, double* closest, int* seeds,
    const i64* __restrict__ drawn, int trials, const Row* __restrict__ tried,
    double before, double after, int lanes, double* tops, int step,
    const int* __restrict__ marks, const u64* __restrict__ gains, u64* totals, i64* chosen) {
  extern __shared__ double memory[];
  u64* lowered = (u64*)memory;
  double* top = memory + 1;
  int *count = (int*)(memory + 2), *listed = count + 1;  // [size]

  const int thread = threadIdx.x, lane = thread % lanes, group = thread / lanes;
  const bool is_lead = blockIdx.x == 0 && thread == 0;
  if (drawn[0] < 0) {
    if (is_lead) chosen[step] = -1;
    return;
  }
  int best = 0;
  for (int trial = 1; trial < trials; trial++)
    if (gains[(i64)step * trials + trial] > gains[(i64)step * trials + best]) best = trial;
  const i64 start = blockIdx.x * size;
  const int rows = (int)min(size, n - start);
  if (thread == 0) {
    *lowered = 0;
    *top = 0.0;
    *count = 0;
  }
  __syncthreads();
  double most = 0.0;
  for (int r = thread; r < rows; r += THREADS) {
    if (step == 0 || marks[start + r] >> best & 1)
      listed[atomicAdd(count, 1)] = r;
    else
      most = fmax(most, weighed(closest[start + r], weight, start + r));
  }
  __syncthreads();
  const int moved = *count, groups = THREADS / lanes;
  const Scale scale = {before, after};
  const Units units(tops[step]);
  u64 by = 0;
  for (int at = group; at < moved; at += groups) {
    const i64 row = start + listed[at];
    const double found = canonical(x + row * row_stride, column_stride, tried + (i64)best * d, d,
                                   lanes, lane, scale);
    if (lane != 0) continue;
    const double now = weighed(found, weight, row);
    most = fmax(most, now);
    by += units.of(weighed(closest[row], weight, row)) - units.of(now);
    closest[row] = found;
    seeds[row] = step;
  }
  by = warp_sum(by);
  most = warp_max(most);
  if (thread % WARP == 0) {
    if (by) atomicAdd(lowered, by);
    raise(top, most);
  }
  __syncthreads();
  if (thread == 0) {
    totals[blockIdx.x] -= *lowered;
    raise(tops + step + 1, *top);
  }
  if (is_lead) chosen[step] = drawn[best];
}

// Sums of pieces in the integers of the lottery at `place`; those that stand are right unless the
// grid changed, or `anew` says that they are not.
extern "C" __global__ void __launch_bounds__(THREADS) count_pieces(
    i64 n, const double* __restrict__ weight, i64 size, const double* __restrict__ closest,
    const double* __restrict__ tops, int place, int anew, u64* totals) {
  extern __shared__ double memory[];
  u64* sum = (u64*)memory;

  if (!anew && Units::exponent(tops[place]) == Units::exponent(tops[place - 1])) return;
  const Units units(tops[place]);
  const i64 start = blockIdx.x * size, end = min(n, start + size);
  if (threadIdx.x == 0) *sum = 0;
  __syncthreads();
  u64 mine = 0;
  for (i64 row = start + threadIdx.x; row < end; row += THREADS)
    mine += units.of(weighed(closest[row], weight, row));
  mine = warp_sum(mine);
  if (threadIdx.x % WARP == 0) atomicAdd(sum, mine);
  __syncthreads();
  if (threadIdx.x == 0) totals[blockIdx.x] = *sum;
}
