// What a thread makes of the scores of its LANE_ROWS rows, LANE_CENTERS at a time.
//
// `row_of(i)` is a row's place in the tile of rows.  Of the scores that it is given, `scores.at(i, c)` are
// sums of products, `scores.bias(c)` belongs to the center, which is `scores.first + scores.place(c)`:
// places are constants.
#include "tensor.cuh"

// The best and the second best.
struct Best {
  Found<float> found[LANE_ROWS];

  __device__ __forceinline__ Best() {
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++) found[i].clear();
  }
  template <class Scores>
  __device__ __forceinline__ void see(const Scores& scores, float down) {
    // of the tile's own numbers; -1 while none is lower than those of the tiles before
    float place[LANE_ROWS];
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++) place[i] = -1.0f;
    const float nothing = down * -0.0f;
#pragma unroll
    for (int c = 0; c < LANE_CENTERS; c++) {
      const float added = scores.bias(c);
#pragma unroll
      for (int i = 0; i < LANE_ROWS; i++) {
        const float score = added + scores.at(i, c) * down;
        found[i].second = fminf(found[i].second, fmaxf(found[i].best, score));
        take_lower(found[i].best, place[i], score, (float)scores.place(c), nothing);
      }
    }
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
      if (place[i] >= 0.0f) found[i].label = scores.first + (int)place[i];
  }
};

// The centers within the limit of each row: how many, and the first of them.
struct Within {
  float limit[LANE_ROWS];
  int *counts, *few;  // of the tile

  __device__ __forceinline__ Within(const float* limits, int* counts, int* few)
      : counts(counts), few(few) {
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++) limit[i] = limits[row_of(i)];
  }
  static_assert(LANE_CENTERS <= 32, "a bit for each");
  template <class Scores>
  __device__ __forceinline__ void see(const Scores& scores, float down) {
    unsigned hits[LANE_ROWS] = {};
#pragma unroll
    for (int c = 0; c < LANE_CENTERS; c++) {
      const float added = scores.bias(c);
#pragma unroll
      for (int i = 0; i < LANE_ROWS; i++)
        if (added + scores.at(i, c) * down <= limit[i]) hits[i] |= 1u << c;
    }
#pragma unroll
    for (int i = 0; i < LANE_ROWS; i++)
      for (; hits[i]; hits[i] &= hits[i] - 1) {
        const int at = atomicAdd(counts + row_of(i), 1);
        if (at < MOST_LISTED)
          few[row_of(i) * MOST_LISTED + at] = scores.first + scores.place(__ffs(hits[i]) - 1);
      }
  }
};
