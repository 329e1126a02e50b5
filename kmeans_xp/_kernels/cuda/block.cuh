// What the threads of a block find together.
#include "scan.cuh"

constexpr unsigned WHOLE_WARP = 0xffffffffu;

struct Sum {
  __device__ __forceinline__ i64 operator()(i64 a, i64 b) const { return a + b; }
};
struct Largest {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};
struct Smallest {
  __device__ __forceinline__ double operator()(double a, double b) const { return b < a ? b : a; }
};

// Of the lanes of a warp, the result in each of them.
template <class T, class Join>
static __device__ __forceinline__ T over_warp(T value, Join join) {
  for (int step = 16; step > 0; step /= 2)
    value = join(value, __shfl_xor_sync(WHOLE_WARP, value, step));
  return value;
}

// Of all threads, the result in each of them; what they wrote before is seen by all after it.
// `shared` holds a value for each warp.
template <class T, class Join>
static __device__ __forceinline__ T over_block(T value, double* shared, Join join) {
  T* parts = (T*)shared;
  value = over_warp(value, join);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  value = parts[0];
  for (int warp = 1; warp < WARPS; warp++) value = join(value, parts[warp]);
  __syncthreads();
  return value;
}
