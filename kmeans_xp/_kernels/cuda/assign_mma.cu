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
#include "streamed.cuh"

constexpr int SIDES = 2;  // centers are halved among warps, which have MINE rows as well

static __device__ __forceinline__ Found<float> nearest(Stream stream, const float* bias, float down) {
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int my_rows = warp / SIDES * MINE, my_centers = warp % SIDES * MINE;
  const int group = lane / 4, member = lane % 4, stages = stream.stages;
  for (int turn = 0; turn < stages - 1; turn++) stream.fetch(turn, turn);

  Found<float> found[8];
#pragma unroll
  for (int i = 0; i < 8; i++) found[i].clear();
  float sums[4][8][4] = {};
  for (int turn = 0, part = 0, stage = 0, center = my_centers; turn < stream.turns; turn++) {
    wait_for_copies(stages - 2);
    // all copies of this turn are there; the buffer of the turn before was read
    __syncthreads();
    stream.fetch(turn + stages - 1, stage ? stage - 1 : stages - 1);
    multiply_part(sums, stream.rows_at(part, stage) + my_rows * PART_BYTES,
                  stream.buffer(stage) + my_centers * PART_BYTES);
    stage = stage + 1 < stages ? stage + 1 : 0;
    if (++part < stream.parts) continue;
    part = 0;
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
      for (int side = 0; side < 2; side++) {
        const int c = center + j * 8 + member * 2 + side;
        const float added = bias[c];
#pragma unroll
        for (int i = 0; i < 8; i++) {
          float& sum = sums[i / 2][j][i % 2 * 2 + side];
          look_at(found[i], added + sum * down, c);
          sum = 0;
        }
      }
    center += CENTERS;
  }

  // the 4 lanes that share rows, then the warps that do, by way of the buffers' memory
  const Findings findings(stream.buffers, SIDES);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 8; i++) {
    found[i].join_lane(1);
    found[i].join_lane(2);
    if (member == 0)
      findings.put(warp % SIDES * ROWS + my_rows + i / 2 * 16 + i % 2 * 8 + group, found[i]);
  }
  __syncthreads();
  Found<float> mine = findings.get(thread);
  mine.join(findings.get(ROWS + thread));
  return mine;
}
