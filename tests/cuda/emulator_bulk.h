// Bulk copies and the barriers that count their bytes, as the PTX manual describes them.
//
// The bytes of a copy are taken when it begins or when it lands, as drawn; where they will land is
// poison meanwhile.  Copies land in any order, most of them when no thread can go on without.  They
// write by the asynchronous proxy: what threads wrote to global memory they see only after those made
// it visible.  A phase that nobody waited for is one that fetched what nobody needs.
#pragma once

namespace emulator {
struct Barrier {
  bool is_expected;  // the one arrival of the phase was there
  long bytes;        // that are still to come
  unsigned phase, waited;
};
struct Bulk {
  unsigned to, barrier;
  const char* from;
  size_t size;
  bool is_taken;
  std::vector<char> bytes;
};
static std::map<unsigned, Barrier> barriers;
static std::vector<Bulk> bulks;

static void begin_bulks_of_block() {
  barriers.clear();
  bulks.clear();
}
static bool all_phases_were_awaited() {
  for (const auto& [place, barrier] : barriers)
    if (barrier.is_expected || barrier.waited != barrier.phase) return false;
  return bulks.empty();
}
static Barrier* barrier_at(unsigned place) {
  const auto found = barriers.find(place);
  if (found == barriers.end()) trap("a barrier that nobody made");
  return &found->second;
}
static void end_phase(Barrier& barrier) {
  if (!barrier.is_expected || barrier.bytes != 0) return;
  barrier.is_expected = false;
  barrier.phase++;
}
static void take(Bulk& bulk) {
  bulk.bytes.assign(bulk.from, bulk.from + bulk.size);
  for (const Products& thread : products)
    for (auto [place, size] : thread.unseen_globally)
      if (place < bulk.from + bulk.size && bulk.from < place + size)
        bulk.bytes.assign(bulk.size, (char)0xff);
}
static bool land_one() {
  if (bulks.empty()) return false;
  const size_t which = draws() % bulks.size();
  Bulk bulk = std::move(bulks[which]);
  bulks.erase(bulks.begin() + which);
  if (!bulk.is_taken) take(bulk);
  memcpy((char*)memory + bulk.to, bulk.bytes.data(), bulk.size);
  memcpy(seen + bulk.to, bulk.bytes.data(), bulk.size);
  Barrier& barrier = barriers.at(bulk.barrier);
  barrier.bytes -= bulk.size;
  end_phase(barrier);
  return true;
}
static bool phase_ended(unsigned place, int parity) {
  return (int)(barriers.at(place).phase % 2) != parity;
}
}  // namespace emulator

void make_barrier(unsigned barrier) {
  if (barrier % 8 || barrier + 8 > MOST_SHARED) emulator::trap("a barrier at no place for one");
  memset((char*)memory + barrier, 0, 8);
  emulator::wrote((char*)memory + barrier, 8);
  emulator::barriers[barrier] = {};
}
void expect_bytes(unsigned barrier, unsigned bytes) {
  emulator::Barrier& mine = *emulator::barrier_at(barrier);
  if (mine.is_expected) emulator::trap("two arrivals in one phase");
  mine.is_expected = true;
  mine.bytes += bytes;
  emulator::end_phase(mine);
}
void begin_bulk(unsigned to, const void* from, unsigned bytes, unsigned barrier) {
  if (to % 16 || (uintptr_t)from % 16 || bytes % 16) emulator::trap("a copy that is not aligned");
  if (to + bytes > MOST_SHARED) emulator::trap("a copy to no shared memory");
  emulator::barrier_at(barrier);
  if (memcmp(emulator::seen + barrier, (char*)memory + barrier, 8))
    emulator::trap("a barrier that copies do not see");
  memset((char*)memory + to, 0xff, bytes);
  memset(emulator::seen + to, 0xff, bytes);
  emulator::Bulk bulk = {to, barrier, (const char*)from, bytes, emulator::draws() % 2 == 0, {}};
  if (bulk.is_taken) emulator::take(bulk);
  emulator::bulks.push_back(std::move(bulk));
}
void wait_for_phase(unsigned barrier, int parity) {
  emulator::Barrier& mine = *emulator::barrier_at(barrier);
  if (!emulator::phase_ended(barrier, parity)) {
    emulator::fibers[emulator::current].barrier = barrier;
    emulator::fibers[emulator::current].parity = parity;
    emulator::wait(emulator::AT_PHASE, "mbarrier.try_wait");
  }
  mine.waited = max(mine.waited, mine.phase);
}
unsigned count_round(unsigned place, unsigned last) {
  unsigned& count = *(unsigned*)((char*)memory + place);
  const unsigned before = count;
  count = before >= last ? 0 : before + 1;
  // others may go on before what the thread does next
  while (emulator::draws() % 2) emulator::wait(emulator::RUNNING, "atom");
  return before;
}
void meet_group(int) { emulator::wait(emulator::IN_GROUP, "bar.sync"); }
