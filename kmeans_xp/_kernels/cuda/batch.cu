// Many small problems at once: a block fits one of them, from the first seed to the last label.
//
// Every number is that of a fit alone: draws as in `_plusplus`, `_draws` and `_init`, the loop as in
// `_solver`.  What a block cannot do (an empty cluster, rows that all lie on seeds, another scale)
// it leaves, and says so.
#include "batch_starts.cuh"

constexpr double LEAST_RANGE = 0x1p-256;  // half: below it, the canonical scale is not 1
constexpr int MOST_STEPS = 100000;        // a kernel cannot be interrupted

enum Ending { CONVERGED, TOLERANCE, MAX_ITER, LEFT };

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
