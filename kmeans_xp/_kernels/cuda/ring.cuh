// Centers that come by turns through a ring of buffers, for warp groups that go independently.
//
// In each turn one part of CENTERS centers is met.  All groups of a block meet the same turns, each in
// its own time: the stream of centers is cyclic, begins anew for every tile of rows, and does not wait
// for one to be drawn.  Where rows are not kept in shared memory (`_route.plan`), their parts come with
// those of the centers, and all groups begin a tile together.
//
// A buffer is full when the bytes of its turn have come, which its barrier counts: turn by turn, so
// that a warp knows by the parity of the round whether the bytes are those that it waits for.  It is
// free when all warps are done with its turn, which they count by `done`, one lane of each, after the
// warp's products with it are complete.  Who comes last fills it again: whatever the others read there
// was read before they counted, by the fences on both sides of the count, so that the bulk copies that
// follow overwrite nothing that is needed.  And nobody counts a turn before all turns before it, its
// own refill included: refills are begun one after another, and `left`, `part`, `tile` and `slot`,
// which tell what comes next, are never used by two at once.
//
// Biases of a tile of centers come with its first part, but are read after all parts, when their
// buffers are free: they have a ring of their own.  A warp that looks at a tile has not counted any
// part of the next one, so that what is begun at most `stages` turns behind the last part of that tile
// lies in one of so many slots that follow.
#include "bulk.cuh"
#include "wgmma.cuh"

constexpr int GROUPS = THREADS / GROUP, MOST_STAGES = 4;
constexpr int BIAS_BYTES = CENTERS * sizeof(float);

// What a block keeps in shared memory of its ring.
struct Turning {
  struct Stage {
    u64 full;
    unsigned done, unused;
  } stages[MOST_STAGES];
  i64 left;  // turns that are not begun
  int part, tile, slot, unused;
};

struct Ring {
  const u8 *images, *drawn;  // of all centers; of the block's rows, which come along; null if they do not
  const float* bias;         // of all centers
  Turning* turning;
  u8* buffers;
  float* biases;
  unsigned kept_at, buffers_at, biases_at, stages_at;  // addresses in shared memory
  int parts, tiles, stages, slots;

  __device__ __forceinline__ Ring(u8* memory, const u8* images, const u8* drawn, const float* bias,
                                  int parts, int k, int stages)
      : images(images), drawn(drawn), bias(bias), parts(parts), tiles((k + CENTERS - 1) / CENTERS),
        stages(stages), slots((stages - 1) / parts + 2) {
    buffers = memory + (drawn ? 0 : parts * IMAGE);
    biases = (float*)(buffers + stages * stage_bytes());
    turning = (Turning*)(biases + slots * CENTERS);
    kept_at = shared_address(memory);
    buffers_at = shared_address(buffers);
    biases_at = shared_address(biases);
    stages_at = shared_address(turning->stages);
  }
  __device__ __forceinline__ int stage_bytes() const { return drawn ? 2 * IMAGE : IMAGE; }
  __device__ __forceinline__ unsigned buffer(int stage) const {
    return buffers_at + stage * stage_bytes();
  }
  __device__ __forceinline__ unsigned full(int stage) const {
    return stages_at + stage * sizeof(Turning::Stage);
  }

  // by one thread, before all others come
  __device__ __forceinline__ void make() const {
    for (int stage = 0; stage < stages; stage++) {
      make_barrier(full(stage));
      turning->stages[stage].done = 0;
    }
    turning->part = turning->tile = turning->slot = 0;
    make_visible();
  }
  // by one thread: so many turns, of which the first is that of a stage
  __device__ __forceinline__ void begin(i64 turns, int stage) const {
    turning->left = turns;
    for (int i = 0; i < stages; i++) {
      fill(stage);
      stage = stage + 1 < stages ? stage + 1 : 0;
    }
  }
  __device__ __forceinline__ void fill(int stage) const {
    Turning& next = *turning;
    if (next.left == 0) return;
    next.left--;
    const int part = next.part, tile = next.tile, slot = next.slot;
    const bool is_first = part == 0, is_last = part + 1 == parts;
    expect_bytes(full(stage), stage_bytes() + (is_first ? BIAS_BYTES : 0));
    begin_bulk(buffer(stage), images + ((i64)tile * parts + part) * IMAGE, IMAGE, full(stage));
    if (drawn) begin_bulk(buffer(stage) + IMAGE, drawn + (i64)part * IMAGE, IMAGE, full(stage));
    if (is_first)
      begin_bulk(biases_at + slot * BIAS_BYTES, bias + tile * CENTERS, BIAS_BYTES, full(stage));
    next.part = is_last ? 0 : part + 1;
    if (!is_last) return;
    next.tile = tile + 1 < tiles ? tile + 1 : 0;
    next.slot = slot + 1 < slots ? slot + 1 : 0;
  }
  // by all lanes of a warp that is done with a stage
  __device__ __forceinline__ void leave(int stage) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      const unsigned done = full(stage) + sizeof(u64);
      if (count_round(done, WARPS - 1) == WARPS - 1) fill(stage);
    }
  }
};

// Where a warp group stands.
struct Stand {
  int stage, parity, slot;

  __device__ __forceinline__ void move_on(int stages) {
    if (++stage < stages) return;
    stage = 0;
    parity ^= 1;
  }
};

// What is told of a group's scores (looks.cuh): biases come by twos, 8 centers from the next two.
struct Scores {
  const float (&sums)[64];
  const float2* biases;
  int first;

  __device__ __forceinline__ float at(int i, int c) const { return sums[c / 2 * 4 + i * 2 + c % 2]; }
  __device__ __forceinline__ float bias(int c) const {
    const float2 both = biases[c / 2 * 4];
    return c % 2 ? both.y : both.x;
  }
  __device__ __forceinline__ int place(int c) const { return c / 2 * 8 + c % 2; }
};

// A group's rows meet all centers; it looks at the scores of each tile while other groups multiply.
template <class Look>
static __device__ __forceinline__ void meet_centers(const Ring& ring, int my_rows, Stand& stand,
                                                    float down, Look& look) {
  const int member = threadIdx.x % 4;
  const unsigned kept = lower_half(ring.kept_at + my_rows * PART_BYTES);
  const unsigned buffers = lower_half(ring.buffers_at), mine = (IMAGE + my_rows * PART_BYTES) / 16;
  float sums[64];
  const auto begin_turn = [&](int part) {
    const unsigned centers = buffers + stand.stage * (ring.stage_bytes() / 16);
    const unsigned rows = ring.drawn ? centers + mine : kept + part * (IMAGE / 16);
    wait_for_phase(ring.full(stand.stage), stand.parity);
    open_products();
    begin_part(sums, rows, centers, part > 0);
    close_products();
    stand.move_on(ring.stages);
  };
#pragma unroll
  for (int i = 0; i < 64; i++) sums[i] = 0;
#pragma unroll 1
  for (int tile = 0; tile < ring.tiles; tile++) {
    int stage = stand.stage;
    begin_turn(0);
#pragma unroll 1
    for (int part = 1; part < ring.parts; part++) {
      const int next = stand.stage;
      begin_turn(part);
      wait_for_products<1>();
      ring.leave(stage);
      stage = next;
    }
    wait_for_products<0>();
    ring.leave(stage);
    const float2* biases = (const float2*)(ring.biases + stand.slot * CENTERS) + member;
    look.see(Scores{sums, biases, tile * CENTERS + member * 2}, down);
    stand.slot = stand.slot + 1 < ring.slots ? stand.slot + 1 : 0;
  }
}
