// What centers have moved by, added to what rows have lost to it: as `_bounds.drifted`, bit for bit.
#include "common.cuh"

// The largest of some movements, the first of equals, and the largest of the others.
struct Fastest {
  double move, second;
  i64 center;

  __device__ __forceinline__ void join(const Fastest& other) {
    const bool leads = other.move > move || (other.move == move && other.center < center);
    second = fmax(fmax(second, other.second), leads ? move : other.move);
    if (!leads) return;
    move = other.move;
    center = other.center;
  }
};

// A table in its dtype: values rounded down, then up.
struct Edges {
  void* values;
  int is_double;

  __device__ __forceinline__ void put(i64 down, i64 up, double value) const {
    put(down, __dmul_rn(value, 1.0 - TABLE));
    put(up, __dmul_rn(value, 1.0 + TABLE));
  }
  __device__ __forceinline__ void put(i64 at, double value) const {
    if (is_double)
      ((double*)values)[at] = value;
    else
      ((float*)values)[at] = (float)value;
  }
};

// One block.  `squared` (k,) are the movements, squared; `own`, `rival` and `spent` as in `Drift` and
// `Groups`.  Without groups `count` is 0.
extern "C" __global__ void __launch_bounds__(THREADS) drift(
    i64 k, const double* __restrict__ squared, double least, const double* __restrict__ own,
    const double* __restrict__ rival, double* own_after,
    double* __restrict__ rival_after, void* tables, int is_double, int count, int size,
    const int* __restrict__ members, const double* __restrict__ spent,
    double* __restrict__ spent_after, void* group_tables) {
  extern __shared__ double memory[];
  Fastest* found = (Fastest*)memory;  // [THREADS]
  const int thread = threadIdx.x, lane = thread % 32;
  // for a while, the movements
  double* moved = own_after;
  Fastest mine = {-1.0, 0.0, k};
  for (i64 center = thread; center < k; center += THREADS) {
    moved[center] = __dadd_rn(__dmul_rn(__dsqrt_rn(squared[center]), 1.0 + OUTWARDS), least);
    mine.join({moved[center], 0.0, center});
  }
  found[thread] = mine;
  for (int step = THREADS / 2; step > 0; step /= 2) {
    __syncthreads();
    if (thread < step) found[thread].join(found[thread + step]);
  }
  __syncthreads();
  const Fastest fastest = found[0];
  const Edges ends = {group_tables, is_double};
  for (int g = thread / 32; g < count; g += WARPS) {
    double most = 0.0;
    for (int at = lane; at < size; at += 32) most = fmax(most, moved[members[(i64)g * size + at]]);
    for (int o = 16; o > 0; o /= 2) most = fmax(most, __shfl_xor_sync(0xffffffffu, most, o));
    if (lane > 0) continue;
    const double after = __dadd_rn(spent[g], most);
    spent_after[g] = after;
    ends.put(g, count + g, after);
  }
  __syncthreads();
  const Edges edges = {tables, is_double};
  for (i64 center = thread; center < k; center += THREADS) {
    const double mine = __dadd_rn(own[center], moved[center]);
    const bool leads = center == fastest.center;
    const double others = __dadd_rn(rival[center], leads ? fastest.second : fastest.move);
    own_after[center] = mine;
    rival_after[center] = others;
    edges.put(center, k + center, __dadd_rn(mine, others));
    edges.put(2 * k + center, 3 * k + center, mine);
    edges.put(4 * k + center, 5 * k + center, others);
  }
}
