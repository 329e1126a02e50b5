// Sums by cluster that do not depend on their order: whole numbers, added in int64.
#include "sums.cuh"

typedef ROW_TYPE Row;

// Add rows to the sums (k, columns) of their clusters; rows that moved leave their old ones.
// Without labels before, every row is new.  `carrying` counts rows that were added and have weight.
// A block takes `tile` rows at a time, of threads at most; with copies, shared memory has the sums.
extern "C" __global__ void __launch_bounds__(THREADS, 4) add_rows(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d, int k,
    const double* __restrict__ weight, const int* __restrict__ before,
    const int* __restrict__ after, const double* __restrict__ up, int limbs, double weight_up,
    int weight_limbs, int tile, int copies, i64* __restrict__ all, u64* carrying) {
  extern __shared__ double memory[];
  int *list = (int*)memory, *scan = list + THREADS;
  const Cells<Row> cells = {x, row_stride, column_stride, weight,   up,
                            d, limbs,      weight_limbs,  weight_up};
  const int columns = cells.columns(), wide = d + 1;
  const Sums sums = {all, copies ? k * columns : 0, copies, (unsigned*)(scan + SCAN)};
  sums.clear();
  u64 heavy = 0;
  for (i64 first = (i64)blockIdx.x * tile; first < n; first += (i64)gridDim.x * tile) {
    const i64 mine = first + threadIdx.x;
    const bool is_new = threadIdx.x < tile && mine < n &&
                        !(before && before[mine] == after[mine]) && cells.has_weight(mine);
    int count;
    const int place = before_in_block((int)is_new, scan, count);
    // its barrier stands behind all reads of the list before
    if (is_new) list[place] = threadIdx.x;
    __syncthreads();
    for (int at = threadIdx.x; at < count * wide; at += THREADS) {
      const int turn = at / wide, f = at % wide;
      const i64 row = first + list[turn];
      const i64 into = (i64)after[row] * columns, from = before ? (i64)before[row] * columns : 0;
      cells.each(row, f, [&](int column, i64 whole) {
        sums.put(into + column, turn, whole);
        if (before) sums.put(from + column, turn, -whole);
      });
    }
    heavy += count;
  }
  if (threadIdx.x == 0 && heavy) atomicAdd(carrying, heavy);
  sums.flush();
}

// Sums by label of whole numbers held in float64 (n, columns); tiles and copies as above.
extern "C" __global__ void __launch_bounds__(THREADS) group_sums(
    const double* __restrict__ values, i64 row_stride, i64 column_stride, i64 n, int columns, int k,
    const int* __restrict__ labels, int tile, int copies, i64* __restrict__ all) {
  extern __shared__ double memory[];
  const Sums sums = {all, copies ? k * columns : 0, copies, (unsigned*)memory};
  sums.clear();
  for (i64 first = (i64)blockIdx.x * tile; first < n; first += (i64)gridDim.x * tile) {
    const int rows = (int)min((i64)tile, n - first);
    for (int at = threadIdx.x; at < rows * columns; at += THREADS) {
      const int turn = at / columns, column = at % columns;
      const i64 row = first + turn;
      const i64 value = (i64)values[row * row_stride + column * column_stride];
      sums.put((i64)labels[row] * columns + column, turn, value);
    }
  }
  sums.flush();
}
