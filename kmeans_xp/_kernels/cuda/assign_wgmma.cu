// The nearest center of each row by the warp groups of compute capability 9.0: as assign_mma.cu, for
// half precision.  Emulated only, not run on a GPU, and off unless it is asked for (`_route`).
//
// A block of two warp groups has 128 rows and meets 128 centers at a time; a group of 4 warps has 64
// rows of them and all centers, as m64n128k16 with both factors in shared memory.  An image holds 128
// bytes of each row, turned as wgmma's swizzle of 128 bytes turns them: bits 4 to 6 of an address are
// those of the chunk, exclusive-or bits 7 to 9, which count the rows of 8.
//
// Tensor cores read shared memory by another way than threads write it (the asynchronous proxy): each
// thread makes what it wrote visible there, then comes the barrier.  Products run on while the next
// part is fetched: a buffer is filled again two turns after it was multiplied, when the products of
// the turn between are still under way.
//
// For each 16 features a group reads (64 + 128) x 32 bytes, which takes 48 of the 64 cycles that its
// products take of all tensor cores.  A thread holds 64 sums and best, second and label of 2 rows; two
// blocks share a multiprocessor, and one looks at its scores while the other multiplies.
#include "tensor.cuh"

constexpr int GROUP = 128, MINE = 64;  // threads of a warp group, and its rows

#ifdef __CUDACC__
static __device__ __forceinline__ void make_visible() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Products are begun, closed as a group, and waited for until at most so many groups are under way.
// Registers of sums belong to them from the first to the wait.
static __device__ __forceinline__ void open_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void close_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int UNDER_WAY>
static __device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(UNDER_WAY) : "memory");
}
// sums (+)= 64 rows times 128 centers, 16 features of them
static __device__ __forceinline__ void begin_product(float (&sums)[64], u64 rows, u64 centers,
                                                     int adds) {
#define FOUR(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define SIXTEEN(i) FOUR(i), FOUR(i + 4), FOUR(i + 8), FOUR(i + 12)
  asm volatile(
      "{ .reg .pred adds; setp.ne.b32 adds, %66, 0;"
      " wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16"
      " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63},"
      " %64, %65, adds, 1, 1, 0, 0; }"
      : SIXTEEN(0), SIXTEEN(16), SIXTEEN(32), SIXTEEN(48)
      : "l"(rows), "l"(centers), "r"(adds));
}
#endif

// How wgmma is told of an image that begins there, or some features further on: address; a unit for
// what a swizzle leaves unused; 8 rows to the next 8; the swizzle of 128 bytes.  In units of 16 bytes.
static __device__ __forceinline__ u64 described(unsigned at) {
  return (u64)((at & 0x3ffff) >> 4) | (u64)1 << 16 | (u64)(8 * PART_BYTES >> 4) << 32 | (u64)1 << 62;
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
  extern __shared__ __align__(1024) double memory[];
  const bool keeps = !scratch;
  const int stage_bytes = keeps ? IMAGE : 2 * IMAGE;
  u8* buffers = (u8*)memory + (keeps ? parts * IMAGE : 0);
  float* half = (float*)(buffers + stages * stage_bytes);
  const unsigned kept_at = shared_address(memory), buffers_at = shared_address(buffers);
  if (kept_at % 1024) __trap();  // the swizzle counts from there
  u8* drawn = keeps ? (u8*)memory : scratch + (i64)blockIdx.x * parts * IMAGE;

  const int thread = threadIdx.x, lane = thread % 32;
  const int my_rows = thread / GROUP * MINE, group = lane / 4, member = lane % 4;
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
    for (int turn = 0; turn < stages - 2; turn++) fetch(turn, turn);

    Found<float> found[2];
#pragma unroll
    for (int i = 0; i < 2; i++) found[i].clear();
    float sums[64];
#pragma unroll
    for (int i = 0; i < 64; i++) sums[i] = 0;
    for (int turn = 0, stage = 0, center = 0; turn < turns; center += CENTERS) {
      for (int part = 0; part < parts; part++, turn++) {
        wait_for_copies(stages - 3);
        make_visible();
        // all copies of this turn are there; the products of the turn before the last are done
        __syncthreads();
        fetch(turn + stages - 2, stage < 2 ? stage + stages - 2 : stage - 2);
        const unsigned buffer = buffers_at + stage * stage_bytes;
        const u64 rows =
            described((keeps ? kept_at + part * IMAGE : buffer + IMAGE) + my_rows * PART_BYTES);
        const u64 centers = described(buffer);
        open_products();
#pragma unroll
        for (int step = 0; step < CHUNKS; step += 2)
          begin_product(sums, rows + step, centers + step, part + step);
        close_products();
        wait_for_products<1>();
        stage = stage + 1 < stages ? stage + 1 : 0;
      }
      wait_for_products<0>();
#pragma unroll
      for (int j = 0; j < CENTERS / 8; j++)
#pragma unroll
        for (int side = 0; side < 2; side++) {
          const int c = center + j * 8 + member * 2 + side;
          const float added = bias[c];
#pragma unroll
          for (int i = 0; i < 2; i++) look_at(found[i], added + sums[j * 4 + i * 2 + side] * down, c);
        }
    }

    // from the 4 lanes that share rows to one thread, by way of the buffers' memory
    const Findings findings(buffers, 1);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; i++) {
      found[i].join_lane(1);
      found[i].join_lane(2);
      if (member == 0) findings.put(thread / 32 * 16 + i * 8 + group, found[i]);
    }
    __syncthreads();
    const i64 place = thread < ROWS ? tile.place(thread) : -1;
    if (place >= 0) verdict.give(place, findings.get(thread), half[thread]);
  }
}
