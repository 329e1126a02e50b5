// Sums over the threads of a block.
#include "common.cuh"

constexpr int SCAN = WARPS + 1;  // shared integers that a scan needs

// Sum of the values of the threads before this one, and of all.  It holds one barrier; between two
// calls there must be another.
template <class T>
static __device__ __forceinline__ T before_in_block(T value, T* scan, T& total) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  T upto = value;
  for (int step = 1; step < 32; step *= 2) {
    const T other = __shfl_up_sync(~0u, upto, step);
    if (lane >= step) upto += other;
  }
  if (lane == 31) scan[warp] = upto;
  __syncthreads();
  T before = upto - value;
  total = 0;
  for (int other = 0; other < WARPS; other++) {
    if (other < warp) before += scan[other];
    total += scan[other];
  }
  return before;
}

// Where each thread's share of so many places begins; a block asks the counter once.
static __device__ __forceinline__ int claim_for_block(int* counter, int places, int* scan) {
  int total;
  const int before = before_in_block(places, scan, total);
  if (threadIdx.x == 0) scan[WARPS] = total ? atomicAdd(counter, total) : 0;
  __syncthreads();
  return scan[WARPS] + before;
}

// The sum of `_distances.halving_total`, by one block; the numbers are used up.
static __device__ double halving_total(double* values, i64 width) {
  while (width > 1) {
    const i64 half = (width + 1) / 2;
    for (i64 at = threadIdx.x; at < width - half; at += THREADS)
      values[at] = __dadd_rn(values[at], values[half + at]);
    width = half;
    __syncthreads();
  }
  return values[0];
}
