"""The CUDA kernel: the primitives, with fused operations where they are slow.

No matrix of scores is written, whatever the number of rows and centers.  The same text runs in
the tests on NumPy arrays, with a launcher that emulates the device.  Not yet run on a GPU.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from .. import _primitives as p
from .._backend import Context, dtype_name, to_host
from .._bounds import Bounds, Drift, Proposal, no_drift
from .._distances import Scale
from .._typing import Array, Block
from ._cuda_calls import Calls, Picked, like
from ._cuda_source import CupyLauncher, Launcher
from ._reference import ReferenceKernel


@dataclass(frozen=True)
class CudaKernel(ReferenceKernel):
    """Fused kernels behind the kernel protocol; what is not fused is the reference's."""

    name: str = "cuda"
    launcher: Launcher = field(kw_only=True)

    @functools.cached_property
    def _calls(self) -> Calls:
        return Calls(self.xp, self.launcher)

    def prepare(self, nearest: p.Nearest, /) -> None:
        """Nothing: one thread works on all blocks."""

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], drift: Drift | None = None, /
    ) -> Proposal:
        labels = self._labels(x)
        if nearest.first == "exact":
            self._calls.judge(x, nearest, labels)
            return Proposal(labels, None, None)
        is_open = self.xp.empty(int(x.shape[0]), dtype=self.xp.bool, **like(x))
        bounds = None if drift is None else self._no_bounds(x, drift)
        self._calls.score(
            x, nearest, nearest.first, labels, is_open=is_open, drift=drift, bounds=bounds
        )
        return Proposal(labels, is_open, bounds)

    def look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        xp, bounds = self.xp, state.pop("bounds", None)
        if nearest.first == "exact" or drift is None or bounds is None:
            state["labels"], is_open, bounds = self.propose(x, nearest, state, drift)
            if bounds is not None:
                state["bounds"] = bounds
            return int(x.shape[0]), is_open
        doubtful, left = Picked.none(x, xp=xp), Picked.none(x, xp=xp)
        # the labels before are still asked for: they are not written over
        labels = xp.asarray(state["labels"], copy=True)
        is_open = xp.zeros(int(x.shape[0]), dtype=xp.bool, **like(x))
        apart = self._apart(nearest, x)
        self._calls.list_doubtful(x, nearest, labels, apart, drift, bounds, doubtful)
        self._calls.score(
            x,
            nearest,
            nearest.first,
            labels,
            picked=doubtful,
            is_open=is_open,
            left=left,
            drift=drift,
            bounds=bounds,
        )
        state["labels"], state["bounds"] = labels, bounds
        scored, n_open = to_host(xp.concat([doubtful.count, left.count])).tolist()
        return scored, is_open if n_open else None

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

    def _no_bounds(self, x: Array, drift: Drift) -> Bounds:
        dtype, n_rows = drift.tables.dtype, int(x.shape[0])
        return Bounds(*(self.xp.empty(n_rows, dtype=dtype, **like(x)) for _ in range(3)))


def make_kernel(context: Context, /) -> CudaKernel:
    """The kernel for CuPy arrays."""
    import cupy

    return CudaKernel(context.xp, launcher=CupyLauncher(cupy))
