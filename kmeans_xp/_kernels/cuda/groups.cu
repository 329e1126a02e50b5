// Rows in doubt against groups of centers: which groups they need, and their scores in those.
#include "groups.cuh"
#include "tile.cuh"

// The distance of a row to a center is at most so much; all lanes of a warp have it.  Differences of
// stored values are off by their rounding alone, which `share` covers, with that of a sum so deep;
// `least` is for what lies below the range of normal numbers.
struct Own {
  const Row *x, *centers;
  i64 row_stride, column_stride;
  int d;
  Wide before, after;
  double share, least;

  __device__ __forceinline__ double reach(i64 row, int label) const {
    Work sum = 0;
    for (int f = threadIdx.x % 32; f < d; f += 32) {
      const Wide value = x[row * row_stride + f * column_stride];
      const Wide apart = value * before - (Wide)centers[(i64)label * d + f] * before;
      const Work moved = (Work)(apart * after);
      sum += moved * moved;
    }
    for (int o = 16; o > 0; o /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, o);
    return sqrt((double)sum * (1.0 + share) + least) * (1.0 + OUTWARDS) * (1.0 + TABLE);
  }
};

// The groups whose bounds do not exceed `near`, a bit for each; the least of the other bounds.
template <class Side>
static __device__ __forceinline__ u64 needed_groups(const Groups& groups, i64 row, Side near,
                                                    Side& beyond) {
  const Side* bounds = (const Side*)groups.bounds + row * groups.count;
  const Side* spent = (const Side*)groups.spent + groups.count;
  u64 needed = 0;
  beyond = (Side)infinity();
  for (int first = 0; first < groups.count; first += 32) {
    const int g = first + (int)threadIdx.x % 32;
    bool is_needed = false;
    if (g < groups.count) {
      const Side limit = (bounds[g] - spent[g]) * (Side)(1.0 - TABLE);
      is_needed = !(near < limit);
      if (!is_needed && limit < beyond) beyond = limit;
    }
    needed |= (u64)__ballot_sync(ALL_LANES, is_needed) << first;
  }
  for (int o = 16; o > 0; o /= 2) {
    const Side other = __shfl_xor_sync(ALL_LANES, beyond, o);
    if (other < beyond) beyond = other;
  }
  return needed;
}

// List the rows that are in doubt although their distance to the own center is taken anew, with the
// groups that they need and the least bound of the others.  What is proven keeps what was found.
// A warp has 32 listed rows, one after another, and then a lane for each.
extern "C" __global__ void __launch_bounds__(THREADS, 4) list_needs(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ list, const i64* __restrict__ counted, int d, i64 k,
    const Row* __restrict__ centers, double before, double after, double share, double least,
    const int* __restrict__ labels, const int* __restrict__ home, int count,
    void* bounds, const void* spent,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower,
    i64* rows, u64* needs, double* rest, u64* found) {
  const Kept kept = {slack, upper, lower, tables, tables_are_double};
  const Groups groups = {count, 0, bounds, spent};
  const Own own = {x, centers, row_stride, column_stride, d, (Wide)before, (Wide)after, share, least};
  const int lane = threadIdx.x % 32;
  const i64 total = *counted;
  for (i64 first = ((i64)blockIdx.x * WARPS + threadIdx.x / 32) * 32; first < total;
       first += (i64)gridDim.x * THREADS) {
    const i64 row = first + lane < total ? list[first + lane] : -1;
    const int label = row >= 0 ? labels[row] : 0;
    double near = 0.0, far = 0.0;
    u64 needed = 0;
    for (int i = 0; i < 32 && first + i < total; i++) {
      const i64 other = __shfl_sync(ALL_LANES, row, i);
      const double reach = own.reach(other, __shfl_sync(ALL_LANES, label, i));
      double beyond;
      u64 some;
      if (tables_are_double) {
        some = needed_groups(groups, other, reach, beyond);
      } else {
        float narrow;
        some = needed_groups(groups, other, (float)reach, narrow);
        beyond = narrow;
      }
      if (lane != i) continue;
      near = tables_are_double ? reach : (double)(float)reach;
      far = beyond;
      needed = some;
    }
    bool stays = row >= 0;
    if (stays) {
      const double known = (kept.at(lower, row) - kept.table(5 * k + label)) * (1.0 - TABLE);
      if (!needed || near < known) {
        kept.keep(row, label, k, near, needed ? known : fmax(far, known));
        stays = false;
      }
    }
    const unsigned votes = __ballot_sync(ALL_LANES, stays);
    u64 place = 0;
    if (lane == 0 && votes) place = atomicAdd(found, (u64)__popc(votes));
    place = __shfl_sync(ALL_LANES, place, 0) + __popc(votes & ((1u << lane) - 1));
    if (!stays) continue;
    rows[place] = row;
    // its own group, too: the old label is one of the others if there is a new one
    needs[place] = needed | 1ULL << home[label];
    rest[place] = far;
  }
}

// One block a multiprocessor: where it is between groups does not fit the registers of two.
extern "C" __global__ void __launch_bounds__(THREADS, 1) score_groups(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ rows, const u64* __restrict__ needs, const double* __restrict__ rest,
    const i64* __restrict__ counted, int d, i64 k,
    const Work* __restrict__ weights, const Work* __restrict__ bias,
    const Wide* __restrict__ shift, Wide scale,
    double own, double slope, double common, double largest,
    const int* __restrict__ members, int count, int size, void* bounds, const void* spent,
    int* labels, i64* open_rows, u64* open_count, u64* pairs,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower) {
  extern __shared__ double memory[];
  const Chunk<Work> chunk(memory);
  i64* places = (i64*)chunk.end;
  const int thread = threadIdx.x;
  const i64 total = *counted;
  const int step = chunk_of(total);
  const Kept kept = {slack, upper, lower, tables, tables_are_double};
  const Groups groups = {count, size, bounds, spent};
  const Room<Work> room = {own, slope, common, largest, bias};
  const Moved moved = {x, row_stride, column_stride, shift, scale};
  u64 tiles = 0;
  for (i64 first = (i64)blockIdx.x * step; first < total; first += (i64)gridDim.x * step) {
    const int here = (int)(total - first < step ? total - first : step);
    // by the threads that closed the chunk before; what they write is read beyond a barrier
    chunk.open(needs + first, here);
    for (int g = 0; g < count; g++) {
      const int listed = chunk.members(g, here);
      for (int start = 0; start < listed; start += ROWS) {
        const int mine = start + thread;
        const bool has_row = thread < ROWS && mine < listed;
        if (thread < ROWS) places[thread] = has_row ? rows[first + chunk.list[mine]] : -1;
        Found<Work> found;
        Work half;
        score_tile(moved, places, (Work*)(places + ROWS), d, size, weights + (i64)g * size * d,
                   bias + (i64)g * size, found, half);
        if (has_row)
          chunk.see(chunk.list[mine], places[thread], g, groups, kept, room, found, half, (Work)0);
        tiles++;
      }
    }
    __syncthreads();
    for (int r = thread; r < here; r += THREADS) {
      const i64 row = rows[first + r];
      if (!chunk.close(r, row, k, rest[first + r], members, groups, kept, room, labels))
        append(open_rows, open_count, row);
    }
  }
  if (thread == 0 && tiles) atomicAdd(pairs, tiles * ROWS);
}
