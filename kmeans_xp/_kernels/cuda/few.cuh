// Canonical distances over so few features that their terms stay in registers: the bits of
// `exact.cuh` where the scale is 1.
#include "common.cuh"

constexpr int MOST_FEW = 16;
#define EACH_FEW(CASE)                                                                     \
  CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) \
  CASE(12) CASE(13) CASE(14) CASE(15) CASE(16)

// One row of D features.
template <int D>
struct Few {
  double values[D];

  template <class Row>
  __device__ __forceinline__ explicit Few(const Row* x) {
#pragma unroll
    for (int f = 0; f < D; f++) values[f] = widen(x[f]);
  }
  template <int WIDTH>
  static __device__ __forceinline__ double folded(double* terms) {
    if constexpr (WIDTH == 1) {
      return terms[0];
    } else {
      constexpr int HALF = (WIDTH + 1) / 2;
#pragma unroll
      for (int i = 0; i < WIDTH - HALF; i++) terms[i] = __dadd_rn(terms[i], terms[HALF + i]);
      return folded<HALF>(terms);
    }
  }
  __device__ __forceinline__ double distance(const double* center) const {
    double terms[D];
#pragma unroll
    for (int f = 0; f < D; f++) {
      const double apart = __dsub_rn(values[f], center[f]);
      terms[f] = __dmul_rn(apart, apart);
    }
    return folded<D>(terms);
  }
  // the first of the nearest
  __device__ __forceinline__ int nearest(const double* centers, int k) const {
    double best = infinity();
    int label = 0;
    for (int center = 0; center < k; center++) {
      const double found = distance(centers + center * D);
      if (found < best) {
        best = found;
        label = center;
      }
    }
    return label;
  }
};

template <class Row>
static __device__ __noinline__ double few_distance(const Row* x, const double* center, int d) {
#define CASE(D) \
  case D:       \
    return Few<D>(x).distance(center);
  switch (d) { EACH_FEW(CASE) }
#undef CASE
  return infinity();
}

template <class Row>
static __device__ __noinline__ int few_nearest(const Row* x, const double* centers, int d, int k) {
#define CASE(D) \
  case D:       \
    return Few<D>(x).nearest(centers, k);
  switch (d) { EACH_FEW(CASE) }
#undef CASE
  return 0;
}
