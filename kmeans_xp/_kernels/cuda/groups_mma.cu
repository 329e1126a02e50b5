// Rows in doubt against groups of centers by tensor cores: as groups.cu, with products of fewer bits.
//
// A tile of rows that need a group is drawn anew for it, into shared memory where it fits, else into the
// block's piece of `scratch`; then come the group's tiles of centers, as in assign_mma.cu.
#include "groups.cuh"
#include "mma.cuh"

constexpr int SIDES = 2;  // centers are halved among warps

// What the rows of a tile are scored against: some tiles of centers, and where all of it lies.
struct Panels {
  const u8* images;
  const float* bias;
  int size, parts, stages;
  float down;
  u8 *drawn, *buffers;
  bool keeps;
};

// Of the row of each thread, what was found; all threads take part.
static __device__ __forceinline__ Found<float> score_tile(const Panels& panels) {
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int my_rows = warp / SIDES * MINE, my_centers = warp % SIDES * MINE;
  const int stage_bytes = panels.keeps ? IMAGE : 2 * IMAGE, stages = panels.stages;
  const int turns = panels.size / CENTERS * panels.parts;
  const unsigned buffers_at = shared_address(panels.buffers);
  const unsigned kept_at = panels.keeps ? shared_address(panels.drawn) : 0;
  int next_part = 0;
  auto fetch = [&](int turn, int stage) {
    if (turn < turns) {
      const unsigned to = buffers_at + stage * stage_bytes;
      begin_image(to, panels.images + (i64)turn * IMAGE);
      if (!panels.keeps) begin_image(to + IMAGE, panels.drawn + (i64)next_part * IMAGE);
      next_part = next_part + 1 < panels.parts ? next_part + 1 : 0;
    }
    close_copies();
  };
  for (int turn = 0; turn < stages - 1; turn++) fetch(turn, turn);
  Found<float> found[8];
#pragma unroll
  for (int i = 0; i < 8; i++) found[i].clear();
  float sums[4][8][4] = {};
  for (int turn = 0, part = 0, stage = 0, center = my_centers; turn < turns; turn++) {
    wait_for_copies(stages - 2);
    // all copies of this turn are there; the buffer of the turn before was read
    __syncthreads();
    fetch(turn + stages - 1, stage ? stage - 1 : stages - 1);
    const unsigned buffer = buffers_at + stage * stage_bytes;
    multiply_part(sums,
                  (panels.keeps ? kept_at + part * IMAGE : buffer + IMAGE) + my_rows * PART_BYTES,
                  buffer + my_centers * PART_BYTES);
    stage = stage + 1 < stages ? stage + 1 : 0;
    if (++part < panels.parts) continue;
    part = 0;
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
      for (int side = 0; side < 2; side++) {
        const int c = center + j * 8 + lane % 4 * 2 + side;
        const float added = panels.bias[c];
#pragma unroll
        for (int i = 0; i < 8; i++) {
          float& sum = sums[i / 2][j][i % 2 * 2 + side];
          look_at(found[i], added + sum * panels.down, c);
          sum = 0;
        }
      }
    center += CENTERS;
  }
  // the 4 lanes that share rows, then the warps that do, by way of the buffers' memory
  const Findings findings(panels.buffers, SIDES);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 8; i++) {
    found[i].join_lane(1);
    found[i].join_lane(2);
    if (lane % 4 == 0)
      findings.put(warp % SIDES * ROWS + my_rows + i / 2 * 16 + i % 2 * 8 + lane / 4, found[i]);
  }
  __syncthreads();
  Found<float> mine = findings.get(thread);
  mine.join(findings.get(ROWS + thread));
  return mine;
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) score_groups(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ rows, const u64* __restrict__ needs, const double* __restrict__ rest,
    const i64* __restrict__ counted, int d, i64 k,
    const u8* __restrict__ images, const float* __restrict__ bias, const float* __restrict__ held,
    const Wide* __restrict__ shift, Wide scale,
    float up, float down, float finer, int parts, int stages, u8* scratch,
    double own, double slope, double common, double largest,
    const int* __restrict__ members, int count, int size, void* bounds, const void* spent,
    int* labels, i64* open_rows, u64* open_count, u64* pairs,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower) {
  // what turns chunks counts from the tile, which begins at a multiple of 16: copies need no more
  extern __shared__ __align__(16) double memory[];
  const Chunk<float> chunk(memory);
  i64* places = (i64*)chunk.end;
  float *half = (float*)(places + ROWS), *lost = half + ROWS;
  u8* tile_memory = (u8*)(lost + ROWS);
  const bool keeps = !scratch;
  u8* drawn = keeps ? tile_memory : scratch + (i64)blockIdx.x * parts * IMAGE;
  const int thread = threadIdx.x, group_bytes = size / CENTERS * parts * IMAGE;
  const i64 total = *counted;
  const int step = chunk_of(total);
  const Kept kept = {slack, upper, lower, tables, tables_are_double};
  const Groups groups = {count, size, bounds, spent};
  const Room<float> room = {own, slope, common, largest, held};
  Panels panels = {images, bias,  size, parts,
                   stages, down, drawn, tile_memory + (keeps ? parts * IMAGE : 0), keeps};
  u64 tiles = 0;
  for (i64 first = (i64)blockIdx.x * step; first < total; first += (i64)gridDim.x * step) {
    const int here = (int)(total - first < step ? total - first : step);
    // by the threads that closed the chunk before; what they write is read beyond a barrier
    chunk.open(needs + first, here);
    for (int g = 0; g < count; g++) {
      const int listed = chunk.members(g, here);
      panels.images = images + (i64)g * group_bytes;
      panels.bias = bias + (i64)g * size;
      for (int start = 0; start < listed; start += ROWS) {
        const int mine = start + thread;
        places[thread] = mine < listed ? rows[first + chunk.list[mine]] : -1;
        // they are there; the tile before is done with half norms, and with the buffers
        __syncthreads();
        const Tile tile = {x,     row_stride, column_stride, places, shift, scale, up,
                           finer, d,          parts,         0,      ROWS};
        tile.draw(drawn, half, lost);
        // rows in global memory are fetched before the first barrier of a tile
        __syncthreads();
        const Found<float> found = score_tile(panels);
        if (mine < listed)
          chunk.see(chunk.list[mine], places[thread], g, groups, kept, room, found, half[thread],
                    lost[thread]);
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
