"""What must hold of the kernels over groups of centers: every bound, and the bits of whole fits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import problem_of, solve

from kmeans_xp import _pruning
from kmeans_xp._bounds import Bounds, drifted, no_drift
from kmeans_xp._distances import squared_distances
from kmeans_xp._kernels.cuda import _centers, _group_calls, _loop
from kmeans_xp._kernels.cuda._calls import Picked
from kmeans_xp._kernels.cuda._group_calls import GroupCalls, Needs
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._kernels.cuda._source import TILES
from kmeans_xp._outcome import Rules
from kmeans_xp._pruning import Pruner

STEPS = 2
LESS = 1.0 - 2.0**-17  # what bounds are lowered by, and some more


def crowd(n: int, d: int, dtype: str, at: float = 0.0) -> Any:
    """Rows of few directions, so that groups of centers lie apart."""
    random = np.random.default_rng([n, d])
    x = random.uniform(size=(n, d)) * np.where(np.arange(d) < 3, 1.0, 0.01)
    return (x + at).astype(dtype)


def true_distances(x: Any, centers: Any) -> Any:
    """To 64 bits: far more than any margin of the bounds."""
    apart = x[:, None, :].astype(np.longdouble) - centers[None, :, :].astype(np.longdouble)
    return np.sqrt((apart * apart).sum(axis=2))


@dataclass
class Watch:
    """Rows that keep bounds while the centers move, looked at by one product.

    Whatever is passed over is compared with true distances.
    """

    kernel: CudaKernel
    x: Any
    centers: Any
    work: str
    size: int
    skipped: int = 0
    open_rows: int = 0
    problem: Any = field(init=False)
    drift: Any = field(init=False)
    labels: Any = field(init=False)
    bounds: Bounds = field(init=False)

    def __post_init__(self) -> None:
        x, centers = self.x, self.centers
        first = "float64" if self.work == "float64" else "float32"
        self.problem = problem_of(make_backend("numpy"), x, k=len(centers), first=first)
        self.problem.cover(np.concatenate([centers - 9, centers + 9]))
        drift = no_drift(len(centers), "float32" if x.itemsize == 4 else "float64", x, xp=np)
        self.drift = drift.grouped(centers, self.size, xp=np)
        dtype = drift.tables.dtype
        sides = (np.full(len(x), sign * np.inf, dtype=dtype) for sign in (-1, 1, -1))
        groups = np.full((len(x), self.drift.groups.count), -np.inf, dtype=dtype)
        self.bounds = Bounds(*sides, groups)
        self.labels = np.zeros(len(x), dtype=np.int32)

    def forget(self) -> None:
        """Nothing is known of any row."""
        sides = self.bounds.slack, self.bounds.upper, self.bounds.lower, self.bounds.groups
        for side, value in zip(sides, (-1, 1, -1, -1), strict=True):
            side[...] = value * np.inf

    def loosen(self) -> None:
        """Nothing is known of the own center and of the group that has the nearest other one."""
        distances, rows = true_distances(self.x, self.centers), np.arange(len(self.x))
        distances[rows, self.labels] = np.inf
        home = np.asarray(self.drift.groups.home)
        self.bounds.groups[rows, home[distances.argmin(axis=1)]] = -np.inf
        self.bounds.slack[...] = -np.inf
        self.bounds.upper[...] = np.inf

    def look(self) -> Any:
        """Label the rows; which of them the product left open."""
        nearest, everyone = self.problem.nearest_to(self.centers), np.arange(len(self.x))
        assert self.kernel.groups.serve(self.x, nearest, self.drift.groups)
        doubtful, left = (Picked.none(self.x, xp=np) for _ in range(2))
        apart = np.zeros(len(self.centers))
        args = self.x, nearest, self.labels
        self.kernel.calls.list_doubtful(*args, apart, self.drift, self.bounds, doubtful)
        before, listed = self.labels.copy(), doubtful.rows[: doubtful.count[0]]
        passed = np.setdiff1d(everyone, listed)
        score = GroupCalls.score

        def watched(calls: GroupCalls, *args: Any) -> None:
            needs = next(part for part in args if isinstance(part, Needs))
            rows = needs.picked.rows[: needs.picked.count[0]]
            assert len(set(rows.tolist())) == len(rows)
            assert np.isin(rows, listed).all()
            self._check_needs(needs, before)
            score(calls, *args)
            assert (self.labels[passed] == before[passed]).all()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GroupCalls, "score", watched)
            args = self.x, nearest, self.work, self.labels, self.drift, self.bounds
            pairs = int(self.kernel.groups.look(*args, doubtful, left)[0])
        assert pairs % TILES[self.work].rows == 0
        rows = np.sort(left.rows[: left.count[0]])
        assert (self.bounds.groups[rows] == -np.inf).all()
        assert (self.bounds.slack[rows] == -np.inf).all()
        self.kernel.calls.judge(self.x, nearest, self.labels, left)
        self.open_rows += len(rows)
        return pairs, rows

    def _check_needs(self, needs: Needs, labels: Any) -> None:
        """What no row is scored against is beyond its own center, and `rest` beneath all of it.

        What it is scored against could not be ruled out by its bounds.
        """
        distances, members = true_distances(self.x, self.centers), self.drift.groups.members
        own = distances[np.arange(len(self.x)), labels]
        distances[np.arange(len(self.x)), labels] = np.inf
        rows = needs.picked.rows[: needs.picked.count[0]]
        proven = np.setdiff1d(np.arange(len(self.x)), rows)
        assert (own[proven] < distances[proven].min(axis=1)).all()
        for place, row in enumerate(rows):
            home = self.drift.groups.home[labels[row]]
            needed = [bool(needs.masks[place] >> g & 1) for g in range(len(members))]
            assert needed[home]
            limits = self.bounds.groups[row] - self.drift.groups.tables[1]
            clearly = own[row] * (1.0 + 1e-5) < limits * (1.0 - 1e-5)
            assert np.flatnonzero(needed & clearly).tolist() in ([], [home])
            others = distances[row, members[~np.asarray(needed)]]
            assert (own[row] < others).all()
            assert needs.rest[place] <= others.min(initial=np.inf)
            self.skipped += len(members) - sum(needed)

    def check(self) -> None:
        """Labels and all bounds, with what the centers have moved by since they were written."""
        distances, rows = true_distances(self.x, self.centers), np.arange(len(self.x))
        spent, own, rival = self.drift.tables[:, 1, :].astype(np.longdouble)
        mine = distances[rows, self.labels]
        distances[rows, self.labels] = np.inf
        least, bounds, groups = distances.min(axis=1), self.bounds, self.drift.groups
        assert (mine <= bounds.upper + own[self.labels]).all()
        assert (least >= bounds.lower - rival[self.labels]).all()
        assert (mine < least)[bounds.slack > spent[self.labels]].all()
        for g in range(groups.count):
            limit = bounds.groups[:, g] - groups.tables[1, g].astype(np.longdouble)
            assert (distances[:, groups.members[g]].min(axis=1) >= limit).all()

    def check_tight(self, share: float) -> None:
        """Right after a look of all rows; a bound that is far too small would go unseen.

        What is lost to rounding is a share of the squared norms of row and center.
        """
        shift = self.problem.frame.shift
        norms = ((self.x - (0.0 if shift is None else shift)).astype(np.float64) ** 2).sum(axis=1)
        norms = norms + norms.max()
        distances = true_distances(self.x, self.centers)
        distances[np.arange(len(self.x)), self.labels] = np.inf
        scored = np.isfinite(self.bounds.slack)
        assert scored.any()
        for g, members in enumerate(self.drift.groups.members):
            least = distances[scored][:, members].min(axis=1) ** 2 - share * norms[scored]
            limit = self.bounds.groups[scored, g] - self.drift.groups.tables[1, g]
            assert (limit >= np.sqrt(np.maximum(least, 0.0)) * LESS).all()
        least = distances[scored].min(axis=1) ** 2 - 3.0 * share * norms[scored]
        limit = self.bounds.lower[scored] - self.drift.tables[2, 1, self.labels[scored]]
        assert (limit >= np.sqrt(np.maximum(least, 0.0)) * LESS).all()

    def move(self, moves: Any) -> None:
        moved = (self.centers + moves).astype(self.centers.dtype)
        scale = self.problem.frame.scale
        squared = squared_distances(self.centers, moved, scale, xp=np)
        self.drift, self.centers = drifted(self.drift, squared, xp=np), moved


def check_bounds(
    kernel: CudaKernel, x: Any, centers: Any, work: str, size: int, tight: float
) -> Watch:
    """Every bound, and every pair that is passed over, while centers move."""
    random, watch = np.random.default_rng(len(x)), Watch(kernel, x, centers.copy(), work, size)
    with few_blocks():
        pairs, _ = watch.look()
        groups = watch.drift.groups.count
        # nothing is known at first: tiles of all rows for each group
        assert pairs >= groups * len(x)
        watch.check()
        watch.check_tight(tight)
        for step in range(STEPS):
            moves = random.normal(size=centers.shape) * 0.02 * 0.5**step
            if step % 2:
                moves[1:] = 0.0
            watch.move(moves)
            watch.check()
            watch.look()
            watch.check()
            nearest = watch.problem.nearest_to(watch.centers)
            exact = watch.kernel.distances(x, watch.centers, nearest.scale).argmin(axis=0)
            assert watch.labels.tolist() == exact.tolist()
        watch.loosen()
        watch.look()
        watch.check()
        watch.forget()
        watch.look()
        watch.check_tight(tight)
    return watch


@contextlib.contextmanager
def few_blocks() -> Iterator[None]:
    """One, which has all chunks; where rows stream, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_group_calls, "_TARGET_BLOCKS", 1)
        patch.setattr(_group_calls, "SCRATCH_BYTES", 1)
        patch.setattr(_centers, "SCRATCH_BYTES", 1)
        yield


@contextlib.contextmanager
def groups_forced() -> Iterator[list[int]]:
    """Groups after every second sweep, whether they pay or not; what they say that they scored."""
    scored: list[int] = []
    learn = Pruner.learn

    def watched(self: Pruner, count: int, n_rows: int, /) -> None:
        if self._drift is not None and self._drift.groups is not None:
            scored.extend(self._drift.groups.tally)
        learn(self, count, n_rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pruner, "learn", watched)
        patch.setattr(_pruning, "_DOUBTFUL_SHARE", -1.0)
        patch.setattr(_pruning, "_WORTH", np.inf)
        patch.setattr(_pruning, "_POOR_SHARE", np.inf)
        patch.setattr(_loop, "_MOST_SWEEP_WORK", 0)
        yield scored


def lattice(d: int) -> Any:
    """Whole numbers and the middles between them: many rows have several nearest centers."""
    random = np.random.default_rng(d)
    return (random.integers(0, 6, size=(200, d)) * 0.5).astype(np.float32)


def check_fit(kernel: CudaKernel, x: Any, start: Any, size: int, **options: Any) -> list[int]:
    """The bits of a run without groups on NumPy; what the groups scored."""
    runs, numpy = [], make_backend("numpy")
    options = {"k": len(start), "variance": True, "first": "float32"} | options
    with groups_forced() as scored:
        for name, group_size in (("numpy", 0), ("cuda", size)):
            problem = problem_of(numpy, x, kernel=name, group_size=group_size, **options)
            if name == "cuda":
                problem.kernel = kernel
            result = solve(problem, start, Rules(8, 0.0))
            found = result.labels.tolist(), result.centers.tobytes(), result.inertia
            runs.append((*found, result.status, result.history))
    assert runs[0] == runs[1]
    return scored


def check_groups(kernel: CudaKernel) -> None:
    """By plain products."""
    x = crowd(150, 5, "float32")
    # more groups than a warp has lanes
    assert check_bounds(kernel, x, x[:70], "float32", 2, 1e-4).skipped > 1000
    x = crowd(300, 34, "float64", 50.0)
    assert check_bounds(kernel, x, x[:43], "float64", 8, 1e-9).skipped > 100
    x = lattice(3)
    assert check_bounds(kernel, x, np.unique(x, axis=0)[::7], "float32", 6, 1e-4).open_rows > 0


def check_tensor_groups(kernel: CudaKernel, work: str) -> None:
    """Tiles of which rows stay in shared memory, and those that have no room there.

    One part of each row, and groups of two tiles of centers.
    """
    launcher: Any = kernel.launcher
    streamed = 230 if work == "float16" else 115
    for capability, d, size in ((80, 15, 128), (80, 35, 256), (86, streamed, 128)):
        launcher.capability = capability
        x, centers = crowd(140, d, "float32"), crowd(size + 12, d, "float32")
        share = 1e-3 if work == "3xtf32" else 0.04
        assert check_bounds(kernel, x, centers, work, size, share).skipped > 20


BUGS = [
    # which rows need which groups
    ("groups.cu", "!(near < limit)", "!(near < (Side)1.5 * limit)"),
    ("groups.cu", "bounds[g] - spent[g]", "bounds[g]"),
    ("groups.cu", "<< first;", ";"),
    ("groups.cu", "limit < beyond) beyond = limit", "limit > beyond) beyond = limit"),
    ("groups.cu", "if (other < beyond) beyond = other;", ""),
    ("groups.cu", "sum += __shfl_xor_sync(ALL_LANES, sum, o);", ";"),
    ("groups.cu", "(i64)label * d + f", "f"),
    ("groups.cu", "__shfl_sync(ALL_LANES, label, i)", "label"),
    ("groups.cu", "if (lane != i) continue;", "if (lane == i) continue;"),
    ("groups.cu", "needed ? known : fmax(far, known)", "fmax(far, known)"),
    ("groups.cu", "kept.table(5 * k + label)) * (1.0 - TABLE)", "0.0)"),
    ("groups.cu", "needed | 1ULL << home[label]", "needed"),
    ("groups.cu", "rest[place] = far;", "rest[place] = infinity();"),
    ("groups.cu", "place = __shfl_sync(ALL_LANES, place, 0) +", "place +="),
    # chunks, and the rows of a group in them
    (
        "groups.cu",
        "if (threadIdx.x == 0) *listed = 0;\n    __syncthreads();",
        "if (threadIdx.x == 0) *listed = 0;",
    ),
    ("groups.cu", "    __syncthreads();\n    return *listed;", "    return *listed;"),
    ("groups.cu", "r < rows && (needs[r] >> g & 1)", "needs[r] >> g & 1"),
    ("groups.cu", "bias + (i64)g * size", "bias"),
    # what a group has for a row
    ("groups.cu", "(far + kept.at(spent, g))", "far"),
    ("groups.cu", "before < found.second ? before : found.second", "found.second"),
    ("groups.cu", "before < found.second ? before : found.second", "before"),
    ("groups.cu", "runner[r] = found.second;", "runner[r] = found.best;"),
    ("groups.cu", "g * groups.size + found.label", "found.label"),
    ("groups.cu", "half[r] = half_norm;", ""),
    ("groups.cu", "groups.put(kept, row, winner[r] / groups.size, behind);", ""),
    ("groups.cu", "far = fmin(far, beyond);", ""),
    ("groups.cu", "groups.put(kept, row, g, -infinity())", ";"),
    ("groups.cu", "room.settles(first, rival[r], mine, apart)", "true"),
    ("groups.cu", "tiles * ROWS", "tiles"),
    ("groups.cu", "first += (i64)gridDim.x * step", "first += total"),
    ("groups.cu", "best[r] = rival[r] = runner[r] = (Work)infinity();", "if (!needs) best[r] = 0;"),
    # the order of copies, barriers and buffers
    ("groups_mma.cu", "wait_for_copies(stages - 2)", "wait_for_copies(stages - 1)"),
    (
        "groups_mma.cu",
        "    __syncthreads();\n    fetch(turn + stages - 1,",
        "    fetch(turn + stages - 1,",
    ),
    ("groups_mma.cu", "stage ? stage - 1 : stages - 1", "stage"),
    ("groups_mma.cu", "if (turn < turns) {", "{"),
    ("groups_mma.cu", "next_part + 1 < panels.parts ? next_part + 1 : 0", "0"),
    (
        "groups_mma.cu",
        "        __syncthreads();\n        const Tile tile",
        "        const Tile tile",
    ),
    ("groups_mma.cu", "SIDES);\n  __syncthreads();", "SIDES);"),
    ("groups_mma.cu", "  __syncthreads();\n  Found<float> mine", "  Found<float> mine"),
    ("groups_mma.cu", "  mine.join(findings.get(ROWS + thread));\n", ""),
    ("groups_mma.cu", "images + (i64)g * group_bytes", "images"),
    ("groups_mma.cu", "bias + (i64)g * size", "bias"),
    ("groups_mma.cu", "          sum = 0;", ""),
    # what rows lost, and what their winners held back
    ("groups_mma.cu", "room.of_row(half_norm, lost)", "room.of_row(half_norm, 0)"),
    ("groups_mma.cu", "rest[r] = lost;", ""),
    ("groups_mma.cu", "room.of(mine, rest[r], winner[r])", "room.of_row(mine, rest[r])"),
    ("groups_mma.cu", "room.of(mine, rest[r], winner[r])", "room.of(mine, rest[r], 0)"),
    (
        "groups_mma.cu",
        "found, half[thread],\n                    lost[thread]",
        "found, half[thread], 0",
    ),
]
