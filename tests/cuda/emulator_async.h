// What copies on its own, and matrices that warps load together.
//
// The bytes of a copy are taken at the first or at the last moment that is allowed, as drawn, and land
// at the last, when its thread waits for it.  Where they will land is poison from the first.
#pragma once

namespace emulator {
struct Copy {
  unsigned to;
  const char* from;
  bool is_taken;
  char bytes[16];
};
struct Copies {
  std::vector<Copy> open;
  std::vector<std::vector<Copy>> closed;
};
static Copies copies[1024];

static void begin_block() {
  for (Copies& mine : copies) {
    mine.open.clear();
    mine.closed.clear();
  }
  begin_products_of_block();
  begin_bulks_of_block();
}
// A copy that nobody waits for fetched what nobody needs, perhaps from behind an array.
static bool all_copies_landed() {
  for (const Copies& mine : copies) {
    if (!mine.open.empty()) return false;
    for (const auto& group : mine.closed)
      if (!group.empty()) return false;
  }
  return all_phases_were_awaited();
}
}  // namespace emulator

void begin_copy(unsigned to, const void* from) {
  if (to % 16 || (uintptr_t)from % 16) emulator::trap("a copy that is not aligned");
  if (to + 16 > MOST_SHARED) emulator::trap("a copy to no shared memory");
  memset((char*)memory + to, 0xff, 16);
  emulator::Copy copy = {to, (const char*)from, emulator::draws() % 2 == 0, {}};
  if (copy.is_taken) memcpy(copy.bytes, from, 16);
  emulator::copies[emulator::current].open.push_back(copy);
}
void close_copies() {
  emulator::Copies& mine = emulator::copies[emulator::current];
  mine.closed.push_back(std::move(mine.open));
  mine.open.clear();
}
void wait_for_copies(int under_way) {
  auto& closed = emulator::copies[emulator::current].closed;
  if (under_way > 2) emulator::trap("a wait that the kernel cannot express");
  while ((int)closed.size() > under_way) {
    for (const emulator::Copy& copy : closed.front()) {
      memcpy((char*)memory + copy.to, copy.is_taken ? copy.bytes : copy.from, 16);
      emulator::wrote((char*)memory + copy.to, 16);
    }
    closed.erase(closed.begin());
  }
}

// Lane l gives the row l % 8 of matrix l / 8, and gets 32 bits of row l / 4 of each matrix.
void load_matrices(unsigned (&to)[4], unsigned from) {
  static unsigned rows[1024 / 32][2][32];
  const unsigned lane = emulator::current % 32;
  const unsigned turn = emulator::fibers[emulator::current].exchanges++ % 2;
  unsigned* all = rows[emulator::current / 32][turn];
  if (from % 16 || from + 16 > MOST_SHARED) emulator::trap("a matrix row that is not aligned");
  all[lane] = from;
  emulator::wait(emulator::IN_WARP, "ldmatrix");
  for (unsigned i = 0; i < 4; i++)
    memcpy(&to[i], (char*)memory + all[i * 8 + lane / 4] + lane % 4 * 4, 4);
}
