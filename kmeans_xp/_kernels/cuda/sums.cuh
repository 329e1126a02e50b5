// Sums of a block, in shared memory or where they belong.
//
// Shared memory has no addition of 64 bits: compilers make a loop of compare-and-swap of it.  So a
// sum has two words of 32 bits there.  The sums come in copies, and rows side by side go to
// different ones, so that lanes of a warp seldom meet; the odd stride brings the copies of a sum
// to different banks.
#include "cells.cuh"
#include "scan.cuh"

struct Sums {
  i64* all;  // (k, columns)
  int slots, copies;
  unsigned* words;  // low words of all copies, then high words; none without copies

  __device__ __forceinline__ int stride() const { return slots | 1; }
  __device__ __forceinline__ void clear() const {
    for (int at = threadIdx.x; at < 2 * copies * stride(); at += THREADS) words[at] = 0;
    if (copies) __syncthreads();
  }
  __device__ __forceinline__ void put(i64 slot, int turn, i64 value) const {
    if (!copies) {
      add(all + slot, value);
      return;
    }
    unsigned* low = words + (turn & (copies - 1)) * stride() + (int)slot;
    const unsigned part = (unsigned)value;
    // a lane that is handed a sum from before an overflow sees it, whatever the order
    const bool carries = part && atomicAdd(low, part) + part < part;
    const unsigned rest = (unsigned)(value >> 32) + carries;
    if (rest) atomicAdd(low + copies * stride(), rest);
  }
  __device__ __forceinline__ void flush() const {
    if (copies) __syncthreads();
    for (int slot = threadIdx.x; copies && slot < slots; slot += THREADS) {
      u64 sum = 0;
      for (int at = slot; at < copies * stride(); at += stride())
        sum += ((u64)words[copies * stride() + at] << 32) + words[at];
      add(all + slot, (i64)sum);
    }
  }
};
