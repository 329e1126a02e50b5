"""The CUDA kernel: the primitives, with fused operations where they are slow.

No matrix of scores is written, whatever the number of rows and centers.  The same text runs in
the tests on NumPy arrays, with a launcher that emulates the device.  Not yet run on a GPU.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from ... import _primitives as p
from ..._backend import Context, dtype_name, to_host
from ..._bounds import Bounds, Drift, Proposal, no_drift
from ..._distances import Scale
from ..._typing import Array, Block
from .._reference import ReferenceKernel
from ._calls import Calls, Picked, like
from ._route import screens
from ._source import TENSOR_PRODUCTS, CupyLauncher, Launcher

_POOR_SHARE = 0.25


@dataclass(frozen=True)
class _Rows:
    """What is written about rows."""

    labels: Array
    is_open: Array
    bounds: Bounds | None


@dataclass(frozen=True)
class CudaKernel(ReferenceKernel):
    """Fused kernels behind the kernel protocol; what is not fused is the reference's."""

    name: str = "cuda"
    launcher: Launcher = field(kw_only=True)
    _poor: set[str] = field(default_factory=set, init=False)

    @functools.cached_property
    def _calls(self) -> Calls:
        return Calls(self.xp, self.launcher)

    def prepare(self, nearest: p.Nearest, /) -> None:
        """Nothing: one thread works on all blocks."""

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], drift: Drift | None = None, /
    ) -> Proposal:
        rows = self._rows(x, drift)
        if nearest.first == "exact":
            self._calls.judge(x, nearest, rows.labels)
            return Proposal(rows.labels, None, None)
        self._screen(x, nearest, rows, drift, None)
        return Proposal(rows.labels, rows.is_open, rows.bounds)

    def look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        xp, n_rows, bounds = self.xp, int(x.shape[0]), state.pop("bounds", None)
        if nearest.first == "exact":
            state["labels"] = self.propose(x, nearest, state, drift).labels
            return n_rows, None
        doubtful = None
        if drift is None or bounds is None:
            rows = self._rows(x, drift)
        else:
            # the labels before are still asked for: they are not written over
            labels = xp.asarray(state["labels"], copy=True)
            rows = _Rows(labels, xp.zeros(n_rows, dtype=xp.bool, **like(x)), bounds)
            apart, doubtful = self._apart(nearest, x), Picked.none(x, xp=xp)
            self._calls.list_doubtful(x, nearest, labels, apart, drift, bounds, doubtful)
        steps = self._screen(x, nearest, rows, drift, doubtful)
        state["labels"] = rows.labels
        if rows.bounds is not None:
            state["bounds"] = rows.bounds
        # the one time that the host waits
        lists = [*([] if doubtful is None else [doubtful]), *(left for _, left in steps)]
        scored, *left = to_host(xp.concat([part.count for part in lists])).tolist()
        if doubtful is None:
            scored, left = n_rows, [scored, *left]
        if scored > _POOR_SHARE * n_rows:
            self._learn(steps[0][0], scored, left[0])
        return scored, rows.is_open if left[-1] else None

    def _screen(
        self,
        x: Array,
        nearest: p.Nearest,
        rows: _Rows,
        drift: Drift | None,
        picked: Picked | None,
    ) -> list[tuple[str, Picked]]:
        """Label rows by cheap products, then by the first rung's; what each step left open."""
        k, d = (int(size) for size in nearest.centers.shape)
        before = screens(nearest.first, d, k, self.launcher.capability)
        before = tuple(work for work in before if work not in self._poor)[:1]
        steps = []
        for work in (*before, nearest.first):
            left = Picked.none(x, xp=self.xp)
            self._calls.score(
                x,
                nearest,
                work,
                rows.labels,
                picked=picked,
                is_open=rows.is_open,
                left=left,
                drift=drift,
                bounds=rows.bounds,
            )
            steps.append((work, left))
            picked = left
        return steps

    def _learn(self, work: str, scored: int, left: int) -> None:
        """Do without products that leave many rows open; labels do not depend on it."""
        if work in TENSOR_PRODUCTS and left > _POOR_SHARE * scored:
            self._poor.add(work)

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        """By a float64 product; what that leaves open is listed and goes on to the last rung."""
        labels, left = self._labels(x), Picked.none(x, xp=self.xp)
        self._calls.score(x, nearest, "float64", labels, left=left)
        self._calls.judge(x, nearest, labels, left)
        return labels

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array | None = None, /) -> Array:
        out = self.xp.empty(int(x.shape[0]), dtype=self.xp.float64, **like(x))
        self._calls.measure(x, nearest.centers, nearest.scale, out, labels=labels)
        return out

    def distances(self, x: Array, centers: Array, scale: Scale, /) -> Array:
        shape = int(centers.shape[0]), int(x.shape[0])
        out = self.xp.empty(shape, dtype=self.xp.float64, **like(x))
        self._calls.measure(x, centers, scale, out, crosses=True)
        return out

    def distances_at(self, x: Array, rows: Array, center: Array, scale: Scale, /) -> Array:
        xp = self.xp
        out = xp.empty((1, int(rows.shape[0])), dtype=xp.float64, **like(x))
        rows = xp.astype(rows, xp.int64, copy=False)
        self._calls.measure(x, center[None, :], scale, out, rows=rows, crosses=True)
        return out[0, :]

    def add_changes(
        self, block: Block, before: Array | None, ledger: Any, n_clusters: int, sums: Any, /
    ) -> int | None:
        shape = n_clusters, int(ledger.n_columns)
        out = self.xp.zeros(shape, dtype=self.xp.int64, **like(block.x))
        carrying = self._calls.add_rows(block, before, ledger.scales, out)
        sums.add(out, 2 * block.n_rows)
        return int(carrying[0])

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        shape = n_groups, int(values.shape[1])
        out = self.xp.zeros(shape, dtype=self.xp.int64, **like(values))
        self._calls.group_sums(values, labels, out)
        return out

    def _apart(self, nearest: p.Nearest, x: Array) -> Array:
        """Each center is at least so far from every other (k,), from their scores as rows."""
        xp, key = self.xp, ("cuda apart", dtype_name(x))
        if key not in nearest.notes:
            centers = xp.astype(nearest.centers, x.dtype, copy=False)
            drift = no_drift(int(centers.shape[0]), "float64", x, xp=xp)
            bounds = self._no_bounds(centers, drift)
            labels = self._labels(centers)
            self._calls.score(centers, nearest, nearest.first, labels, drift=drift, bounds=bounds)
            nearest.notes[key] = bounds.lower
        return nearest.notes[key]

    def _labels(self, x: Array) -> Array:
        return self.xp.empty(int(x.shape[0]), dtype=self.xp.int32, **like(x))

    def _rows(self, x: Array, drift: Drift | None) -> _Rows:
        is_open = self.xp.empty(int(x.shape[0]), dtype=self.xp.bool, **like(x))
        bounds = None if drift is None else self._no_bounds(x, drift)
        return _Rows(self._labels(x), is_open, bounds)

    def _no_bounds(self, x: Array, drift: Drift) -> Bounds:
        dtype, n_rows = drift.tables.dtype, int(x.shape[0])
        return Bounds(*(self.xp.empty(n_rows, dtype=dtype, **like(x)) for _ in range(3)))


def make_kernel(context: Context, /) -> CudaKernel:
    """The kernel for CuPy arrays."""
    import cupy

    return CudaKernel(context.xp, launcher=CupyLauncher(cupy))
