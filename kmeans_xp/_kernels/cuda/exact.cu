// Canonical float64 distances, bit for bit those of `_distances`, and labels judged by them.

typedef ROW_TYPE Row;

constexpr int THREADS = 256, MOST_LEVELS = 31;

// Values that a halving sum over d features has left after so many folds.
static __device__ __forceinline__ int folded(int d, int folds) {
  return (int)(((i64)d + (1LL << folds) - 1) >> folds);
}

struct Scale {
  double before, after;

  // one rounding at a time: nothing may be fused
  __device__ __forceinline__ double square(Row x, double center) const {
    const double apart = __dsub_rn(__dmul_rn(widen(x), before), __dmul_rn(center, before));
    const double scaled = __dmul_rn(apart, after);
    return __dmul_rn(scaled, scaled);
  }
};

// The halving sum without room for its terms.  After so many folds that at most `lanes` values
// are left, value i is a tree over the features i, i + w, ... which each lane walks depth first;
// neighbouring lanes read neighbouring features.  The last folds go between the lanes.
// The result is that of lane 0.  `lanes` is 1 or 32.
static __device__ double canonical(const Row* x, i64 stride, const double* center, int d,
                                   int lanes, int lane, Scale scale) {
  int levels = 0;
  while (folded(d, levels) > lanes) levels++;
  int width = folded(d, levels);
  double value = 0.0;
  if (lane < width) {
    double waiting[MOST_LEVELS];  // left children, by level
    for (i64 leaf = 0; leaf < 1LL << levels; leaf++) {
      int f = lane, at = 0;
      for (int level = levels; level > 0; level--) {
        if (!(leaf >> (level - 1) & 1)) continue;
        f += folded(d, level);
        if (f >= folded(d, level - 1)) {
          // the middle one, which has no partner: skip the leaves below
          leaf |= (1LL << (level - 1)) - 1;
          at = level;
          break;
        }
      }
      value = at ? waiting[at - 1] : scale.square(x[f * stride], center[f]);
      for (; leaf >> at & 1; at++) value = __dadd_rn(waiting[at], value);
      waiting[at] = value;
    }
  }
  while (width > 1) {
    const int half = (width + 1) / 2;
    const double other = __shfl_down_sync(0xffffffffu, value, half);
    if (lane + half < width) value = __dadd_rn(value, other);
    width = half;
  }
  return value;
}

// Values as float64.
extern "C" __global__ void __launch_bounds__(THREADS) widened(
    const Row* __restrict__ values, i64 n, double* __restrict__ out) {
  for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < n; at += (i64)gridDim.x * THREADS)
    out[at] = widen(values[at]);
}

// Of the rows of a list (or all), the distance to the center of the label (or of the number);
// with no labels and `crosses` to each center, as (k, n).
extern "C" __global__ void __launch_bounds__(THREADS) distances(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, const i64* __restrict__ list,
    i64 n, int d, int k, const double* __restrict__ centers, const int* __restrict__ labels,
    int crosses, double before, double after, int lanes, double* __restrict__ out) {
  const int lane = threadIdx.x % lanes, groups = THREADS / lanes;
  const i64 number = (i64)blockIdx.x * groups + threadIdx.x / lanes;
  if (number >= n) return;  // whole warps, where lanes talk
  const Row* row = x + (list ? list[number] : number) * row_stride;
  const Scale scale = {before, after};
  if (!crosses) {
    const i64 own = labels ? labels[number] : number;
    const double found =
        canonical(row, column_stride, centers + own * d, d, lanes, lane, scale);
    if (lane == 0) out[number] = found;
    return;
  }
  for (int center = 0; center < k; center++) {
    const double found =
        canonical(row, column_stride, centers + (i64)center * d, d, lanes, lane, scale);
    if (lane == 0) out[center * n + number] = found;
  }
}

// The label of each listed row (or all): the nearest by canonical distance, the lowest of equals.
extern "C" __global__ void __launch_bounds__(THREADS) settle(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, const i64* __restrict__ list,
    const i64* __restrict__ counted, i64 n, int d, int k, const double* __restrict__ centers,
    double before, double after, int lanes, int* __restrict__ labels) {
  extern __shared__ double memory[];
  double* distance = memory;
  int* label = (int*)(memory + THREADS);

  const i64 total = rows_meant(n, counted);
  const int lane = threadIdx.x % lanes, group = threadIdx.x / lanes, groups = THREADS / lanes;
  const Scale scale = {before, after};
  for (i64 number = blockIdx.x; number < total; number += gridDim.x) {
    const i64 place = list ? list[number] : number;
    double best = infinity();
    // where all distances overflow, the lowest label
    int winner = group < k ? group : 0;
    for (int center = group; center < k; center += groups) {
      const double found = canonical(x + place * row_stride, column_stride,
                                     centers + (i64)center * d, d, lanes, lane, scale);
      if (found < best) {
        best = found;
        winner = center;
      }
    }
    __syncthreads();
    if (lane == 0) {
      distance[group] = best;
      label[group] = winner;
    }
    __syncthreads();
    for (int step = groups / 2; step > 0; step /= 2) {
      if (threadIdx.x < step) {
        const double other = distance[threadIdx.x + step], mine = distance[threadIdx.x];
        const int theirs = label[threadIdx.x + step];
        if (other < mine || (other == mine && theirs < label[threadIdx.x])) {
          distance[threadIdx.x] = other;
          label[threadIdx.x] = theirs;
        }
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) labels[place] = label[0];
  }
}
