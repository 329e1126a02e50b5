"""Few rows in NumPy: calls cost more than work, so what sweeps share is kept with the block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _primitives as p
from .._exact import EXACT_ROWS
from .._typing import Array, Block
from ._numpy_scores import Floats, certify, half_norms, moved_rows

KEPT_VALUES = 1 << 17
_MARKS = 1 << 13


@dataclass(frozen=True)
class _Rows:
    """Rows as a product wants them, while shift and scale stay the same."""

    origin: Array | None
    scale: float
    columns: npt.NDArray[np.float32]  # (d + 1, m): x' by feature, and ones for the bias
    half: Floats


def label(x: Floats, rung: p.Rung, state: dict[str, Any]) -> Array | None:
    """Write the labels of a block by float32 scores; return which rows are left open.

    The bias is one more term of the product.  So it is rounded d + 1 times at most; the proof in
    `_primitives` has room for d + 8, as |c'|^2 itself is added up in float64.
    """
    rows = state.get("rows")
    if rows is None or rows.origin is not rung.origin or rows.scale != rung.scale:
        rows = state["rows"] = _rows(x, rung, state)
    weights = np.concatenate([rung.weights, rung.bias[:, None]], axis=1)
    labels = np.empty(x.shape[0], dtype=np.int32)
    unsure = np.empty(x.shape[0], dtype=np.bool_)
    certify(weights @ rows.columns, rows.half, rung, labels, unsure)
    state["labels"] = labels
    return unsure


def _rows(x: Floats, rung: p.Rung, state: dict[str, Any]) -> _Rows:
    columns = np.ones((x.shape[1] + 1, x.shape[0]), dtype=np.float32)
    columns[:-1] = moved_rows(x, rung).T
    return _Rows(rung.origin, rung.scale, columns, half_norms(x, rung, state))


def columns_of(block: Block, ledger: Any) -> npt.NDArray[np.float64]:
    """The ledger's columns (m, columns) of a block."""
    if "columns" not in block.state:
        block.state["columns"] = ledger.columns(block.x, block.weight)
    columns: npt.NDArray[np.float64] = block.state["columns"]
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
        rows = np.flatnonzero(moved)
        after, before, columns = after.take(rows), before.take(rows), columns.take(rows, axis=0)
    numbers = np.arange(n_clusters, dtype=np.int32)[:, None]
    marks = np.subtract(after == numbers, before == numbers, dtype=np.float64)
    sums.add((marks @ columns).astype(np.int64), 2 * count)
    return carrying
