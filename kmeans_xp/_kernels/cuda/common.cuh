// What all kernels share.
//
// Macros that come with the compilation, so that each number has one home in Python:
//   ROW_TYPE, WORK_TYPE  float or double: the rows as stored, and the products
//   OUTWARDS, TABLE      margins of the bounds (_bounds, _groups)
//   ONE_LIMB             2**40 (_exact)
//   EXACT_ROWS, LEAST_EXPONENT       also of _exact
//   RUN, SEEDING, PARTITION          purposes of draws (_random)
//   MOST_LISTED          centers of a shortlist
//   THREADS              of a block
//   ROWS                 of a tile
//   PRODUCTS, PART_BYTES, PLANES     of tensor cores (tensor.cuh)
//   CHUNK_TILES          tiles of rows that a block scores against groups together (groups.cuh)
//
// Kernels use one array of dynamic shared memory, called `memory`, so that a test can poison it and
// watch its end.

constexpr int WARPS = THREADS / 32;

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned char u8;

#ifdef __CUDACC__
static __device__ __forceinline__ void prefetch_line(const void* place) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(place));
}
#endif

static __device__ __forceinline__ double infinity() {
  return __longlong_as_double(0x7ff0000000000000LL);
}

// What no score is within, be it -infinity.
static __device__ __forceinline__ double no_number() {
  return __longlong_as_double(0x7ff8000000000000LL);
}

// A value as float64, subnormal ones too: CuPy compiles with -ftz=true, under which a plain
// conversion takes them for zero.
static __device__ __forceinline__ double widen(double value) { return value; }
static __device__ __forceinline__ double widen(float value) {
  const int bits = __float_as_int(value);
  if (bits & 0x7f800000) return (double)value;
  const double size = (double)(bits & 0x7fffff) * 0x1p-149;
  return bits < 0 ? -size : size;
}

// So many rows are meant: all, or as many as an earlier kernel counted.
static __device__ __forceinline__ i64 rows_meant(i64 n, const i64* counted) {
  return counted ? *counted : n;
}

// Append to a list, and tell the place; its order is that of the schedule, and nothing may depend on it.
static __device__ __forceinline__ i64 append(i64* list, u64* count, i64 value) {
  const i64 place = (i64)atomicAdd(count, 1ULL);
  list[place] = value;
  return place;
}

// As `_stats.weigh`: a row of weight 0 gives 0 even where its distance overflowed.
static __device__ __forceinline__ double weighed(double value, const double* weight, i64 row) {
  if (!weight) return value;
  const double factor = weight[row];
  return factor > 0.0 ? __dmul_rn(value, factor) : 0.0;
}
