// The nearest center of each row by tensor cores: as assign.cu, with products of fewer bits.
//
// A block of 4 warps has 128 rows and meets 128 centers at a time; a warp has 64 x 64 of them, as
// 4 x 8 fragments of mma.m16n8k16 (or m16n8k8 for TF32, of as many bytes).
//
// What bounds it, for half precision (by counting; nothing is measured):
//   A step of 16 features is 4 x 8 mma of 2048 products, and a warp reads (64 + 64) x 32 bytes for
//   it: 128 bytes an mma.  What is fetched adds 128 centers x 32 bytes for the 4 warps' 128 mma: 32
//   bytes, or 64 with the rows.  A multiprocessor that moves 128 bytes a cycle thus feeds 0.8 (0.67)
//   mma a cycle; tensor cores take 0.5 (compute capability 8.0) or 1 (9.0, which mma.sync does not
//   reach).  A warp of 64 x 32 would need 192 + 32 bytes, which is 0.57 mma a cycle.
//   A score takes 6 instructions, of which 5 (two minima and maxima, a comparison, two selections) run
//   on 64 lanes: 1280 cycles a tile.  Its products take 8 d cycles on 9.0, 16 d on 8.0: at d = 128 1024
//   and 2048.  So two blocks share a multiprocessor, and one multiplies while the other looks.
//   A thread holds 128 sums, 16 + 16 registers of fragments, and best, second and label of 8 rows:
//   184 registers, of 255 that it may have (2 x 128 x 255 are less than 65536).
#include "mma.cuh"

constexpr int LANE_ROWS = 8, LANE_CENTERS = 16;
constexpr int SIDES = 2;  // centers are halved among warps, which have MINE rows as well

static __device__ __forceinline__ int row_of(int i) {
  return threadIdx.x / 32 / SIDES * MINE + i / 2 * 16 + i % 2 * 8 + threadIdx.x % 32 / 4;
}

#include "streamed.cuh"

struct Scores {
  const float (&sums)[4][8][4];
  const float* biases;
  int first;

  __device__ __forceinline__ float at(int i, int c) const {
    return sums[i / 2][c / 2][i % 2 * 2 + c % 2];
  }
  __device__ __forceinline__ float bias(int c) const { return biases[first + place(c)]; }
  __device__ __forceinline__ int place(int c) const { return c / 2 * 8 + c % 2; }
};

template <class Look>
static __device__ __forceinline__ void meet(Stream stream, const float* bias, float down, Look& look) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, stages = stream.stages;
  const int my_rows = warp / SIDES * MINE, my_centers = warp % SIDES * MINE;
  for (int turn = 0; turn < stages - 1; turn++) stream.fetch(turn, turn);

  float sums[4][8][4] = {};
  Scores scores = {sums, bias, my_centers + lane % 4 * 2};
  for (int turn = 0, part = 0, stage = 0; turn < stream.turns; turn++) {
    wait_for_copies(stages - 2);
    // all copies of this turn are there; the buffer of the turn before was read
    __syncthreads();
    stream.fetch(turn + stages - 1, stage ? stage - 1 : stages - 1);
    multiply_part(sums, stream.rows_at(part, stage) + my_rows * PART_BYTES,
                  stream.buffer(stage) + my_centers * PART_BYTES);
    stage = stage + 1 < stages ? stage + 1 : 0;
    if (++part < stream.parts) continue;
    part = 0;
    look.see(scores, down);
#pragma unroll
    for (int at = 0; at < 128; at++) sums[at / 32][at / 4 % 8][at % 4] = 0;
    scores.first += CENTERS;
  }
}

static __device__ __forceinline__ Found<float> nearest(Stream stream, const float* bias, float down) {
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  Best look;
  meet(stream, bias, down, look);
  // the 4 lanes that share rows, then the warps that do, by way of the buffers' memory
  const Findings findings(stream.buffers, SIDES);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < LANE_ROWS; i++) {
    look.found[i].join_lane(1);
    look.found[i].join_lane(2);
    if (lane % 4 == 0) findings.put(warp % SIDES * ROWS + row_of(i), look.found[i]);
  }
  __syncthreads();
  Found<float> mine = findings.get(thread);
  mine.join(findings.get(ROWS + thread));
  return mine;
}
