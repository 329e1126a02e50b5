// float64 numbers on their way to the type of the rows.
#include "common.cuh"

// A value in float64 as it is after one rounding to the type of the first argument: subnormal
// numbers too, which CuPy's -ftz=true would take for zero.
static __device__ __forceinline__ double rounded_to(double, double value) { return value; }
static __device__ __forceinline__ double rounded_to(float, double value) {
  if (fabs(value) >= 0x1p-126) return (double)(float)value;
  return __dmul_rn(rint(__dmul_rn(value, 0x1p149)), 0x1p-149);
}

// Write what `rounded_to` gave.
static __device__ __forceinline__ void store(double* place, double value) { *place = value; }
static __device__ __forceinline__ void store(float* place, double value) {
  if (fabs(value) >= 0x1p-126) {
    *place = (float)value;
    return;
  }
  const unsigned size = (unsigned)__dmul_rn(fabs(value), 0x1p149);
  *place = __uint_as_float(size | (copysign(1.0, value) < 0.0 ? 0x80000000u : 0u));
}
