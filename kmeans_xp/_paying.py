"""Which rows of a block pay in another cluster: first by bounds, then a product, then exactly.

A product with its bound (see `_gains`, which the limit here is that of) leaves few pairs of a row
and a cluster; those are judged by canonical distances, so that every library finds the same rows.
Where rows keep bounds, few come to the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import to_host
from ._bounds import OUTWARDS
from ._handover import Edges
from ._picks import first_true
from ._primitives import Nearest, Rung
from ._problem import Training
from ._stats import weigh
from ._typing import Array, Block, Namespace, slices, some

_MOST_SCORES = 1 << 21
_ROUNDINGS = 2.0**-40  # of what a row counts for now, below which a gain is none

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """What the blocks are asked: the means, summed weights, and a product in some precision.

    ``shares`` (k,) is the largest share of a distance to each that may be left to pay, ``edges``
    are the bounds that the blocks hold, if they do.
    """

    nearest: Nearest
    masses: Array
    shares: Array
    rung: Rung | None
    edges: Edges | None


Found = tuple[npt.NDArray[np.float64], Rows, Rows, Rows]
"""Gains, rows, and the clusters that they leave and go to."""


@dataclass(frozen=True)
class _Some:
    """Some rows of a block: where they stand, their own labels, weights, and what they count for.

    ``valid`` marks those that are no padding.
    """

    x: Array
    places: Array
    labels: Array
    weight: Array | None
    worth: Array
    valid: Array | None = None

    def picked(self, rows: Array, xp: Namespace) -> _Some:
        """Those at some positions."""
        places, labels, worth = (
            xp.take(values, rows) for values in (self.places, self.labels, self.worth)
        )
        weight = None if self.weight is None else xp.take(self.weight, rows)
        return _Some(some(self.x, rows, xp=xp), places, labels, weight, worth)


def paying(problem: Training, block: Block, view: View) -> list[Found]:
    """The rows of a block that pay elsewhere, in pieces."""
    kernel, xp = problem.kernel, problem.context.xp
    found = []
    for rows in _pieces(problem, block, view):
        near = _near(problem, rows, view)
        mask = xp.any(near, axis=0)
        n_rows = int(xp.count_nonzero(mask))
        if n_rows == 0:
            continue
        chosen, _ = kernel.compress(mask, n_rows)
        marks = xp.take(near, chosen, axis=1).T
        judged = _judged(problem, rows.picked(chosen, xp), marks, view)
        # what stands behind those is padding
        found.append(_that_pay([to_host(column)[:n_rows] for column in judged], block.start))
    return [part for part in found if len(part[0])]


def _pieces(problem: Training, block: Block, view: View) -> Iterator[_Some]:
    """The rows of a block that may pay by their bounds, some at a time."""
    xp, count = problem.context.xp, int(view.nearest.centers.shape[0])
    step, labels = max(256, _MOST_SCORES // count), block.state["labels"]
    if view.edges is None:
        for part in slices(block.n_rows, step):
            places = exact.to_device(np.arange(part.start, part.stop), labels, xp=xp)
            weight = None if block.weight is None else block.weight[part]
            x, mine = block.x[part, :], labels[part]
            yield _Some(x, places, mine, weight, _worth(problem, x, weight, mine, view))
        return
    upper, lower = view.edges.of(block, xp=xp)
    factor = _factor(xp.take(view.masses, labels), block.weight, xp)
    listed = _listed(problem, _may_pay(upper, lower, factor, view, xp))
    for part in slices(int(listed.places.shape[0]), step):
        places = listed.places[part]
        x, mine = some(block.x, places, xp=xp), xp.take(labels, places)
        weight = None if block.weight is None else xp.take(block.weight, places)
        worth = _worth(problem, x, weight, mine, view)
        # they are at most so far from their own centers
        upper = xp.sqrt(worth)
        far = view.edges.beyond(xp.take(lower, places), upper, mine, xp=xp)
        mask = _may_pay(upper, far, 1.0, view, xp)
        if listed.valid is not None:
            mask = mask & listed.valid[part]
        left = _listed(problem, mask)
        if int(left.places.shape[0]):
            found = _Some(x, places, mine, weight, worth).picked(left.places, xp)
            yield replace(found, valid=left.valid)


class _Listed(NamedTuple):
    """Places of marked rows, and which of these are no padding (None: all)."""

    places: Array
    valid: Array | None


def _listed(problem: Training, mask: Array) -> _Listed:
    count = int(problem.context.xp.count_nonzero(mask))
    if count == 0:
        xp = problem.context.xp
        return _Listed(xp.zeros(0, dtype=xp.int64, device=problem.context.device), None)
    return _Listed(*problem.kernel.compress(mask, count))


def _may_pay(upper: Array, lower: Array, factor: Any, view: View, xp: Namespace) -> Array:
    """Mark the rows that may be near enough to another center."""
    has_rows = view.masses > 0.0
    most = xp.max(xp.where(has_rows, view.shares, xp.ones_like(view.shares)))
    root = xp.astype(xp.sqrt(factor * most), upper.dtype, copy=False)
    # bounds differ from distances by more than the roundings here; what is no number may pay
    return ~(lower > upper * root * (1.0 + OUTWARDS))


def _factor(mass: Array, weight: Array | None, xp: Namespace) -> Array:
    """Mass of a row's cluster by what it is without the row; 0 for a row that is its cluster."""
    left = mass - (1.0 if weight is None else weight)
    some_left = left > 0.0
    left = xp.where(some_left, left, xp.ones_like(left))
    return xp.where(some_left, mass / left, xp.zeros_like(left))


def _worth(problem: Training, x: Array, weight: Array | None, labels: Array, view: View) -> Array:
    """By how much each row's leaving lowers what its cluster counts for, per weight."""
    xp = problem.context.xp
    own = problem.kernel.own_distances(x, view.nearest, labels)
    factor = _factor(xp.take(view.masses, labels), weight, xp)
    return xp.where(factor > 0.0, factor * own, xp.zeros_like(own))


def _near(problem: Training, rows: _Some, view: View) -> Array:
    """Mark the clusters (k, m) in which a row may pay."""
    xp, count = problem.context.xp, int(view.nearest.centers.shape[0])
    worth = rows.worth
    numbers = exact.to_device(np.arange(count, dtype=np.int32)[:, None], rows.labels, xp=xp)
    if view.rung is None:
        apart = problem.kernel.distances(rows.x, view.nearest.centers, view.nearest.scale)
        near = apart <= view.shares[:, None] * (worth * (1.0 + _ROUNDINGS))[None, :]
    else:
        lower, half = problem.kernel.screen(rows.x, view.rung, {})
        theta = view.rung.theta
        limit = xp.astype(worth, half.dtype, copy=False) * (0.5 * (1.0 + 8.0 * theta))
        base = (1.0 - 5.0 * theta) * half - view.rung.underflow
        most = xp.astype(view.shares, half.dtype, copy=False)[:, None] * limit[None, :]
        near = ~(most - base[None, :] <= lower)
    near = near & (view.masses > 0.0)[:, None] & (numbers != rows.labels[None, :])
    may_pay = worth > 0.0 if rows.valid is None else rows.valid & (worth > 0.0)
    return near & may_pay[None, :]


def _judged(
    problem: Training, rows: _Some, near: Array, view: View
) -> tuple[Array, Array, Array, Array]:
    """Judge marked pairs (m, k) of some rows by canonical distances; lowest index among equals.

    Gains, places in the block, own labels, and the clusters that are best (-1 for none).
    """
    xp, worth = problem.context.xp, rows.worth
    mine = xp.ones_like(worth[:1]) if rows.weight is None else rows.weight
    best = worth * (1.0 - _ROUNDINGS)
    target = xp.full_like(best, -1, dtype=xp.int32)
    numbers = exact.to_device(np.arange(near.shape[1], dtype=np.int32)[None, :], rows.labels, xp=xp)
    for _ in range(int(xp.max(xp.count_nonzero(near, axis=1)))):
        number = first_true(near, xp=xp)
        mass = xp.take(view.masses, number)
        total = mass + mine
        share = mass / xp.where(total > 0.0, total, xp.ones_like(total))
        price = share * problem.kernel.own_distances(rows.x, view.nearest, number)
        better = xp.any(near, axis=1) & (price < best)
        best, target = xp.where(better, price, best), xp.where(better, number, target)
        near = near & (numbers != number[:, None])
    return weigh(worth - best, rows.weight, xp=xp), rows.places, rows.labels, target


def _that_pay(judged: list[Any], start: int) -> Found:
    gain, places, labels, targets = judged
    pays = (targets >= 0) & (gain > 0.0)
    whole = [column[pays].astype(np.int64) for column in (places, labels, targets)]
    return gain[pays], whole[0] + start, whole[1], whole[2]
