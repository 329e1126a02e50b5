// CUDA on the CPU, as much of it as the kernels use: one block at a time, a fiber for each thread.
//
// A thread runs until it meets a barrier or an exchange within its warp; who runs next is drawn at
// random.  So a missing barrier lets threads read what is not yet written, which is NaN: shared
// memory begins poisoned, and what lies behind it is watched.  A barrier that not all threads
// reach ends the run with a message.
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

constexpr size_t MOST_SHARED = 227 << 10, MARGIN = 1 << 10;
extern "C" {
alignas(128) double memory[(MOST_SHARED + MARGIN) / 8];
}

struct Place {
  unsigned x, y, z;
};
static Place threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
enum State { RUNNING, AT_BARRIER, IN_WARP, IN_GROUP, AT_PHASE, DONE };
struct Fiber {
  ucontext_t context;
  jmp_buf jump;
  std::vector<char> stack;
  State state;
  bool begun;
  const char* what;
  unsigned exchanges;
  unsigned barrier;  // whose phase it waits for
  int parity;
  unsigned char slot[2][8];
};
static Fiber fibers[1024];
static jmp_buf scheduler;
static unsigned current;
static std::mt19937_64 draws;
static std::function<void()> body;
static char message[200];

static void wait(State state, const char* what) {
  Fiber& mine = fibers[current];
  mine.state = state;
  mine.what = what;
  if (!_setjmp(mine.jump)) _longjmp(scheduler, 1);
}

// A fiber serves the thread of its number in every block: to make one anew takes system calls.
static void enter() {
  for (;;) {
    body();
    wait(DONE, "the end");
  }
}

static void resume(unsigned number) {
  current = number;
  threadIdx.x = number;
  if (_setjmp(scheduler)) return;
  Fiber& next = fibers[number];
  if (next.begun) _longjmp(next.jump, 1);
  next.begun = true;
  setcontext(&next.context);
}

static bool fail(const char* text) {
  snprintf(message, sizeof message, "%s (block %u)", text, blockIdx.x);
  return false;
}

// For a thread that finds what must not be: the block ends here.
static void trap(const char* text) {
  fail(text);
  for (;;) wait(DONE, "a trap");
}
// what emulator_async.h keeps of a block
static void begin_block();
static bool all_copies_landed();
static bool land_one();
static bool phase_ended(unsigned barrier, int parity);

// Runs the threads of a warp to their next meeting, in any order; true unless they disagree.
static bool step(unsigned warp, unsigned threads, bool& moved) {
  unsigned order[32], lanes = std::min(32u, threads - 32 * warp);
  for (unsigned i = 0; i < lanes; i++) {
    unsigned j = draws() % (i + 1);
    order[i] = order[j];
    order[j] = 32 * warp + i;
  }
  for (unsigned i = 0; i < lanes; i++)
    if (fibers[order[i]].state == RUNNING) {
      resume(order[i]);
      moved = true;
    }
  unsigned met = 0;
  const char* what = nullptr;
  for (unsigned i = 0; i < lanes; i++) {
    Fiber& fiber = fibers[32 * warp + i];
    if (fiber.state == AT_PHASE || fiber.state == RUNNING) return true;  // the others wait for it
    if (fiber.state != IN_WARP) continue;
    if (what && strcmp(what, fiber.what)) return fail("lanes of a warp meet at different places");
    what = fiber.what;
    met++;
  }
  if (met == 0) return true;
  if (met != 32) return fail("lanes are missing where a warp meets");
  for (unsigned i = 0; i < 32; i++) fibers[32 * warp + i].state = RUNNING;
  moved = true;
  return true;
}

// Warps of a group of four go on when all have come.
static void meet_in_groups(unsigned threads, bool& moved) {
  for (unsigned group = 0; group + 128 <= threads; group += 128) {
    unsigned met = 0;
    for (unsigned i = 0; i < 128; i++)
      met += fibers[group + i].state == IN_GROUP && !strcmp(fibers[group + i].what, fibers[group].what);
    if (met != 128) continue;
    for (unsigned i = 0; i < 128; i++) fibers[group + i].state = RUNNING;
    moved = true;
  }
}

// Who waits for bytes goes on when they have come.
static void wake(unsigned threads, bool& moved) {
  for (unsigned i = 0; i < threads; i++) {
    if (fibers[i].state != AT_PHASE || !phase_ended(fibers[i].barrier, fibers[i].parity)) continue;
    fibers[i].state = RUNNING;
    moved = true;
  }
}

static void poison(size_t shared) {
  uint32_t nothing = 0x7fffdead;  // NaN as float, and in pairs as double
  for (size_t i = 0; i < (shared + MARGIN) / 4; i++) memcpy((char*)memory + 4 * i, &nothing, 4);
}

static bool is_untouched(size_t shared) {
  uint32_t word;
  for (size_t i = (shared + 3) / 4; i < (shared + MARGIN) / 4; i++) {
    memcpy(&word, (char*)memory + 4 * i, 4);
    if (word != 0x7fffdead) return false;
  }
  return true;
}

static bool run_block(size_t shared) {
  const unsigned threads = blockDim.x, warps = (threads + 31) / 32;
  poison(shared);
  begin_block();
  for (unsigned i = 0; i < threads; i++) {
    Fiber& fiber = fibers[i];
    fiber.state = RUNNING;
    fiber.exchanges = 0;
    if (fiber.begun) continue;
    fiber.stack.resize(1 << 16);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  bool is_group = warps >= 8 && draws() % 4 == 0;
  unsigned from = is_group ? draws() % (warps / 4) * 4 : 0;
  for (;;) {
    // warps drift apart as far as barriers allow; now and then one runs ahead alone, or four
    bool moved = false;
    if (warps >= 8 && draws() % 100 == 0) {
      is_group = draws() % 2 == 0;
      from = is_group ? draws() % (warps / 4) * 4 : 0;
    }
    const bool is_alone = draws() % 4 == 0;
    const unsigned many = is_group ? 4 : warps;
    const unsigned ahead = from + draws() % many, turns = is_alone ? 100 : 2 * many;
    for (unsigned turn = 0; turn < turns; turn++)
      if (!step(is_alone ? ahead : from + draws() % many, threads, moved)) return false;
    if (message[0]) return false;
    meet_in_groups(threads, moved);
    if (draws() % 8 == 0) land_one();
    wake(threads, moved);
    unsigned done = 0, waiting = 0;
    for (unsigned i = 0; i < threads; i++) {
      done += fibers[i].state == DONE;
      waiting += fibers[i].state == AT_BARRIER;
    }
    if (done == threads) break;
    if (waiting && done) return fail("a barrier that some threads never reach");
    if (waiting == threads) {
      for (unsigned i = 0; i < threads; i++) fibers[i].state = RUNNING;
      continue;
    }
    if (!moved && is_group) {
      is_group = false;
      from = 0;
    } else if (!moved) {
      bool runs = false;
      for (unsigned i = 0; i < threads; i++) runs |= fibers[i].state == RUNNING;
      if (!runs && !land_one()) return fail("threads wait for each other for ever");
    }
  }
  if (!all_copies_landed()) return fail("a copy that nobody waits for");
  return is_untouched(shared) || fail("a write behind the end of shared memory");
}

// A fault becomes a message, so that a planted bug does not end the tests.
struct Guard {
  static inline sigjmp_buf fault;
  struct sigaction before[2];
  stack_t stack_before;
  char stack[1 << 15];
  static void caught(int) { siglongjmp(fault, 1); }
  Guard() {
    stack_t own = {};
    own.ss_sp = stack;
    own.ss_size = sizeof stack;
    sigaltstack(&own, &stack_before);
    struct sigaction action = {};
    action.sa_handler = caught;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, before);
    sigaction(SIGBUS, &action, before + 1);
  }
  ~Guard() {
    sigaction(SIGSEGV, before, nullptr);
    sigaction(SIGBUS, before + 1, nullptr);
    sigaltstack(&stack_before, nullptr);
  }
};

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*(A*)arguments[I]...);
}

template <class... A>
const char* launch(void (*kernel)(A...), int64_t grid, int block, size_t shared, uint64_t seed,
                   void** arguments, int count) {
  if (count != (int)sizeof...(A)) return "wrong number of arguments";
  if (shared > MOST_SHARED) return "more shared memory than there is";
  draws.seed(seed);
  if (message[0]) return message;  // its fibers stand where the trouble was
  body = [=] { call(kernel, arguments, std::index_sequence_for<A...>()); };
  blockDim = {(unsigned)block, 1, 1};
  gridDim = {(unsigned)grid, 1, 1};
  Guard guard;
  if (sigsetjmp(Guard::fault, 1)) {
    fail("an address that is no memory");
    return message;
  }
  for (int64_t number = 0; number < grid; number++) {
    blockIdx = {(unsigned)number, 0, 0};
    if (!run_block(shared)) return message;
  }
  return nullptr;
}

template <class T>
T exchange(T value, unsigned source, const char* what) {
  static_assert(sizeof(T) <= 8, "more than a slot holds");
  // two slots in turn: no lane is more than one exchange ahead of another
  const unsigned turn = fibers[current].exchanges++ % 2;
  memcpy(fibers[current].slot[turn], &value, sizeof value);
  wait(IN_WARP, what);
  memcpy(&value, fibers[current / 32 * 32 + source].slot[turn], sizeof value);
  return value;
}
}  // namespace emulator

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)

using std::max;
using std::min;

struct float2 {
  float x, y;
};

static inline void __syncthreads() { emulator::wait(emulator::AT_BARRIER, "__syncthreads"); }
static inline void __syncwarp(unsigned = ~0u) { emulator::wait(emulator::IN_WARP, "__syncwarp"); }
template <class T>
static inline T __shfl_xor_sync(unsigned, T value, int other) {
  return emulator::exchange(value, (emulator::current % 32) ^ other, "__shfl_xor_sync");
}
template <class T>
static inline T __shfl_down_sync(unsigned, T value, int offset) {
  unsigned lane = emulator::current % 32;
  return emulator::exchange(value, lane + offset < 32 ? lane + offset : lane, "__shfl_down_sync");
}
template <class T>
static inline T __shfl_up_sync(unsigned, T value, int offset) {
  unsigned lane = emulator::current % 32;
  return emulator::exchange(value, (int)lane >= offset ? lane - offset : lane, "__shfl_up_sync");
}
template <class T>
static inline T __shfl_sync(unsigned, T value, int source) {
  return emulator::exchange(value, source % 32, "__shfl_sync");
}
template <class T>
static inline unsigned __match_any_sync(unsigned, T value) {
  const unsigned turn = emulator::fibers[emulator::current].exchanges % 2;
  const emulator::Fiber* lanes = emulator::fibers + emulator::current / 32 * 32;
  emulator::exchange(value, 0, "__match_any_sync");
  unsigned same = 0;
  for (int lane = 0; lane < 32; lane++)
    same |= (unsigned)!memcmp(lanes[lane].slot[turn], &value, sizeof value) << lane;
  return same;
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

// Tensor cores as the PTX manual lays their fragments out.  Roundings are the worst that are
// known of: numbers lose their last 13 bits, terms are cut to the 24 bits of the largest, and the
// sum is cut again.
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
static inline double cut(double value, double largest, int bits = 24) {
  if (!std::isfinite(largest) || largest == 0.0) return value;
  int exponent;
  frexp(largest, &exponent);
  return ldexp(trunc(ldexp(value, bits - exponent)), exponent - bits);
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
// a and b of a fragment, as feature f of a step sees them
template <int KIND>
static inline double fragment(const unsigned* registers, unsigned f) {
  if (KIND == 16) return half_value(registers[f / 8], f % 2);
  return __uint_as_float(registers[f / 4] & ~0x1fffu);
}
template <int KIND>
static inline void multiply_add_as(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  // registers by half of the features: of rows g and g + 8, and of the column
  struct Lane {
    unsigned a[2][2], b[2];
  };
  static Lane lanes[1024 / 32][2][32];
  constexpr unsigned STEP = KIND == 16 ? 16 : 8, WIDE = KIND == 16 ? 2 : 1;
  const unsigned lane = emulator::current % 32, warp = emulator::current / 32;
  const unsigned turn = emulator::fibers[emulator::current].exchanges++ % 2;
  Lane* all = lanes[warp][turn];
  all[lane] = {{{a[0], a[2]}, {a[1], a[3]}}, {b[0], b[1]}};
  emulator::wait(emulator::IN_WARP, "mma");
  for (int i = 0; i < 4; i++) {
    const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double terms[STEP + 1] = {sums[i]}, largest = fabs(sums[i]), sum = 0.0;
    for (unsigned f = 0; f < STEP; f++) {
      const unsigned member = f / WIDE % 4;
      terms[f + 1] = fragment<KIND>(all[row % 8 * 4 + member].a[row / 8], f) *
                     fragment<KIND>(all[column * 4 + member].b, f);
      largest = max(largest, fabs(terms[f + 1]));
    }
    for (double term : terms) sum += cut(term, largest);
    sums[i] = (float)cut(sum, sum);
  }
}
#define multiply_add multiply_add_as<PRODUCTS>

#include "emulator_async.h"
