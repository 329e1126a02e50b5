// The nearest center of each row by the warp groups of compute capability 9.0: as assign_mma.cu.
//
// A group has 64 rows at a time, draws them, lets them meet all centers (ring.cuh), and says what was
// found; it waits for no other group but by the ring, which lets one run ahead by its buffers.  So one
// group draws or looks while others multiply: two blocks of two groups share a multiprocessor.  Blocks
// go on until no rows are left.  They walk as many tiles of rows in each group, be the last of them of
// none, for they share a stream of centers.
//
// What bounds it, for half precision of 128 features, per 64 rows and 128 centers (by counting): 512
// cycles of all tensor cores, 384 of the lanes that compare and take minima, 514 instructions of each
// warp, of which there are 4 at a time.
// For each product of 64 x 128 x 32 bytes a group reads (64 + 128) x 32 bytes, which takes 48 of 64
// cycles.  A thread holds 64 sums and best, second and label of 2 rows.
#include "ring.cuh"

// A block's way through its tiles of rows, as one of its groups goes it.
struct Walk {
  Ring ring;
  Stand stand;
  int group, my_rows;
  i64 first, step, total;  // of the block's tile
  u8* drawn;               // the block's rows
  float *half, *rest;

  __device__ __forceinline__ Walk(u8* memory, const u8* images, const float* bias, int parts, int k,
                                  int stages, u8* scratch, i64 total)
      : ring(memory, images, scratch ? scratch + (i64)blockIdx.x * parts * IMAGE : nullptr, bias, parts,
             k, stages),
        stand{0, 0, 0}, first((i64)blockIdx.x * ROWS), step((i64)gridDim.x * ROWS), total(total) {
    // the same for all lanes, which the compiler cannot know
    group = __shfl_sync(0xffffffffu, threadIdx.x / GROUP, 0);
    my_rows = group * MINE;
    half = (float*)(ring.turning + 1);
    rest = half + ROWS;
    drawn = scratch ? (u8*)ring.drawn : memory;
    if (ring.kept_at % ALIGNMENT) __trap();  // the swizzle counts from there
    if (threadIdx.x == 0) {
      ring.make();
      if (!ring.drawn && first < total) ring.begin(((total - first - 1) / step + 1) * turns(), 0);
    }
    __syncthreads();
  }
  __device__ __forceinline__ i64 turns() const { return (i64)ring.tiles * ring.parts; }
  // rows that come along with the centers are the whole block's
  __device__ __forceinline__ void meet_for_rows() const {
    if (ring.drawn)
      __syncthreads();
    else
      meet_group(group);
  }
  // the rows before may be overwritten, and what was told of them
  __device__ __forceinline__ void draw(const Tile& tile) const {
    meet_for_rows();
    const int warp = threadIdx.x % GROUP / 32;
    // registers: what doubles become takes more of them
    constexpr int TURNS = sizeof(Row) == 8 ? CHUNKS_AT_ONCE / 2 : CHUNKS_AT_ONCE;
    tile.draw<TURNS>(drawn, half, rest, my_rows, my_rows + MINE, warp, GROUP / 32);
    if (ring.drawn)
      make_global_visible();
    else
      make_visible();
    meet_for_rows();
    if (ring.drawn && threadIdx.x == 0) ring.begin(turns(), stand.stage);
    if (!ring.drawn) call_next(tile);
  }
  // The group's rows after these come nearer while these meet centers.
  __device__ __forceinline__ void call_next(Tile tile) const {
    constexpr int LINE = 128 / sizeof(Row);
    if (tile.column_stride != 1) return;
    const int lines = (tile.d + LINE - 1) / LINE;
    tile.first += step;
    for (int at = threadIdx.x % GROUP; at < MINE * lines; at += GROUP) {
      const i64 place = tile.place(my_rows + at / lines);
      if (place >= 0) prefetch_line(tile.x + place * tile.row_stride + at % lines * LINE);
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 2) assign(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ list, const i64* __restrict__ counted, i64 n, int d, int k,
    const u8* __restrict__ images, const float* __restrict__ bias, const float* __restrict__ held,
    const u8* __restrict__ twinned, const Wide* __restrict__ shift, Wide scale,
    float up, float down, float finer, int parts, int stages, u8* scratch,
    double own, double slope, double common, double largest,
    int* labels, float* scores, u8* is_open, i64* open_rows, u64* open_count,
    i64 room, float* limits, double* beyond,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower) {
  extern __shared__ __align__(ALIGNMENT) double memory[];
  Walk walk((u8*)memory, images, bias, parts, k, stages, scratch, rows_meant(n, counted));
  const Verdict<float> verdict = {
      {own, slope, common, largest, held}, n, k, labels, scores, is_open, open_rows, open_count, twinned,
      {slack, upper, lower, tables, tables_are_double}, {room, limits, beyond}};

  for (; walk.first < walk.total; walk.first += walk.step) {
    const Tile tile = {x,     row_stride, column_stride, list,       shift, scale, up,
                       finer, d,          parts,         walk.first, walk.total};
    walk.draw(tile);
    Best look;
    meet_centers(walk.ring, walk.my_rows, walk.stand, down, look);
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++) {
      look.found[i].join_lane(1);
      look.found[i].join_lane(2);
    }
    // of the 4 lanes that share two rows, each row has one
    const int member = threadIdx.x % 4, row = row_of(member);
    const Found<float> found = member ? look.found[1] : look.found[0];
    const i64 place = member < LANE_ROWS ? tile.place(row) : -1;
    if (place >= 0) verdict.give(place, found, walk.half[row], walk.rest[row]);
  }
}

// Of the first rows of a list, as many as there is room for, the few centers within their limits: how
// many, and (room, MOST_LISTED) of them in any order.
extern "C" __global__ void __launch_bounds__(THREADS, 2) shortlist(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ list, const i64* __restrict__ counted, i64 room, int d, int k,
    const u8* __restrict__ images, const float* __restrict__ bias,
    const Wide* __restrict__ shift, Wide scale,
    float up, float down, int parts, int stages, u8* scratch,
    const float* __restrict__ limits, int* few, int* counts) {
  extern __shared__ __align__(ALIGNMENT) double memory[];
  const i64 total = *counted < room ? *counted : room;
  Walk walk((u8*)memory, images, bias, parts, k, stages, scratch, total);
  // in the place of what is told of rows first
  float* limit = walk.half;
  int* found = (int*)walk.rest;

  for (; walk.first < total; walk.first += walk.step) {
    const Tile tile = {x,    row_stride, column_stride, list,       shift, scale, up,
                       0.0f, d,          parts,         walk.first, total};
    walk.draw(tile);
    const int row = threadIdx.x % GROUP + walk.my_rows;
    const i64 place = threadIdx.x % GROUP < MINE ? walk.first + row : total;
    if (threadIdx.x % GROUP < MINE) {
      limit[row] = place < total ? limits[place] : (float)no_number();
      found[row] = 0;
    }
    meet_group(walk.group);
    Within look(limit, found, few + walk.first * MOST_LISTED);
    meet_centers(walk.ring, walk.my_rows, walk.stand, down, look);
    meet_group(walk.group);
    if (place < total) counts[place] = found[row];
  }
}
