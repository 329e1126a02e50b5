"""Few rows in NumPy: calls cost more than work, so what sweeps share is kept with the block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _primitives as p
from .._exact import EXACT_ROWS
from .._typing import Array, Block, slices
from ._numpy_scores import Floats, certify, moved_rows

KEPT_VALUES = 1 << 17
_MARKS = 1 << 13
_AT_ONCE = 1 << 14  # values: larger temporaries go back to the system


@dataclass(frozen=True)
class _Rows:
    """Rows and error terms as scores want them, while shift, scale and reach stay the same."""

    frame: tuple[Array | None, float, float]  # what they depend on
    columns: npt.NDArray[np.float32]  # (d + 1, m): x' by feature, and ones for the bias
    half: Floats  # |x'|^2 / 2
    room: Floats  # what of the exclusion threshold is the row's alone
    slope: float  # its factor of |half + best|
    theta: float

    def serve(self, nearest: p.Nearest) -> bool:
        """Whether the question is measured as these are."""
        shift, scale, reach = self.frame
        return shift is nearest.shift and scale == nearest.scale.factor and reach == nearest.reach


def label(x: Floats, nearest: p.Nearest, state: dict[str, Any]) -> Array:
    """Write the labels of a block by float32 scores; return which rows are left open.

    The bias is one more term of the product.  So it is rounded d + 1 times at most; the proof in
    `_primitives` has room for d + 8, as |c'|^2 itself is added up in float64.  Repeated centers
    are not looked for: they leave rows open, and many of those end float32 scores.
    """
    rows: _Rows | None = state.get("rows")
    if rows is None or not rows.serve(nearest):
        rows = state["rows"] = _rows(x, nearest)
    lower = _weights(nearest, rows.theta) @ rows.columns
    best = lower.min(axis=0)
    limit = rows.half + best
    np.abs(limit, out=limit)
    limit *= rows.slope
    limit += rows.room
    limit += best
    labels = np.empty(x.shape[0], dtype=np.int32)
    unsure = np.empty(x.shape[0], dtype=np.bool_)
    certify(lower, limit, labels, unsure)
    state["labels"] = labels
    return unsure


def _rows(x: Floats, nearest: p.Nearest) -> _Rows:
    rung = p.build_rung(nearest, "float32", x.shape[1], xp=np, told_apart=True)
    columns = np.ones((x.shape[1] + 1, x.shape[0]), dtype=np.float32)
    half = np.empty(x.shape[0], dtype=np.float32)
    for part in slices(x.shape[0], max(1, _AT_ONCE // x.shape[1])):
        moved = moved_rows(x[part], rung)
        columns[:-1, part] = moved.T
        np.einsum("ij,ij->i", moved, moved, out=half[part])
    half *= np.float32(0.5)
    own, common, slope = p.exclusion_terms(rung.theta, rung.canonical, rung.underflow)
    frame = nearest.shift, nearest.scale.factor, nearest.reach
    return _Rows(frame, columns, half, own * half + common, slope, rung.theta)


def _weights(nearest: p.Nearest, theta: float) -> npt.NDArray[np.float32]:
    """-c' and the bias (k, d + 1); see `_primitives.build_rung`."""
    shift = None if nearest.shift is None else nearest.shift.astype(np.float32)
    moved = p.negated(nearest.centers, shift, nearest.scale.factor, xp=np)
    weights = np.empty((moved.shape[0], moved.shape[1] + 1), dtype=np.float32)
    weights[:, :-1] = moved
    weights[:, -1] = (0.5 - theta) * np.einsum("ij,ij->i", moved, moved)
    return weights


def columns_of(block: Block, ledger: Any) -> npt.NDArray[np.float64]:
    """The ledger's columns (m, columns) of a block, kept in its state."""
    columns: npt.NDArray[np.float64] | None = block.state.get("columns")
    if columns is None:
        columns = block.state["columns"] = np.empty((block.n_rows, ledger.n_columns))
        step = max(1, _AT_ONCE // ledger.n_columns)
        for part in slices(block.n_rows, step):
            weight = None if block.weight is None else block.weight[part]
            columns[part] = ledger.columns(block.x[part], weight)
    return columns


def add_moved(block: Block, before: Array, ledger: Any, n_clusters: int, sums: Any) -> int | None:
    """Add rows whose label changed by a product with marks; None where they are too many.

    So few rows, each added once and taken away once, are exact in float64.
    """
    after, weight = block.state["labels"], block.weight
    moved = after != before
    count = carrying = int(np.count_nonzero(moved))
    if count > EXACT_ROWS:
        return None
    if count == 0:
        return 0
    if weight is not None:
        carrying = int(np.count_nonzero(moved & (weight > 0.0)))
    columns = columns_of(block, ledger)
    if after.size * n_clusters > _MARKS:
        (rows,) = moved.nonzero()
        after, before, columns = after.take(rows), before.take(rows), columns.take(rows, axis=0)
    numbers = np.arange(n_clusters, dtype=np.int32)[:, None]
    marks = np.subtract(after == numbers, before == numbers, dtype=np.float64)
    sums.add((marks @ columns).astype(np.int64), 2 * count)
    return carrying
