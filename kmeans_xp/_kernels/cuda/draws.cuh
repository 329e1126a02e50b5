// Random bits keyed by words, as in `_random`: no generator, so no order.
#include "common.cuh"

constexpr u64 GAMMA = 0x9E3779B97F4A7C15ULL;

static __device__ __forceinline__ u64 finalised(u64 bits) {
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ULL;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBULL;
  return bits ^ (bits >> 31);
}

// `mix` of more words: begin with 0, or with the mix of the first words
static __device__ __forceinline__ u64 mixed(u64 state, u64 word) {
  return finalised((state ^ word) + GAMMA);
}

// A whole number below `bound`, from the mix of a key: the upper part of a product of 128 bits.
static __device__ __forceinline__ u64 drawn_below(u64 bound, u64 state) {
  const u64 high = finalised(state + GAMMA), low = finalised(state + 2 * GAMMA);
  const u64 middle = high * bound, carried = middle + __umul64hi(low, bound);
  return __umul64hi(high, bound) + (carried < middle);
}
