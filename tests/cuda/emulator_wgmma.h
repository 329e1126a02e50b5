// Products of warp groups (wgmma) as the PTX manual describes them.
//
// They read shared memory by the asynchronous proxy, which sees what a thread wrote only after that
// thread made it visible: a second image of the memory, which begins as NaN.  They read at the first or
// at the last moment that is allowed, as drawn: when they are begun, or when they are waited for; until
// then the registers of their sums are NaN.
// Roundings are those of mma.  Of 32 bits, the last 13 are not read.
#pragma once

namespace emulator {
struct Product {
  uint64_t rows, centers;
  bool adds;
  int bytes;  // of a number
  std::vector<double> numbers;  // of 2 rows, then of 32 columns, once they are read
};
struct Products {
  std::vector<Product> open;
  std::vector<std::vector<Product>> closed;
  std::vector<std::pair<size_t, size_t>> unseen;  // what the thread wrote: where, how much
  std::vector<std::pair<const char*, size_t>> unseen_globally;
  float (*registers)[64];
  float sums[64];
  bool is_open, are_under_way;
};
static Products products[1024];
static char seen[MOST_SHARED];

static void begin_products_of_block() {
  memset(seen, 0xff, sizeof seen);
  for (Products& mine : products) {
    mine.open.clear();
    mine.closed.clear();
    mine.unseen.clear();
    mine.unseen_globally.clear();
    mine.is_open = mine.are_under_way = false;
  }
}
void wrote(const void* place, size_t size) {
  const size_t at = (const char*)place - (const char*)memory;
  if (at < MOST_SHARED)
    products[current].unseen.push_back({at, size});
  else
    products[current].unseen_globally.push_back({(const char*)place, size});
}
// A number of a matrix, K-major, with a swizzle of as many bytes as its rows lie apart in groups of 8:
// 128 or 64.  Eight chunks of 128 bytes, or four of every second 64, are turned by address bits.
static double number_at(uint64_t described, unsigned row, unsigned feature, unsigned bytes) {
  const unsigned start = (described & 0x3fff) << 4, stride = (described >> 32 & 0x3fff) << 4;
  const unsigned swizzle = described >> 62, width = swizzle == 1 ? 128 : 64;
  if (swizzle != 1 && swizzle != 2) trap("a matrix with another swizzle");
  if (described >> 49 & 7 || start & (7 * width)) trap("a matrix that begins amid a swizzle");
  unsigned at = start + row / 8 * stride + row % 8 * width + feature * bytes;
  at ^= (at >> 7 & (width / 16 - 1)) << 4;
  if (at + bytes > MOST_SHARED) trap("a matrix behind shared memory");
  unsigned bits = 0;
  memcpy(&bits, seen + at, bytes);
  // written since, and perhaps seen: nobody knows
  if (memcmp(seen + at, (char*)memory + at, bytes)) return NAN;
  return bytes == 2 ? half_value(bits, 0) : __uint_as_float(bits & ~0x1fffu);
}
static void read_numbers(Product& product) {
  if (!product.numbers.empty()) return;
  const unsigned lane = current % 32, warp = current / 32 % 4, features = 32 / product.bytes;
  for (unsigned i = 0; i < 2; i++)
    for (unsigned f = 0; f < features; f++)
      product.numbers.push_back(
          number_at(product.rows, warp * 16 + lane / 4 + i * 8, f, product.bytes));
  for (unsigned i = 0; i < 32; i++)
    for (unsigned f = 0; f < features; f++)
      product.numbers.push_back(
          number_at(product.centers, i / 2 * 8 + lane % 4 * 2 + i % 2, f, product.bytes));
}
static void carry_out(Products& mine, Product& product) {
  read_numbers(product);
  const unsigned features = 32 / product.bytes;
  const double *rows = product.numbers.data(), *columns = rows + 2 * features;
  for (unsigned i = 0; i < 64; i++) {
    double terms[17] = {product.adds ? mine.sums[i] : 0.0}, largest = fabs(terms[0]);
    for (unsigned f = 0; f < features; f++) {
      terms[f + 1] = rows[i / 2 % 2 * features + f] * columns[(i / 4 * 2 + i % 2) * features + f];
      largest = max(largest, fabs(terms[f + 1]));
    }
    mine.sums[i] = cut_sum(terms, features + 1, largest);
  }
}
}  // namespace emulator

void make_visible() {
  auto& unseen = emulator::products[emulator::current].unseen;
  for (auto [at, size] : unseen) memcpy(emulator::seen + at, (char*)memory + at, size);
  unseen.clear();
}
void make_global_visible() {
  emulator::products[emulator::current].unseen_globally.clear();
}
void open_products() {
  emulator::wait(emulator::IN_WARP, "wgmma.fence");
  emulator::products[emulator::current].is_open = true;
}
void begin_product_as(int kind, float (&sums)[64], uint64_t rows, uint64_t centers, int adds) {
  emulator::wait(emulator::IN_WARP, "wgmma");
  emulator::Products& mine = emulator::products[emulator::current];
  if (!mine.is_open) emulator::trap("wgmma without a fence");
  if (!mine.are_under_way) memcpy(mine.sums, sums, sizeof sums);
  mine.are_under_way = true;
  mine.registers = &sums;
  memset(sums, 0xff, sizeof sums);
  mine.open.push_back({rows, centers, adds != 0, kind == 16 ? 2 : 4, {}});
  if (emulator::draws() % 2) emulator::read_numbers(mine.open.back());
}
void close_products() {
  emulator::Products& mine = emulator::products[emulator::current];
  mine.closed.push_back(std::move(mine.open));
  mine.open.clear();
  mine.is_open = false;
}
// all four warps must have begun what any of them waits for
void wait_for_products_but(int under_way) {
  emulator::wait(emulator::IN_GROUP, under_way ? "wgmma.wait_group 1" : "wgmma.wait_group 0");
  emulator::Products& mine = emulator::products[emulator::current];
  while ((int)mine.closed.size() > under_way) {
    for (emulator::Product& product : mine.closed.front()) emulator::carry_out(mine, product);
    mine.closed.erase(mine.closed.begin());
  }
  if (mine.closed.empty() && mine.open.empty() && mine.are_under_way) {
    memcpy(*mine.registers, mine.sums, sizeof mine.sums);
    mine.are_under_way = false;
  }
}
