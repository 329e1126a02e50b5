"""What must hold of the kernels that the loop is made of: sums to centers, and whole sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import problem_of, solve

from kmeans_xp import _exact as exact
from kmeans_xp import _primitives as p
from kmeans_xp._bounds import drifted, no_drift
from kmeans_xp._distances import Scale, halving_total, squared_distances
from kmeans_xp._kernels.cuda import _loop, _sweep
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._kernels.cuda._loop_calls import RECORD, LoopCalls
from kmeans_xp._kernels.cuda._route import depth
from kmeans_xp._kernels.cuda._sweep import Panel, Sums, Terms
from kmeans_xp._ledger import Ledger
from kmeans_xp._outcome import Rules

K, D = 7, 3
GOES_ON, CONVERGED, TOLERANCE, EMPTY, OPEN = range(5)


class Renewal:
    """Random sums of clusters on a wide grid, and what `recenter` makes of them."""

    def __init__(self, kernel: CudaKernel, *, weighted: bool, words: int, empty: bool) -> None:
        random = np.random.default_rng(words)
        x = random.normal(size=(50, D)) * 10.0 ** random.integers(-9, 9, size=(50, D))
        weight = random.integers(1, 9, 50) * 0.3 if weighted else None
        problem = problem_of(make_backend("numpy"), x, weight, k=K, first="float64")
        rows = 50 if words == 1 else 1 << 22
        self.ledger = Ledger(problem.summary, x, rows, np)
        used = K - 1 if empty else K
        labels = np.append(np.arange(used), random.integers(0, used, 50 - used))
        self.change = np.zeros((K, self.ledger.n_columns), dtype=np.int64)
        np.add.at(self.change, labels, self.ledger.columns(x, weight).astype(np.int64))
        self.totals = exact.in_words(3 * self.change[::-1] * (not empty), words, xp=np)
        self.wanted = exact.carry(self.totals + exact.in_words(self.change, words, xp=np), xp=np)
        up, limbs, weight_up, weight_limbs = self.ledger.scales
        short = exact.one_word(rows, limbs)
        self._grid = (up, limbs), (weight_up, weight_limbs), self.ledger.down, short
        self.before, self.after = x[:K].copy(), np.full((K, D), np.nan)
        shift = np.asarray([0.5, -3.0, 7.0])
        self.nearest = p.Nearest(self.before, shift, Scale(), 1e10, "float64")
        self.terms = Terms.of(self.nearest, "float64", "float64", xp=np)
        self.panel = np.full((K, D), np.nan), np.full(K, np.nan)
        self.moves = np.full((2, K), np.nan)
        self.stop, self.record = np.zeros(1, np.int64), np.zeros(RECORD, np.int64)
        self._calls = LoopCalls(np, kernel.launcher)

    @property
    def means(self) -> Any:
        counts = self.ledger.counts(self.wanted)
        return np.where((counts > 0)[:, None], self.ledger.means(self.wanted, counts), self.before)

    @property
    def moved(self) -> Any:
        return squared_distances(self.means, self.before, Scale(), xp=np)

    def sums(self) -> Sums:
        return Sums(self.totals.copy(), self.change.copy(), *self._grid)

    def merge(self) -> Sums:
        sums = self.sums()
        self._calls.merge(sums)
        return sums

    def run(self, changed: int, open_rows: int, tolerance: float) -> Sums:
        sums, tally = self.sums(), np.asarray([changed, open_rows, 0, 0])
        self._calls.recenter(
            self.nearest,
            self.after,
            sums,
            self.moves,
            tolerance,
            self.record,
            stop=self.stop,
            tally=tally,
            terms=self.terms,
            panel=Panel(*self.panel),
            most_open=8,
        )
        assert self.stop[0] or not tally.any()
        return sums


def check_recenter(kernel: CudaKernel) -> None:
    """Totals of one or two words to means, moves and panels: every bit."""
    for weighted in (False, True):
        for words in (1, 2):
            for empty in (False, True):
                renewal = Renewal(kernel, weighted=weighted, words=words, empty=empty)
                for sums in (renewal.merge(), renewal.run(5, 3, -1.0)):
                    assert sums.totals.tobytes() == renewal.wanted.tobytes()
                    assert not sums.change.any()
                moved = renewal.moved
                assert renewal.after.tobytes() == renewal.means.tobytes()
                assert renewal.moves[0, :].tobytes() == moved.tobytes()
                bits = np.float64(halving_total(moved)).view(np.int64)
                reason = EMPTY if empty else GOES_ON
                assert renewal.record.tolist() == [5, bits, int(empty), 3, reason]
                nearest = p.Nearest(renewal.after, renewal.nearest.shift, Scale(), 1e10, "float64")
                rung = p.build_rung(nearest, "float64", depth("float64", D), xp=np)
                assert renewal.panel[0].tobytes() == rung.weights.tobytes()
                np.testing.assert_allclose(renewal.panel[1], rung.bias, rtol=1e-14)


def check_reasons(kernel: CudaKernel) -> None:
    """What ends iterations; after the end nothing happens."""
    total = halving_total(Renewal(kernel, weighted=False, words=1, empty=False).moved)
    for changed, open_rows, tolerance, reason in (
        (5, 8, -1.0, GOES_ON),
        (5, 8, np.nextafter(total, 0.0), GOES_ON),
        (5, 9, np.nextafter(total, 0.0), OPEN),
        (5, 9, total, TOLERANCE),
        (0, 9, total, CONVERGED),
    ):
        renewal = Renewal(kernel, weighted=False, words=1, empty=False)
        renewal.run(changed, open_rows, tolerance)
        assert renewal.stop[0] == renewal.record[-1] == reason
        renewal.after[...] = np.nan
        again = renewal.run(changed + 1, open_rows, tolerance)
        went_on = reason == GOES_ON
        assert np.isnan(renewal.after).all() != went_on
        assert again.change.any() != went_on
        assert renewal.record[0] == changed + went_on


def check_sweeps(kernel: CudaKernel) -> None:
    """Whole runs, several iterations at once: the bits of the NumPy kernel."""
    random = np.random.default_rng(4)
    lattice = random.integers(0, 4, size=(300, 2)).astype(np.float64)
    wide = random.normal(size=(300, 3)) * 10.0 ** random.integers(-7, 7, size=(300, 3))
    weight = random.integers(0, 3, 300) * 0.3
    for x, weights, k, first in (
        (lattice, None, 9, "float64"),
        (lattice, weight, 70, "float32"),
        (wide, weight, 5, "float64"),
        ((wide * 2.0**-160).astype(np.float32), None, 5, "float32"),
        (random.integers(0, 2, size=(300, 34)) * 1.0, None, 20, "exact"),
    ):
        start, runs = x[:k].copy(), []
        start[k - 1] = start[1]
        for name in ("numpy", "cuda"):
            options = {"k": k, "first": first, "kernel": name, "variance": True}
            problem = problem_of(make_backend("numpy"), x, weights, **options)
            if name == "cuda":
                problem.kernel = kernel
            with pytest.MonkeyPatch.context() as patch:
                # two tiles a block
                patch.setattr(_sweep, "_TARGET_BLOCKS", 2)
                result = solve(problem, start, Rules(20, 1e-4))
            found = (result.labels.tobytes(), result.centers.tobytes(), result.inertia)
            runs.append((*found, result.status, result.history))
        assert runs[0] == runs[1]


def pass_bits(
    x: Any, weight: Any, start: Any, kernel: CudaKernel | None, *, words: int = 1, **options: Any
) -> tuple[Any, ...]:
    """What a fit gives by one pass after another, in blocks of 150 rows; by NumPy's without kernel.

    With two words the change is merged after each block.
    """
    name = "numpy" if kernel is None else "cuda"
    options = {"first": "float32", "block_rows": 150, **options}
    problem = problem_of(
        make_backend("numpy"), x, weight, k=len(start), kernel=name, variance=True, **options
    )
    if words == 2:
        ledger = Ledger(problem.summary, x, 1 << 23, np)
        assert ledger.words == 2
        problem.ledger = ledger
    problem.kernel = kernel or problem.kernel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loop, "_MOST_SWEEP_WORK", 0)
        patch.setattr(_loop, "_ROWS_A_CHANGE", 200 if words == 2 else 1 << 21)
        patch.setattr(_sweep, "_TARGET_BLOCKS", 1)
        result = solve(problem, start, Rules(6, 1e-4))
    found = result.labels.tobytes(), result.centers.tobytes(), result.inertia
    return *found, result.status, result.history


def spread(n: int, d: int, k: int, dtype: str) -> tuple[Any, Any, Any]:
    """Clusters that meet, rows amid two of them or nearly so, and weights of which some are 0."""
    random = np.random.default_rng([n, d, k])
    middles = 3 * random.normal(size=(k, d))
    home = np.concatenate([np.arange(k), random.integers(0, k, n)])[:n]
    x = middles[home] + random.normal(size=(n, d))
    x[k + 3 :: 15] = (x[0] + x[k // 2]) / 2
    sides = random.choice([-3e-5, 3e-5], size=(len(x[k + 4 :: 8]), 1))
    x[k + 4 :: 8] = (x[0] + x[k // 2]) / 2 + sides * (x[0] - x[k // 2])
    x, weight = x.astype(dtype), random.integers(0, 3, n) * 0.3
    weight[:k] = 0.9  # centers lie amid the rows that count
    return x, weight, x[:k].copy()


def check_passes(kernel: CudaKernel) -> None:
    """Fits by tensor cores in one pass: the bits of the NumPy kernel."""
    launcher: Any = kernel.launcher
    launches = launcher.launches
    for n, d, k, dtype, words in ((290, 20, 9, "float64", 2), (290, 70, 66, "float32", 1)):
        x, weight, start = spread(n, d, k, dtype)
        wanted = pass_bits(x, weight, start, None, words=words)
        before = launches.count("sweep")
        assert pass_bits(x, weight, start, kernel, words=words) == wanted
        assert launches.count("sweep") > before


def check_drift(kernel: CudaKernel) -> None:
    """Movements added up, with groups and without: every bit of `_bounds`."""
    random, calls = np.random.default_rng(6), LoopCalls(np, kernel.launcher)
    for k, dtype, size in (
        (1, "float32", 0), (2, "float64", 0), (700, "float32", 128), (300, "float64", 64)
    ):  # fmt: skip
        centers = random.normal(size=(k, 3))
        drift = no_drift(k, dtype, centers, xp=np)
        drift = drift.grouped(centers, size, xp=np) if size else drift
        wanted = drift
        for step in range(4):
            squared = random.random(k) ** 2
            # none has moved; two are as fast; the two fastest have one thread
            fast = [[0], [k // 2, -1], [200 % k, 456 % k], [3 % k, 259 % k]][step]
            squared[fast] = 4.0 + np.arange(len(fast)) * (step > 1)
            squared *= step > 0
            drift, wanted = calls.drift(drift, squared), drifted(wanted, squared, xp=np)
            names = "own", "rival", "tables"
            pairs = [(getattr(drift, name), getattr(wanted, name)) for name in names]
            if size:
                pairs += [(drift.groups.spent, wanted.groups.spent)]
                pairs += [(drift.groups.tables, wanted.groups.tables)]
                assert drift.groups.tally == []
            for found, right in pairs:
                assert found.dtype == right.dtype
                assert found.tobytes() == right.tobytes()


BUGS = [
    # the fastest, and the fastest of the others
    ("drift.cu", "leads ? move : other.move", "leads ? move : 0.0"),
    ("drift.cu", "leads ? move : other.move", "leads ? 0.0 : other.move"),
    ("drift.cu", "fmax(fmax(second, other.second), ", "fmax(second, "),
    ("drift.cu", "fmax(fmax(second, other.second), ", "fmax(other.second, "),
    ("drift.cu", "other.move > move || (", "("),
    ("drift.cu", "leads ? fastest.second : fastest.move", "fastest.move"),
    ("drift.cu", "leads ? fastest.second : fastest.move", "fastest.second"),
    ("drift.cu", "step /= 2) {\n    __syncthreads();", "step /= 2) {"),
    ("drift.cu", "  __syncthreads();\n  const Fastest fastest", "  const Fastest fastest"),
    ("drift.cu", "  __syncthreads();\n  const Edges edges", "  const Edges edges"),
    # edges, and what is added up
    ("drift.cu", "put(down, __dmul_rn(value, 1.0 - TABLE))", "put(down, value)"),
    ("drift.cu", "put(up, __dmul_rn(value, 1.0 + TABLE))", "put(up, value)"),
    ("drift.cu", "i64 down, i64 up, double", "i64 up, i64 down, double"),
    ("drift.cu", "ends.put(g, count + g, after)", "ends.put(count + g, g, after)"),
    ("drift.cu", "1.0 + OUTWARDS), least)", "1.0 + OUTWARDS), 0.0)"),
    ("drift.cu", "squared[center]), 1.0 + OUTWARDS)", "squared[center]), 1.0)"),
    ("drift.cu", "__dadd_rn(spent[g], most)", "most"),
    ("drift.cu", "__dadd_rn(mine, others)", "fmax(mine, others)"),
    # the largest of a group
    ("drift.cu", "most = fmax(most, __shfl_xor_sync(0xffffffffu, most, o));", ";"),
    ("drift.cu", "at = lane; at < size; at += 32", "at = lane; at < 32; at += 32"),
    ("drift.cu", "members[(i64)g * size + at]", "members[at]"),
    ("drift.cu", "g = thread / 32; g < count; g += WARPS", "g = thread / 32; g < 1; g += WARPS"),
]
