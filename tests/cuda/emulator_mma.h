// Tensor cores as the PTX manual lays their fragments out.
//
// Roundings are the worst that are known of: numbers lose their last 13 bits, terms are cut to the
// 24 bits of the largest, and the sum is cut again.
#pragma once

static inline double cut(double value) {
  if (!std::isfinite(value) || value == 0.0) return value;
  int exponent;
  frexp(value, &exponent);
  return ldexp(trunc(ldexp(value, 24 - exponent)), exponent - 24);
}
static inline float cut_sum(const double* terms, unsigned count, double largest) {
  double sum = 0.0, up = 1.0, down = 1.0;
  const bool is_cut = std::isfinite(largest) && largest != 0.0;
  if (is_cut) {
    int exponent;
    frexp(largest, &exponent);
    up = ldexp(1.0, 24 - exponent);  // products of floats are far from the ends of double
    down = ldexp(1.0, exponent - 24);
  }
  for (unsigned i = 0; i < count; i++) sum += is_cut ? trunc(terms[i] * up) * down : terms[i];
  return (float)cut(sum);
}
// a number of a register, of which there are WIDE
template <int KIND>
static inline double number(unsigned bits, unsigned which) {
  return KIND == 16 ? half_value(bits, which) : __uint_as_float(bits & ~0x1fffu);
}
template <int KIND>
static void multiply_add_of(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  constexpr unsigned STEP = KIND == 16 ? 16 : 8, WIDE = KIND == 16 ? 2 : 1;
  // numbers by half of the features: of rows g and g + 8, and of the column
  struct Lane {
    double a[2][2][WIDE], b[2][WIDE];
  };
  static Lane lanes[1024 / 32][2][32];
  const unsigned lane = emulator::current % 32, warp = emulator::current / 32;
  const unsigned turn = emulator::fibers[emulator::current].exchanges++ % 2;
  const Lane* all = lanes[warp][turn];
  Lane& mine = lanes[warp][turn][lane];
  for (unsigned i = 0; i < 4 * WIDE; i++)
    mine.a[i / WIDE % 2][i / WIDE / 2][i % WIDE] = number<KIND>(a[i / WIDE], i % WIDE);
  for (unsigned i = 0; i < 2 * WIDE; i++)
    mine.b[i / WIDE][i % WIDE] = number<KIND>(b[i / WIDE], i % WIDE);
  emulator::wait(emulator::IN_WARP, "mma");
  for (unsigned i = 0; i < 4; i++) {
    const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double terms[STEP + 1] = {sums[i]}, largest = fabs(sums[i]);
    for (unsigned f = 0; f < STEP; f++) {
      const unsigned member = f / WIDE % 4, half = f / (STEP / 2);
      terms[f + 1] = all[row % 8 * 4 + member].a[row / 8][half][f % WIDE] *
                     all[column * 4 + member].b[half][f % WIDE];
      largest = max(largest, fabs(terms[f + 1]));
    }
    sums[i] = cut_sum(terms, STEP + 1, largest);
  }
}
void multiply_add_as(int kind, float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  kind == 16 ? multiply_add_of<16>(sums, a, b) : multiply_add_of<1>(sums, a, b);
}
