// CUDA on the CPU, as kernels see it; emulator.cpp, which is compiled once for all of them, runs them.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#pragma GCC visibility push(hidden)
constexpr size_t MOST_SHARED = 227 << 10, MARGIN = 1 << 10;
extern "C" {
alignas(128) extern double memory[(MOST_SHARED + MARGIN) / 8];
}

struct Place {
  unsigned x, y, z;
};
extern Place threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
void meet_block();
void meet_warp();
unsigned lane();
// what lane `source` of the warp gives there, and which lanes give the same
uint64_t exchange(uint64_t bits, unsigned source, const char* what);
unsigned match(uint64_t bits);
void wrote(const void* place, size_t size);
[[noreturn]] void trap(const char* text);
// A message, or null where nothing went wrong; `body` is run by each thread of each block.
const char* run(void (*body)(const void*), const void* call, int64_t grid, int block, size_t shared,
                uint64_t seed);

template <class... A>
struct Call {
  void (*kernel)(A...);
  void** arguments;
  template <size_t... I>
  void with(std::index_sequence<I...>) const {
    kernel(*(A*)arguments[I]...);
  }
  static void body(const void* call) {
    ((const Call*)call)->with(std::index_sequence_for<A...>());
  }
};

template <class... A>
const char* launch(void (*kernel)(A...), int64_t grid, int block, size_t shared, uint64_t seed,
                   void** arguments, int count) {
  if (count != (int)sizeof...(A)) return "wrong number of arguments";
  const Call<A...> call = {kernel, arguments};
  return run(call.body, &call, grid, block, shared, seed);
}

template <class T>
inline T exchange(T value, unsigned source, const char* what) {
  static_assert(sizeof(T) <= 8, "more than a slot holds");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = exchange(bits, source, what);
  memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace emulator

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)

#define __align__(bytes)

using std::max;
using std::min;

struct float2 {
  float x, y;
};

static inline void __syncthreads() { emulator::meet_block(); }
static inline void __syncwarp(unsigned = ~0u) { emulator::meet_warp(); }
template <class T>
static inline T __shfl_xor_sync(unsigned, T value, int other) {
  return emulator::exchange(value, emulator::lane() ^ other, "__shfl_xor_sync");
}
template <class T>
static inline T __shfl_down_sync(unsigned, T value, int offset) {
  unsigned lane = emulator::lane();
  return emulator::exchange(value, lane + offset < 32 ? lane + offset : lane, "__shfl_down_sync");
}
template <class T>
static inline T __shfl_up_sync(unsigned, T value, int offset) {
  unsigned lane = emulator::lane();
  return emulator::exchange(value, (int)lane >= offset ? lane - offset : lane, "__shfl_up_sync");
}
template <class T>
static inline T __shfl_sync(unsigned, T value, int source) {
  return emulator::exchange(value, source % 32, "__shfl_sync");
}
template <class T>
static inline unsigned __match_any_sync(unsigned, T value) {
  static_assert(sizeof(T) <= 8, "more than a slot holds");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return emulator::match(bits);
}
static inline int __any_sync(unsigned, int predicate) {
  const unsigned same = __match_any_sync(~0u, predicate != 0);
  return predicate || same != ~0u;
}
static inline unsigned __ballot_sync(unsigned, int predicate) {
  const unsigned same = __match_any_sync(~0u, predicate != 0);
  return predicate ? same : ~same;
}
static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
static inline int __ffs(unsigned bits) { return __builtin_ffs(bits); }
template <class T>
static inline T atomicAdd(T* place, T value) {
  T before = *place;
  *place += value;
  return before;
}
template <class T>
static inline T atomicMax(T* place, T value) {
  T before = *place;
  *place = max(before, value);
  return before;
}
static inline double __longlong_as_double(long long bits) {
  double value;
  memcpy(&value, &bits, 8);
  return value;
}
static inline long long __double_as_longlong(double value) {
  long long bits;
  memcpy(&bits, &value, 8);
  return bits;
}
static inline void __threadfence() {}
static inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  return bits;
}
static inline int __float_as_int(float value) {
  int bits;
  memcpy(&bits, &value, 4);
  return bits;
}
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dsqrt_rn(double value) { return sqrt(value); }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned __int128)a * b >> 64;
}
static inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
static inline unsigned tf32(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7f800000) != 0x7f800000) bits += 0x1000;
  return bits & ~0x1fffu;
}
static inline void take_lower(float& best, float& place, float score, float other, float nothing) {
  if (!(score < best)) return;
  best = score + nothing;
  place = place * nothing + other;
}
static inline unsigned short half_bits(float value) {
  _Float16 half = (_Float16)value;
  unsigned short bits;
  memcpy(&bits, &half, 2);
  return bits;
}
static inline double half_value(unsigned pair, unsigned which) {
  unsigned short bits = pair >> 16 * which;
  _Float16 half;
  memcpy(&half, &bits, 2);
  return half;
}
static inline unsigned half_pair(float first, float second) {
  return half_bits(first) | (unsigned)half_bits(second) << 16;
}
static inline float half_value(unsigned short bits) { return (float)half_value(bits, 0); }

// Tensor cores, copies and barriers (emulator_mma.h, emulator_async.h, emulator_bulk.h)
void multiply_add_as(int kind, float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
#define multiply_add(...) multiply_add_as(PRODUCTS, __VA_ARGS__)
static inline unsigned shared_address(const void* place) {
  return (unsigned)((const char*)place - (const char*)memory);
}
static inline void prefetch_line(const void*) {}
void load_matrices(unsigned (&to)[4], unsigned from);
void begin_copy(unsigned to, const void* from);
void close_copies();
void wait_for_copies(int under_way);
void make_barrier(unsigned barrier);
void expect_bytes(unsigned barrier, unsigned bytes);
void begin_bulk(unsigned to, const void* from, unsigned bytes, unsigned barrier);
void wait_for_phase(unsigned barrier, int parity);
unsigned count_round(unsigned place, unsigned last);
void meet_group(int);

// Products of warp groups (emulator_wgmma.h)
static inline void __trap() { emulator::trap("a trap of the kernel"); }
template <class T>
static inline void put(T* place, T value) {
  *place = value;
  emulator::wrote(place, sizeof value);
}
template <class Bytes>
static inline void put_chunk(unsigned char* place, const Bytes& chunk) {
  memcpy(place, &chunk, sizeof chunk);
  emulator::wrote(place, sizeof chunk);
}
template <class Bytes>
static inline Bytes read_chunk(const void* place) {
  if ((size_t)place % sizeof(Bytes)) emulator::trap("a read of several numbers that are not aligned");
  return *(const Bytes*)place;
}
void make_visible();
void make_global_visible();
void open_products();
void begin_product_as(int kind, float (&sums)[64], uint64_t rows, uint64_t centers, int adds);
#define begin_product(...) begin_product_as(PRODUCTS, __VA_ARGS__)
void close_products();
void wait_for_products_but(int under_way);
template <int UNDER_WAY>
static inline void wait_for_products() {
  wait_for_products_but(UNDER_WAY);
}
#pragma GCC visibility pop
