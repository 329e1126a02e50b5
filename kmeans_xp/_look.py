"""A look at a block's rows by the first rung: all of them, those in doubt, or a few groups of each.

Written once for every library; a kernel may have a way of its own.  For rows in doubt that keep
bounds for groups of centers (see `_groups`), ``u`` is first taken anew from the score of the own
center, which proves some labels by itself; then comes one product a group, with the rows that
need it.  The best score of a group other than the label's is the new bound of that group.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import array_api_compat

from ._bounds import OUTWARDS, Bounds, Drift, between
from ._groups import TABLE, Groups
from ._primitives import Nearest, Rung, exclusion_threshold, moved_rows
from ._typing import Array, Kernel, Namespace, slices, some

COMPACT_SHARE = 0.7  # above it, picking the rows costs more than scoring the others
_GROUP_VALUES = 1 << 19  # bounds of groups at a time


def look(
    kernel: Kernel, x: Array, nearest: Nearest, drift: Drift | None, state: dict[str, Any], /
) -> tuple[int, Array | None]:
    """Label a block's rows by the first rung: how many were scored, which are left open.

    With bounds and a drift, rows whose label is proven are passed over.
    """
    bounds = state.pop("bounds", None)
    if drift is not None and bounds is not None:
        doubt, count = kernel.unproven(bounds, state["labels"], drift)
        if count == 0:
            state["bounds"] = bounds
            return 0, None
        if drift.groups is not None and tells_apart(nearest, nearest.first, x):
            return count, _look_by_groups(kernel, x, nearest, drift, state, bounds, doubt, count)
        if count <= COMPACT_SHARE * int(x.shape[0]):
            return count, _look_again(kernel, x, nearest, drift, state, bounds, doubt, count)
    state["labels"], is_open, bounds = kernel.propose(x, nearest, state, drift)
    if bounds is not None:
        state["bounds"] = bounds
    return int(x.shape[0]), is_open


def tells_apart(nearest: Nearest, work: str, like: Array, /) -> bool:
    """Whether no center repeats another: else a group's bound would not speak of the repeat."""
    xp = array_api_compat.array_namespace(like)
    key = "tells apart", work
    if key not in nearest.notes:
        twinned = nearest.rung(work, xp=xp).twinned
        nearest.notes[key] = twinned is None or not bool(xp.any(twinned))
    return bool(nearest.notes[key])


def _look_again(
    kernel: Kernel,
    x: Array,
    nearest: Nearest,
    drift: Drift,
    state: dict[str, Any],
    bounds: Bounds,
    doubt: Array,
    count: int,
) -> Array | None:
    """Score the rows in doubt alone; leave which of the block's rows are open."""
    xp = array_api_compat.array_namespace(x)
    rows, _ = kernel.compress(doubt, count)
    labels, is_open, fresh = kernel.propose(some(x, rows, xp=xp), nearest, {}, drift)
    # the labels before are still asked for: they are not written over
    state["labels"] = kernel.put(xp.asarray(state["labels"], copy=True), doubt, rows, labels)
    if fresh is not None:
        pairs = zip(_sides(bounds), _sides(fresh), strict=True)
        state["bounds"] = Bounds(*(kernel.put(old, doubt, rows, new) for old, new in pairs))
    if is_open is None:
        return None
    return kernel.put(xp.zeros_like(doubt), doubt, rows, is_open)


def _sides(bounds: Bounds) -> tuple[Array, Array, Array]:
    return bounds.slack, bounds.upper, bounds.lower


def _look_by_groups(
    kernel: Kernel,
    x: Array,
    nearest: Nearest,
    drift: Drift,
    state: dict[str, Any],
    bounds: Bounds,
    doubt: Array,
    count: int,
) -> Array:
    """Score the rows in doubt against groups; leave which of the block's rows are open."""
    xp = array_api_compat.array_namespace(x)
    groups = drift.groups
    assert groups is not None
    if bounds.groups is None:
        shape = (int(x.shape[0]), groups.count)
        none = xp.full(
            shape, -float("inf"), dtype=bounds.slack.dtype, device=array_api_compat.device(x)
        )
        bounds = Bounds(*_sides(bounds), none)
    rows, _ = kernel.compress(doubt, count)
    parts = []
    for part in slices(int(rows.shape[0]), max(256, _GROUP_VALUES // groups.count)):
        few = rows[part]
        labels = xp.take(state["labels"], few)
        mine = Bounds(*(xp.take(side, few, axis=0) for side in vars(bounds).values()))
        parts.append(by_groups(kernel, some(x, few, xp=xp), labels, mine, nearest, drift))
    labels, is_open = (xp.concat([part[place] for part in parts]) for place in range(2))
    kept = [vars(part.bounds).values() for part in parts]
    fresh = [xp.concat(sides) for sides in zip(*kept, strict=True)]
    state["labels"] = kernel.put(xp.asarray(state["labels"], copy=True), doubt, rows, labels)
    pairs = zip(vars(bounds).values(), fresh, strict=True)
    state["bounds"] = Bounds(*(kernel.put(old, doubt, rows, new) for old, new in pairs))
    return kernel.put(xp.zeros_like(doubt), doubt, rows, is_open)


class ByGroups(NamedTuple):
    """Labels (int32), the rows left open, and all bounds of rows in doubt."""

    labels: Array
    open: Array
    bounds: Bounds


class _Scores(NamedTuple):
    """The best two scores of each row within each group, and whose the best is."""

    best: list[Array]
    second: list[Array]
    label: list[Array]


def by_groups(
    kernel: Kernel, x: Array, labels: Array, bounds: Bounds, nearest: Nearest, drift: Drift, /
) -> ByGroups:
    """Label rows that are in doubt by the groups that may hold their nearest center."""
    xp = array_api_compat.array_namespace(x)
    groups, tables = drift.groups, drift.tables
    assert groups is not None
    rung = nearest.rung(nearest.first, xp=xp)
    moved = moved_rows(x, rung, xp=xp)
    half = 0.5 * xp.sum(moved * moved, axis=1)
    own = xp.sum(moved * xp.take(rung.weights, labels, axis=0), axis=1)
    own = own + xp.take(rung.bias, labels)
    near = xp.astype(_near(own, half, rung, xp=xp), tables.dtype, copy=False)
    limits = (bounds.groups - groups.tables[1, :][None, :]) * (1.0 - TABLE)
    known = (bounds.lower - xp.take(tables[2, 1, :], labels)) * (1.0 - TABLE)
    known = xp.where(xp.min(limits, axis=1) > known, xp.min(limits, axis=1), known)
    is_proven = near < known
    number = xp.arange(groups.count, dtype=xp.int32, device=array_api_compat.device(x))
    home = xp.take(groups.home, labels)
    needs = ~(near[:, None] < limits) | (home[:, None] == number[None, :])
    needs = needs & ~is_proven[:, None]

    scores = _score(kernel, moved, needs, rung, groups, xp=xp)
    best, winner, found = scores.best[0], xp.zeros_like(home), scores.label[0]
    for g in range(1, groups.count):
        leads = scores.best[g] < best
        best = xp.where(leads, scores.best[g], best)
        winner = xp.where(leads, number[g], winner)
        found = xp.where(leads, scores.label[g], found)
    others = xp.stack(
        [xp.where(winner == g, scores.second[g], scores.best[g]) for g in range(groups.count)],
        axis=1,
    )
    room = exclusion_threshold(best, half, rung, xp=xp) - best
    is_open = ~is_proven & ~(best + room < xp.min(others, axis=1))
    far = half[:, None] + others - room[:, None]
    far = xp.sqrt(2.0 * xp.where(far > 0.0, far, xp.zeros_like(far))) * (1.0 - OUTWARDS)
    far = xp.astype(far, tables.dtype, copy=False)
    fresh = (far + groups.tables[0, :][None, :]) * (1.0 - TABLE)
    infinite = xp.full_like(near, float("inf"))
    fresh = xp.where(is_open[:, None], -infinite[:, None], xp.where(needs, fresh, bounds.groups))
    far = xp.min(xp.where(needs, far, limits), axis=1)
    far = xp.where(is_open, -infinite, xp.where(is_proven, known, far))
    anew = xp.astype(_near(best, half, rung, xp=xp), tables.dtype, copy=False)
    near = xp.where(is_open, infinite, xp.where(is_proven, near, anew))
    labels = xp.where(is_proven, labels, found)
    kept = between(near, far, labels, drift, xp=xp)
    return ByGroups(labels, is_open, Bounds(kept.slack, kept.upper, kept.lower, fresh))


def _near(score: Array, half: Array, rung: Rung, /, *, xp: Namespace) -> Array:
    """The distance to a center of this score is at most so much."""
    total = half + exclusion_threshold(score, half, rung, xp=xp)
    total = xp.where(total < 0.0, xp.zeros_like(total), total)
    return xp.sqrt(2.0 * total) * (1.0 + OUTWARDS)


def _score(
    kernel: Kernel, moved: Array, needs: Array, rung: Rung, groups: Groups, /, *, xp: Namespace
) -> _Scores:
    """Score rows against the groups that they need; infinite where they need none."""
    scores = _Scores([], [], [])
    infinite = xp.full_like(moved[:, 0], float("inf"))
    none = xp.zeros_like(infinite, dtype=xp.int32)
    for g in range(groups.count):
        members = groups.members[g, :]
        mask = needs[:, g]
        count = int(xp.count_nonzero(mask))
        parts = (infinite, infinite, none)
        if count:
            groups.tally.append(count * groups.size)
            rows, _ = kernel.compress(mask, count)
            weights = xp.take(rung.weights, members, axis=0)
            lower = xp.matmul(weights, xp.take(moved, rows, axis=0).T)
            bias = xp.take(rung.bias, members)
            bias = xp.where(groups.present[g, :], bias, xp.full_like(bias, float("inf")))
            found = _best_two(lower + bias[:, None], members, xp=xp)
            pairs = zip(parts, found, strict=True)
            parts = tuple(
                kernel.put(xp.asarray(old, copy=True), mask, rows, new) for old, new in pairs
            )
        for kept, part in zip(scores, parts, strict=True):
            kept.append(part)
    return scores


def _best_two(lower: Array, members: Array, /, *, xp: Namespace) -> tuple[Array, Array, Array]:
    """The best and second-best score of each row, and the best center."""
    place = xp.argmin(lower, axis=0)
    number = xp.arange(
        int(lower.shape[0]), dtype=place.dtype, device=array_api_compat.device(lower)
    )
    is_best = number[:, None] == place[None, :]
    rest = xp.where(is_best, xp.full_like(lower, float("inf")), lower)
    return xp.min(lower, axis=0), xp.min(rest, axis=0), xp.take(members, place)
