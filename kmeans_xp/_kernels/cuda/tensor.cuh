// Tiles for tensor cores: what they hold, how they lie in memory, what fetches and multiplies them.
//
// PRODUCTS is 16 for half precision, 1 for TF32, 3 for a sum of three TF32 products of the halves of
// each number, which is nearly float32's.  The sums are float32's, of whatever rounding the hardware
// has; the bound is told by an effective depth (`_route`), labels never depend on it.  For half
// precision all numbers are brought to its range by `up`, a power of two, and the sums back by `down`.
//
// A tile is ROWS rows, or as many centers.  It is cut into parts of PART_BYTES of each row, and each
// part is an image: rows one after another, their chunks of 16 bytes turned by the row, so that 8
// chunks of one column lie in 8 different groups of banks.  Images are the same in global and in
// shared memory: to fetch one is to copy it in order, by whole chunks, whatever d and k are.  Who
// cannot halve numbers when they are multiplied has images of two planes: one of all upper halves,
// then one of the lower.
#include "verdict.cuh"

typedef ROW_TYPE Row;
typedef decltype(Row() + float()) Wide;

#if PRODUCTS == 16
typedef unsigned short Cell;
#else
typedef float Cell;
#endif
constexpr int CENTERS = ROWS, CELLS = PART_BYTES / sizeof(Cell), CHUNKS = PART_BYTES / 16;
constexpr int PLANE = ROWS * PART_BYTES, IMAGE = PLANES * PLANE;  // in bytes
// What turns the chunks repeats after so many bytes, and wgmma counts it from there; for copies of 16
// bytes, less would do.
constexpr int ALIGNMENT = 8 * PART_BYTES;
// that a warp reads before it waits: memory answers after a thousand cycles
constexpr int ROWS_AT_ONCE = 8;
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

static __device__ __forceinline__ float half_value(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

static __device__ __forceinline__ unsigned shared_address(const void* place) {
  return (unsigned)__cvta_generic_to_shared(place);
}
static __device__ __forceinline__ void put(Cell* place, Cell value) { *place = value; }

// Copies of 16 bytes into shared memory: begun, closed as a group, and waited for until no more than
// so many groups of this thread are under way.
static __device__ __forceinline__ void begin_copy(unsigned to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
static __device__ __forceinline__ void close_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
static __device__ __forceinline__ void wait_for_copies(int under_way) {
  if (under_way == 0)
    asm volatile("cp.async.wait_group 0;" ::: "memory");
  else if (under_way == 1)
    asm volatile("cp.async.wait_group 1;" ::: "memory");
  else
    asm volatile("cp.async.wait_group 2;" ::: "memory");
}
#endif

static __device__ __forceinline__ Cell cell(float value, float up) {
#if PRODUCTS == 16
  return half_bits(value * up);
#elif PRODUCTS == 1
  return __uint_as_float(tf32(value));
#else
  return value;
#endif
}

// What a number loses as a cell, exactly; in units of 1 / up.
static __device__ __forceinline__ float lost(float value, float up) {
#if PRODUCTS == 16
  return value * up - half_value(half_bits(value * up));
#elif PRODUCTS == 1
  return value - cell(value, up);
#else
  return 0.0f;
#endif
}
// Sums of squares are rounded, some of their terms away; what follows from them is rounded outwards.
constexpr float MORE = 1.0009765625f;

// how far the chunks of a row are turned
static __device__ __forceinline__ int turned(int row) {
  return row * PART_BYTES / 128 % CHUNKS;
}
// where a feature of a row lies in a tile, in cells: in the first plane of its image
static __device__ __forceinline__ int cell_at(int row, int feature) {
  const int part = feature / CELLS, byte = feature % CELLS * (int)sizeof(Cell);
  return (part * IMAGE + row * PART_BYTES + (byte / 16 ^ turned(row)) * 16 + byte % 16) /
         (int)sizeof(Cell);
}

// A number of a tile to where it lies; of two planes, its halves.
static __device__ __forceinline__ void put_cell(Cell* place, float value, float up) {
#if PLANES == 2
  const Cell high = __uint_as_float(tf32(value));
  put(place, high);
  put(place + PLANE / (int)sizeof(Cell), __uint_as_float(tf32(value - high)));
#else
  put(place, cell(value, up));
#endif
}

static __device__ __forceinline__ void begin_image(unsigned to, const u8* from) {
#pragma unroll
  for (int i = 0; i < IMAGE / 16 / THREADS; i++) {
    const int byte = (i * THREADS + (int)threadIdx.x) * 16;
    begin_copy(to + byte, from + byte);
  }
}

// Rows of a tile: where they are, and how they become cells.
struct Tile {
  const Row* x;
  i64 row_stride, column_stride;
  const i64* list;
  const Wide* shift;
  Wide scale;
  float up, finer;  // the latter: to what is lost, squared
  int d, parts;
  i64 first, total;

  __device__ __forceinline__ i64 place(int r) const {
    return first + r >= total ? -1 : list ? list[first + r] : first + r;
  }
  __device__ __forceinline__ float moved(i64 place, int f) const {
    const Row stored = x[place * row_stride + f * column_stride];
    Wide value = sizeof(Wide) > sizeof(Row) ? (Wide)widen(stored) : (Wide)stored;
    if (shift) value -= shift[f];
    return (float)(value * scale);
  }
  // Draw the images, and half the squared norms of rows before they lose bits, and what their scores
  // may err for that (`Room`).  A warp has whole rows.
  template <int FEATURES_AT_ONCE = 4>
  __device__ __forceinline__ void draw(Cell* images, float* half, float* rest) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll 1
    for (int start = warp * ROWS_AT_ONCE; start < ROWS; start += WARPS * ROWS_AT_ONCE) {
      i64 places[ROWS_AT_ONCE];
      float squares[ROWS_AT_ONCE] = {}, losses[ROWS_AT_ONCE] = {};
#pragma unroll
      for (int i = 0; i < ROWS_AT_ONCE; i++) places[i] = place(start + i);
#pragma unroll 1
      for (int from = lane; from < parts * CELLS; from += 32 * FEATURES_AT_ONCE) {
        float values[FEATURES_AT_ONCE][ROWS_AT_ONCE];
#pragma unroll
        for (int j = 0; j < FEATURES_AT_ONCE; j++)
#pragma unroll
          for (int i = 0; i < ROWS_AT_ONCE; i++)
            values[j][i] =
                places[i] >= 0 && from + 32 * j < d ? moved(places[i], from + 32 * j) : 0.0f;
#pragma unroll
        for (int j = 0; j < FEATURES_AT_ONCE; j++) {
          if (from + 32 * j >= parts * CELLS) break;
#pragma unroll
          for (int i = 0; i < ROWS_AT_ONCE; i++) {
            const float value = values[j][i], less = lost(value, up);
            squares[i] += value * value;
            losses[i] += less * less;
            // what no half can hold leaves its row open
            if (PRODUCTS == 16 && !(fabsf(value) * up <= MOST_HALF)) squares[i] = (float)infinity();
            put_cell(images + cell_at(start + i, from + 32 * j), value, up);
          }
        }
      }
#pragma unroll
      for (int i = 0; i < ROWS_AT_ONCE; i++) {
#pragma unroll
        for (int o = 16; o > 0; o /= 2) {
          squares[i] += __shfl_xor_sync(0xffffffffu, squares[i], o);
          if (PRODUCTS != 3) losses[i] += __shfl_xor_sync(0xffffffffu, losses[i], o);
        }
        if (lane == 0) {
          half[start + i] = 0.5f * squares[i];
          rest[start + i] = losses[i] * finer * MORE;
        }
      }
    }
  }
};

// As `Found.see`, in fewer instructions.  A score that is no number, of a center that is far beyond all
// that settle a row (`Room.settles`), counts for nothing or leaves the row open.
static __device__ __forceinline__ void look_at(Found<float>& found, float score, int center) {
  found.second = fminf(found.second, fmaxf(found.best, score));
  if (score < found.best) {
    found.best = score;
    found.label = center;
  }
}

// What is found of the rows of a tile, on its way from the lanes that share a row to one thread.
struct Findings {
  float *best, *second;
  int* label;

  __device__ __forceinline__ Findings(void* memory, int sides)
      : best((float*)memory), second(best + sides * ROWS), label((int*)(second + sides * ROWS)) {}
  __device__ __forceinline__ void put(int at, const Found<float>& found) const {
    best[at] = found.best;
    second[at] = found.second;
    label[at] = found.label;
  }
  __device__ __forceinline__ Found<float> get(int at) const {
    return {best[at], second[at], label[at]};
  }
};

// Draw the images of all centers, and fill their tiles up: numbers with zeros, biases with infinity.
// What products may err for the center's sake is held back from the bias; `held` is how much that raises
// the winner's own score at most (`_errors`).  A center that no half can hold comes before all others,
// by its bias, which leaves every row open: a score that overflowed could have lost instead.  A warp
// has a whole center.
extern "C" __global__ void __launch_bounds__(THREADS) draw_centers(
    const float* __restrict__ weights, const float* __restrict__ bias, int d, int k, int parts,
    float up, float finer, float grain, float share, u8* images, float* filled, float* held) {
  const int lane = threadIdx.x % 32, width = parts * CELLS;
  const i64 all = (i64)(k + CENTERS - 1) / CENTERS * CENTERS;
  for (i64 center = (i64)blockIdx.x * WARPS + threadIdx.x / 32; center < all;
       center += (i64)gridDim.x * WARPS) {
    Cell* tile = (Cell*)images + center / CENTERS * CENTERS * width * PLANES;
    const int r = (int)(center % CENTERS);
    bool overflows = false;
    float squares = 0.0f, losses = 0.0f;
    for (int f = lane; f < width; f += 32) {
      const float value = center < k && f < d ? weights[center * d + f] : 0.0f;
      const bool fits = PRODUCTS != 16 || fabsf(value) * up <= MOST_HALF;
      const float less = fits ? lost(value, up) : 0.0f;
      overflows |= !fits;
      squares += value * value;
      losses += less * less;
      put_cell(tile + cell_at(r, f), fits ? value : 0.0f, up);
    }
#pragma unroll
    for (int o = 16; o > 0; o /= 2) {
      squares += __shfl_xor_sync(0xffffffffu, squares, o);
      losses += __shfl_xor_sync(0xffffffffu, losses, o);
    }
    overflows = __any_sync(0xffffffffu, overflows);
    if (lane > 0) continue;
    const float more = (grain * squares + losses * finer) * MORE;  // twice what is held back
    const float own = center < k ? bias[center] : (float)infinity();
    filled[center] = overflows ? -(float)infinity() : own - 0.5f * more;
    held[center] = overflows ? (float)infinity() : share * fabsf(own) * MORE + more;
  }
}
