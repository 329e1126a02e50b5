// Bulk copies into shared memory, which one thread asks for, and barriers that count their bytes
// (compute capability 9.0).
#include "common.cuh"

#ifdef __CUDACC__
// A barrier ends a phase when one thread has told how many bytes to expect, and they are there.
static __device__ __forceinline__ void make_barrier(unsigned barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
}
static __device__ __forceinline__ void expect_bytes(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// 16 bytes or a multiple, from and to such addresses
static __device__ __forceinline__ void begin_bulk(unsigned to, const void* from, unsigned bytes,
                                                  unsigned barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}
// until the phase of that parity has ended, the first having 0; what it brought may then be read
static __device__ __forceinline__ void wait_for_phase(unsigned barrier, int parity) {
  asm volatile(
      "{ .reg .pred ended;"
      " again: mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;"
      " @!ended bra again; }" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// Count up, from `last` to none; all that the thread did before comes before all that those do who
// count later.  What was counted before.
static __device__ __forceinline__ unsigned count_round(unsigned place, unsigned last) {
  unsigned before;
  asm volatile("atom.acq_rel.cta.shared::cta.inc.u32 %0, [%1], %2;"
               : "=r"(before)
               : "r"(place), "r"(last)
               : "memory");
  return before;
}
// Threads of a group of 128 wait for each other, and for no others.
static __device__ __forceinline__ void meet_group(int group) {
  asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory");
}
#endif
