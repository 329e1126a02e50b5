// Products of warp groups (wgmma, compute capability 9.0).
//
// A group of 4 warps multiplies 64 rows by 128 centers, as m64n128k16 (or m64n128k8 for TF32, of as many
// bytes) with both factors in shared memory, K-major.  An image holds 128 bytes of each row, turned as
// wgmma's swizzle of 128 bytes turns them: bits 4 to 6 of an address are those of the chunk,
// exclusive-or bits 7 to 9, which count the rows of 8.
//
// What wgmma reads from shared memory it cannot halve: for 3xTF32 rows and centers come as images of
// two planes.  Those take twice the room, so that a part is of 64 bytes, and the swizzle, too: bits 4
// and 5, exclusive-or bits 7 and 8, which count the rows of 8 by twos.
//
// Tensor cores read memory by another way than threads write it (the asynchronous proxy): each thread
// makes what it wrote visible there, then comes the barrier.  Bulk copies write that way themselves.
constexpr int GROUP = 128, MINE = 64;  // threads of a warp group, and its rows
constexpr int LANE_ROWS = 2, LANE_CENTERS = 32;

static __device__ __forceinline__ int row_of(int i) {
  return threadIdx.x / 32 * 16 + i * 8 + threadIdx.x % 32 / 4;
}

#include "looks.cuh"

#ifdef __CUDACC__
static __device__ __forceinline__ void make_visible() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// what lies in global memory, to bulk copies
static __device__ __forceinline__ void make_global_visible() {
  asm volatile("fence.proxy.async.global;" ::: "memory");
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
// sums (+)= 64 rows times 128 centers, 32 bytes of them
static __device__ __forceinline__ void begin_product(float (&sums)[64], u64 rows, u64 centers,
                                                     int adds) {
// the last two: neither is transposed, which only numbers of 16 bits can be
#if PRODUCTS == 16
#define SHAPE "m64n128k16.f32.f16.f16"
#define AS_THEY_ARE ", 0, 0"
#else
#define SHAPE "m64n128k8.f32.tf32.tf32"
#define AS_THEY_ARE ""
#endif
#define FOUR(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define SIXTEEN(i) FOUR(i), FOUR(i + 4), FOUR(i + 8), FOUR(i + 12)
  asm volatile(
      "{ .reg .pred adds; setp.ne.b32 adds, %66, 0;"
      " wgmma.mma_async.sync.aligned." SHAPE
      " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63},"
      " %64, %65, adds, 1, 1" AS_THEY_ARE "; }"
      : SIXTEEN(0), SIXTEEN(16), SIXTEEN(32), SIXTEEN(48)
      : "l"(rows), "l"(centers), "r"(adds));
}
#endif

// How wgmma is told of a plane that begins there, or some features further on: address; a unit for
// what a swizzle leaves unused; 8 rows to the next 8; which swizzle.  In units of 16 bytes, of which
// the lower half counts some, so that what is further on is a sum.
static __device__ __forceinline__ unsigned lower_half(unsigned at) { return at / 16 | 1u << 16; }
static __device__ __forceinline__ u64 described(unsigned lower) {
  constexpr unsigned swizzle = PART_BYTES == 128 ? 1 : 2, upper = 8 * PART_BYTES >> 4 | swizzle << 30;
  return lower | (u64)upper << 32;
}
static_assert(PART_BYTES == 128 || PART_BYTES == 64, "each swizzle has its number");

// Begin to multiply one part of a group's rows and the same part of the centers, whose planes begin
// there (`lower_half`); sums are those of this product alone, or are added to.
static __device__ __forceinline__ void begin_part(float (&sums)[64], unsigned rows_from,
                                                  unsigned centers_from, int adds) {
  const u64 rows = described(rows_from), centers = described(centers_from);
#pragma unroll
  for (int step = 0; step < CHUNKS; step += 2) {
#if PLANES == 2
    constexpr int LOWER = PLANE / 16;
    begin_product(sums, rows + LOWER + step, centers + step, step ? 1 : adds);
    begin_product(sums, rows + step, centers + LOWER + step, 1);
    begin_product(sums, rows + step, centers + step, 1);
#else
    begin_product(sums, rows + step, centers + step, step ? 1 : adds);
#endif
  }
}
