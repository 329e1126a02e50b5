// Draws in proportion to weighted squared distances: their integers, and sums of them (`_draws`).
#include "draws.cuh"

constexpr int WARP = 32, MOST_EXPONENT = 1000;

// The integers of a lottery: 40 bits of its largest number, as `_draws` has them.  Weights are at
// most 1, and the scale keeps squared distances of weighted rows below 2**1000.
struct Units {
  double up, more;  // 2**1074 is no number

  explicit __device__ __forceinline__ Units(double largest) {
    const int down = -exponent(largest);
    up = power(min(down, MOST_EXPONENT));
    more = ONE_LIMB * power(max(down - MOST_EXPONENT, 0));
  }
  // the least p with largest <= 2**p; 0 for 0
  static __device__ __forceinline__ int exponent(double largest) {
    int found;
    const double mantissa = frexp(largest, &found);
    return found - (mantissa == 0.5);
  }
  static __device__ __forceinline__ double power(int exponent) {
    return __longlong_as_double((i64)(exponent + 1023) << 52);
  }
  __device__ __forceinline__ double whole(double mass) const {
    return rint(__dmul_rn(__dmul_rn(mass, up), more));
  }
  __device__ __forceinline__ u64 of(double mass) const { return (u64)whole(mass); }
};

static __device__ __forceinline__ u64 warp_sum(u64 value) {
  for (int o = WARP / 2; o > 0; o /= 2) value += __shfl_xor_sync(0xffffffffu, value, o);
  return value;
}

// The largest of numbers that are not negative; their bits have the same order.
static __device__ __forceinline__ void raise(double* place, double value) {
  atomicMax((u64*)place, (u64)__double_as_longlong(value));
}
static __device__ __forceinline__ double warp_max(double value) {
  for (int o = WARP / 2; o > 0; o /= 2)
    value = fmax(value, __shfl_xor_sync(0xffffffffu, value, o));
  return value;
}

// Neighbouring numbers that fall to a thread: their sum, and that of all before them.
struct Run {
  i64 first, end;
  u64 before, sum;
};

// Deals out `count` numbers to the threads of a block; sums[THREADS - 1] is the sum of all.
template <class Numbers>
static __device__ Run dealt(Numbers number, i64 count, u64* sums) {
  const int thread = threadIdx.x;
  const i64 each = (count + THREADS - 1) / THREADS;
  Run mine;
  mine.first = min(count, thread * each);
  mine.end = min(count, mine.first + each);
  mine.sum = 0;
  for (i64 at = mine.first; at < mine.end; at++) mine.sum += number(at);
  sums[thread] = mine.sum;
  for (int step = 1; step < THREADS; step *= 2) {
    __syncthreads();
    const u64 left = thread >= step ? sums[thread - step] : 0;
    __syncthreads();
    sums[thread] += left;
  }
  __syncthreads();
  mine.before = sums[thread] - mine.sum;
  return mine;
}

// The number on which a ticket below the sum falls; the ticket becomes what is left of it there.
template <class Numbers>
static __device__ i64 located(Numbers number, Run mine, u64& ticket, u64* place) {
  if (ticket >= mine.before && ticket - mine.before < mine.sum) {
    u64 left = ticket - mine.before;
    i64 at = mine.first;
    for (u64 value = number(at); left >= value; value = number(++at)) left -= value;
    place[0] = at;
    place[1] = left;
  }
  __syncthreads();
  ticket = place[1];
  return (i64)place[0];
}
