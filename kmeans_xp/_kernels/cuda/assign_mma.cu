// The nearest center of each row by tensor cores: as assign.cu, with products of fewer bits.
//
// PRODUCTS is 16 for half precision, 1 for TF32, 3 for a sum of three TF32 products of the halves of
// each number, which is nearly float32's.  The sums are float32's, of whatever rounding the hardware
// has; the bound is told by an effective depth (`_route`), labels never depend on it.  For half
// precision all numbers are brought to its range by `up`, a power of two, and the sums back by `down`.
//
// A block of 8 warps holds ROWS = 128 rows and streams CENTERS = 64 centers, PART features at a
// time, from two buffers in turn: while one is multiplied the next is fetched into registers.  A
// warp has 32 rows and 32 centers, as 2 x 4 fragments of mma.m16n8k8 or m16n8k16.
#include "verdict.cuh"

typedef ROW_TYPE Row;
typedef decltype(Row() + float()) Wide;

constexpr int CENTERS = 64, ROW_WARPS = ROWS / 32;
// what is multiplied: CELL_STEP features at a time, of which a register holds PACKED
#if PRODUCTS == 16
typedef unsigned short Cell;
constexpr int CELL_STEP = 16, PACKED = 2;
#else
typedef float Cell;
constexpr int CELL_STEP = 8, PACKED = 1;
#endif
constexpr int STRIDE = PART + 4 * PACKED;  // fragments are read without two lanes at one bank
constexpr int BUFFER = (ROWS + CENTERS) * STRIDE;
constexpr int ROW_TURNS = ROWS / WARPS, CENTER_TURNS = CENTERS / WARPS;
constexpr float MOST_HALF = 60000.0f;

#ifdef __CUDACC__
// the nearest of 11 bits, ties away from zero
static __device__ __forceinline__ unsigned tf32(float value) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}
// the nearest half, ties to even
static __device__ __forceinline__ unsigned short half_bits(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
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

static __device__ __forceinline__ Cell cell(float value, float up) {
#if PRODUCTS == 16
  return half_bits(value * up);
#else
  return value;
#endif
}

// A register of a fragment: two halves; or a number of 11 bits, and what is left as another.
struct Split {
  unsigned high, low;

  __device__ __forceinline__ void of(const Cell* cells) {
#if PRODUCTS == 16
    high = *(const unsigned*)cells;
    low = 0;
#else
    high = tf32(*cells);
    low = PRODUCTS == 3 ? tf32(*cells - __uint_as_float(high)) : 0;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) assign(
    const Row* __restrict__ x, i64 row_stride, i64 column_stride,
    const i64* __restrict__ list, const i64* __restrict__ counted, i64 n, int d, int k,
    const float* __restrict__ weights, const float* __restrict__ bias,
    const u8* __restrict__ twinned, const Wide* __restrict__ shift, Wide scale,
    float up, float down,
    double own, double slope, double common, double largest,
    int* labels, float* scores, u8* is_open, i64* open_rows, u64* open_count,
    const void* tables, int tables_are_double, void* slack, void* upper, void* lower) {
  extern __shared__ double memory[];
  i64* places = (i64*)memory;          // where each row is, -1 for none
  float* half = (float*)(places + ROWS);
  Cell* buffers = (Cell*)(half + ROWS);  // 2 of [ROWS + CENTERS][STRIDE]

  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int my_rows = warp % ROW_WARPS * 32, my_centers = warp / ROW_WARPS * 32;
  const int group = lane / 4, member = lane % 4;
  const i64 total = rows_meant(n, counted), first = (i64)blockIdx.x * ROWS;
  if (first >= total) return;
  for (int r = thread; r < ROWS; r += THREADS)
    places[r] = first + r >= total ? -1 : list ? list[first + r] : first + r;
  __syncthreads();

  auto moved = [&](i64 place, int f) {
    const Row stored = x[place * row_stride + f * column_stride];
    Wide value = sizeof(Wide) > sizeof(Row) ? (Wide)widen(stored) : (Wide)stored;
    if (shift) value -= shift[f];
    return (float)(value * scale);
  };
  // half norms, of the rows before they lose bits
  for (int r = warp; r < ROWS; r += WARPS) {
    float squares = 0;
    if (places[r] >= 0)
      for (int f = lane; f < d; f += 32) {
        const float value = moved(places[r], f);
        squares += value * value;
        // what no half can hold leaves its row open
        if (PRODUCTS == 16 && !(fabsf(value) * up <= MOST_HALF)) squares = (float)infinity();
      }
#pragma unroll
    for (int o = 16; o > 0; o /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, o);
    if (lane == 0) half[r] = 0.5f * squares;
  }

  // one lane for a feature of a part, one warp for a row
  float rows_ahead[ROW_TURNS], centers_ahead[CENTER_TURNS];
  auto fetch = [&](int center, int start) {
    const int f = start + lane;
#pragma unroll
    for (int i = 0; i < ROW_TURNS; i++) {
      const i64 place = places[warp + i * WARPS];
      rows_ahead[i] = place >= 0 && f < d ? moved(place, f) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < CENTER_TURNS; i++) {
      const int c = center + warp + i * WARPS;
      centers_ahead[i] = c < k && f < d ? weights[(i64)c * d + f] : 0.0f;
    }
  };
  auto store = [&](Cell* buffer) {
#pragma unroll
    for (int i = 0; i < ROW_TURNS; i++)
      buffer[(warp + i * WARPS) * STRIDE + lane] = cell(rows_ahead[i], up);
#pragma unroll
    for (int i = 0; i < CENTER_TURNS; i++)
      buffer[(ROWS + warp + i * WARPS) * STRIDE + lane] = cell(centers_ahead[i], up);
  };

  Found<float> found[4];
#pragma unroll
  for (int i = 0; i < 4; i++) found[i].clear();
  float sums[2][4][4] = {};
  int turn = 0;
  fetch(0, 0);
  store(buffers);
  for (int center = 0, start = 0; center < k; turn ^= 1) {
    const bool is_last = start + PART >= d;
    const int next_center = is_last ? center + CENTERS : center, next = is_last ? 0 : start + PART;
    // the other buffer was read before this barrier, and this one written
    __syncthreads();
    if (next_center < k) fetch(next_center, next);
    const Cell* rows_tile = buffers + turn * BUFFER + my_rows * STRIDE;
    const Cell* centers_tile = buffers + turn * BUFFER + (ROWS + my_centers) * STRIDE;
#pragma unroll
    for (int f = 0; f < PART; f += CELL_STEP) {
      Split a[2][4], b[4][2];
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int r = 0; r < 4; r++)
          a[i][r].of(rows_tile + (i * 16 + group + r % 2 * 8) * STRIDE + f + member * PACKED +
                     r / 2 * (CELL_STEP / 2));
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int r = 0; r < 2; r++)
          b[j][r].of(centers_tile + (j * 8 + group) * STRIDE + f + member * PACKED +
                     r * (CELL_STEP / 2));
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const unsigned a_high[4] = {a[i][0].high, a[i][1].high, a[i][2].high, a[i][3].high};
          const unsigned b_high[2] = {b[j][0].high, b[j][1].high};
          if (PRODUCTS == 3) {
            const unsigned a_low[4] = {a[i][0].low, a[i][1].low, a[i][2].low, a[i][3].low};
            const unsigned b_low[2] = {b[j][0].low, b[j][1].low};
            multiply_add(sums[i][j], a_low, b_high);
            multiply_add(sums[i][j], a_high, b_low);
          }
          multiply_add(sums[i][j], a_high, b_high);
        }
    }
    if (is_last) {
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int side = 0; side < 2; side++) {
          const int c = center + my_centers + j * 8 + member * 2 + side;
          const float added = c < k ? bias[c] : (float)infinity();
#pragma unroll
          for (int i = 0; i < 4; i++) {
            float& sum = sums[i / 2][j][i % 2 * 2 + side];
            found[i].see(added + sum * down, c);
            sum = 0;
          }
        }
    }
    if (next_center < k) store(buffers + (turn ^ 1) * BUFFER);
    center = next_center;
    start = next;
  }

  // the 4 lanes that share rows, then the warps that do, by way of the buffers' memory
  float *best = (float*)buffers, *second = best + 2 * ROWS;
  int* label = (int*)(second + 2 * ROWS);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    found[i].join_lane(1);
    found[i].join_lane(2);
    if (member == 0) {
      const int r = my_centers / 32 * ROWS + my_rows + i / 2 * 16 + i % 2 * 8 + group;
      best[r] = found[i].best;
      second[r] = found[i].second;
      label[r] = found[i].label;
    }
  }
  __syncthreads();
  if (thread >= ROWS || places[thread] < 0) return;
  Found<float> mine = {best[thread], second[thread], label[thread]};
  mine.join({best[ROWS + thread], second[ROWS + thread], label[ROWS + thread]});
  const Verdict<float> verdict = {
      {own, slope, common, largest}, n, k, labels, scores, is_open, open_rows, open_count, twinned,
      {slack, upper, lower, tables, tables_are_double}};
  verdict.give(places[thread], mine, half[thread]);
}
