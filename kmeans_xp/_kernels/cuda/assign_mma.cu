// The nearest center of each row by tensor cores: as assign.cu, with products of fewer bits.
//
// A block of 4 warps has 128 rows and meets 128 centers at a time; a warp has 64 x 64 of them, as
// 4 x 8 fragments of mma.m16n8k16 (or m16n8k8 for TF32, of as many bytes).  Centers come as images,
// drawn once a sweep, through `stages` buffers that are filled while others are multiplied.  Rows are
// drawn once for all centers: into shared memory, where they are kept, or, where they do not fit
// (`_route.plan`), into the block's piece of `scratch`, from where they come with the centers.
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
#include "tensor.cuh"

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

extern "C" __global__ void __launch_bounds__(THREADS, 2) assign(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ list, const i64* __restrict__ counted, i64 n, int d, int k,
    const u8* __restrict__ images, const float* __restrict__ bias,
    const u8* __restrict__ twinned, const Wide* __restrict__ shift, Wide scale,
    float up, float down, int parts, int stages, u8* scratch,
    double own, double slope, double common, double largest,
    int* labels, float* scores, u8* is_open, i64* open_rows, u64* open_count,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower) {
  extern __shared__ double memory[];
  const bool keeps = !scratch;
  const int stage_bytes = keeps ? IMAGE : 2 * IMAGE;
  u8* buffers = (u8*)memory + (keeps ? parts * IMAGE : 0);
  float* half = (float*)(buffers + stages * stage_bytes);
  const unsigned kept_at = shared_address(memory), buffers_at = shared_address(buffers);
  u8* drawn = keeps ? (u8*)memory : scratch + (i64)blockIdx.x * parts * IMAGE;

  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int my_rows = warp / SIDES * MINE, my_centers = warp % SIDES * MINE;
  const int group = lane / 4, member = lane % 4;
  const i64 total = rows_meant(n, counted);
  const int turns = (k + CENTERS - 1) / CENTERS * parts;
  const Verdict<float> verdict = {
      {own, slope, common, largest}, n, k, labels, scores, is_open, open_rows, open_count, twinned,
      {slack, upper, lower, tables, tables_are_double}};

  for (i64 first = (i64)blockIdx.x * ROWS; first < total; first += (i64)gridDim.x * ROWS) {
    const Tile tile = {x, row_stride, column_stride, list, shift, scale, up, d, parts, first, total};
    int next_part = 0;
    auto fetch = [&](int turn, int stage) {
      if (turn < turns) {
        begin_image(buffers_at + stage * stage_bytes, images + (i64)turn * IMAGE);
        if (!keeps)
          begin_image(buffers_at + stage * stage_bytes + IMAGE, drawn + (i64)next_part * IMAGE);
        next_part = next_part + 1 < parts ? next_part + 1 : 0;
      }
      close_copies();
    };
    // the tile before is done with half norms, and with the buffers
    __syncthreads();
    tile.draw((Cell*)drawn, half);
    if (!keeps) __syncthreads();
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
      multiply_part(sums, (keeps ? kept_at + part * IMAGE : buffer + IMAGE) + my_rows * PART_BYTES,
                    buffer + my_centers * PART_BYTES);
      stage = stage + 1 < stages ? stage + 1 : 0;
      if (++part < parts) continue;
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
    const Findings findings(buffers, SIDES);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; i++) {
      found[i].join_lane(1);
      found[i].join_lane(2);
      if (member == 0)
        findings.put(warp % SIDES * ROWS + my_rows + i / 2 * 16 + i % 2 * 8 + group, found[i]);
    }
    __syncthreads();
    const i64 place = tile.place(thread);
    if (place < 0) continue;
    Found<float> mine = findings.get(thread);
    mine.join(findings.get(ROWS + thread));
    verdict.give(place, mine, half[thread]);
  }
}
