// Canonical float64 distances, bit for bit those of `_distances`.
#include "common.cuh"

constexpr int MOST_LEVELS = 31;

// Values that a halving sum over d features has left after so many folds.
static __device__ __forceinline__ int folded(int d, int folds) {
  return (int)(((i64)d + (1LL << folds) - 1) >> folds);
}

struct Scale {
  double before, after;

  // one rounding at a time: nothing may be fused
  template <class Row, class Center>
  __device__ __forceinline__ double square(Row x, Center center) const {
    const double apart = __dsub_rn(__dmul_rn(widen(x), before), __dmul_rn(widen(center), before));
    const double scaled = __dmul_rn(apart, after);
    return __dmul_rn(scaled, scaled);
  }
};

// The terms of a sum, and where its folds leave them.
template <class Row, class Center>
struct Terms {
  const Row* x;
  i64 stride;
  const Center* center;
  int d;
  Scale scale;

  __device__ __forceinline__ double at(int f) const { return scale.square(x[f * stride], center[f]); }

  // Value i after so many folds: of few, all reads are under way together.
  template <int FOLDS>
  __device__ __forceinline__ double value(int i) const {
    if constexpr (FOLDS == 0) {
      return at(i);
    } else {
      const double left = value<FOLDS - 1>(i);
      const int other = i + folded(d, FOLDS);
      return other < folded(d, FOLDS - 1) ? __dadd_rn(left, value<FOLDS - 1>(other)) : left;
    }
  }
  // Of many: a tree over the features i, i + w, ... which is walked depth first.
  __device__ double walked(int i, int levels) const {
    double waiting[MOST_LEVELS], value = 0.0;  // left children, by level
    for (i64 leaf = 0; leaf < 1LL << levels; leaf++) {
      int f = i, at_level = 0;
      for (int level = levels; level > 0; level--) {
        if (!(leaf >> (level - 1) & 1)) continue;
        f += folded(d, level);
        if (f >= folded(d, level - 1)) {
          // the middle one, which has no partner: skip the leaves below
          leaf |= (1LL << (level - 1)) - 1;
          at_level = level;
          break;
        }
      }
      value = at_level ? waiting[at_level - 1] : at(f);
      for (; leaf >> at_level & 1; at_level++) value = __dadd_rn(waiting[at_level], value);
      waiting[at_level] = value;
    }
    return value;
  }
};

// The halving sum without room for its terms.  After so many folds that at most `lanes` values
// are left, each lane has one; neighbouring lanes read neighbouring features.  The last folds go
// between the lanes.  The result is that of lane 0.  `lanes` is 1 or 32.
// Where registers are short, all sums are walked.
template <bool AT_ONCE = true, class Row, class Center>
static __device__ double canonical(const Row* x, i64 stride, const Center* center, int d,
                                   int lanes, int lane, Scale scale) {
  int levels = 0;
  while (folded(d, levels) > lanes) levels++;
  int width = folded(d, levels);
  double value = 0.0;
  if (lane < width) {
    const Terms<Row, Center> terms = {x, stride, center, d, scale};
    switch (AT_ONCE ? levels : MOST_LEVELS) {
      case 0: value = terms.template value<0>(lane); break;
      case 1: value = terms.template value<1>(lane); break;
      case 2: value = terms.template value<2>(lane); break;
      case 3: value = terms.template value<3>(lane); break;
      case 4: value = terms.template value<4>(lane); break;
      default: value = terms.walked(lane, levels);
    }
  }
  while (width > 1) {
    const int half = (width + 1) / 2;
    const double other = __shfl_down_sync(0xffffffffu, value, half);
    if (lane + half < width) value = __dadd_rn(value, other);
    width = half;
  }
  return value;
}
