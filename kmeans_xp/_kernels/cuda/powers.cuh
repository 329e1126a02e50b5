// Grids of whole numbers: powers of two as `_exact` chooses them.
#include "common.cuh"

constexpr int GRID_BITS = 40;

// The least p with value <= 2**p; 0 for 0.
static __device__ __forceinline__ int exponent_of(double value) {
  int exponent = 0;
  return frexp(value, &exponent) == 0.5 ? exponent - 1 : exponent;
}

static __device__ __forceinline__ int exponent_above(double value) {
  return max(exponent_of(value), LEAST_EXPONENT);
}

static __device__ __forceinline__ double power(int exponent) { return ldexp(1.0, exponent); }
