// Rounds of k-means|| (`_init.parallel`): rows taken, and the closest of them for each row.
#include "exact.cuh"
#include "lottery.cuh"

typedef ROW_TYPE Row;

// Rows of a round of k-means||, each taken or not by its own key, about `wanted` of them.  The
// first launch counts those of each piece; the second lists them, in the order of the rows.
extern "C" __global__ void __launch_bounds__(THREADS, 4) oversample(
    i64 n, const double* __restrict__ weight, i64 size, i64 pieces,
    const double* __restrict__ closest, const double* __restrict__ tops, int place,
    const u64* __restrict__ totals, double wanted, u64 key, u64* counts, i64* taken) {
  extern __shared__ double memory[];
  u64* sums = (u64*)memory;

  dealt([=](i64 piece) { return totals[piece]; }, pieces, sums);
  const u64 total = sums[THREADS - 1];
  __syncthreads();
  const double share = total ? __ddiv_rn(wanted, (double)total) : 0.0;
  const Units units(tops[place]);
  const i64 start = blockIdx.x * size;
  const auto is_taken = [=](i64 at) {
    const i64 row = start + at;
    const double uniform = __dmul_rn((double)(mixed(key, row) << 1 >> 11), 0x1p-53);
    return (u64)(uniform < __dmul_rn(units.whole(weighed(closest[row], weight, row)), share));
  };
  const i64 rows = min(size, n - start);
  if (!taken) {
    dealt(is_taken, rows, sums);
    if (threadIdx.x == 0) counts[blockIdx.x] = sums[THREADS - 1];
    return;
  }
  dealt([=](i64 piece) { return counts[piece]; }, blockIdx.x, sums);
  const u64 first = sums[THREADS - 1];
  __syncthreads();
  const Run mine = dealt(is_taken, rows, sums);
  u64 at = first + mine.before;
  for (i64 r = mine.first; r < mine.end; r++)
    if (is_taken(r)) taken[at++] = start + r;
}

// Rows become those of the new seed of their label, numbered from `first`, where it is nearer.
extern "C" __global__ void __launch_bounds__(THREADS, 4) adopt(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d,
    const double* __restrict__ weight, const Row* __restrict__ centers,
    const int* __restrict__ labels, int first, double before, double after, int lanes,
    double* __restrict__ closest, int* __restrict__ seeds, double* tops, int place) {
  extern __shared__ double memory[];
  double* top = memory;

  const int lane = threadIdx.x % lanes, groups = THREADS / lanes;
  const Scale scale = {before, after};
  if (threadIdx.x == 0) *top = 0.0;
  __syncthreads();
  double most = 0.0;
  for (i64 row = (i64)blockIdx.x * groups + threadIdx.x / lanes; row < n;
       row += (i64)gridDim.x * groups) {
    const int label = labels[row];
    const double found = canonical(x + row * row_stride, column_stride, centers + (i64)label * d,
                                   d, lanes, lane, scale);
    if (lane != 0) continue;
    double now = closest[row];
    // of equally near centers the first stays
    if (found < now) {
      closest[row] = now = found;
      seeds[row] = first + label;
    }
    most = fmax(most, weighed(now, weight, row));
  }
  most = warp_max(most);
  if (threadIdx.x % WARP == 0) raise(top, most);
  __syncthreads();
  if (threadIdx.x == 0) raise(tops + place, *top);
}
