"""Scores of rows against centers in NumPy, and the labels that they prove."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _primitives as p
from .._distances import Scale
from .._typing import Array, slices
from ._space import Space

Floats = npt.NDArray[np.floating]
_AT_ONCE = 1 << 16  # values
_SMALL_BASE = 1 << 14


def moved_rows(x: Floats, rung: p.Rung, space: Space | None = None) -> Floats:
    """The rows x' of a rung (in a buffer): x itself where it needs neither shift nor scale."""
    work = rung.weights.dtype
    if rung.shift is None and rung.scale == 1.0 and x.dtype == work:
        return x
    moved = np.empty(x.shape, dtype=work) if space is None else space.take("moved", x.shape, work)
    if rung.shift is None:
        np.copyto(moved, x, casting="same_kind")
    elif x.dtype == work:
        np.subtract(x, rung.shift, out=moved)
    else:
        np.subtract(x, rung.shift, out=moved, casting="same_kind")
    if rung.scale != 1.0:
        moved *= work.type(rung.scale)
    return moved


def lower_bounds(x: Floats, rung: p.Rung) -> Floats:
    """L (k, m)."""
    lower: Floats = rung.weights @ moved_rows(x, rung).T
    lower += rung.bias[:, None]
    return lower


def half_norms(x: Floats, rung: p.Rung, notes: dict[str, Any]) -> Floats:
    """|x'|^2 / 2, kept in the notes: it stays the same while shift and scale do."""
    work = rung.weights.dtype
    half = known_half_norms(rung, notes)
    if half is not None:
        return half
    half = np.empty(x.shape[0], dtype=work)
    for part in slices(x.shape[0], max(256, _AT_ONCE // x.shape[1])):
        moved = moved_rows(x[part], rung)
        np.einsum("ij,ij->i", moved, moved, out=half[part])
    half *= work.type(0.5)
    note_half_norms(half, rung, notes)
    return half


def known_half_norms(rung: p.Rung, notes: dict[str, Any]) -> Floats | None:
    """Those of the notes, if they are this rung's."""
    half: Floats | None
    shift, scale, half = notes.get("half norms", (None, None, None))
    if half is None or half.dtype != rung.weights.dtype:
        return None
    return half if is_same(shift, rung.origin) and scale == rung.scale else None


def is_same(shift: Array | None, other: Array | None, /) -> bool:
    """Whether rows are moved alike; to rows that are elsewhere each task brings its own copy."""
    return shift is other or (
        shift is not None and other is not None and np.array_equal(shift, other)
    )


def note_half_norms(half: Floats, rung: p.Rung, notes: dict[str, Any]) -> None:
    """Keep them for as long as shift and scale stay the same."""
    notes["half norms"] = (rung.origin, rung.scale, half)


def certify(
    lower: Floats,
    limit: Floats,
    labels: npt.NDArray[np.int32],
    unsure: npt.NDArray[np.bool_],
    second: Floats | None = None,
) -> Array:
    """Write labels and open rows; return the centers (k, m) that cannot be excluded.

    ``lower`` is written over; ``limit`` is the L above which a center is excluded; ``second``
    gets the least L of those above it.

    A product of ``base + j`` with the marks lies in [base, 2 base) exactly where one center is
    left, and then it tells which.  These are whole numbers that float32 holds.
    """
    near = lower <= limit
    if second is not None:
        np.copyto(lower, np.inf, where=near)
        lower.min(axis=0, out=second)
    np.copyto(lower, near)
    base, tally = _tally(lower.shape[0], lower.dtype)
    sums = tally @ lower
    if base > _SMALL_BASE:
        # else no sum of all marks is beyond int32
        np.minimum(sums, 2 * base, out=sums)
    np.copyto(labels, sums, casting="unsafe")
    labels -= base
    # a negative label is a very large one without its sign
    np.greater_equal(labels.view(np.uint32), base, out=unsure)
    if np.count_nonzero(unsure):
        # an overflow left a row no center: the next rung looks at every one
        near[:, labels < 0] = True
        # any label will do until they are settled
        np.copyto(labels, 0, where=unsure)
    return near


def squared_distances(x: Array, centers: Array, scale: Scale) -> npt.NDArray[np.float64]:
    """The primitive of this name for features on the last axis but one, in place."""
    if scale.before != 1.0:
        x, centers = (np.multiply(a, scale.before, dtype=np.float64) for a in (x, centers))
    terms: npt.NDArray[np.float64] = np.subtract(x, centers, dtype=np.float64, order="C")
    if scale.after != 1.0:
        terms *= scale.after
    np.multiply(terms, terms, out=terms)
    width = terms.shape[-2]
    while width > 1:
        half = (width + 1) // 2
        first = terms[..., : width - half, :]
        np.add(first, terms[..., half:width, :], out=first)
        width = half
    return terms[..., 0, :]


@functools.lru_cache(maxsize=64)
def _tally(n_clusters: int, work: np.dtype[np.floating]) -> tuple[int, Floats]:
    base = 1 << (n_clusters - 1).bit_length()
    return base, (base + np.arange(n_clusters)).astype(work)
