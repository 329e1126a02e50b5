"""Which products the CUDA kernel begins with, and how far their sums may err.

A score by half precision or TF32 costs a fraction of float32's and proves most labels; the rows
that it leaves open are scored in float32, then in float64, then by canonical distance.  The
thresholds are counted, guessed or measured, as each says.

Depth.  The bound of `_primitives` holds for a product that errs by at most D u times the sum of
magnitudes S, u = 2**-24; D is the number of additions above each term, or what stands for it:

* Plain loops add PART features, then the sums of the parts.
* A tensor core adds 8 products and the sum so far.  Each of the nine may lose what lies below 24
  bits of the largest, 2 u S, and so may the result: 20 u S for each 8 features.
* TF32 takes 11 bits of each factor; what they lose is measured (`_errors`), not bounded here.
* Half precision takes as many, and adds 16 products at once, or twice 8: 40 u S for 16 features.
  Numbers below its range lose more, which is measured alike.  (A row with a larger number than it
  holds stays open, a center with one leaves all rows open: `tensor.cuh`.)
* wgmma is not documented either, and 8-bit numbers are known to be added up in 14 bits by it.  On
  an H200 it adds halves and TF32 as mma does there: at once 16 products of halves or 8 of TF32 and
  the sum so far, all cut at 2**-25 of the largest, the result to 24 bits.  Less is lost than is
  counted here (`benchmarks/gpu.py`, section "sums").
* 3xTF32 writes each factor as two of 11 bits, and a rest below 2**-22 of it.  The rests and the
  product of the lower halves, which is left out, come to 12.04 u; there are three times as many
  additions, of magnitudes that add up to 1.002 S.
"""

from __future__ import annotations

import itertools
import math
import os
from typing import NamedTuple

from ._source import PART, TENSOR_PRODUCTS, TILES

_LEAST_CAPABILITY = 80  # mma of TF32, and copies that go on by themselves
_WGMMA_CAPABILITY = 90  # sm_90a: neither older nor newer devices have it

_LEAST_FEATURES = 16
"""For 128 rows and 128 centers plain float32 takes 128 d cycles of a multiprocessor, TF32 16 d
(9.0) to 32 d (8.0), either 1280 more for the scores: from 14 to 20 features on half of it is saved,
which pays for the rows that are scored again.  Counted."""
_LEAST_CLUSTERS = 8
"""Guessed.  A tile has 128 centers, present or not; half precision takes a quarter of the time for
their products that plain float32 takes for those of its 64, but rows left open are read again."""
_LEAST_HALF_FEATURES = 32
"""With 32 features half precision saves 256 (9.0) to 512 (8.0) cycles where TF32 and scores take
1800 to 2300; with fewer it saves less, and TF32 leaves no row open for its range.  Counted."""
_MOST_DEPTH = 41_000
"""The bound is proven while (depth + 8) 2**-24 stays below 0.0025 (`_primitives`)."""
_HALF_EXPONENT = 13
"""Of the largest number among the rows; halves reach 2**16.  Centers that were given, and rows
without weight, may lie seven times as far."""
MOST_GROUPS = 64
"""A bit for each."""


_SHARED_KIB = {80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 110: 227}
"""Shared memory of a block at most, by compute capability (CUDA C++ Programming Guide).

A multiprocessor has 1 KiB more, and takes 1 KiB for each of its blocks.
"""
_LEAST_SHARED_KIB = 99  # of the others: 12.0, 12.1
_MOST_STAGES = 4  # a wait for copies has its number in the text: 0, 1 or 2 under way (`tensor.cuh`)


class Plan(NamedTuple):
    """How tiles lie in the memory of a block on tensor cores."""

    parts: int  # of each row
    keeps: bool  # rows stay in shared memory for all centers; else they come with the centers
    stages: int  # buffers, each for a part of the centers (and of the rows)
    shared: int  # bytes
    tile_bytes: int


def plan(work: str, d: int, capability: int, besides: int = 0, /) -> Plan:
    """Rows are kept if so they fit twice on a multiprocessor, with two buffers or more.

    Two blocks are worth more than rows that need not be fetched again: one multiplies while the
    other looks at its scores.  In KiB, for 128 rows and parts of 64 bytes:

    =============== ======= ==== ===========================
    capability      block   two  features kept (half, TF32)
    =============== ======= ==== ===========================
    8.6, 8.9, 12.0  99      49   128, 64
    8.0, 8.7        163     81   256, 128
    9.0, 10.0       227     113  384, 192
    =============== ======= ==== ===========================

    wgmma has parts of 128 bytes: it keeps 256 (128) features; 64 for 3xTF32, whose parts have two
    planes of 64 bytes a row.  Its buffers have what tells who is done with them, and a ring of
    biases (``ring.cuh``).

    ``besides`` : bytes of a block that are taken for something else.  Where so two buffers do not
    fit twice, a block has the multiprocessor for itself.
    """
    tile = TILES[work]
    rows, part_bytes = tile.rows, tile.part_bytes
    parts = -(-d * (2 if TENSOR_PRODUCTS[work] == 16 else 4) // part_bytes)
    # of each row besides: half its squared norm, and what it lost
    image, norms = rows * part_bytes * tile.planes, 8 * rows
    most = _SHARED_KIB.get(capability, _LEAST_SHARED_KIB)

    def shared(stages: int, keeps: bool) -> int:
        ring = _ring_bytes(rows, parts, stages) if is_wgmma(work) else 0
        return (parts + stages if keeps else 2 * stages) * image + norms + ring

    choices = itertools.product((2, 1), (True, False), range(_MOST_STAGES, 1, -1))
    for blocks, keeps, stages in choices:
        if shared(stages, keeps) + besides <= (most + 1) // blocks - 1 << 10:
            return Plan(parts, keeps, stages, shared(stages, keeps), parts * image)
    raise AssertionError("two buffers fit every device")


def _ring_bytes(rows: int, parts: int, stages: int, /) -> int:
    """What `Ring` in ``ring.cuh`` takes besides its buffers: biases, and `Turning`."""
    return 4 * rows * ((stages - 1) // parts + 2) + 16 * _MOST_STAGES + 24


def depth(work: str, d: int, /) -> int:
    """What stands for the number of additions in a sum of d products."""
    if work not in TENSOR_PRODUCTS:
        return min(d, PART + -(-d // PART))
    products, lost = TENSOR_PRODUCTS[work], 20  # for each 8 features, in u S
    if products == 3:
        return (3 * lost + 1) * -(-d // 8) + 16
    return 2 * lost * -(-d // 16) if products == 16 else lost * -(-d // 8)


def group_product(work: str, /) -> str:
    """The product by which rows are scored against groups where ``work`` is that for all."""
    return work.removesuffix(" wgmma")


def pair_centers(work: str, /) -> int:
    """As many centers could be scored while a row is fetched anew for a group; counted, not timed.

    Of 4 d bytes a multiprocessor of compute capability 9.0 gets about 15 a cycle from memory: that
    is 0.27 d cycles.  Meanwhile it multiplies 128 numbers a cycle in float32, half as many of
    twice the bytes in float64, and 0.7 x 2048 in half precision.
    """
    return {"float16": 384, "tf32": 192, "3xtf32": 64, "float32": 32, "float64": 32}[work]


def is_wgmma(work: str, /) -> bool:
    """Whether products are those of warp groups, which compute capability 9.0 alone has."""
    return work.endswith("wgmma")


def wgmma_is_on() -> bool:
    """Whether wgmma may be used: the environment can forbid it."""
    return os.environ.get("KMEANS_XP_WGMMA") != "0"


def screens(
    first: str, d: int, k: int, capability: int, /, *, wgmma: bool | None = None
) -> tuple[str, ...]:
    """Products that may be tried before those of ``first``, the cheapest first.

    Of float32 on compute capability 8.0 and newer, with 8 clusters or more; otherwise none:

    ============ =============
    features     products
    ============ =============
    up to 15     none
    16 to 31     TF32, 3xTF32
    32 to 5368   half, 3xTF32
    to 16,400    half
    more         none
    ============ =============

    On 9.0 they are wgmma's.  On an H200, 1,000,000 rows of 128 features, halves take 0.91 ms where
    those of mma take 1.47 (1024 clusters), and 2.62 where they take 4.37 (4096).

    ``wgmma`` : whether they may be wgmma's; None for what the environment says.
    """
    worth = d >= _LEAST_FEATURES and k >= _LEAST_CLUSTERS
    if first != "float32" or capability < _LEAST_CAPABILITY or not worth:
        return ()
    asked = wgmma_is_on() if wgmma is None else wgmma
    ladder: tuple[str, ...] = "float16" if d >= _LEAST_HALF_FEATURES else "tf32", "3xtf32"
    if asked and capability == _WGMMA_CAPABILITY:
        ladder = tuple(f"{work} wgmma" for work in ladder)
    return tuple(work for work in ladder if depth(work, d) <= _MOST_DEPTH)


def half_range(work: str, reach: float, /) -> float:
    """The power of two that brings numbers to the range of halves; 1 for other products."""
    if TENSOR_PRODUCTS.get(work) != 16:
        return 1.0
    return math.ldexp(1.0, _HALF_EXPONENT - math.frexp(reach)[1])


def dtype_of(work: str, /) -> str:
    """The dtype in which products are given and added up."""
    return "float32" if work in TENSOR_PRODUCTS else work


_ROWS_A_CLUSTER = 4  # sums of a block are not worth it for fewer
_NARROW, _WIDE = 16, 64  # centers that are scored, present or not
_A_CYCLE = {"float16": 1024, "tf32": 512, "float32": 85, "float64": 32}
_NARROW_A_CYCLE = {"float32": 43, "float64": 32}
_FAST_FLOAT64 = {60, 70, 80, 90, 100}
_LOOKS_A_CYCLE = 64 / 5
_BYTES_A_CYCLE = 15
_ROOM = 2.0
_LEAST_ROW_BYTES, _FEW_CHANGED = 64, 64


def most_shared(capability: int, /) -> int:
    """Bytes of shared memory that a block may ask for."""
    if capability < _LEAST_CAPABILITY:
        return {75: 64, 70: 96, 72: 96}.get(capability, 48) << 10
    return _SHARED_KIB.get(capability, _LEAST_SHARED_KIB) << 10


def sweeps(n: int, d: int, k: int, row_bytes: int, work: str, capability: int, /) -> bool:
    """Whether many rows are best labelled and added up in one pass, by products ``work``.

    Where memory bounds it: a row is d numbers, its label before and its label after, of which a
    multiprocessor gets 15 bytes a cycle at best (2.0 TB/s for 108 at 1.3 GHz, 3.35 TB/s for 132
    at 1.7 GHz).  Against that stand, in cycles a row, for centers filled up to c = 16 or 64:

    ================  ===================  ======================================================
    what              cycles               because
    ================  ===================  ======================================================
    half, TF32        c d / 1024, / 512    dense products of compute capability 8.0
    float32, c > 16   c d / 85             of shared memory 12 reads for 32 products; a warp reads
                                           once a cycle
    float32, c = 16   c d / 43             6 reads for 8 products
    float64           c d / 32; c d        8.0, 9.0 and 10.0; elsewhere 1 or 2 a cycle
    looks at scores   5 c / 64             instructions that 64 lanes a cycle take
    ================  ===================  ======================================================

    Up to twice the cycles of memory are taken for bounded by it: apart, the same products are
    followed by bounds (12 bytes a row), two readings of labels (8) and one of rows that changed.
    Tensor cores so take up to 128 clusters of 32 features and 320 of 128, as far as the sums fit
    shared memory (of 128 features 90 clusters on 8.0, 43 on 8.6, 138 on 9.0); plain float32 takes
    up to 16, float64 products up to 16 where
    they are fast.  All of this is counted; what was measured spoke against it: an H200 takes 12.7
    ms for 8,000,000 uniform rows of 128 features and 8 clusters in one pass, and 5.0 for labels
    alone, so that on 9.0 tensor cores are not used in this way.
    """
    rates = _NARROW_A_CYCLE if k <= _NARROW and work in _NARROW_A_CYCLE else _A_CYCLE
    is_slower = capability == _WGMMA_CAPABILITY and work in TENSOR_PRODUCTS
    if n < _ROWS_A_CLUSTER * k or work not in rates or is_slower:
        return False
    step = _NARROW if rates is _NARROW_A_CYCLE else _WIDE
    centers = -(-k // step) * step
    rate = 1 if work == "float64" and capability not in _FAST_FLOAT64 else rates[work]
    arithmetic = centers * (d / rate + 1 / _LOOKS_A_CYCLE)
    return arithmetic <= _ROOM * (row_bytes + 8) / _BYTES_A_CYCLE


def bounds_pay(changed: int, n: int, row_bytes: int, /) -> bool:
    """Whether the pass that reads all rows should give way to bounds, which pass rows over.

    A row that is passed over costs 24 bytes (its slack read; its label copied, read and compared):
    so rows must be wider than that by some, and few of them may be in doubt.  How many are is not
    known without bounds; taken is that fewer than one row in 64 changed.  Not measured.
    """
    return row_bytes >= _LEAST_ROW_BYTES and _FEW_CHANGED * changed < n
