// Rows that are scored against some groups of centers: what is found of them, and what they keep.
//
// A block has a chunk of the listed rows.  Group after group it lists those of its rows that need the
// group, and scores them a tile at a time, so that tiles are full of rows that are meant, whatever
// rows they are.  Nothing is merged between blocks.
#include "verdict.cuh"

typedef unsigned short u16;

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int CHUNK = CHUNK_TILES * ROWS;  // rows that there is room for

// Groups of centers (`_groups`): their bounds (n, count), which hold what the groups had spent when
// rows were scored, and what they have spent by now (2, count), rounded down and up.
struct Groups {
  int count, size;
  void* bounds;
  const void* spent;

  __device__ __forceinline__ void put(const Kept& kept, i64 row, int g, double far) const {
    kept.put(bounds, row * count + g, (far + kept.at(spent, g)) * (1.0 - TABLE));
  }
};

// The rows of a chunk in shared memory.
template <class Work>
struct Chunk {
  u64* needs;                          // a bit for each group
  Work *best, *rival, *runner, *half, *rest;  // `runner` is the second-best score of the winner's group
  int* winner;                         // a place in the order of groups
  int* listed;
  u16* list;
  u8* end;

  __device__ __forceinline__ Chunk(void* memory)
      : needs((u64*)memory), best((Work*)(needs + CHUNK)), rival(best + CHUNK),
        runner(rival + CHUNK), half(runner + CHUNK), rest(half + CHUNK), winner((int*)(rest + CHUNK)),
        listed(winner + CHUNK), list((u16*)(listed + 4)), end((u8*)(list + CHUNK)) {}

  __device__ __forceinline__ void open(const u64* all_needs, int rows) const {
    for (int r = threadIdx.x; r < rows; r += THREADS) {
      needs[r] = all_needs[r];
      best[r] = rival[r] = runner[r] = (Work)infinity();
      half[r] = rest[r] = 0;
      winner[r] = 0;
    }
  }
  // List the rows that need a group, in any order; how many they are.  All threads take part, and
  // meet before the list is written and after.
  __device__ __forceinline__ int members(int g, int rows) const {
    const int lane = threadIdx.x % 32;
    if (threadIdx.x == 0) *listed = 0;
    __syncthreads();
    for (int start = threadIdx.x - lane; start < rows; start += THREADS) {
      const int r = start + lane;
      const bool is_meant = r < rows && (needs[r] >> g & 1);
      const unsigned votes = __ballot_sync(ALL_LANES, is_meant);
      int at = 0;
      if (lane == 0 && votes) at = atomicAdd(listed, __popc(votes));
      at = __shfl_sync(ALL_LANES, at, 0) + __popc(votes & ((1u << lane) - 1));
      if (is_meant) list[at] = (u16)r;
    }
    __syncthreads();
    return *listed;
  }
  // What a group has for a row: its bound, unless it has the winner, and the best of all so far.  A
  // loser's error needs no other score (`_primitives`).
  __device__ __forceinline__ void see(int r, i64 row, int g, const Groups& groups, const Kept& kept,
                                      const Room<Work>& room, const Found<Work>& found,
                                      Work half_norm, Work lost) const {
    const Work far = half_norm + found.best - (Work)room.of_row(half_norm, lost);
    const Work limit = sqrt((Work)2 * (far > (Work)0 ? far : (Work)0));
    groups.put(kept, row, g, (double)limit * (1.0 - OUTWARDS));
    half[r] = half_norm;
    rest[r] = lost;
    const bool leads = found.best < best[r];
    const Work before = best[r];
    const Work loser = !leads ? found.best : before < found.second ? before : found.second;
    if (loser < rival[r]) rival[r] = loser;
    if (!leads) return;
    best[r] = found.best;
    runner[r] = found.second;
    winner[r] = g * groups.size + found.label;
  }
  // Label a row, and leave its bounds; `beyond` is beyond what it is from the groups it did not need.
  __device__ __forceinline__ bool close(int r, i64 row, i64 k, double beyond, const int* members,
                                        const Groups& groups, const Kept& kept, const Room<Work>& room,
                                        int* labels) const {
    const double mine = half[r], first = best[r], apart = room.of(mine, rest[r], winner[r]);
    const int label = members[winner[r]];
    const bool settled = room.settles(first, rival[r], mine, apart);
    labels[row] = label;
    double near = infinity(), far = -infinity();
    if (settled) {
      const double behind = sqrt(2.0 * fmax(mine + runner[r] - apart, 0.0)) * (1.0 - OUTWARDS);
      groups.put(kept, row, winner[r] / groups.size, behind);
      near = sqrt(2.0 * fmax(mine + first + apart, 0.0)) * (1.0 + OUTWARDS);
      far = sqrt(2.0 * fmax(mine + rival[r] - apart, 0.0)) * (1.0 - OUTWARDS);
      far = fmin(far, beyond);
    } else {
      // the label may become another's
      for (int g = 0; g < groups.count; g++) groups.put(kept, row, g, -infinity());
    }
    kept.keep(row, label, k, near, far);
    return settled;
  }
};

// So many rows are a chunk: fewer than there is room for where all blocks then have some.
static __device__ __forceinline__ int chunk_of(i64 total) {
  const i64 share = (total + gridDim.x - 1) / gridDim.x;
  const i64 whole = (share + ROWS - 1) / ROWS * ROWS;
  return whole < CHUNK ? (int)whole : CHUNK;
}
