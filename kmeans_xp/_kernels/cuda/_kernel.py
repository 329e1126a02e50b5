"""The CUDA kernel: the primitives, with fused operations where they are slow.

No matrix of scores is written, whatever the number of rows and centers.  The same text runs in
the tests on NumPy arrays, with a launcher that emulates the device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import _primitives as p
from ..._backend import Context, dtype_name, to_host
from ..._bounds import Bounds, Drift, Proposal, no_drift
from ..._distances import Scale
from ..._ledger import Advance
from ..._stats import Surveyor
from ..._typing import Array, Block
from .._reference import ReferenceKernel
from . import _seed, _shortlist
from ._arguments import like
from ._calls import Calls, Picked, sides_of
from ._group_calls import GroupCalls
from ._looked import Looked, Seen
from ._loop import advance
from ._route import group_product, pair_centers, screens
from ._source import TENSOR_PRODUCTS, CupyLauncher, Launcher
from ._survey import CudaSurveyor

FEW = "few"  # after a shortlist only canonical distances are left
_POOR_SHARE = 0.5  # of rows left open: as many as shortlists are kept for
_CROWDED_SHARE = (
    1 / 256
)  # of rows whose shortlist is too long, which are measured against all centers


@dataclass(frozen=True)
class _Rows:
    """What is written about rows."""

    labels: Array
    bounds: Bounds | None


@dataclass(frozen=True)
class CudaKernel(ReferenceKernel):
    """Fused kernels behind the kernel protocol; what is not fused is the reference's."""

    name: str = "cuda"
    launcher: Launcher = field(kw_only=True)
    _poor: set[str] = field(default_factory=set, init=False)
    _stills: dict[int, Drift] = field(default_factory=dict, init=False)

    @functools.cached_property
    def calls(self) -> Calls:
        """The launches that every operation is made of."""
        return Calls(self.xp, self.launcher)

    @functools.cached_property
    def groups(self) -> GroupCalls:
        """The launches over groups of centers."""
        return GroupCalls(self.calls)

    @property
    def surveyor(self) -> Surveyor:
        return CudaSurveyor(self.xp, self.launcher)

    def prepare(self, nearest: p.Nearest, /) -> None:
        """Nothing: one thread works on all blocks."""

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], drift: Drift | None = None, /
    ) -> Proposal:
        rows = self._rows(x, drift)
        if nearest.first == "exact":
            self.calls.judge(x, nearest, rows.labels)
            return Proposal(rows.labels, None, None)
        is_open = self.xp.empty(int(x.shape[0]), dtype=self.xp.bool, **like(x))
        self._screen(x, nearest, rows, drift, None, is_open)
        return Proposal(rows.labels, is_open, rows.bounds)

    def look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        looked = self.launch_look(x, nearest, drift, state)
        if not looked.steps:
            return int(x.shape[0]), None
        self.launch_settle(x, nearest, state["labels"], looked)
        # the one time that the host waits
        seen = looked.read(to_host(self.xp.concat(looked.counts)).tolist())
        self.learn(looked, seen)
        return seen.scored, None

    def launch_look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> Looked:
        """As `look`, but the host does not wait: what was counted is left on the device."""
        xp, n_rows, bounds = self.xp, int(x.shape[0]), state.pop("bounds", None)
        if nearest.first == "exact":
            state["labels"] = self.propose(x, nearest, state, drift).labels
            return Looked(n_rows, None, [])
        if drift is None or bounds is None:
            rows = self._rows(x, drift)
            looked = Looked(n_rows, None, self._screen(x, nearest, rows, drift, None))
        else:
            # the labels before are still asked for: they are not written over
            labels = xp.asarray(state["labels"], copy=True)
            rows = _Rows(labels, self._with_groups(x, nearest, drift, bounds))
            apart, doubtful = self._apart(nearest, x), Picked.none(x, xp=xp)
            self.calls.list_doubtful(x, nearest, labels, apart, drift, bounds, doubtful)
            looked = self._look_again(x, nearest, rows, drift, doubtful)
        state["labels"] = rows.labels
        if rows.bounds is not None:
            state["bounds"] = rows.bounds
        return looked

    def _with_groups(self, x: Array, nearest: p.Nearest, drift: Drift, bounds: Bounds) -> Bounds:
        """The bounds with those of groups, which prove nothing where they begin; or without.

        They are forgotten where centers may be equal, and left out where memory is short.
        """
        groups, sides = drift.groups, sides_of(bounds)
        if groups is None or "groups" in self._poor or not self.groups.serve(x, nearest, groups):
            return Bounds(*sides)
        if bounds.groups is not None:
            return bounds
        shape, dtype = (int(x.shape[0]), groups.count), bounds.slack.dtype
        try:
            return Bounds(*sides, self.xp.full(shape, -float("inf"), dtype=dtype, **like(x)))
        except MemoryError:
            self._poor.add("groups")
            return Bounds(*sides)

    def _look_again(
        self, x: Array, nearest: p.Nearest, rows: _Rows, drift: Drift, doubtful: Picked
    ) -> Looked:
        """Score the rows in doubt, by groups if they keep bounds of groups."""
        n_rows, bounds = int(x.shape[0]), rows.bounds
        if bounds is None or bounds.groups is None:
            return Looked(n_rows, doubtful, self._screen(x, nearest, rows, drift, doubtful))
        work, *others = self.products(nearest)
        left = Picked.none(x, xp=self.xp)
        pairs = self.groups.look(
            x, nearest, group_product(work), rows.labels, drift, bounds, doubtful, left
        )
        steps = [(work, left)]
        if others:
            steps += self._screen(x, nearest, rows, drift, left, works=others)
        return Looked(n_rows, doubtful, steps, pairs, drift.groups)

    def launch_settle(self, x: Array, nearest: p.Nearest, labels: Array, looked: Looked, /) -> None:
        """Exact labels of the rows that were left open, on the device alone."""
        if not looked.steps:
            return
        work, left = looked.steps[-1]
        if work not in ("float64", FEW):
            opened, left = left, Picked.none(x, xp=self.xp)
            self.calls.score(x, nearest, "float64", labels, picked=opened, left=left)
        self.calls.judge(x, nearest, labels, left)

    def products(self, nearest: p.Nearest, /) -> tuple[str, ...]:
        """The products by which rows are scored, the cheapest first."""
        k, d = (int(size) for size in nearest.centers.shape)
        before = screens(nearest.first, d, k, self.launcher.capability)
        before = tuple(work for work in before if work not in self._poor)[:1]
        return (*before, nearest.first)

    def _screen(
        self,
        x: Array,
        nearest: p.Nearest,
        rows: _Rows,
        drift: Drift | None,
        picked: Picked | None,
        is_open: Array | None = None,
        works: Sequence[str] | None = None,
    ) -> list[tuple[str, Picked]]:
        """Label rows by cheap products, then by the first rung's; what each step left open."""
        steps: list[tuple[str, Picked]] = []
        kept: dict[str, Any] = {"is_open": is_open, "drift": drift, "bounds": rows.bounds}
        for work in self.products(nearest) if works is None else works:
            left = Picked.none(x, xp=self.xp)
            short = self._shortlist(x, work)
            limits = None if short is None else (short.limits, short.beyond)
            self.calls.score(
                x, nearest, work, rows.labels, picked=picked, left=left, limits=limits, **kept
            )
            steps.append((work, left))
            picked = left
            if short is not None:
                args = self.calls, x, nearest, work, rows.labels, left, short
                steps.append((FEW, _shortlist.resolve(*args, **kept)))
                break
        return steps

    def _shortlist(self, x: Array, work: str) -> _shortlist.Shortlist | None:
        if work not in TENSOR_PRODUCTS or int(x.shape[0]) < _shortlist.LEAST_ROWS:
            return None
        return _shortlist.Shortlist.of(x, xp=self.xp)

    def learn(self, looked: Looked, seen: Seen, /) -> None:
        """Do without products that leave many rows open; labels do not depend on it.

        The groups are told what their pairs cost, in centers.
        """
        if looked.groups is not None and seen.pairs is not None:
            size = looked.groups.size + pair_centers(group_product(looked.works[0]))
            looked.groups.tally.append(seen.pairs * size)
        if not looked.steps:
            return  # canonical distances alone
        work = looked.works[0]
        if work not in TENSOR_PRODUCTS or seen.scored <= _POOR_SHARE * looked.n_rows:
            return
        if seen.left[0] > _POOR_SHARE * seen.scored:
            self._poor.add(work)
        if FEW in looked.works and seen.left[1] > _CROWDED_SHARE * seen.scored:
            self._poor.add(work)

    def advance(
        self,
        problem: Any,
        centers: Array,
        totals: Array | None,
        tolerance: float,
        most: int | None,
        /,
    ) -> Advance | None:
        return advance(self, problem, centers, totals, tolerance, most)

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        """By a float64 product; what that leaves open is listed and goes on to the last rung."""
        labels, left = self._labels(x), Picked.none(x, xp=self.xp)
        self.calls.score(x, nearest, "float64", labels, left=left)
        self.calls.judge(x, nearest, labels, left)
        return labels

    def plusplus(
        self, problem: Any, n_clusters: int, seed: int, trials: int, /
    ) -> list[int] | None:
        try:
            return _seed.plusplus(self.calls, problem, n_clusters, seed, trials)
        except MemoryError:
            return None  # the way by blocks needs less, and picks the same rows

    def oversample(
        self, problem: Any, seed: int, wanted: float, rounds: int, /
    ) -> list[int] | None:
        try:
            return _seed.oversample(self.calls, problem, seed, wanted, rounds, self._exact_labels)
        except MemoryError:
            return None

    def _exact_labels(self, x: Array, nearest: p.Nearest) -> Array:
        """Labels of all rows; no host waits for what is left open."""
        state: dict[str, Any] = {}
        looked = self.launch_look(x, nearest, None, state)
        labels = state["labels"]
        self.launch_settle(x, nearest, labels, looked)
        return labels

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array | None = None, /) -> Array:
        out = self.xp.empty(int(x.shape[0]), dtype=self.xp.float64, **like(x))
        self.calls.measure(x, nearest.centers, nearest.scale, out, labels=labels)
        return out

    def distances(self, x: Array, centers: Array, scale: Scale, /) -> Array:
        shape = int(centers.shape[0]), int(x.shape[0])
        out = self.xp.empty(shape, dtype=self.xp.float64, **like(x))
        self.calls.measure(x, centers, scale, out, crosses=True)
        return out

    def distances_at(self, x: Array, rows: Array, center: Array, scale: Scale, /) -> Array:
        xp = self.xp
        out = xp.empty((1, int(rows.shape[0])), dtype=xp.float64, **like(x))
        rows = xp.astype(rows, xp.int64, copy=False)
        self.calls.measure(x, center[None, :], scale, out, rows=rows, crosses=True)
        return out[0, :]

    def add_changes(
        self, block: Block, before: Array | None, ledger: Any, n_clusters: int, sums: Any, /
    ) -> int | None:
        shape = n_clusters, int(ledger.n_columns)
        out = self.xp.zeros(shape, dtype=self.xp.int64, **like(block.x))
        carrying = self.calls.add_rows(block, before, ledger.scales, out)
        sums.add(out, 2 * block.n_rows)
        return int(carrying[0])

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        shape = n_groups, int(values.shape[1])
        out = self.xp.zeros(shape, dtype=self.xp.int64, **like(values))
        self.calls.group_sums(values, labels, out)
        return out

    def grid_sums(self, values: Array, least: float, /) -> tuple[float, int, int]:
        numbers = to_host(self.calls.grid_sums(values, least))
        (largest,), (high, low) = numbers[:1].view(np.float64).tolist(), numbers[1:].tolist()
        return largest, high, low

    def widened(self, x: Array, /) -> Array:
        return self.calls.wide(x)

    def rounded(self, values: Array, dtype: str, /) -> Array:
        return self.calls.rounded(values, dtype)

    def _apart(self, nearest: p.Nearest, x: Array) -> Array:
        """Each center is at least so far from every other (k,), from their scores as rows."""
        xp, key = self.xp, ("cuda apart", dtype_name(x))
        if key not in nearest.notes:
            centers = xp.astype(nearest.centers, x.dtype, copy=False)
            drift = self._still(int(centers.shape[0]), x)
            bounds = self._no_bounds(centers, drift)
            labels = self._labels(centers)
            self.calls.score(centers, nearest, nearest.first, labels, drift=drift, bounds=bounds)
            nearest.notes[key] = bounds.lower
        return nearest.notes[key]

    def _still(self, n_clusters: int, x: Array) -> Drift:
        """No center has moved."""
        if n_clusters not in self._stills:
            self._stills[n_clusters] = no_drift(n_clusters, "float64", x, xp=self.xp)
        return self._stills[n_clusters]

    def _labels(self, x: Array) -> Array:
        return self.xp.empty(int(x.shape[0]), dtype=self.xp.int32, **like(x))

    def _rows(self, x: Array, drift: Drift | None) -> _Rows:
        return _Rows(self._labels(x), None if drift is None else self._no_bounds(x, drift))

    def _no_bounds(self, x: Array, drift: Drift) -> Bounds:
        dtype, n_rows = drift.tables.dtype, int(x.shape[0])
        return Bounds(*(self.xp.empty(n_rows, dtype=dtype, **like(x)) for _ in range(3)))


@functools.cache
def _launcher() -> CupyLauncher:
    """One for the process: it keeps what was compiled and loaded."""
    import cupy

    return CupyLauncher(cupy)


def make_kernel(context: Context, /) -> CudaKernel:
    """The kernel for CuPy arrays."""
    return CudaKernel(context.xp, launcher=_launcher())
