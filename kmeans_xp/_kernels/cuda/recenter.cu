// From the sums of an iteration to its new centers, and to the verdict whether there is another.
//
// Several iterations may be launched without the host: `stop` is 0 as long as they go on.
#include "exact.cuh"
#include "means.cuh"
#include "rounded.cuh"
#include "scan.cuh"

typedef ROW_TYPE Row;
typedef WORK_TYPE Work;

// why iterations end (`_step`)
enum { GOES_ON, CONVERGED, TOLERANCE, EMPTY, OPEN };
// what an iteration leaves for the host
enum { CHANGED, MOVED, EMPTIES, OPENED, REASON, RECORD };

// Add a change, which is then 0, to a total of one or two words.
static __device__ __forceinline__ void merge_word(i64* high, i64* low, i64* change) {
  const i64 part = *change;
  *change = 0;
  if (!low) {
    *high += part;
    return;
  }
  const i64 sum = *low + (part & ((1LL << LIMB) - 1)), over = sum >> LIMB;
  *high += (part >> LIMB) + over;
  *low = sum - (over << LIMB);
}

extern "C" __global__ void __launch_bounds__(THREADS) merge(
    i64 size, i64* __restrict__ high, i64* __restrict__ low,
    i64* __restrict__ change) {
  for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < size; at += (i64)gridDim.x * THREADS)
    merge_word(high + at, low ? low + at : nullptr, change + at);
}

// -c' as the products want it, and the share of its squared norm that scores begin with
// (`_primitives.build_rung`): how a center is made ready.
struct Panel {
  Work *weights, *bias;
  const Work* shift;
  double factor, share;

  // by one block, with room for a number a thread
  __device__ void make(const Row* center, i64 number, int d, double* room) const {
    double squares = 0.0;
    for (int f = threadIdx.x; f < d; f += THREADS) {
      const double from = shift ? widen(shift[f]) : 0.0;
      const double moved = __dmul_rn(__dsub_rn(widen(center[f]), from), -factor);
      weights[number * d + f] = (Work)moved;
      squares = __dadd_rn(squares, __dmul_rn(moved, moved));
    }
    room[threadIdx.x] = squares;
    for (int step = THREADS / 2; step > 0; step /= 2) {
      __syncthreads();
      if (threadIdx.x < step) room[threadIdx.x] += room[threadIdx.x + step];
    }
    if (threadIdx.x == 0) bias[number] = (Work)(share * room[0]);
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) prepare(
    const Row* __restrict__ centers, int d, Work* weights, Work* bias,
    const Work* __restrict__ shift, double factor, double share) {
  extern __shared__ double memory[];
  const Panel panel = {weights, bias, shift, factor, share};
  panel.make(centers + (i64)blockIdx.x * d, blockIdx.x, d, memory);
}

// One block a cluster: its sums, its new center and how far that is from the old one, and with
// `weights` the center made ready for the next iteration.  The last block to end concludes.
// `tally` holds what the passes counted: rows that changed, rows left open; and blocks that ended.
extern "C" __global__ void __launch_bounds__(THREADS, 4) recenter(
    i64* stop, i64* __restrict__ high, i64* __restrict__ low, i64* __restrict__ change, i64 k, int d,
    int limbs, int weight_limbs, int is_short, const double* __restrict__ down,
    const Row* __restrict__ before, Row* __restrict__ after, double scale_before,
    double scale_after, Work* weights, Work* bias, const Work* __restrict__ shift, double share,
    double* moves, double* spare, double tolerance, i64 most_open, u64* tally, i64* record) {
  extern __shared__ double memory[];
  if (*stop) return;
  const i64 number = blockIdx.x, columns = (i64)limbs * d + weight_limbs + 1;
  const Totals totals = {high + number * columns, low ? low + number * columns : nullptr, d, limbs,
                         weight_limbs};
  for (i64 at = number * columns + threadIdx.x; at < (number + 1) * columns; at += THREADS)
    merge_word(high + at, low ? low + at : nullptr, change + at);
  __syncthreads();
  const bool is_empty = totals.count() == 0;
  const double weight = is_empty ? 1.0 : totals.weight();
  Row* center = after + number * d;
  for (int f = threadIdx.x; f < d; f += THREADS)
    if (is_empty)
      center[f] = before[number * d + f];
    else
      store(center + f, rounded_to(Row(), __dmul_rn(totals.mean(f, weight, is_short), down[f])));
  __syncthreads();
  if (threadIdx.x < 32) {
    const Scale scale = {scale_before, scale_after};
    const double moved = canonical(center, 1, before + number * d, d, 32, threadIdx.x, scale);
    if (threadIdx.x == 0) moves[number] = moved;
  }
  if (weights) {
    const Panel panel = {weights, bias, shift, scale_before * scale_after, share};
    panel.make(center, number, d, memory);
  }

  bool* is_last = (bool*)memory;
  __syncthreads();
  if (threadIdx.x == 0) {
    if (is_empty) atomicAdd(tally + 3, 1ULL);
    __threadfence();
    *is_last = atomicAdd(tally + 2, 1ULL) == (u64)k - 1;
    __threadfence();
  }
  __syncthreads();
  if (!*is_last) return;
  for (i64 at = threadIdx.x; at < k; at += THREADS) spare[at] = ((volatile double*)moves)[at];
  __syncthreads();
  const double moved = halving_total(spare, k);
  if (threadIdx.x > 0) return;
  const i64 changed = tally[0], open = tally[1], empties = ((volatile u64*)tally)[3];
  const i64 reason = empties > 0                             ? EMPTY
                     : changed == 0                          ? CONVERGED
                     : tolerance >= 0.0 && moved <= tolerance ? TOLERANCE
                     : open > most_open                      ? OPEN
                                                             : GOES_ON;
  record[CHANGED] = changed;
  record[MOVED] = __double_as_longlong(moved);
  record[EMPTIES] = empties;
  record[OPENED] = open;
  record[REASON] = reason;
  for (int at = 0; at < 4; at++) tally[at] = 0;
  *stop = reason;
}
