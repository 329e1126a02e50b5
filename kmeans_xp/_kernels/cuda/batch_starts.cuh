// Where the centers of a block start: the draws of `_plusplus`, `_draws` and `_init`.
#include "batch_fit.cuh"
#include "lottery.cuh"

enum Start { GIVEN, PLUSPLUS, DRAWN, PARTITIONED };

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
    const auto whole = [&](int row) { return (i64)units.of(heavy(row)); };
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
    const auto whole = [&](int row) { return (i64)units.of(mass(row)); };
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
          left += (i64)units.of(fit.weigh(row, Smallest()(fit.closest[row], found)));
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
    const auto whole = [&](int row) { return (i64)units.of(mass(row)); };
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
