// Runs kernels on the CPU: one block at a time, a fiber for each thread.
//
// A thread runs until it meets a barrier or an exchange within its warp; who runs next is drawn at
// random.  So a missing barrier lets threads read what is not yet written, which is NaN: shared
// memory begins poisoned, and what lies behind it is watched.  A barrier that not all threads
// reach ends the run with a message.
#include "emulator.h"

#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

extern "C" {
alignas(128) double memory[(MOST_SHARED + MARGIN) / 8];
}
Place threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
enum State { RUNNING, AT_BARRIER, IN_WARP, IN_GROUP, AT_PHASE, DONE };
constexpr size_t STACK = 1 << 16;
struct Fiber {
  ucontext_t context;
  jmp_buf jump;
  State state;
  bool begun;
  const char* what;
  unsigned exchanges;
  unsigned barrier;  // whose phase it waits for
  int parity;
  uint64_t slot[2];
};
static Fiber fibers[1024];

__attribute__((destructor)) static void release() {
  for (Fiber& fiber : fibers) free(fiber.context.uc_stack.ss_sp);
}

static jmp_buf scheduler;
static unsigned current;
static std::mt19937_64 draws;
static void (*body)(const void*);
static const void* call;
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
    body(call);
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
void trap(const char* text) {
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
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = calloc(1, STACK);  // as long as the library stays
    fiber.context.uc_stack.ss_size = STACK;
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

const char* run(void (*given)(const void*), const void* arguments, int64_t grid, int block,
                size_t shared, uint64_t seed) {
  if (shared > MOST_SHARED) return "more shared memory than there is";
  draws.seed(seed);
  if (message[0]) return message;  // its fibers stand where the trouble was
  body = given;
  call = arguments;
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

void meet_block() { wait(AT_BARRIER, "__syncthreads"); }
void meet_warp() { wait(IN_WARP, "__syncwarp"); }
unsigned lane() { return current % 32; }
uint64_t exchange(uint64_t bits, unsigned source, const char* what) {
  // two slots in turn: no lane is more than one exchange ahead of another
  const unsigned turn = fibers[current].exchanges++ % 2;
  fibers[current].slot[turn] = bits;
  wait(IN_WARP, what);
  return fibers[current / 32 * 32 + source].slot[turn];
}
unsigned match(uint64_t bits) {
  const unsigned turn = fibers[current].exchanges % 2;
  const Fiber* lanes = fibers + current / 32 * 32;
  exchange(bits, 0, "__match_any_sync");
  unsigned same = 0;
  for (int lane = 0; lane < 32; lane++) same |= (unsigned)(lanes[lane].slot[turn] == bits) << lane;
  return same;
}
}  // namespace emulator

#include "emulator_mma.h"
#include "emulator_wgmma.h"
#include "emulator_bulk.h"
#include "emulator_async.h"
