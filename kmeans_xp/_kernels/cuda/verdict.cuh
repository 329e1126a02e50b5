// What follows from the scores of a row.
#include "common.cuh"

// What rows keep for the sweeps to come, in the dtype of the tables (3, 2, k).
struct Kept {
  void *slack, *upper, *lower;
  const void* tables;
  int is_double;

  __device__ __forceinline__ double at(const void* side, i64 place) const {
    return is_double ? ((const double*)side)[place] : (double)((const float*)side)[place];
  }
  __device__ __forceinline__ double table(i64 place) const { return at(tables, place); }
  __device__ __forceinline__ void put(void* side, i64 row, double value) const {
    if (is_double)
      ((double*)side)[row] = value;
    else
      ((float*)side)[row] = (float)value;
  }
  __device__ __forceinline__ void keep(i64 row, int label, i64 k, double near, double far) const {
    put(slack, row, (far - near + table(label)) * (1.0 - TABLE));
    put(upper, row, near * (1.0 + TABLE) - table(2 * k + label));
    put(lower, row, (far + table(4 * k + label)) * (1.0 - TABLE));
  }
};

// The two best scores of a row as they come.
template <class Work>
struct Found {
  Work best, second;
  int label;

  __device__ __forceinline__ void clear() {
    best = second = (Work)infinity();
    label = 0;
  }
  // centers come in rising order: the first of equals stays; what is no number counts for nothing
  __device__ __forceinline__ void see(Work score, int center) {
    if (score < best) {
      second = best;
      best = score;
      label = center;
    } else if (score < second) {
      second = score;
    }
  }
  __device__ __forceinline__ void join(const Found& other) {
    const bool leads = other.best < best || (other.best == best && other.label < label);
    const Work behind = leads ? best : other.best;
    second = leads ? other.second : second;
    if (behind < second) second = behind;
    if (leads) {
      best = other.best;
      label = other.label;
    }
  }
  // what the lane across `distance` found, too; all lanes of the warp take part
  __device__ __forceinline__ void join_lane(int distance) {
    Found other;
    other.best = __shfl_xor_sync(0xffffffffu, best, distance);
    other.second = __shfl_xor_sync(0xffffffffu, second, distance);
    other.label = __shfl_xor_sync(0xffffffffu, label, distance);
    join(other);
  }
};

// How far a second-best score must lie behind the best to prove the label (`_errors`): what the row's
// products may err for both, and what the winner's held back, `slope` times a number of that center.
// `rest` is what the row lost to fewer bits.
template <class Work>
struct Room {
  double own, slope, common, largest;
  const Work* held;

  __device__ __forceinline__ double of_row(double half, double rest) const {
    return own * half + rest + common;
  }
  __device__ __forceinline__ double of(double half, double rest, i64 center) const {
    return of_row(half, rest) + slope * fabs((double)held[center]);
  }
  // what is not a number, or may have overflowed, is open too
  __device__ __forceinline__ bool settles(double best, Work second, double half, double apart) const {
    return is_safe(best, half) && best + apart < second;
  }
  __device__ __forceinline__ bool is_safe(double best, double half) const {
    return half <= largest && best <= most_score(Work());
  }

 private:
  // An eighth of what the type holds: farther out, the score of a center that is nearer may have
  // overflowed and lost, or all canonical distances overflow, and the lowest label wins.
  static __device__ __forceinline__ double most_score(float) { return 0x1p125; }
  static __device__ __forceinline__ double most_score(double) { return 0x1p1021; }
};

// The few centers that may be nearest to a row that scores left open, for the first `room` such rows.
// A center whose score is above the limit is farther than the nearest one, and farther than `beyond`.
struct Shortlist {
  i64 room;
  float* limits;
  double* beyond;

  // of an open row, in units of its scores
  __device__ __forceinline__ void begin(i64 place, double best, double apart, double half,
                                        double of_row, bool is_safe) const {
    if (!limits || place >= room) return;
    // outwards by more than a float32 rounds it
    const double limit = best + apart + (fabs(best) + fabs(apart)) * 0x1p-22;
    const bool serves = is_safe && limit < infinity() && limit > -infinity();
    limits[place] = (float)(serves ? limit : no_number());
    beyond[place] = sqrt(2.0 * fmax(half + limit - of_row, 0.0)) * (1.0 - OUTWARDS);
  }
};

// What follows from the scores of a row, as in `_loops.score_rows`.
template <class Work>
struct Verdict {
  Room<Work> room;
  i64 n;
  int k;
  int* labels;
  Work* scores;
  u8* is_open;
  i64* open_rows;
  u64* open_count;
  const u8* twinned;
  Kept kept;
  Shortlist few;

  __device__ __forceinline__ void give(i64 row, Found<Work> found, Work half_norm, double rest) const {
    const double half = half_norm, best = found.best, second = found.second;
    const double apart = room.of(half, rest, found.label);
    const bool settled = room.settles(best, found.second, half, apart);
    labels[row] = found.label;
    if (scores) {
      scores[row] = found.best;
      scores[n + row] = found.second;
      scores[2 * n + row] = half_norm;
    }
    if (is_open) is_open[row] = !settled;
    if (open_rows && !settled) {
      const i64 place = append(open_rows, open_count, row);
      few.begin(place, best, apart, half, room.of_row(half, rest), room.is_safe(best, half));
    }
    if (!kept.tables) return;
    double near = sqrt(2.0 * fmax(half + best + apart, 0.0)) * (1.0 + OUTWARDS);
    double far = sqrt(2.0 * fmax(half + second - apart, 0.0)) * (1.0 - OUTWARDS);
    if (!settled || (twinned && twinned[found.label])) {
      // the label may become another's, a twin may part from the own center
      near = infinity();
      far = -infinity();
    }
    kept.keep(row, found.label, k, near, far);
  }
};
