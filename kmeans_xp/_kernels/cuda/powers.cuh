// Grids of whole numbers: powers of two as `_exact` and `_draws` choose them.
#include "common.cuh"

constexpr int GRID_BITS = 40, MOST_BITS = 1000;

// The least p with value <= 2**p; 0 for 0.
static __device__ __forceinline__ int exponent_of(double value) {
  int exponent = 0;
  return frexp(value, &exponent) == 0.5 ? exponent - 1 : exponent;
}

static __device__ __forceinline__ int exponent_above(double value) {
  return max(exponent_of(value), LEAST_EXPONENT);
}

static __device__ __forceinline__ double power(int exponent) { return ldexp(1.0, exponent); }

// Of a lottery: numbers in 40 bits of the largest.
struct Units {
  double up, more;

  __device__ __forceinline__ explicit Units(double largest) {
    const int bits = GRID_BITS - exponent_of(largest);
    up = power(min(bits, MOST_BITS));
    more = power(max(bits - MOST_BITS, 0));
  }
  __device__ __forceinline__ i64 whole(double mass) const {
    return (i64)rint(__dmul_rn(__dmul_rn(mass, up), more));
  }
};
