"""What a run hands over to one that starts near its end: labels, sums, and bounds.

After a swap (see `_search`) a few centers have jumped, and all others stand where they stood.  A
row of another cluster than those keeps its label unless a center that jumped came near: within u
of its own center, and beyond l of every other, it is beyond the smaller of l and the distance of
the nearest of those that jumped, wherever they stood before.  So one product with these few
centers gives the rows bounds for the new start.  In doubt are, beside the rows of the clusters that
were broken up, those that the product says nothing certain of, and the first sweep scores these
alone.  The sums follow from the rows that change.  Centers that moved a little are dealt with by
the drift, as within a run.

The lower bound of a distance by a product is that of a loser in `_bounds`.  What is found is what a
run from nothing finds, bit for bit; its first record counts all rows as changed, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import _exact as exact
from ._bounds import OUTWARDS, Bounds, Drift, between, drifted
from ._groups import TABLE
from ._outcome import Handover, Known, Status
from ._primitives import Rung, build_rung, exclusion_threshold
from ._problem import Training
from ._typing import Array, Block, Namespace, slices

_LEAST_SHARE = 4  # centers to one that jumped, below which a run begins from nothing
_MOST_SCORES = 1 << 18
_LEAST_PAIRS = 1 << 19  # of a row and a center, below which a sweep takes no longer than all this


@dataclass(frozen=True)
class Near:
    """The end of a run whose bounds the blocks hold, its labels, and the centers that jump."""

    end: Handover
    labels: Array
    jumped: Sequence[int] = ()


def begin_with(problem: Training, known: Known, centers: Array, /) -> Array:
    """Let rows have the labels before; their sums, with room for the new centers."""
    xp = problem.context.xp
    for block in problem.source.blocks:
        block.state["labels"] = known.before[block.start : block.start + block.n_rows]
    words, k, columns = known.totals.shape
    more = (words, int(centers.shape[0]) - k, columns)
    none = xp.zeros(more, dtype=xp.int64, device=problem.context.device)
    return xp.concat([known.totals, none], axis=1)


def handed_over(
    problem: Training, centers: Array, totals: Array | None, status: Status, /
) -> Handover | None:
    """What the run leaves that ended now; None where rows keep no bounds by its centers.

    On a GPU a pass over all rows takes less than what few of them would be spared by.
    """
    drift, source = problem.pruner.drift, problem.source
    if totals is None or drift is None or status is Status.INTERRUPTED:
        return None
    if problem.is_wide or not source.is_resident or problem.context.gpu is not None:
        return None
    if source.n_rows * int(centers.shape[0]) < _LEAST_PAIRS:
        return None
    if any("bounds" not in block.state for block in source.blocks):
        return None
    return Handover(centers, totals, drift, problem.frame.scale)


def hold(problem: Training, end: Handover | None, /) -> Handover | None:
    """Let blocks hold the bounds of the last run through others; None where it left none."""
    source = problem.source
    source.forget("resting")
    if end is None or problem.pruner.drift is not end.drift:
        return None
    if any("bounds" not in block.state for block in source.blocks):
        return None
    for block in source.blocks:
        block.state["resting"] = block.state.pop("bounds")
    return end


def take_over(problem: Training, near: Near, centers: Array, /) -> Array | None:
    """Begin new centers where a run ended: labels and bounds; the sums by these labels.

    None where there is nothing to begin with, or it would not pay.
    """
    xp, source, end = problem.context.xp, problem.source, near.end
    count = int(centers.shape[0])
    if _LEAST_SHARE * len(near.jumped) > count or not _is_held(problem, end):
        return None
    mask = np.zeros(count, dtype=np.bool_)
    mask[list(near.jumped)] = True
    has_jumped = exact.to_device(mask, centers, xp=xp)
    drift, rung = _drift_to(problem, end, centers, has_jumped), None
    if near.jumped:
        few = problem.nearest_to(_some(centers, near.jumped, problem), screens=False)
        if few.first == "exact":
            return None
        rung = build_rung(few, few.first, source.n_features, xp=xp, told_apart=True)

    def task(block: Block) -> None:
        mine = near.labels[block.start : block.start + block.n_rows]
        block.state["labels"] = mine
        block.state["bounds"] = _bounds(problem, block, mine, has_jumped, rung, drift)

    source.map(task)
    problem.pruner.resume(drift, end.scale.factor)
    return end.totals


@dataclass(frozen=True)
class Edges:
    """How far rows are at most from their own centers, and at least from all others."""

    drift: Drift
    apart: Array | None

    def of(self, block: Block, /, *, xp: Namespace) -> tuple[Array, Array]:
        """Those of all rows of a block, by the labels in its state."""
        labels = block.state["labels"]
        upper, lower = _edges(block, labels, self.drift, xp=xp)
        return upper, self.beyond(lower, upper, labels, xp=xp)

    def beyond(self, lower: Array, upper: Array, labels: Array, /, *, xp: Namespace) -> Array:
        """Rows so near to their own centers are at least so far from others.

        Rows well within their clusters are passed over without a look at what they keep.
        """
        if self.apart is None:
            return lower
        far = xp.astype(xp.take(self.apart, labels), lower.dtype, copy=False) - upper
        return xp.where(far > lower, far, lower)


def edges(problem: Training, end: Handover, centers: Array, /) -> Edges | None:
    """Edges for centers near those of the end; None where no block holds its bounds."""
    if not _is_held(problem, end):
        return None
    return Edges(_drift_to(problem, end, centers, None), _apart(problem, centers))


def _apart(problem: Training, centers: Array) -> Array | None:
    """Each center is at least so far from all others (k,); None without a product of dense rows."""
    nearest = problem.nearest_to(centers, screens=False)
    if nearest.first == "exact" or problem.source.is_stored:
        return None
    xp, source, parts = problem.context.xp, problem.source, []
    rung = build_rung(nearest, nearest.first, source.n_features, xp=xp, told_apart=True)
    count = int(centers.shape[0])
    numbers = exact.to_device(np.arange(count), centers, xp=xp)
    for part in slices(count, max(256, _MOST_SCORES // count)):
        scores, half = problem.kernel.screen(centers[part, :], rung, {})
        is_own = numbers[:, None] == numbers[part][None, :]
        best = xp.min(xp.where(is_own, xp.full_like(scores, float("inf")), scores), axis=0)
        parts.append(_far(best, half, rung, xp=xp))
    return xp.concat(parts) * (1.0 - TABLE)


def _is_held(problem: Training, end: Handover) -> bool:
    """Whether blocks (which may have been cut anew) hold bounds, in the scale of now."""
    held = all("resting" in block.state for block in problem.source.blocks)
    return held and not problem.is_wide and problem.frame.scale == end.scale


def _drift_to(problem: Training, end: Handover, centers: Array, has_jumped: Array | None) -> Drift:
    """The drift once the centers have moved there, but for those that jumped."""
    xp = problem.context.xp
    before = problem.nearest_to(end.centers, screens=False)
    moves = problem.kernel.own_distances(centers, before)
    if has_jumped is not None:
        moves = xp.where(has_jumped, xp.zeros_like(moves), moves)
    return drifted(end.drift.ungrouped(), moves, xp=xp)


def _some(centers: Array, numbers: Sequence[int], problem: Training) -> Array:
    """These centers; the first comes again up to a power of two, so that few shapes occur."""
    size = 1 << (len(numbers) - 1).bit_length()
    padded = [*numbers, *[numbers[0]] * (size - len(numbers))]
    place = exact.to_device(np.asarray(padded), centers, xp=problem.context.xp)
    return problem.context.xp.take(centers, place, axis=0)


def _bounds(
    problem: Training,
    block: Block,
    labels: Array,
    has_jumped: Array,
    rung: Rung | None,
    drift: Drift,
) -> Bounds:
    """The bounds of a block's rows; none for the clusters whose centers have jumped."""
    xp = problem.context.xp
    upper, lower = _edges(block, labels, drift, xp=xp)
    if rung is not None:
        far = xp.astype(_beyond(problem, block, rung), lower.dtype, copy=False)
        lower = xp.where(far < lower, far, lower)
        is_gone = xp.take(has_jumped, labels)
        infinite = xp.full_like(lower, float("inf"))
        upper, lower = xp.where(is_gone, infinite, upper), xp.where(is_gone, -infinite, lower)
    return between(upper, lower, labels, drift, xp=xp)


def _edges(block: Block, labels: Array, drift: Drift, /, *, xp: Namespace) -> tuple[Array, Array]:
    """Rows are at most so far from their own centers, and at least so far from all others."""
    held, tables = block.state["resting"], drift.tables
    upper = (held.upper + xp.take(tables[1, 1, :], labels)) * (1.0 + TABLE)
    return upper, (held.lower - xp.take(tables[2, 1, :], labels)) * (1.0 - TABLE)


def _beyond(problem: Training, block: Block, rung: Rung) -> Array:
    """All centers of a rung are at least so far from each row."""
    xp, parts = problem.context.xp, []
    for part in slices(block.n_rows, max(256, _MOST_SCORES // int(rung.bias.shape[0]))):
        scores, half = problem.kernel.screen(block.x[part, :], rung, {})
        parts.append(_far(xp.min(scores, axis=0), half, rung, xp=xp))
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def _far(score: Array, half: Array, rung: Rung, /, *, xp: Namespace) -> Array:
    """The distance to a center of this score, or a larger one, is at least so much."""
    far = half + score - (exclusion_threshold(score, half, rung, xp=xp) - score)
    # what is no number proves nothing
    far = xp.where(far > 0.0, far, xp.zeros_like(far))
    return xp.sqrt(2.0 * far) * (1.0 - OUTWARDS)
