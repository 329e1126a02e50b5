// The statistics of many small problems, as `_stats` takes them: a block each, a warp a feature.
#include "block.cuh"
#include "powers.cuh"

typedef ROW_TYPE Row;

// half ranges within which the canonical scale is 1, whatever becomes of the centers
constexpr double LEAST_HALF = 0x1p-200, MOST_HALF = 0x1p200;

// How many limbs a number on a grid takes; one more than there may be, if it takes more.
static __device__ __forceinline__ int limbs_for(double value, double up, int most) {
  double rest = __dmul_rn(value, up);
  int limbs = 1;
  for (rest = __dsub_rn(rest, trunc(rest)); rest != 0.0 && limbs <= most; limbs++) {
    rest = __dmul_rn(rest, ONE_LIMB);
    rest = __dsub_rn(rest, trunc(rest));
  }
  return limbs;
}

// One problem's rows, with weights of at most 1.
struct Rows {
  const Row* x;
  const double* weight;
  int n, d, lane;

  __device__ __forceinline__ double value(int row, int f) const {
    return widen(x[(i64)row * d + f]);
  }
  __device__ __forceinline__ double weigh(int row, double value) const {
    if (!weight) return value;
    return __dmul_rn(weight[row] > 0.0 ? value : 0.0, weight[row]);
  }
};

// What a warp finds out about one feature.
struct Feature {
  double low, high, largest, up, down, mean, term;
  int limbs;

  __device__ void see_range(const Rows& rows, int f) {
    low = infinity(), high = -infinity(), largest = 0.0;
    for (int row = rows.lane; row < rows.n; row += 32) {
      const double value = rows.value(row, f);
      largest = Largest()(largest, fabs(rows.weigh(row, value)));
      if (rows.weight && !(rows.weight[row] > 0.0)) continue;
      low = Smallest()(low, value);
      high = Largest()(high, value);
    }
    low = over_warp(low, Smallest());
    high = over_warp(high, Largest());
    const int exponent = exponent_above(over_warp(largest, Largest()));
    up = power(GRID_BITS - exponent);
    down = power(exponent - GRID_BITS);
  }
  __device__ void see_mean(const Rows& rows, int f, double total, int most_limbs) {
    i64 sum = 0;
    limbs = 1;
    for (int row = rows.lane; row < rows.n; row += 32) {
      const double value = rows.weigh(row, rows.value(row, f));
      sum += (i64)rint(__dmul_rn(value, up));
      limbs = max(limbs, limbs_for(value, up, most_limbs));
    }
    limbs = over_warp(limbs, Largest());
    mean = __dmul_rn(__ddiv_rn((double)over_warp(sum, Sum()), total), down);
  }
  __device__ void see_variance(const Rows& rows, int f, double total, double heaviest) {
    const double widest = Largest()(fabs(__dsub_rn(high, mean)), fabs(__dsub_rn(mean, low)));
    const int exponent = exponent_above(__dmul_rn(__dmul_rn(widest, widest), heaviest));
    i64 sum = 0;
    for (int row = rows.lane; row < rows.n; row += 32) {
      const double apart = __dsub_rn(rows.value(row, f), mean);
      const double square = rows.weigh(row, __dmul_rn(apart, apart));
      sum += (i64)rint(__dmul_rn(square, power(GRID_BITS - exponent)));
    }
    const double squares = (double)over_warp(sum, Sum());
    term = __ddiv_rn(__dmul_rn(squares, power(exponent - GRID_BITS)), total);
  }
};

// Knuth's exact sum: a becomes the rounded one, the result is its error.
static __device__ __forceinline__ double add_exactly(double& a, double b) {
  const double sum = __dadd_rn(a, b), part = __dsub_rn(sum, a);
  const double error = __dadd_rn(__dsub_rn(a, __dsub_rn(sum, part)), __dsub_rn(b, part));
  a = sum;
  return error;
}

// The sum of numbers that are not negative, rounded once; false where that is not certain.
static __device__ bool sum_rounded_once(const double* terms, int count, double& total) {
  double rest = 0.0;
  bool is_exact = true;
  total = 0.0;
  for (int i = 0; i < count; i++) {
    const double error = add_exactly(total, terms[i]);
    is_exact &= add_exactly(rest, error) == 0.0;
  }
  const double sum = total, left = fabs(add_exactly(total, rest));
  if (is_exact) return true;
  // errors are at most count units of the sum, and count of them were rounded
  const double doubt = __dmul_rn(__dmul_rn((double)count, (double)count), sum) * 0x1p-104;
  return __dadd_rn(left, doubt) < power(exponent_of(total) - 54);
}

// Grids, tolerance and weights of problem `blockIdx.x`.
//   numbers (2 d + 2): factors to the grid of each feature, factors from sums to means, the factor
//     of the weights, the tolerance
//   notes (4): 0 if a block can go on, limbs, limbs of the weights, exponent taken from the weights
extern "C" __global__ void __launch_bounds__(THREADS, 2) survey_batch(
    const Row* __restrict__ x, const double* __restrict__ weight, const Row* __restrict__ start,
    int n, int d, int k, double tol, int most_limbs, double* unit_weight,
    double* __restrict__ numbers, int* __restrict__ notes) {
  extern __shared__ double memory[];
  double *terms = memory, *shared = memory + d;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const i64 problem = blockIdx.x;
  Rows rows = {x + problem * n * d, nullptr, n, d, lane};
  numbers += problem * (2 * d + 2);

  int taken = 0, weight_limbs = 0;
  double heaviest = 1.0, total = n, weight_up = 1.0;
  if (weight) {
    const double* given = weight + problem * n;
    double most = 0.0;
    for (int row = threadIdx.x; row < n; row += THREADS) most = Largest()(most, given[row]);
    most = over_block(most, shared, Largest());
    taken = exponent_above(most);
    const double once = power(-(taken >> 1)), again = power((taken >> 1) - taken);
    double* unit = unit_weight + problem * n;
    heaviest = __dmul_rn(__dmul_rn(most, once), again);
    const int exponent = exponent_above(heaviest);
    weight_up = power(GRID_BITS - exponent);
    i64 high = 0, low = 0;
    weight_limbs = 1;
    for (int row = threadIdx.x; row < n; row += THREADS) {
      unit[row] = __dmul_rn(__dmul_rn(given[row], once), again);
      const double scaled = __dmul_rn(unit[row], weight_up), whole = trunc(scaled);
      high += (i64)whole;
      low += (i64)rint(__dmul_rn(__dsub_rn(scaled, whole), ONE_LIMB));
      weight_limbs = max(weight_limbs, limbs_for(unit[row], weight_up, most_limbs));
    }
    high = over_block(high, shared, Sum());
    low = over_block(low, shared, Sum());
    weight_limbs = over_block(weight_limbs, shared, Largest());
    // few rows: both sums are below 2**53
    total = __dadd_rn(__dmul_rn((double)high, ONE_LIMB), (double)low);
    total = __dmul_rn(__dmul_rn(total, 1.0 / ONE_LIMB), power(exponent - GRID_BITS));
    rows.weight = unit;
  }

  int limbs = 1;
  double half = 0.0, wide = 0.0;
  for (int f = warp; f < d; f += WARPS) {
    Feature feature;
    feature.see_range(rows, f);
    feature.see_mean(rows, f, total, most_limbs);
    feature.see_variance(rows, f, total, heaviest);
    limbs = max(limbs, feature.limbs);
    half = Largest()(half, __dsub_rn(__dmul_rn(feature.high, 0.5), __dmul_rn(feature.low, 0.5)));
    double low = feature.low, high = feature.high;
    for (int center = lane; start && center < k; center += 32) {
      const double value = widen(start[(problem * k + center) * d + f]);
      low = Smallest()(low, value);
      high = Largest()(high, value);
    }
    low = over_warp(low, Smallest());
    high = over_warp(high, Largest());
    wide = Largest()(wide, __dsub_rn(__dmul_rn(high, 0.5), __dmul_rn(low, 0.5)));
    if (lane) continue;
    terms[f] = feature.term;
    numbers[f] = feature.up;
    numbers[d + f] = __dmul_rn(feature.down, weight_up);
  }
  limbs = over_block(limbs, shared, Largest());
  half = over_block(half, shared, Largest());
  wide = over_block(wide, shared, Largest());
  if (threadIdx.x) return;
  double variance = 0.0;
  bool fits = sum_rounded_once(terms, d, variance) || tol == 0.0;
  fits = fits && limbs <= most_limbs && weight_limbs <= most_limbs;
  fits = fits && (half == 0.0 || half >= LEAST_HALF);
  fits = fits && (wide == 0.0 || wide >= LEAST_HALF) && wide <= MOST_HALF;
  numbers[2 * d] = weight_up;
  numbers[2 * d + 1] = __dmul_rn(tol, __ddiv_rn(variance, (double)d));
  const int found[4] = {!fits, limbs, weight_limbs, taken};
  for (int i = 0; i < 4; i++) notes[problem * 4 + i] = found[i];
}
