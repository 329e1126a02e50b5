// Rows that tensor cores left open, and the few centers that may be nearest to each.
#include "exact.cuh"
#include "verdict.cuh"

typedef ROW_TYPE Row;

// The label of each listed row by canonical distances to its shortlist (`shortlist`), and its bounds.
// Rows without one, or with one that was too long, are listed again.
extern "C" __global__ void __launch_bounds__(THREADS, 4) choose(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, const i64* __restrict__ list,
    const i64* __restrict__ counted, i64 room, int d, i64 k, const double* __restrict__ centers,
    double before, double after, int lanes, const int* __restrict__ few,
    const int* __restrict__ counts, const double* __restrict__ beyond,
    const u8* __restrict__ twinned, double least, int* __restrict__ labels, u8* is_open,
    i64* open_rows, u64* open_count,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower) {
  const int lane = threadIdx.x % lanes, groups = THREADS / lanes;
  const Scale scale = {before, after};
  const Kept kept = {slack, upper, lower, tables, tables_are_double};
  const i64 total = *counted;
  // rows are whole warps', where lanes talk
  for (i64 at = (i64)blockIdx.x * groups + threadIdx.x / lanes; at < total;
       at += (i64)gridDim.x * groups) {
    const i64 row = list[at];
    const int count = at < room ? counts[at] : 0;
    double best = infinity(), second = infinity();
    int winner = -1;
    for (int turn = 0; turn < (count <= MOST_LISTED ? count : 0); turn++) {
      const int center = few[at * MOST_LISTED + turn];
      const double found = canonical(x + row * row_stride, column_stride, centers + (i64)center * d,
                                     d, lanes, lane, scale);
      // in any order: the lowest of equals
      if (found < best || (found == best && center < winner)) {
        second = best;
        best = found;
        winner = center;
      } else if (found < second) {
        second = found;
      }
    }
    if (lane > 0) continue;
    if (winner < 0) {
      append(open_rows, open_count, row);
      continue;
    }
    labels[row] = winner;
    if (is_open) is_open[row] = 0;
    if (!kept.tables) continue;
    const bool has_twin = twinned && twinned[winner];
    const double near = sqrt(best) * (1.0 + OUTWARDS) + least;
    const double far = fmin(sqrt(second) * (1.0 - OUTWARDS) - least, beyond[at]);
    kept.keep(row, winner, k, has_twin ? infinity() : near, has_twin ? -infinity() : far);
  }
}
