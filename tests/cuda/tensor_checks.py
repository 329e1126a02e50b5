"""What must hold of tensor cores besides scores: rooms, what they prove, and shortlists."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kmeans_xp import _primitives as p
from kmeans_xp._bounds import LEAST_MOVE, OUTWARDS, Bounds, no_drift
from kmeans_xp._distances import Scale
from kmeans_xp._groups import TABLE
from kmeans_xp._kernels.cuda import _errors, _shortlist
from kmeans_xp._kernels.cuda._calls import Picked
from kmeans_xp._kernels.cuda._errors import grain_of, held_share
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._kernels.cuda._route import depth, half_range
from kmeans_xp._kernels.cuda._source import MOST_LISTED, TENSOR_PRODUCTS


@contextlib.contextmanager
def nothing_lost() -> Iterator[None]:
    """Numbers are whole, and few bits hold them: products are told that they err by nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_errors, "GRAIN", 0.0)
        yield


def lost(values: Any, work: str, up: float) -> Any:
    """What numbers lose as cells of tensor cores."""
    if TENSOR_PRODUCTS[work] == 16:
        return values - (values * up).astype(np.float16).astype(np.longdouble) / up
    bits = values.astype(np.float32).view(np.uint32) + np.uint32(0x1000)
    return values - (bits & np.uint32(~0x1FFF & 0xFFFFFFFF)).view(np.float32)


def asked(centers: Any, bias: Any, work: str, reach: float, *errors: float) -> p.Nearest:
    """The question with a bias and errors (theta, e, eta) of its own."""
    rung = p.Rung(-centers, bias.astype(np.float32), None, None, None, 1.0, *errors)
    rungs = {("float32", depth(work, centers.shape[1])): rung}
    return p.Nearest(centers, None, Scale(), reach, "float32", rungs)


def no_bounds(k: int, x: Any) -> dict[str, Any]:
    """Bounds to be written, in float64."""
    drift = no_drift(k, "float64", x, xp=np)
    return {"drift": drift, "bounds": Bounds(*(np.full(len(x), np.nan) for _ in range(3)))}


def check_room(kernel: CudaKernel, d: int, work: str) -> None:
    """The room of a row, by its upper bound: all terms of `_errors`, and not much more."""
    random = np.random.default_rng(d)
    x = random.lognormal(size=(130, d)).astype(np.float32)
    center = random.lognormal(size=(1, d)).astype(np.float32)
    # terms of about one size
    theta, canonical, underflow = 2.0**-13, 2.0**-14, 2.0**-12 * d
    bias = (center.astype(np.float64) ** 2).sum(axis=1) / 2
    nearest = asked(center, bias, work, 99.0, theta, canonical, underflow)
    scores, kept = np.full((3, len(x)), np.nan, np.float32), no_bounds(1, x)
    labels = np.full(len(x), -1, np.int32)
    kernel.calls.score(x, nearest, work, labels, scores=scores, **kept)
    best, _, half = scores.astype(np.float64)
    found = (kept["bounds"].upper / (1 + TABLE) / (1 + OUTWARDS)) ** 2 / 2 - half - best
    grain, up = grain_of(work), half_range(work, 99.0)
    wanted = (2 * theta + 4 * canonical + 2 * grain) * half + 2 * underflow
    back = np.longdouble(0.0)
    if grain:
        wanted += (lost(x.astype(np.longdouble), work, up) ** 2).sum(axis=1) / grain
        own = center[0].astype(np.longdouble)
        back = ((lost(own, work, up) ** 2).sum() / grain + grain * (own**2).sum()) / 2
    wanted += held_share(theta) * bias[0] + 2 * back
    assert (found >= wanted * (1 - 1e-5)).all()
    assert (found <= wanted * (1 + 3e-3)).all()
    drawn = nearest.notes["cuda", work, "float32"].bias[0]
    np.testing.assert_allclose(float(bias[0] - drawn), float(back), rtol=0.02, atol=bias[0] * 1e-7)


def off_one_way(sign: int, base: float) -> Any:
    """Numbers that lose nearly half a unit of 11 bits, and always to one side."""
    step = 2.0**-11 * 0.96
    return base + step if sign > 0 else base + 2.0**-10 - step


def check_proofs(kernel: CudaKernel, work: str) -> None:
    """Labels that are proven are right where numbers lose most, all to one center's favour."""
    # one has the first features, the other the rest; a last one moves rows across the bisector
    sides = np.repeat([[1.0, 0.0], [0.0, 1.0]], 16, axis=1)
    for rows_lose in (True, False):
        for turn in (1, -1):
            x = np.ones((60, 33))
            centers = np.concatenate([sides * 1.40625, [[1.0], [-1.0]]], axis=1)
            # what the products cannot see is for the center that they do not find
            if rows_lose:
                x[:, :16], x[:, 16:32] = off_one_way(turn, 1.0), off_one_way(-turn, 1.0)
            else:
                centers[0, :16] = off_one_way(turn, 1.40625)
                centers[1, 16:32] = off_one_way(-turn, 1.40625)
            half, rows = (centers**2).sum(axis=1) / 2, x.copy()
            rows[:, 32] = 0.0
            ahead = (rows @ (centers[1] - centers[0])) + half[0] - half[1]
            x[:, 32] = ahead / 2 + np.linspace(-0.02, 0.02, len(x))
            x, centers = x.astype(np.float32), centers.astype(np.float32)
            nearest = p.Nearest(centers, None, Scale(), 2.0, "float32")
            labels, is_open = np.full(len(x), -1, np.int32), np.zeros(len(x), bool)
            kernel.calls.score(x, nearest, work, labels, is_open=is_open)
            true = p.cross_distances(x, centers, Scale(), xp=np).argmin(axis=0)
            assert labels[~is_open].tolist() == true[~is_open].tolist()
            assert 0 < np.count_nonzero(true) < len(x)
            assert (labels != true).any() or TENSOR_PRODUCTS[work] == 3


def check_limits(kernel: CudaKernel, work: str) -> None:
    """The limits of open rows: what proves them, and hardly more; none where none serves."""
    random = np.random.default_rng(2)
    x = random.integers(1, 4, size=(40, 33)).astype(np.float32)
    centers = np.tile(random.integers(2, 4, size=(1, 33)), (3, 1)).astype(np.float32)
    bias = (centers**2).sum(axis=1) / 2
    # less than float32 sees beside the score; then more
    for common, canonical in ((2.0**-24, 0.0), (2.0**-5, 2.0**-7)):
        nearest = asked(centers, bias, work, 4.0, 0.0, canonical, common / 2)
        opened, scores = Picked.none(x, xp=np), np.full((3, len(x)), np.nan, np.float32)
        limits, beyond = np.full(37, np.nan, np.float32), np.full(37, np.nan)
        labels = np.full(len(x), -1, np.int32)
        with nothing_lost():
            args = {"left": opened, "scores": scores, "limits": (limits, beyond)}
            kernel.calls.score(x, nearest, work, labels, **args)
        assert opened.count[0] == len(x)
        best, _, half = scores.astype(np.float64)[:, opened.rows[:37]]
        of_row = 4 * canonical * half + common
        assert (limits >= best + of_row).all()
        assert (limits <= best + of_row + (np.abs(best) + of_row) * 2.0**-21).all()
        true = np.sqrt(2 * np.maximum(half + best, 0.0))
        assert (beyond <= true * (1 + 2.0**-21) + 1e-2 * (true < 1)).all()
        assert (beyond >= true * (1 - 2.0**-19) - 1e-6).all()
    # all are as near; no score serves
    bias[...] = 2.0**126
    nearest = asked(centers, bias, work, 4.0, 0.0, 0.0, 0.0)
    limits[...] = np.nan
    with nothing_lost():
        args = {"left": Picked.none(x, xp=np), "limits": (limits, beyond)}
        kernel.calls.score(x, nearest, work, labels, **args)
    assert np.isnan(limits).all()


def check_listed(kernel: CudaKernel, work: str, shape: tuple[int, int, int]) -> None:
    """The centers whose scores are not above limits that are whole, as scores are."""
    n, d, k = shape
    random = np.random.default_rng(shape)
    x = random.integers(-4, 5, size=(n, d)).astype(np.float32)
    centers = random.integers(-4, 5, size=(k, d)).astype(np.float32)
    half = (centers.astype(np.float64) ** 2).sum(axis=1) / 2
    nearest = asked(centers, half, work, 4.0, 0.0, 0.0, 0.0)
    room = n - 3
    opened = Picked(random.permutation(n), np.asarray([n - 1]))
    if TENSOR_PRODUCTS[work] == 1:
        # the square of what it loses overflows; its limit is none
        x[opened.rows[0], 0] = 1e30
    few, counts = np.full((room, MOST_LISTED), -7, np.int32), np.full(room, -7, np.int32)
    scores = (half - x.astype(np.float64) @ centers.T)[opened.rows[:room]]
    # as far as another center each
    limits = np.sort(scores, axis=1)[np.arange(room), np.arange(room) % 11].astype(np.float32)
    limits[::17] = np.nan
    short = _shortlist.Shortlist(limits, np.full(room, np.nan), few, counts)
    with nothing_lost():
        _shortlist.list_within(kernel.calls, x, nearest, work, opened, short)
    within = scores <= limits[:, None]
    assert counts.tolist() == within.sum(axis=1).tolist()
    for row, found, count in zip(within, few, counts, strict=True):
        listed = found[:count].tolist()
        assert len(set(listed)) == min(count, MOST_LISTED)
        assert set(listed) <= set(np.flatnonzero(row).tolist())
        assert (found[count:] == -7).all()


def check_chosen(kernel: CudaKernel, d: int) -> None:
    """Labels and bounds by shortlists that are given, in any order."""
    random, n, room, count = np.random.default_rng(d), 60, 33, 56
    x = random.integers(-3, 4, size=(n, d)) + 0.1
    # centers on either side of rows, as near; and a row itself
    centers = np.concatenate([x[:6] + 1.0, x[:6] - 1.0, x[:6] + 2.5, x[6:7]])
    twinned = np.arange(len(centers)) % 5 == 2
    sums = (centers**2).sum(axis=1) / 2
    rung = p.Rung(-centers, sums, twinned, None, None, 1.0, 0.0, 0.0, 0.0)
    rungs = {("float64", depth("float64", d)): rung}
    nearest = p.Nearest(centers, None, Scale(0.25, 8.0), 9.0, "float64", rungs)
    opened = Picked(np.arange(n), np.asarray([count]))
    opened.rows[:7] = 5, 4, 3, 2, 1, 0, 6
    opened.rows[7:] = random.permutation(np.arange(7, n))
    listed = np.stack([random.permutation(len(centers))[:MOST_LISTED] for _ in range(n)])
    for at, row in enumerate(opened.rows[:6]):
        # the lowest of equals comes last, or first
        listed[at, :3] = (row, row + 12, row + 6)[:: 1 if at % 2 else -1]
    listed[6, 1] = len(centers) - 1
    counts = random.integers(1, MOST_LISTED + 1, size=n).astype(np.int32)
    counts[:7], counts[7::9], counts[8::9] = 3, 0, MOST_LISTED + 1
    few, labels = listed.astype(np.int32), np.full(n, -1, np.int32)
    beyond = random.uniform(0.5, 3.0, size=room) * np.sqrt(d) * 2.0
    is_open, kept = np.ones(n, bool), no_bounds(len(centers), x)
    short = _shortlist.Shortlist(np.zeros(room, np.float32), beyond, few, counts)
    args = kernel.calls, x, nearest, "float64", labels, opened, short
    left = _shortlist.choose(*args, is_open=is_open, **kept)
    distances, again = p.cross_distances(x, centers, nearest.scale, xp=np), []
    rooms = kept["bounds"]
    for at, row in enumerate(opened.rows[:count]):
        if at >= room or not 0 < counts[at] <= MOST_LISTED:
            again.append(int(row))
            assert labels[row] == -1
            assert is_open[row]
            continue
        mine = np.sort(few[at, : counts[at]])
        own = distances[mine, row]
        label = mine[own.argmin()]
        assert labels[row] == label
        assert not is_open[row]
        near, far = np.sqrt(own.min()), np.sqrt(np.sort(np.append(own, np.inf))[1])
        far = min(far, beyond[at])
        if twinned[label]:
            assert (rooms.upper[row], rooms.lower[row]) == (np.inf, -np.inf)
            continue
        assert near + LEAST_MOVE <= rooms.upper[row] <= near * (1 + 2.0**-18) + 2 * LEAST_MOVE
        assert far * (1 - 2.0**-18) <= rooms.lower[row] <= far
    assert sorted(left.rows[: left.count[0]].tolist()) == sorted(again)


BUGS = [
    # what numbers lose: of rows, of centers, of both
    (
        "assign_mma.cu",
        "return value * up - half_value(half_bits(value * up));",
        "return 0.0f;",
    ),
    ("assign_mma.cu", "return value - cell(value, up);", "return 0.0f;"),
    ("assign_mma.cu", "      losses += less * less;\n      largest", "      largest"),
    ("assign_mma.cu", "      losses += less * less;\n      put_cell", "      put_cell"),
    ("assign_mma.cu", "losses[i] += __shfl_xor_sync(0xffffffffu, losses[i], o);", ";"),
    ("assign_mma.cu", "losses += __shfl_xor_sync(0xffffffffu, losses, o);", ""),
    ("assign_mma.cu", "losses[i] * finer * MORE", "losses[i] * MORE"),
    ("assign_mma.cu", "losses * finer) * MORE", "losses) * MORE"),
    ("assign_mma.cu", "grain * squares + ", ""),
    ("assign_mma.cu", "MORE = 1.0009765625f", "MORE = 0.9990234375f"),
    # rooms
    ("assign_mma.cu", "own * half + rest + common", "own * half + common"),
    ("assign_mma.cu", "own * half + rest + common", "own * half + rest"),
    ("assign_mma.cu", "own * half + rest + common", "rest + common"),
    ("assign_mma.cu", " + slope * fabs((double)held[center])", ""),
    ("assign_mma.cu", "held[center]);", "held[0]);"),
    ("assign_mma.cu", "own - 0.5f * more;", "own;"),
    ("assign_mma.cu", "share * fabsf(own) * MORE + more;", "share * fabsf(own) * MORE;"),
    ("assign_mma.cu", "share * fabsf(own) * MORE + more;", "more;"),
    ("assign_mma.cu", "half[thread], rest[thread]);", "half[thread], 0.0);"),
    # how rows are read and shared
    ("assign_mma.cu", "packed && f + CHUNK_CELLS <= d", "packed"),
    ("assign_mma.cu", "column_stride == 1 && ", ""),
    ("assign_mma.cu", "row_stride % 4 == 0 && ", ""),
    ("assign_mma.cu", " && (u64)x % 16 == 0", ""),
    ("fused_mma.cu", "sizeof(Row) == 4 && ", ""),
    ("assign_mma.cu", "mine = lane % lanes;", "mine = lane;"),
    ("assign_mma.cu", "top = start + lane / lanes;", "top = start + lane % height;"),
    ("assign_mma.cu", "o = lanes / 2; o > 0", "o = 16; o > 0"),
    ("assign_mma.cu", "start += warps * height * TURNS", "start += warps * 32 * TURNS"),
    ("assign_mma.cu", "squares[i] += __shfl_xor_sync(0xffffffffu, squares[i], o);", ""),
    (
        "assign_mma.cu",
        "half_pair(values[i - 1] * up, value * up)",
        "half_pair(values[i - 1], value)",
    ),
    # limits
    ("assign_mma.cu", " + (fabs(best) + fabs(apart)) * 0x1p-22;", ";"),
    ("assign_mma.cu", "limit = best + apart + ", "limit = best + "),
    ("assign_mma.cu", "if (!limits || place >= room) return;", "if (!limits) return;"),
    ("assign_mma.cu", "serves = is_safe && ", "serves = "),
    ("assign_mma.cu", "half + limit - of_row", "half + limit"),
    # lists
    ("assign_mma.cu", "* down <= limit[i]", "* down < limit[i]"),
    ("assign_mma.cu", "* down <= limit[i]", "<= limit[i]"),
    ("assign_mma.cu", "if (at < MOST_LISTED)", "if (at <= MOST_LISTED)"),
    ("assign_mma.cu", "hits[i] &= hits[i] - 1", "hits[i] = 0"),
    ("assign_mma.cu", "scores.first + scores.place(__ffs", "scores.place(__ffs"),
    ("assign_mma.cu", "      found[thread] = 0;\n", ""),
    ("assign_mma.cu", "few + first * MOST_LISTED", "few"),
    ("assign_mma.cu", "*counted < room ? *counted : room", "*counted"),
    ("assign_mma.cu", "counts[first + thread] =", "counts[thread] ="),
    ("assign_mma.cu", "limits[first + thread]", "limits[thread]"),
    (
        "assign_mma.cu",
        "    __syncthreads();\n    Within look",
        "    Within look",
    ),
    (
        "assign_mma.cu",
        "    __syncthreads();\n    if (thread < ROWS) {\n      limit",
        "    if (thread < ROWS) {\n      limit",
    ),
    (
        "assign_mma.cu",
        "    __syncthreads();\n    if (thread < ROWS && first",
        "    if (thread < ROWS && first",
    ),
    # the nearest of a list
    ("choose.cu", " || (found == best && center < winner)", ""),
    ("choose.cu", "found == best && center < winner", "found == best"),
    ("choose.cu", "        second = best;\n        best = found;", "        best = found;"),
    ("choose.cu", "} else if (found < second) {", "} else if (false) {"),
    ("choose.cu", ", beyond[at]);", ", infinity());"),
    ("choose.cu", ", beyond[at]);", ", beyond[row]);"),
    ("choose.cu", "has_twin ? infinity() : near", "near"),
    ("choose.cu", "has_twin ? -infinity() : far", "far"),
    ("choose.cu", "twinned && twinned[winner]", "twinned && twinned[row]"),
    ("choose.cu", "count <= MOST_LISTED ? count : 0", "count < MOST_LISTED ? count : 0"),
    ("choose.cu", "count <= MOST_LISTED ? count : 0", "count <= MOST_LISTED ? count : MOST_LISTED"),
    ("choose.cu", "at < room ? counts[at] : 0", "at < room ? counts[row] : 0"),
    ("choose.cu", "at < room ? counts[at] : 0", "at < room ? counts[at] : MOST_LISTED"),
    ("choose.cu", "few[at * MOST_LISTED + turn]", "few[row * MOST_LISTED + turn]"),
    ("choose.cu", "labels[row] = winner;", "labels[at] = winner;"),
    ("choose.cu", "if (is_open) is_open[row] = 0;", ""),
    ("choose.cu", "append(open_rows, open_count, row);\n      continue", "continue"),
    ("choose.cu", "open_count, row);\n      continue", "open_count, at);\n      continue"),
    ("choose.cu", "sqrt(best) * (1.0 + OUTWARDS)", "sqrt(best) * (1.0 - OUTWARDS)"),
    ("choose.cu", "sqrt(second) * (1.0 - OUTWARDS)", "sqrt(second) * (1.0 + OUTWARDS)"),
    ("choose.cu", " * (1.0 + OUTWARDS) + least", " * (1.0 + OUTWARDS)"),
    ("choose.cu", "kept.keep(row, winner", "kept.keep(at, winner"),
    ("choose.cu", "at += (i64)gridDim.x * groups", "at += total"),
    # sums of a few folds
    ("exact.cu", "other < folded(d, FOLDS - 1) ?", "other < d ?"),
    ("exact.cu", "i + folded(d, FOLDS);", "i + folded(d, FOLDS - 1) / 2;"),
    ("exact.cu", "__dadd_rn(left, value<FOLDS - 1>(other)) : left", "left : left"),
]
