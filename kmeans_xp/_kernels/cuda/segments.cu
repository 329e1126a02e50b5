// Sums by cluster where they do not fit in shared memory: rows are sorted by cluster first, so that
// a thread adds up a run of them in registers, and meets others once a run.
//
//   list_moves    rows that change any sum, and how many come to each cluster or leave it
//   allot         a segment of entries for each cluster
//   place         each row's entries in their segments
//   add_segments  the segments, in chunks whose length is no cluster's: many blocks share a large
//                 cluster, and a block serves many small ones
//
// An entry is twice the row, plus one where it leaves its cluster.  Nothing waits for the host: the
// numbers of rows and entries stay on the device.  The order of the segments, and of the entries in
// them, is that of the schedule; sums of whole numbers do not depend on it.  Blocks of one launch
// meet in counters and sums alone, by atomics: a counter hands out each place once, and later
// launches read what was written.
#include "cells.cuh"
#include "scan.cuh"

typedef ROW_TYPE Row;

constexpr int BATCH = 4;           // entries whose numbers are on their way at the same time
constexpr int MOST_TOGETHER = 64;  // threads that share an entry: more would leave threads idle
constexpr int LEAST_LENGTH = 64;   // of a chunk

// One place of the label's counter for each lane that takes part.  All lanes of the warp call;
// those with one label (never -1) share an atomic, or a large cluster's rows would queue up.
static __device__ __forceinline__ int claim(int* counters, int label, bool takes_part) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned peers = __match_any_sync(~0u, takes_part ? label : -1);
  const int leader = __ffs(peers) - 1;
  int first = 0;
  if (takes_part && lane == leader) first = atomicAdd(counters + label, __popc(peers));
  return __shfl_sync(~0u, first, leader) + __popc(peers & ((1u << lane) - 1));
}

extern "C" __global__ void __launch_bounds__(THREADS) list_moves(
    int n, const double* __restrict__ weight, const int* __restrict__ before,
    const int* __restrict__ after, int* counts, int* __restrict__ rows, int* n_rows) {
  extern __shared__ double memory[];
  for (int first = blockIdx.x * THREADS; first < n; first += gridDim.x * THREADS) {
    const int row = first + threadIdx.x;
    const bool moves = row < n && !(before && before[row] == after[row]) &&
                       !(weight && !(weight[row] > 0.0));
    const int place = claim_for_block(n_rows, moves, (int*)memory);
    if (!__any_sync(~0u, moves)) continue;
    if (moves) rows[place] = row;
    claim(counts, moves ? after[row] : 0, moves);
    if (before) claim(counts, moves ? before[row] : 0, moves);
  }
}

// Lengths of segments become their beginnings.
extern "C" __global__ void __launch_bounds__(THREADS) allot(
    int k, int* __restrict__ counts, int* n_entries) {
  extern __shared__ double memory[];
  const int cluster = blockIdx.x * THREADS + threadIdx.x;
  const int length = cluster < k ? counts[cluster] : 0;
  const int start = claim_for_block(n_entries, length, (int*)memory);
  if (cluster < k) counts[cluster] = start;
}

extern "C" __global__ void __launch_bounds__(THREADS) place(
    const int* __restrict__ rows, const int* __restrict__ n_rows, const int* __restrict__ before,
    const int* __restrict__ after, int* starts, int* __restrict__ entries, u64* carrying) {
  const int n = *n_rows;
  if (blockIdx.x == 0 && threadIdx.x == 0) atomicAdd(carrying, (u64)n);
  for (int first = blockIdx.x * THREADS; first < n; first += gridDim.x * THREADS) {
    const int at = first + threadIdx.x;
    const bool is_meant = at < n;
    const int row = is_meant ? rows[at] : 0;
    const int comes = claim(starts, is_meant ? after[row] : 0, is_meant);
    if (is_meant) entries[comes] = 2 * row;
    if (!before) continue;
    const int leaves = claim(starts, is_meant ? before[row] : 0, is_meant);
    if (is_meant) entries[leaves] = 2 * row + 1;
  }
}

// What a thread adds up: two limbs of a feature, or of the weight (f == d), or ones.
struct Part {
  int f, limbs, first, column, step;
};

static __device__ __forceinline__ Part part_of(const Cells<Row>& cells, int part) {
  const int d = cells.d, features = (cells.limbs + 1) / 2 * d;
  const int behind = part - features, weights = (cells.weight_limbs + 1) / 2;
  if (behind < 0) return {part % d, cells.limbs, part / d * 2, part % d, d};
  if (behind < weights) return {d, cells.weight_limbs, 2 * behind, cells.limbs * d, 1};
  return {d + 1, 1, 0, cells.columns() - 1, 1};
}

// The sums of the run of entries that a thread is in.
struct Run {
  int cluster;
  i64 high, low;

  __device__ __forceinline__ void flush(const Part& part, int columns, i64* sums) {
    i64* into = sums + (i64)cluster * columns + part.column + part.first * part.step;
    add(into, high);
    add(into + part.step, low);  // nothing, if there is no second limb
    high = low = 0;
  }
};

// Entries from start to end, of a chunk in shared memory.
static __device__ __forceinline__ void walk(const Cells<Row>& cells, const Part& part,
                                            const double* factors, const int* entries,
                                            const int* labels, int start, int end, i64* sums) {
  const int columns = cells.columns();
  const bool is_feature = part.f < cells.d, weighs = cells.weight && part.f <= cells.d;
  const double up = is_feature ? cells.up[part.f] : weighs ? cells.weight_up : 1.0;
  Run run = {labels[start], 0, 0};
  for (int first = start; first < end; first += BATCH) {
    Row values[BATCH];
#pragma unroll
    for (int b = 0; b < BATCH; b++)
      values[b] =
          is_feature && first + b < end ? cells.at(entries[first + b] >> 1, part.f) : (Row)1;
#pragma unroll
    for (int b = 0; b < BATCH; b++) {
      const int at = first + b;
      if (at >= end) break;
      if (labels[at] != run.cluster) {
        run.flush(part, columns, sums);
        run.cluster = labels[at];
      }
      const double value = __dmul_rn(widen(values[b]), weighs ? factors[at] : 1.0);
      const bool leaves = entries[at] & 1;
      cut(__dmul_rn(value, up), part.limbs, [&](int limb, i64 whole) {
        if (leaves) whole = -whole;
        if (limb == part.first) run.high += whole;
        if (limb == part.first + 1) run.low += whole;
      });
    }
  }
  run.flush(part, columns, sums);
}

// Add the entries to the sums (k, columns).  A chunk has `most` entries at most: 16 bytes of shared
// memory each, or 8 without weights.
extern "C" __global__ void __launch_bounds__(THREADS, 4) add_segments(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, int d,
    const double* __restrict__ weight, const int* __restrict__ before,
    const int* __restrict__ after, const double* __restrict__ up, int limbs, double weight_up,
    int weight_limbs, const int* __restrict__ entries, const int* __restrict__ n_entries, int most,
    i64* __restrict__ sums) {
  extern __shared__ double memory[];
  double* factors = memory;
  int *own = (int*)(factors + (weight ? most : 0)), *labels = own + most;
  const Cells<Row> cells = {x, row_stride, column_stride, weight,   up,
                            d, limbs,      weight_limbs,  weight_up};
  const int parts = (limbs + 1) / 2 * d + (weight_limbs + 1) / 2 + 1;
  // threads of a team share an entry; they have one group of the parts, and there are as many teams
  // as fit
  const int groups = (parts + MOST_TOGETHER - 1) / MOST_TOGETHER;
  const int width = (parts + groups - 1) / groups, teams = THREADS / width;
  const int team = threadIdx.x / width, seat = threadIdx.x % width;
  const int total = *n_entries;
  const i64 share = ((i64)total * groups + gridDim.x - 1) / gridDim.x;
  const int length = (int)min((i64)most, max(share, (i64)LEAST_LENGTH));
  const i64 tasks = (i64)((total + length - 1) / length) * groups;
  for (i64 task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int start = (int)(task / groups) * length, count = min(length, total - start);
    const int part = (int)(task % groups) * width + seat;
    __syncthreads();  // the chunk before was read
    for (int at = threadIdx.x; at < count; at += THREADS) {
      const int entry = entries[start + at], row = entry >> 1;
      own[at] = entry;
      labels[at] = (entry & 1 ? before : after)[row];
      if (weight) factors[at] = weight[row];
    }
    __syncthreads();
    const int begin = count * team / teams, end = count * (team + 1) / teams;
    if (team < teams && part < parts && begin < end)
      walk(cells, part_of(cells, part), factors, own, labels, begin, end, sums);
  }
}
