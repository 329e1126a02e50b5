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
constexpr int CHUNK_CELLS = 16 / sizeof(Cell);
// chunks that a lane has under way at a time: memory answers after a thousand cycles
constexpr int CHUNKS_AT_ONCE = 32 / CHUNK_CELLS;
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

// two of them, the first in the lower half
static __device__ __forceinline__ unsigned half_pair(float first, float second) {
  unsigned bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
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
// Take a score that is lower, and its place, a small whole number: by sums with what is -0, but not to
// the compiler's knowledge.  It would select instead, by the lanes that also compare and take minima,
// half as many as add, and which scores wait for.
static __device__ __forceinline__ void take_lower(float& best, float& place, float score, float other,
                                                  float nothing) {
  asm("{ .reg .pred is_lower; setp.lt.f32 is_lower, %2, %0;"
      " @is_lower add.rn.f32 %0, %2, %4; @is_lower fma.rn.f32 %1, %1, %4, %3; }"
      : "+f"(best), "+f"(place)
      : "f"(score), "f"(other), "f"(nothing));
}
static __device__ __forceinline__ void put(Cell* place, Cell value) { *place = value; }
template <class Bytes>
static __device__ __forceinline__ void put_chunk(u8* place, const Bytes& chunk) {
  *(Bytes*)place = chunk;
}
template <class Bytes>
static __device__ __forceinline__ Bytes read_chunk(const void* place) {
  return *(const Bytes*)place;
}

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

// What is read, and written, at once.
struct __align__(16) Numbers { float at[4]; };
struct __align__(16) Chunk16 { unsigned at[4]; };

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
    return moved(x[place * row_stride + f * column_stride], f);
  }
  __device__ __forceinline__ float moved(Row stored, int f) const {
    Wide value = sizeof(Wide) > sizeof(Row) ? (Wide)widen(stored) : (Wide)stored;
    if (shift) value -= shift[f];
    return (float)(value * scale);
  }
  // whether rows can be read 16 bytes at a time
  __device__ __forceinline__ bool is_packed() const {
    return sizeof(Row) == 4 && column_stride == 1 && row_stride % 4 == 0 && (u64)x % 16 == 0;
  }
  __device__ __forceinline__ void read(float (&values)[CHUNK_CELLS], i64 place, int f,
                                       bool packed) const {
    const Row* from = x + (place < 0 ? 0 : place) * row_stride;
    if (packed && f + CHUNK_CELLS <= d) {
#pragma unroll
      for (int i = 0; i < CHUNK_CELLS; i += 4) {
        const Numbers some = read_chunk<Numbers>(from + f + i);
#pragma unroll
        for (int j = 0; j < 4; j++) values[i + j] = moved((Row)some.at[j], f + i + j);
      }
    } else {
#pragma unroll
      for (int i = 0; i < CHUNK_CELLS; i++)
        values[i] = f + i < d ? moved(from[(f + i) * column_stride], f + i) : 0.0f;
    }
    if (place >= 0) return;
#pragma unroll
    for (int i = 0; i < CHUNK_CELLS; i++) values[i] = 0.0f;
  }
  // Draw the images of rows `from` to `to`, and half their squared norms before they lose bits, and
  // what their scores may err for that (`Room`); the work of so many warps.  Lanes share rows: a
  // chunk each, of as many rows as fit a warp.
  template <int TURNS = CHUNKS_AT_ONCE>
  __device__ __forceinline__ void draw(u8* images, float* half, float* rest, int from = 0,
                                       int to = ROWS, int warp = threadIdx.x / 32,
                                       int warps = WARPS) const {
    const int lane = threadIdx.x % 32, chunks = parts * CHUNKS;
    int lanes = 32;
    while (lanes / 2 >= chunks) lanes /= 2;
    const int height = 32 / lanes, mine = lane % lanes;
    const bool packed = is_packed();
#pragma unroll 1
    for (int start = from + warp * height * TURNS; start < to; start += warps * height * TURNS) {
      const int top = start + lane / lanes;
      i64 places[TURNS];
      float squares[TURNS] = {}, losses[TURNS] = {};
#pragma unroll
      for (int i = 0; i < TURNS; i++) places[i] = top + i * height < to ? place(top + i * height) : -1;
#pragma unroll 1
      for (int chunk = mine; chunk < chunks; chunk += lanes) {
        float values[TURNS][CHUNK_CELLS];
#pragma unroll
        for (int i = 0; i < TURNS; i++) read(values[i], places[i], chunk * CHUNK_CELLS, packed);
#pragma unroll
        for (int i = 0; i < TURNS; i++)
          if (top + i * height < to)
            draw_chunk(images, top + i * height, chunk, values[i], squares[i], losses[i]);
      }
#pragma unroll
      for (int i = 0; i < TURNS; i++) {
        for (int o = lanes / 2; o > 0; o /= 2) {
          squares[i] += __shfl_xor_sync(0xffffffffu, squares[i], o);
          if (PRODUCTS != 3) losses[i] += __shfl_xor_sync(0xffffffffu, losses[i], o);
        }
        if (mine > 0 || top + i * height >= to) continue;
        half[top + i * height] = 0.5f * squares[i];
        rest[top + i * height] = losses[i] * finer * MORE;
      }
    }
  }

 private:
  __device__ __forceinline__ void draw_chunk(u8* images, int row, int chunk,
                                             const float (&values)[CHUNK_CELLS], float& squares,
                                             float& losses) const {
    Chunk16 cells, lower;
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < CHUNK_CELLS; i++) {
      const float value = values[i], less = lost(value, up);
      squares += value * value;
      losses += less * less;
      largest = fmaxf(largest, fabsf(value));
#if PRODUCTS == 16
      if (i % 2) cells.at[i / 2] = half_pair(values[i - 1] * up, value * up);
#else
      cells.at[i] = __float_as_uint(PLANES == 2 ? __uint_as_float(tf32(value)) : cell(value, up));
      lower.at[i] = tf32(value - __uint_as_float(cells.at[i]));
#endif
    }
    // what no half can hold leaves its row open
    if (PRODUCTS == 16 && !(largest * up <= MOST_HALF)) squares = (float)infinity();
    const unsigned at = (unsigned)(chunk / CHUNKS * IMAGE + row * PART_BYTES +
                                   (chunk % CHUNKS ^ turned(row)) * 16);
    put_chunk(images + at, cells);
    if (PLANES == 2) put_chunk(images + at + PLANE, lower);
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
