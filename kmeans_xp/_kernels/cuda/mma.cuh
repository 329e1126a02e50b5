// Products of tiles by the warps of tensor cores: mma.m16n8k16, or m16n8k8 of TF32, of as many bytes.
#include "tensor.cuh"

constexpr int MINE = 64;  // centers that a warp meets at a time
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

// One part of a warp's rows, 16 for each fragment, times the same part of its centers; the images' rows
// begin there.
template <int TALL>
static __device__ __forceinline__ void multiply_part(float (&sums)[TALL][8][4], unsigned rows_at,
                                                     unsigned centers_at) {
  const int lane = threadIdx.x % 32;
  // matrices of rows: upper, lower, then their second halves; of centers: both halves, twice
  const int row = lane % 16, row_chunk = lane / 16;
  const int center = lane / 16 * 8 + lane % 8, center_chunk = lane / 8 % 2;
#pragma unroll STEPS_AT_ONCE
  for (int step = 0; step < CHUNKS; step += 2) {
    unsigned cells[4];
    Split<4> a[TALL];
#pragma unroll
    for (int i = 0; i < TALL; i++) {
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
        for (int i = 0; i < TALL; i++) {
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
