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
#include "streamed.cuh"

constexpr int SIDES = 2, MINE = 64;  // centers are halved among warps; rows and centers of a warp
// two steps of numbers in two parts do not fit the registers
constexpr int STEPS_AT_ONCE = PRODUCTS == 3 ? 1 : 2;

#ifdef __CUDACC__
// Four 8 x 8 matrices of 16 bits (8 x 4 of 32): lane l gives the row l % 8 of matrix l / 8, and gets
// of each matrix 32 bits of row l / 4.
static __device__ __forceinline__ void load_matrices(unsigned (&to)[4], unsigned from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
}

static __device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&a)[4],
                                                    const unsigned (&b)[2]) {
#if PRODUCTS == 16
#define SHAPE "m16n8k16.row.col.f32.f16.f16.f32"
#else
#define SHAPE "m16n8k8.row.col.f32.tf32.tf32.f32"
#endif
  asm volatile("mma.sync.aligned." SHAPE
               " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// Registers of a fragment: as they are; or numbers of 11 bits, and what is left as others.
template <int COUNT>
struct Split {
  unsigned high[COUNT], low[COUNT];

  __device__ __forceinline__ void of(const unsigned* cells) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      high[i] = PRODUCTS == 3 ? tf32(__uint_as_float(cells[i])) : cells[i];
      low[i] = PRODUCTS == 3 ? tf32(__uint_as_float(cells[i]) - __uint_as_float(high[i])) : 0;
    }
  }
};

// One part of a warp's rows times the same part of its centers; the images' rows begin there.
static __device__ __forceinline__ void multiply_part(float (&sums)[4][8][4], unsigned rows_at,
                                                     unsigned centers_at) {
  const int lane = threadIdx.x % 32;
  // matrices of rows: upper, lower, then their second halves; of centers: both halves, twice
  const int row = lane % 16, row_chunk = lane / 16;
  const int center = lane / 16 * 8 + lane % 8, center_chunk = lane / 8 % 2;
#pragma unroll STEPS_AT_ONCE
  for (int step = 0; step < CHUNKS; step += 2) {
    unsigned cells[4];
    Split<4> a[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      load_matrices(cells, rows_at + (i * 16 + row) * PART_BYTES +
                               ((step + row_chunk) ^ turned(row)) * 16);
      a[i].of(cells);
    }
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      load_matrices(cells, centers_at + (j * 8 + center) * PART_BYTES +
                               ((step + center_chunk) ^ turned(center)) * 16);
#pragma unroll
      for (int side = 0; side < 2; side++) {
        Split<2> b;
        b.of(cells + 2 * side);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if (PRODUCTS == 3) {
            multiply_add(sums[i][j + side], a[i].low, b.high);
            multiply_add(sums[i][j + side], a[i].high, b.low);
          }
          multiply_add(sums[i][j + side], a[i].high, b.high);
        }
      }
    }
  }
}

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
