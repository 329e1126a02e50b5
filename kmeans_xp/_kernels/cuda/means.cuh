// Means from exact sums: `_exact.ratio` and `_ledger`, one rounding at a time.
#include "common.cuh"

constexpr int LIMB = 40;  // bits
constexpr double SPLIT = 134217729.0;  // 2**27 + 1

// The sums of one cluster; `low` are the second words of its columns, if there are any.
struct Totals {
  const i64 *high, *low;
  int d, limbs, weight_limbs;

  __device__ __forceinline__ int columns() const { return limbs * d + weight_limbs + 1; }
  __device__ __forceinline__ i64 count() const {
    const int last = columns() - 1;
    return low ? (high[last] << LIMB) + low[last] : high[last];
  }
  // a total of one word as two: the lower one in [0, 2**40)
  __device__ __forceinline__ void words(int column, double& first, double& second) const {
    const i64 whole = high[column];
    first = (double)(low ? whole : whole >> LIMB);
    second = (double)(low ? low[column] : whole & ((1LL << LIMB) - 1));
  }
  // summed weights in units of their grid: the number of rows where they have no weight
  __device__ double weight() const {
    if (weight_limbs == 0) return (double)count();
    double sum = 0.0, unit = ONE_LIMB;
    for (int limb = 0; limb < weight_limbs; limb++) {
      double first, second;
      words(limbs * d + limb, first, second);
      sum = __dadd_rn(sum, __dmul_rn(unit, first));
      unit = __dmul_rn(unit, 1.0 / ONE_LIMB);
      sum = __dadd_rn(sum, __dmul_rn(unit, second));
    }
    return sum;
  }
  // the mean of feature f in units of its grid; `is_short`: float64 holds a word exactly.  A call, as
  // divisions are in their rare cases: registers of the caller would be saved around each of them
  __noinline__ __device__ double mean(int f, double weight, bool is_short) const {
    double top = 0.0, rest = 0.0, unit = is_short ? 1.0 : ONE_LIMB;
    for (int limb = 0; limb < limbs; limb++) {
      if (is_short) {
        add_term(top, rest, __dmul_rn(unit, (double)high[limb * d + f]));
      } else {
        double first, second;
        words(limb * d + f, first, second);
        add_term(top, rest, __dmul_rn(unit, first));
        add_term(top, rest, __dmul_rn(unit * (1.0 / ONE_LIMB), second));
      }
      unit = __dmul_rn(unit, 1.0 / ONE_LIMB);
    }
    const double total = __dadd_rn(top, rest);
    return quotient(total, __dsub_rn(rest, __dsub_rn(total, top)), weight);
  }

 private:
  static __device__ __forceinline__ void add_term(double& top, double& rest, double term) {
    const double total = __dadd_rn(top, term);
    rest = __dadd_rn(rest, __dsub_rn(term, __dsub_rn(total, top)));
    top = total;
  }
  // Veltkamp's halves of 26 bits, Dekker's product: nothing may be fused
  static __device__ __forceinline__ void halves(double a, double& upper, double& lower) {
    const double big = __dmul_rn(SPLIT, a);
    upper = __dsub_rn(big, __dsub_rn(big, a));
    lower = __dsub_rn(a, upper);
  }
  static __device__ double quotient(double top, double rest, double weight) {
    const double found = __ddiv_rn(top, weight), product = __dmul_rn(found, weight);
    double a, a_low, b, b_low;
    halves(found, a, a_low);
    halves(weight, b, b_low);
    double error = __dsub_rn(__dmul_rn(a, b), product);
    error = __dadd_rn(error, __dmul_rn(a, b_low));
    error = __dadd_rn(error, __dmul_rn(a_low, b));
    error = __dadd_rn(error, __dmul_rn(a_low, b_low));
    const double left = __dadd_rn(__dsub_rn(__dsub_rn(top, product), error), rest);
    return __dadd_rn(found, __ddiv_rn(left, weight));
  }
};
