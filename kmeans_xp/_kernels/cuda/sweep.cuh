// What follows from the scores of a tile in one pass over the rows: open rows judged, labels written,
// rows that changed added to sums in shared memory.  Rows are read again, from the caches.
#include "exact.cuh"
#include "sums.cuh"

// What a block knows of a tile, in shared memory: one address, since of registers there are few.
struct Desk {
  double* distance;  // [THREADS]

  __device__ __forceinline__ int* number() const { return (int*)(distance + THREADS); }  // [THREADS]
  __device__ __forceinline__ int* labels() const { return number() + THREADS; }          // [ROWS]
  __device__ __forceinline__ int* old() const { return labels() + ROWS; }                // [ROWS]
  // of rows that are open, then of those that changed
  __device__ __forceinline__ int* list() const { return old() + ROWS; }    // [ROWS]
  __device__ __forceinline__ int* counts() const { return list() + ROWS; }  // [2], of both
  __device__ __forceinline__ void* end() const { return counts() + 2; }
};

template <class Row>
struct Sweep {
  Cells<Row> cells;
  Sums sums;
  const Row* centers;
  int k;
  Scale scale;
  int lanes;
  const int* before;
  int* after;
  Desk desk;

  // A tile begins; all threads must be done with the one before, and meet before they go on.
  __device__ __forceinline__ void begin(i64 first, int height) const {
    const int thread = threadIdx.x;
    if (thread < ROWS) desk.old()[thread] = before && thread < height ? before[first + thread] : -1;
    if (thread < 2) desk.counts()[thread] = 0;
  }
  // Rows of the tile after it come nearer while this one is worked on.
  __device__ __forceinline__ void call_next(i64 first, i64 end) const {
    constexpr int LINE = 128 / sizeof(Row);
    if (cells.column_stride != 1) return;
    const int lines = (cells.d + LINE - 1) / LINE;
    const int all = (int)min((i64)ROWS, end - first) * lines;
    for (int at = threadIdx.x; at < all; at += THREADS)
      prefetch_line(cells.x + (first + at / lines) * cells.row_stride + at % lines * LINE);
  }
  __device__ __forceinline__ void leave_open(int row) const {
    desk.list()[atomicAdd(desk.counts(), 1)] = row;
  }

  // Write the labels of rows that were left open, by canonical distances.
  __device__ void settle(i64 first) const {
    const int lane = threadIdx.x % lanes, group = threadIdx.x / lanes, groups = THREADS / lanes;
    for (int at = 0; at < desk.counts()[0]; at++) {
      const Row* row = cells.x + (first + desk.list()[at]) * cells.row_stride;
      double best = infinity();
      // where all distances overflow, the lowest label
      int winner = group < k ? group : 0;
      for (int center = group; center < k; center += groups) {
        const double found = canonical(row, cells.column_stride, centers + (i64)center * cells.d,
                                       cells.d, lanes, lane, scale);
        if (found < best) {
          best = found;
          winner = center;
        }
      }
      __syncthreads();
      if (lane == 0) {
        desk.distance[group] = best;
        desk.number()[group] = winner;
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        for (int other = 1; other < min(groups, k); other++) {
          const double found = desk.distance[other];
          const int center = desk.number()[other];
          if (found < best || (found == best && center < winner)) {
            best = found;
            winner = center;
          }
        }
        desk.labels()[desk.list()[at]] = winner;
      }
    }
  }
  // How many rows with weight changed; labels are those of the scores, open rows are listed.
  __device__ __forceinline__ int conclude(i64 first, int height) const {
    const int thread = threadIdx.x, wide = cells.d + 1, columns = cells.columns();
    __syncthreads();
    settle(first);
    __syncthreads();
    if (thread < height) {
      after[first + thread] = desk.labels()[thread];
      if (desk.old()[thread] != desk.labels()[thread] && cells.has_weight(first + thread))
        desk.list()[atomicAdd(desk.counts() + 1, 1)] = thread;
    }
    __syncthreads();
    const int changed = desk.counts()[1];
    for (int at = thread; at < changed * wide; at += THREADS) {
      const int turn = at / wide, f = at % wide, row = desk.list()[turn];
      const i64 into = (i64)desk.labels()[row] * columns, from = (i64)desk.old()[row] * columns;
      cells.each(first + row, f, [&](int column, i64 whole) {
        sums.put(into + column, turn, whole);
        if (from >= 0) sums.put(from + column, turn, -whole);
      });
    }
    return changed;
  }
};
