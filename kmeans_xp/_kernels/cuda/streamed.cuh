// The kernels `assign` and `shortlist` of tensor cores, but for the products: rows meet centers that
// stream by.
//
// Centers come as images, drawn once a sweep, through `stages` buffers that are filled while others
// are multiplied.  Rows are drawn once for all centers: into shared memory, where they are kept, or,
// where they do not fit (`_route.plan`), into the block's piece of `scratch`, from where they come
// with the centers.
#include "looks.cuh"

// What a tile of rows meets, turn by turn: in each, one part of all rows and of CENTERS centers.
struct Stream {
  const u8 *images, *drawn;      // of all centers; of the tile's rows
  u8* buffers;
  unsigned kept_at, buffers_at;  // addresses in shared memory
  int stage_bytes, parts, turns, stages;
  bool keeps;
  int next_part;

  // begin to fetch what a turn needs into the buffer of a stage: a group of copies, be it of none
  __device__ __forceinline__ void fetch(int turn, int stage) {
    if (turn < turns) {
      begin_image(buffer(stage), images + (i64)turn * IMAGE);
      if (!keeps) begin_image(buffer(stage) + IMAGE, drawn + (i64)next_part * IMAGE);
      next_part = next_part + 1 < parts ? next_part + 1 : 0;
    }
    close_copies();
  }
  __device__ __forceinline__ unsigned buffer(int stage) const {
    return buffers_at + stage * stage_bytes;
  }
  __device__ __forceinline__ unsigned rows_at(int part, int stage) const {
    return keeps ? kept_at + part * IMAGE : buffer(stage) + IMAGE;
  }
};

// All rows of the tile meet all centers.  Each source has its own.  Rows are drawn, but threads have not
// met since, if rows are kept, and need not meet at the end.
template <class Look>
static __device__ __forceinline__ void meet(Stream stream, const float* bias, float down, Look& look);
// What the row `thread % ROWS` of the tile found among all centers.
static __device__ __forceinline__ Found<float> nearest(Stream stream, const float* bias, float down);

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
  const bool keeps = !scratch;
  const int stage_bytes = keeps ? IMAGE : 2 * IMAGE;
  u8* buffers = (u8*)memory + (keeps ? parts * IMAGE : 0);
  float *half = (float*)(buffers + stages * stage_bytes), *rest = half + ROWS;
  u8* drawn = keeps ? (u8*)memory : scratch + (i64)blockIdx.x * parts * IMAGE;
  const int thread = threadIdx.x, turns = (k + CENTERS - 1) / CENTERS * parts;
  const Stream stream = {images,      drawn, buffers, shared_address(memory), shared_address(buffers),
                         stage_bytes, parts, turns,   stages,                 keeps,
                         0};
  const i64 total = rows_meant(n, counted);
  const Verdict<float> verdict = {
      {own, slope, common, largest, held}, n, k, labels, scores, is_open, open_rows, open_count, twinned,
      {slack, upper, lower, tables, tables_are_double}, {room, limits, beyond}};

  for (i64 first = (i64)blockIdx.x * ROWS; first < total; first += (i64)gridDim.x * ROWS) {
    const Tile tile = {x,     row_stride, column_stride, list,  shift, scale, up,
                       finer, d,          parts,         first, total};
    // the tile before is done with half norms, and with the buffers
    __syncthreads();
    tile.draw(drawn, half, rest);
    if (!keeps) __syncthreads();
    const Found<float> found = nearest(stream, bias, down);
    const i64 place = thread < ROWS ? tile.place(thread) : -1;
    if (place >= 0) verdict.give(place, found, half[thread], rest[thread]);
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
  const bool keeps = !scratch;
  const int stage_bytes = keeps ? IMAGE : 2 * IMAGE;
  u8* buffers = (u8*)memory + (keeps ? parts * IMAGE : 0);
  // in the place of what is told of rows first
  float *half = (float*)(buffers + stages * stage_bytes), *rest = half + ROWS, *limit = half;
  int* found = (int*)rest;
  u8* drawn = keeps ? (u8*)memory : scratch + (i64)blockIdx.x * parts * IMAGE;
  const int thread = threadIdx.x, turns = (k + CENTERS - 1) / CENTERS * parts;
  const Stream stream = {images,      drawn, buffers, shared_address(memory), shared_address(buffers),
                         stage_bytes, parts, turns,   stages,                 keeps,
                         0};
  const i64 total = *counted < room ? *counted : room;

  for (i64 first = (i64)blockIdx.x * ROWS; first < total; first += (i64)gridDim.x * ROWS) {
    const Tile tile = {x,    row_stride, column_stride, list,  shift, scale, up,
                       0.0f, d,          parts,         first, total};
    __syncthreads();
    tile.draw(drawn, half, rest);
    __syncthreads();
    if (thread < ROWS) {
      limit[thread] = first + thread < total ? limits[first + thread] : (float)no_number();
      found[thread] = 0;
    }
    __syncthreads();
    Within look(limit, found, few + first * MOST_LISTED);
    meet(stream, bias, down, look);
    __syncthreads();
    if (thread < ROWS && first + thread < total) counts[first + thread] = found[thread];
  }
}
