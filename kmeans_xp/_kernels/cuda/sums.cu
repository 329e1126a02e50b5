// Sums by cluster that do not depend on their order: whole numbers, added in int64.
#include "cells.cuh"

typedef ROW_TYPE Row;

constexpr int THREADS = 256;

// Add rows to the sums (k, columns) of their clusters; rows that moved leave their old ones.
// Without labels before, every row is new.  `carrying` counts rows that were added and have weight.
// With `is_local`, a block adds up in shared memory first.
extern "C" __global__ void __launch_bounds__(THREADS, 4) add_rows(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride, i64 n, int d, int k,
    const double* __restrict__ weight, const int* __restrict__ before,
    const int* __restrict__ after, const double* __restrict__ up, int limbs, double weight_up,
    int weight_limbs, int is_local, i64 rows_a_block, i64* __restrict__ sums, u64* carrying) {
  extern __shared__ double memory[];
  const int columns = limbs * d + weight_limbs + 1;
  const unsigned wide = d + 1;
  const i64 start = (i64)blockIdx.x * rows_a_block, end = min(n, start + rows_a_block);
  i64* own = is_local ? (i64*)memory : sums;
  if (is_local) {
    for (int at = threadIdx.x; at < k * columns; at += THREADS) own[at] = 0;
    __syncthreads();
  }
  const Cells<Row> cells = {x, row_stride, column_stride, weight,       up,
                       d, limbs,      weight_limbs,  columns, weight_up};
  u64 heavy = 0;
  // fewer than 2**31, by the caller's choice of rows: a division of 64 bits is slow
  for (unsigned at = threadIdx.x; at < (unsigned)(end - start) * wide; at += THREADS) {
    const i64 row = start + at / wide;
    const int f = (int)(at % wide), label = after[row];
    if (before && before[row] == label) continue;
    cells.add_row(row, f, own + (i64)label * columns,
                  before ? own + (i64)before[row] * columns : nullptr);
    heavy += f == d && !(weight && !(weight[row] > 0.0));
  }
  if (heavy) atomicAdd(carrying, heavy);
  if (!is_local) return;
  __syncthreads();
  for (int at = threadIdx.x; at < k * columns; at += THREADS)
    if (own[at]) add(sums + at, own[at]);
}

// Sums by label of whole numbers held in float64 (n, columns).
extern "C" __global__ void __launch_bounds__(THREADS) group_sums(
    const double* __restrict__ values, i64 row_stride, i64 column_stride, i64 n, int columns,
    const int* __restrict__ labels, i64* __restrict__ sums) {
  for (i64 at = (i64)blockIdx.x * THREADS + threadIdx.x; at < n * columns;
       at += (i64)gridDim.x * THREADS) {
    const i64 row = at / columns;
    const int column = (int)(at % columns);
    const i64 value = (i64)values[row * row_stride + column * column_stride];
    if (value) add(sums + (i64)labels[row] * columns + column, value);
  }
}
