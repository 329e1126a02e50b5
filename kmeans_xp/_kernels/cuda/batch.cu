// Many small problems at once: a block fits one of them, from the first seed to the last label.
//
// Every number is that of a fit alone: draws as in `_plusplus`, `_draws` and `_init`, the loop as in
// `_solver`.  What a block cannot do (an empty cluster, rows that all lie on seeds, another scale)
// it leaves, and says so.
#include "block.cuh"
#include "cells.cuh"
#include "draws.cuh"
#include "exact.cuh"
#include "few.cuh"
#include "means.cuh"
#include "powers.cuh"
#include "rounded.cuh"

typedef ROW_TYPE Row;

constexpr double LEAST_RANGE = 0x1p-256;  // half: below it, the canonical scale is not 1
constexpr int MOST_STEPS = 100000;        // a kernel cannot be interrupted

enum Start { GIVEN, PLUSPLUS, DRAWN, PARTITIONED };
enum Ending { CONVERGED, TOLERANCE, MAX_ITER, LEFT };

// What a block knows of its problem and its run; distances of a row are found by `lanes` threads.
struct Fit {
  const Row* x;
  const double *weight, *up, *down;
  int n, d, k, lanes, limbs, weight_limbs;
  double weight_up;
  int* labels;
  double* closest;
  // in shared memory
  double *centers, *fresh, *moves, *shared;
  i64* sums;

  __device__ __forceinline__ int lane() const { return threadIdx.x % lanes; }
  __device__ __forceinline__ int group() const { return threadIdx.x / lanes; }
  __device__ __forceinline__ int groups() const { return THREADS / lanes; }
  __device__ __forceinline__ int columns() const { return limbs * d + weight_limbs + 1; }
  __device__ __forceinline__ Cells<Row> cells() const {
    return {x, d, 1, weight, up, d, limbs, weight_limbs, weight_up};
  }
  __device__ __forceinline__ double weigh(int row, double value) const {
    if (!weight) return value;
    return __dmul_rn(weight[row] > 0.0 ? value : 0.0, weight[row]);
  }
  // the result is that of lane 0
  __device__ __forceinline__ double distance(int row, const double* center) const {
    if (d <= MOST_FEW) return few_distance(x + (i64)row * d, center, d);
    return canonical(x + (i64)row * d, 1, center, d, lanes, lane(), Scale{1.0, 1.0});
  }
  // the label of a row in all its lanes
  __device__ __forceinline__ int nearest(int row) const {
    if (d <= MOST_FEW) return few_nearest(x + (i64)row * d, centers, d, k);
    double best = infinity();
    int label = 0;
    for (int center = 0; center < k; center++) {
      const double found = distance(row, centers + center * d);
      if (found < best) {
        best = found;
        label = center;
      }
    }
    return lanes > 1 ? __shfl_sync(WHOLE_WARP, label, 0) : label;
  }
  __device__ void load(int row, double* into) const {
    for (int f = threadIdx.x; f < d; f += THREADS) into[f] = widen(x[(i64)row * d + f]);
  }
  __device__ void clear_sums() const {
    for (int at = threadIdx.x; at < k * columns(); at += THREADS) sums[at] = 0;
  }

  // Means of the clusters, rounded to the rows' type; false if one has no rows.
  __device__ bool recenter(double* into) const {
    const bool is_short = n <= 2 * EXACT_ROWS && limbs <= 2;
    int empty = 0;
    for (int at = threadIdx.x; at < k * d; at += THREADS) {
      const Totals totals = {sums + at / d * columns(), nullptr, d, limbs, weight_limbs};
      if (totals.count() == 0) {
        empty = 1;
        continue;
      }
      const double mean = totals.mean(at % d, totals.weight(), is_short);
      into[at] = rounded_to(Row(), __dmul_rn(mean, down[at % d]));
    }
    return over_block(empty, shared, Largest()) == 0;
  }

  // Label every row; how many with weight changed.  `adds`: the sums follow.
  __device__ i64 assign(bool adds) const {
    const Cells<Row> cells = this->cells();
    i64 changed = 0;
    for (int row = group(); row < n; row += groups()) {
      const int old = labels[row];
      const int label = nearest(row);
      if (label == old) continue;
      if (lane() == 0) {
        labels[row] = label;
        changed += !weight || weight[row] > 0.0;
      }
      if (!adds) continue;
      i64 *into = sums + label * columns(), *from = old < 0 ? nullptr : sums + old * columns();
      for (int f = lane(); f <= d; f += lanes)
        cells.each(row, f, [&](int column, i64 whole) {
          add(into + column, whole);
          if (from) add(from + column, -whole);
        });
    }
    return over_block(changed, shared, Sum());
  }

  // The halving sum of the squared moves from `centers` to `fresh`.
  __device__ double moved() const {
    for (int center = group(); center < k; center += groups()) {
      const double found = canonical(fresh + center * d, 1, centers + center * d, d, lanes, lane(),
                                     Scale{1.0, 1.0});
      if (lane() == 0) moves[center] = found;
    }
    __syncthreads();
    for (int width = k; width > 1;) {
      const int half = (width + 1) / 2;
      for (int i = threadIdx.x; i < width - half; i += THREADS)
        moves[i] = __dadd_rn(moves[i], moves[half + i]);
      width = half;
      __syncthreads();
    }
    return moves[0];
  }

  // Half the widest range of a feature over the centers.
  __device__ double half_range() const {
    double half = 0.0;
    for (int f = threadIdx.x; f < d; f += THREADS) {
      double low = centers[f], high = centers[f];
      for (int center = 1; center < k; center++) {
        low = Smallest()(low, centers[center * d + f]);
        high = Largest()(high, centers[center * d + f]);
      }
      half = Largest()(half, __dsub_rn(__dmul_rn(high, 0.5), __dmul_rn(low, 0.5)));
    }
    return over_block(half, shared, Largest());
  }

  // The weighted sum of squared distances, exact and rounded once; `taken` from the weights before.
  __device__ double inertia(int taken) const {
    double most = 0.0;
    for (int row = group(); row < n; row += groups()) {
      const double found = distance(row, centers + labels[row] * d);
      if (lane()) continue;
      closest[row] = weigh(row, found);
      most = Largest()(most, closest[row]);
    }
    const int exponent = exponent_above(over_block(most, shared, Largest()));
    const double factor = power(GRID_BITS - exponent);
    i64 high = 0, low = 0;
    for (int row = threadIdx.x; row < n; row += THREADS) {
      const double scaled = __dmul_rn(closest[row], factor), whole = trunc(scaled);
      high += (i64)whole;
      low += (i64)rint(__dmul_rn(__dsub_rn(scaled, whole), ONE_LIMB));
    }
    high = over_block(high, shared, Sum());
    low = over_block(low, shared, Sum());
    // few rows: both sums are below 2**53
    double value = __dadd_rn(__dmul_rn((double)high, ONE_LIMB), (double)low);
    value = __dmul_rn(__dmul_rn(value, 1.0 / ONE_LIMB), power(exponent - GRID_BITS));
    return __dmul_rn(__dmul_rn(value, power(taken >> 1)), power(taken - (taken >> 1)));
  }

  // Clusters that have a row, of any weight.
  __device__ int distinct() const {
    int* used = (int*)sums;
    for (int center = threadIdx.x; center < k; center += THREADS) used[center] = 0;
    __syncthreads();
    for (int row = threadIdx.x; row < n; row += THREADS) used[labels[row]] = 1;
    __syncthreads();
    i64 count = 0;
    for (int center = threadIdx.x; center < k; center += THREADS) count += used[center];
    return (int)over_block(count, shared, Sum());
  }
};

// Rows by tickets: the one whose running sum of whole numbers is the first above the ticket.
struct Lottery {
  int start, end;  // each thread has neighbouring rows
  i64 before, own, total;

  template <class Mass>
  __device__ Lottery(int n, double* shared, Mass whole) {
    const int size = (n + THREADS - 1) / THREADS;
    start = min(n, (int)threadIdx.x * size);
    end = min(n, start + size);
    own = 0;
    for (int row = start; row < end; row++) own += whole(row);
    before = before_in_block(own, (i64*)shared, total);
  }
  // who has the row writes it
  template <class Mass>
  __device__ void draw(u64 state, Mass whole, int* row) const {
    i64 left = (i64)drawn_below((u64)total, state) - before;
    if (left < 0 || left >= own) return;
    int found = start;
    while ((left -= whole(found)) >= 0) found++;
    *row = found;
  }
};

// The largest of a number of each row.
template <class Mass>
static __device__ double largest(const Fit& fit, Mass mass) {
  double most = 0.0;
  for (int row = threadIdx.x; row < fit.n; row += THREADS) most = Largest()(most, mass(row));
  return over_block(most, fit.shared, Largest());
}

// Greedy k-means++; false where all rows lie on seeds.
static __device__ bool plusplus(const Fit& fit, u64 state, int trials) {
  int* picked = (int*)fit.sums;
  const u64 first = mixed(mixed(state, 0), 0);
  if (fit.weight) {
    const auto heavy = [&](int row) { return fit.weight[row]; };
    const Units units(largest(fit, heavy));
    const auto whole = [&](int row) { return units.whole(heavy(row)); };
    Lottery(fit.n, fit.shared, whole).draw(first, whole, picked);
  } else if (threadIdx.x == 0) {
    picked[0] = (int)drawn_below(fit.n, first);
  }
  __syncthreads();
  fit.load(picked[0], fit.centers);
  __syncthreads();
  for (int row = fit.group(); row < fit.n; row += fit.groups()) {
    const double found = fit.distance(row, fit.centers);
    if (fit.lane() == 0) fit.closest[row] = found;
  }
  __syncthreads();
  const auto mass = [&](int row) { return fit.weigh(row, fit.closest[row]); };
  for (int step = 1; step < fit.k; step++) {
    const Units units(largest(fit, mass));
    const auto whole = [&](int row) { return units.whole(mass(row)); };
    const Lottery lottery(fit.n, fit.shared, whole);
    if (lottery.total == 0) return false;
    for (int trial = 0; trial < trials; trial++)
      lottery.draw(mixed(mixed(state, step), trial), whole, picked + trial);
    __syncthreads();
    for (int trial = 0; trial < trials; trial++) fit.load(picked[trial], fit.fresh + trial * fit.d);
    __syncthreads();
    int best = 0;
    i64 least = 0;
    for (int trial = 0; trial < trials; trial++) {
      i64 left = 0;
      for (int row = fit.group(); row < fit.n; row += fit.groups()) {
        const double found = fit.distance(row, fit.fresh + trial * fit.d);
        if (fit.lane() == 0)
          left += units.whole(fit.weigh(row, Smallest()(fit.closest[row], found)));
      }
      left = over_block(left, fit.shared, Sum());
      // the first of equals stays
      if (trial == 0 || left < least) {
        least = left;
        best = trial;
      }
    }
    for (int row = fit.group(); row < fit.n; row += fit.groups()) {
      const double found = fit.distance(row, fit.fresh + best * fit.d);
      if (fit.lane() == 0) fit.closest[row] = Smallest()(fit.closest[row], found);
    }
    fit.load(picked[best], fit.centers + step * fit.d);
    __syncthreads();
  }
  return true;
}

// Different rows, drawn by weight; false if those with weight are too few.
static __device__ bool draw_rows(const Fit& fit, u64 state) {
  int *picked = (int*)fit.sums, *rows = picked + fit.k;
  for (int row = threadIdx.x; row < fit.n; row += THREADS) fit.labels[row] = 0;
  __syncthreads();
  const auto mass = [&](int row) {
    return fit.labels[row] ? 0.0 : fit.weight ? fit.weight[row] : 1.0;
  };
  int chosen = 0;
  for (int attempt = 0; chosen < fit.k; attempt++) {
    const Units units(largest(fit, mass));
    const auto whole = [&](int row) { return units.whole(mass(row)); };
    const Lottery lottery(fit.n, fit.shared, whole);
    if (lottery.total == 0) return false;
    for (int i = 0; i < fit.k - chosen; i++)
      lottery.draw(mixed(mixed(state, attempt), i), whole, picked + i);
    __syncthreads();
    int more = 0;
    for (int i = 0; threadIdx.x == 0 && i < fit.k - chosen; i++) {
      if (fit.labels[picked[i]]) continue;
      fit.labels[picked[i]] = 1;
      rows[chosen + more++] = picked[i];
    }
    chosen += over_block(more, fit.shared, Largest());
  }
  for (int center = 0; center < fit.k; center++) fit.load(rows[center], fit.centers + center * fit.d);
  return true;
}

// The means of a random partition; false if a cluster got no row.
static __device__ bool partition(const Fit& fit, u64 state) {
  fit.clear_sums();
  __syncthreads();
  const Cells<Row> cells = fit.cells();
  for (int row = threadIdx.x; row < fit.n; row += THREADS) {
    const int label = (int)((mixed(state, row) & (~0ULL >> 1)) % (u64)fit.k);
    i64* into = fit.sums + label * fit.columns();
    for (int f = 0; f <= fit.d; f++)
      cells.each(row, f, [&](int column, i64 whole) { add(into + column, whole); });
  }
  __syncthreads();
  return fit.recenter(fit.centers);
}

// Where the centers start; false if a block cannot say.
static __device__ bool begin(const Fit& fit, int how, const Row* start, u64 seed, int trials) {
  if (how == PLUSPLUS) return plusplus(fit, mixed(mixed(0, seed), SEEDING), trials);
  if (how == DRAWN) return draw_rows(fit, mixed(mixed(0, seed), SEEDING));
  if (how == PARTITIONED) return partition(fit, mixed(mixed(0, seed), PARTITION));
  for (int at = threadIdx.x; at < fit.k * fit.d; at += THREADS) fit.centers[at] = widen(start[at]);
  return true;
}

// Lloyd's loop; how it ended, after how many iterations.
static __device__ Ending iterate(Fit& fit, int max_iter, double tol, double tolerance, int& number) {
  for (int row = threadIdx.x; row < fit.n; row += THREADS) fit.labels[row] = -1;
  fit.clear_sums();
  __syncthreads();
  for (number = 1;; number++) {
    const i64 changed = fit.assign(true);
    if (!fit.recenter(fit.fresh)) return LEFT;
    const double moved = fit.moved();
    double* before = fit.centers;
    fit.centers = fit.fresh;
    fit.fresh = before;
    if (changed == 0) return CONVERGED;
    if (tol > 0.0 && moved <= tolerance) return TOLERANCE;
    if (number == max_iter) return MAX_ITER;
    if (number == MOST_STEPS) return LEFT;
  }
}

// Run `blockIdx.x % runs` of problem `blockIdx.x / runs`; `numbers` and `notes` are those of
// `survey_batch`.
//   found (4): how it ended, iterations, clusters that have rows, inertia
extern "C" __global__ void __launch_bounds__(THREADS, 2) fit_batch(
    const Row* __restrict__ x, const double* __restrict__ weight, const Row* __restrict__ start,
    const i64* __restrict__ seeds, const double* __restrict__ numbers,
    const int* __restrict__ notes, int n, int d, int k, int runs, int how, int trials, int lanes,
    int most_columns, int max_iter, double tol, double* closest, int* labels,
    Row* __restrict__ centers, double* __restrict__ found) {
  extern __shared__ double memory[];
  const i64 problem = blockIdx.x / runs;
  const int run = blockIdx.x % runs;
  numbers += problem * (2 * d + 2);
  notes += problem * 4;
  found += (i64)blockIdx.x * 4;
  Fit fit = {x + problem * n * d,
             weight ? weight + problem * n : nullptr,
             numbers,
             numbers + d,
             n,
             d,
             k,
             lanes,
             notes[1],
             notes[2],
             numbers[2 * d],
             labels + (i64)blockIdx.x * n,
             closest + (i64)blockIdx.x * n,
             memory,
             memory + k * d,
             memory + 2 * k * d + k * most_columns,
             memory + 2 * k * d + k * most_columns + k,
             (i64*)memory + 2 * k * d};
  if (threadIdx.x == 0) found[0] = LEFT;
  if (notes[0]) return;
  const u64 seed = mixed(mixed(mixed(0, (u64)seeds[problem]), RUN), run);
  if (!begin(fit, how, start ? start + problem * k * d : nullptr, seed, trials)) return;
  __syncthreads();
  int number = 0;
  const Ending ending = iterate(fit, max_iter, tol, numbers[2 * d + 1], number);
  if (ending == LEFT) return;
  const double half = fit.half_range();
  if (half > 0.0 && half < LEAST_RANGE) return;
  if (ending != CONVERGED) fit.assign(false);
  const double inertia = fit.inertia(notes[3]);
  const int distinct = fit.distinct();
  centers += (i64)blockIdx.x * k * d;
  for (int at = threadIdx.x; at < k * d; at += THREADS) store(centers + at, fit.centers[at]);
  if (threadIdx.x) return;
  found[0] = ending;
  found[1] = number;
  found[2] = distinct;
  found[3] = inertia;
}
