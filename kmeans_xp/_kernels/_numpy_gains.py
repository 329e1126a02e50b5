"""Appraising candidates in NumPy: rows that are left are compacted once, then scored in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .._gains import Appraisal, Trials, bounded
from .._primitives import Rung
from .._typing import slices, some

Rows = npt.NDArray[np.floating]
_PIECE_ROWS = 1 << 14
_PIECE_VALUES = 1 << 19
_LOOKUPS = 1 << 16
_DENSE_SHARE = 0.6


def appraise(
    shape: tuple[int, int],
    weight: npt.NDArray[np.float64] | None,
    state: dict[str, Any],
    trials: Trials,
    half: Rows,
    lower: Callable[[slice | npt.NDArray[np.intp]], Rows],
) -> Appraisal:
    """As the reference in `_gains`, of rows (n, d); ``half`` is the kernel's h.

    ``lower`` gives L (candidates, m) of some rows, in an array that is written over.
    """
    n_rows, n_features = shape
    rung = trials.rung
    count = len(rung.bias)
    reached = _reached(state["closest"], state["seeds"], trials.limits)
    left = int(np.count_nonzero(reached))
    if left == 0:
        state["trial"] = None, np.zeros((count, n_rows), dtype=np.bool_)
        return Appraisal([0.0] * count, 0.0, 0)
    # gathering a row costs as much as scoring it by all candidates
    rows = np.flatnonzero(reached) if left < _DENSE_SHARE * n_rows else None
    marks = np.empty((count, n_rows if rows is None else left), dtype=np.bool_)
    state["trial"] = rows, marks
    bias = float(rung.bias.max())
    total = Appraisal([0.0] * count, 0.0, 0)
    step = max(1024, min(_PIECE_ROWS, _PIECE_VALUES // n_features))
    # NumPy compares two arrays faster than an array and a number
    zeros = np.zeros(step, dtype=half.dtype)
    for part in slices(marks.shape[1], step):
        at = part if rows is None else rows[part]
        mine = _at(half, at)
        margin = trials.margins(_at(state["closest"], at), mine, xp=np)
        over = lower(at)
        np.subtract(margin, over, out=over)
        np.maximum(over, zeros[: over.shape[1]], out=over)
        high, unit = _sums(over, None if weight is None else _at(weight, at))
        near = marks[:, part]
        # not "greater than 0": what is no number stays in
        np.not_equal(over, 0.0, out=near)
        if rows is None:
            near &= reached[part]
        width = trials.width(float(margin.max()), float(mine.max()), bias)
        pairs = int(np.count_nonzero(near))
        total = total + bounded(high, over.shape[1], unit, width, pairs)
    return total


def _at(values: Rows, at: slice | npt.NDArray[np.intp]) -> Rows:
    rows: Rows = some(values, at, xp=np)
    return rows


def _reached(
    closest: npt.NDArray[np.float64],
    seeds: npt.NDArray[np.int32],
    limits: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Rows that the limit of their seed does not rule out."""
    out = np.empty(len(closest), dtype=np.bool_)
    for part in slices(len(closest), _LOOKUPS):
        np.greater(closest[part], limits.take(seeds[part]), out=out[part])
    return out


def scores(
    x: Rows,
    rung: Rung,
    moved: Callable[[Rows, Rung], Rows],
    at: slice | npt.NDArray[np.intp],
    /,
) -> Rows:
    """L of some rows, which ``moved`` makes x'."""
    return _scores(moved(_at(x, at), rung), rung)


def _scores(x: Rows, rung: Rung) -> Rows:
    """L (candidates, rows); few candidates by float32 are faster with the rows on the left."""
    lower: Rows
    if x.dtype == np.float64:
        lower = rung.weights @ x.T
        lower += rung.bias[:, None]
        return lower
    count = len(rung.bias)
    weights = rung.weights
    if count % 4:
        # products of whole fours take less time
        weights = np.concatenate([weights, np.zeros_like(weights[: 4 - count % 4])])
    lower = np.add((x @ weights.T).T[:count], rung.bias[:, None], order="C")
    return lower


def _sums(over: Rows, weight: Rows | None) -> tuple[list[float], float]:
    """Twice the (weighted) sums, and the roundoff of adding one term."""
    factors = np.ones(over.shape[1], dtype=over.dtype) if weight is None else weight
    sums = over @ factors
    return [2.0 * value for value in sums.tolist()], float(np.finfo(sums.dtype).eps) / 2.0
