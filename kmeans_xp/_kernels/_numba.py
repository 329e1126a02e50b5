"""The NumPy kernel with compiled inner loops: no matrix of scores."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _primitives as p
from .._bounds import Bounds, Drift, Proposal
from .._gains import Appraisal, Trials
from .._typing import Array, Block, Source, slices
from . import (
    _add_loops,
    _center_loops,
    _group_loops,
    _head_loops,
    _loops,
    _mean_loops,
    _numba_gains,
    _own_loops,
)
from ._group_centers import in_groups
from ._head import HeadCenters, Heads
from ._numba_gains import CompiledTrials
from ._numpy import NumpyKernel
from ._price import Account, Kind
from ._survey import CompiledSurveyor
from ._tile import GROUP, LANES, PART

_FEW_DISTANCES = 1 << 13
_NO_TABLES = np.zeros((3, 2, 0), dtype=np.float32)
_COPIED_VALUES = 1 << 15
_NOTHING, _NO_LABELS = np.empty(0), np.empty(0, dtype=np.int32)

_SECONDS_A_SCORE = 2.3e-11  # and feature, by tiles
_COMPILE_SECONDS = 3.0

HEADS = Account("_head_loops.score_heads", _COMPILE_SECONDS)
GROUPS = Account("_group_loops.score_groups", _COMPILE_SECONDS)
"""Whether loops that few fits need are worth having: until then, tiles score the rows."""


@dataclass(frozen=True)
class _Ready:
    """The centers of a sweep as the loops want them."""

    frame: _loops.Frame
    panels: Array  # (groups, d, GROUP)
    bias: Array  # (groups * GROUP,), infinite for padding and for repeats
    twinned: Array  # (k,)

    def score(self, tables: Array, x: Array, rows: Array, state: tuple[Array, ...]) -> int:
        """Label the listed rows; how many of them stay open."""
        centers = self.panels, self.bias, self.twinned
        return int(_loops.score_rows(self.frame, centers, tables, x, rows, state))


class NumbaKernel(NumpyKernel):
    """Scores a tile of rows at a time; see `_loops` and `_tile`."""

    name = "numba"

    def __init__(self) -> None:
        super().__init__()
        self.surveyor = CompiledSurveyor(self._xp, NumbaKernel)
        self._lock = threading.Lock()
        self.heads = Heads()

    def prepare(self, nearest: p.Nearest, /) -> None:
        # here and not in a thread, whose memory would keep room for it; rows have this dtype too
        self._ready(nearest, nearest.first, nearest.centers)

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        """By float64 tiles, unless rows are few; what these leave open by canonical distances."""
        n_rows, scale = int(x.shape[0]), nearest.scale
        labels, is_open = np.empty(n_rows, np.int32), np.zeros(n_rows, np.bool_)
        if x.size * nearest.centers.shape[0] <= _FEW_DISTANCES:
            _center_loops.settle_rows(x, nearest.centers, scale.before, scale.after, labels)
            return labels
        none = np.empty(0, np.float32)
        ready = self._ready(nearest, "float64", x)
        rows = np.arange(n_rows, dtype=np.int32)
        if ready.score(_NO_TABLES, x, rows, (labels, none, none, none, is_open)):
            labels[is_open] = super().settle(x[is_open], nearest)
        return labels

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], drift: Drift | None = None, /
    ) -> Proposal:
        if nearest.first == "exact":
            return super().propose(x, nearest, notes, drift)
        state: dict[str, Any] = {}
        _, is_open = self.look(x, nearest, drift, state)
        return Proposal(state["labels"], is_open, state.get("bounds"))

    def look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        if nearest.first == "exact":
            return super().look(x, nearest, drift, state)
        bounds = state.pop("bounds", None)
        ready = self._ready(nearest, nearest.first, x)
        n_rows = int(x.shape[0])
        tables = _NO_TABLES if drift is None else drift.tables
        limits = self._limits(nearest, ready, x, drift, bounds, state)
        if drift is None or bounds is None:
            rows = np.arange(n_rows, dtype=np.int32)
            labels = state["labels"].copy() if "labels" in state else np.empty(n_rows, np.int32)
            kept = _three(0 if drift is None else n_rows, tables.dtype)
        else:
            labels, kept = state["labels"].copy(), (bounds.slack, bounds.upper, bounds.lower)
            apart = self._apart(nearest, x, ready)
            rows = np.empty(n_rows, np.int32)
            rows = rows[: _loops.list_doubtful(apart, tables, (labels, *kept), rows)]
        is_open = np.zeros(n_rows, dtype=np.bool_)
        scored = labels, *kept, is_open
        if drift is None or limits is None:
            count = rows.size
            done, left = self._score_heads(nearest, ready, tables, x, rows, scored, state)
            left += ready.score(tables, x, rows[done:], scored)
        else:
            count, left = self._score_groups(nearest, ready, drift, x, rows, scored, limits)
        state["labels"] = labels
        if drift is not None:
            state["bounds"] = Bounds(*kept, limits)
        return count, is_open if left else None

    def _limits(
        self,
        nearest: p.Nearest,
        ready: _Ready,
        x: Array,
        drift: Drift | None,
        bounds: Bounds | None,
        state: dict[str, Any],
    ) -> Array | None:
        """The bounds of groups that rows keep, as yet none perhaps; None to go without."""
        if drift is None or bounds is None or drift.groups is None or ready.twinned.any():
            return None
        if self._head_centers(nearest, x, state) is not None:
            return None
        if bounds.groups is not None:
            return bounds.groups
        if not GROUPS.pays(Kind.of(x), _scoring_seconds(nearest, x)):
            return None
        shape = bounds.slack.size, -(-drift.groups.count // LANES) * LANES
        return np.full(shape, -np.inf, dtype=bounds.slack.dtype)

    def _score_groups(
        self,
        nearest: p.Nearest,
        ready: _Ready,
        drift: Drift,
        x: Array,
        rows: Array,
        scored: tuple[Array, ...],
        limits: Array,
    ) -> tuple[int, int]:
        """Label rows by groups: how many were scored, how many of them stay open."""
        groups = drift.groups
        assert groups is not None
        key, rung = ("numba groups", x.dtype), self._rung(nearest)
        with self._lock:
            if key not in nearest.notes:
                nearest.notes[key] = in_groups(rung, groups)
            centers, spent = nearest.notes[key]
        about = groups.home, groups.members, spent
        count, left, pairs = _group_loops.score_groups(
            ready.frame, centers, about, drift.tables, x, rows, scored, limits
        )
        groups.tally.append(pairs * groups.size)
        return int(count), int(left)

    def _head_centers(
        self, nearest: p.Nearest, x: Array, state: dict[str, Any]
    ) -> HeadCenters | None:
        """The heads of the centers, as long as they pay."""
        if not self.heads.serve(nearest, state):
            return None
        if not HEADS.pays(Kind.of(x), _scoring_seconds(nearest, x)):
            return None
        return self.heads.begin(nearest, self._rung(nearest))

    def _score_heads(
        self,
        nearest: p.Nearest,
        ready: _Ready,
        tables: Array,
        x: Array,
        rows: Array,
        scored: tuple[Array, ...],
        state: dict[str, Any],
    ) -> tuple[int, int]:
        """Label by heads as long as it pays: how many of the rows, how many of them stay open."""
        centers = self._head_centers(nearest, x, state)
        if centers is None:
            return 0, 0
        rung = self._rung(nearest)
        full = centers.weights, rung.bias, ready.twinned
        terms = centers.terms[int(tables is _NO_TABLES)]
        done = left = 0
        while (part := self.heads.next_part(rows[done:])).size:
            heads = self.heads.of(x, rung, centers.reach, state, part)
            head = heads, centers.panels, centers.bias, terms
            more, scores = _head_loops.score_heads(ready.frame, full, head, tables, x, part, scored)
            self.heads.learn(part.size, scores, x.shape[1], centers, ready.twinned.size)
            done, left = done + part.size, left + more
        return done, left

    def trials(self, nearest: p.Nearest, seeds: Sequence[int], source: Source, /) -> Trials:
        if _numba_gains.pays(nearest, source):
            return _numba_gains.make_trials(nearest, seeds, source)
        return super().trials(nearest, seeds, source)

    def appraise(
        self, x: Array, weight: Array | None, state: dict[str, Any], trials: Trials, /
    ) -> Appraisal:
        if isinstance(trials, CompiledTrials):
            return _numba_gains.appraise(x, weight, state, trials)
        return super().appraise(x, weight, state, trials)

    def gained(self, block: Block, trials: Trials, trial: int, lottery: Any, /) -> int:
        if isinstance(trials, CompiledTrials):
            return _numba_gains.gained(block, trials, trial, lottery)
        return super().gained(block, trials, trial, lottery)

    def improve(
        self, block: Block, trials: Trials, trial: int, number: int, lottery: Any, /
    ) -> None:
        if isinstance(trials, CompiledTrials):
            _numba_gains.improve(block, trials, trial, number, lottery)
        else:
            super().improve(block, trials, trial, number, lottery)

    def add_changes(
        self, block: Block, before: Array | None, ledger: Any, n_clusters: int, sums: Any, /
    ) -> int | None:
        weight, labels = block.weight, block.state["labels"]
        weight = _NOTHING if weight is None else weight
        before = _NO_LABELS if before is None else before
        carrying = 0
        with sums.lend((n_clusters, ledger.n_columns), 2 * block.n_rows) as out:
            for part, x in _in_rows(block.x):
                carrying += _add_loops.add_rows(
                    x, weight[part], before[part], labels[part], ledger.scales, out
                )
        return carrying

    def means(
        self, totals: Array, weights: Array, features: int, limbs: int, /, **kind: bool
    ) -> Array:
        out = np.empty((weights.shape[0], features))
        _mean_loops.divide(totals, weights, limbs, kind["short"], out)
        return out

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array | None = None, /) -> Array:
        out, scale = np.empty(x.shape[0]), nearest.scale
        labels = np.arange(x.shape[0], dtype=np.int32) if labels is None else labels
        with self._lock:
            if "numba wide" not in nearest.notes:
                nearest.notes["numba wide"] = np.multiply(
                    nearest.centers, scale.before, order="C", dtype=np.float64
                )
        centers = nearest.notes["numba wide"]
        for part, rows in _in_rows(x):
            _own_loops.own_distances(
                rows, centers, labels[part], scale.before, scale.after, out[part]
            )
        return out

    def limb_sums(self, values: Array, up: float, /) -> tuple[int, int]:
        high, low = _own_loops.two_limbs(values, up)
        return int(high), int(low)

    def _ready(self, nearest: p.Nearest, work: str, x: Array) -> _Ready:
        key = "numba", work, x.dtype
        with self._lock:
            if key not in nearest.notes:
                nearest.notes[key] = _prepare(nearest, np.dtype(work), x.dtype)
            ready: _Ready = nearest.notes[key]
            return ready

    def _rung(self, nearest: p.Nearest) -> p.Rung:
        """The centers as `_primitives` wants them, with the errors of tiles."""
        depth = _depth(nearest.centers.shape[1])
        with self._lock:
            return nearest.rung(nearest.first, xp=self._xp, depth=depth)

    def _apart(self, nearest: p.Nearest, x: Array, ready: _Ready) -> Array:
        """Each center is at least so far from every other (k,)."""
        key = "numba apart", x.dtype
        with self._lock:
            if key not in nearest.notes:
                nearest.notes[key] = _distances_apart(nearest.centers.astype(x.dtype), ready)
            apart: Array = nearest.notes[key]
            return apart


def _in_rows(x: Array) -> Iterator[tuple[slice, Array]]:
    """Rows whose features lie side by side: x itself, or copies of a few at a time."""
    if x.strides[1] == x.itemsize and x.strides[0] % x.itemsize == 0:
        yield slice(None), x
        return
    for part in slices(x.shape[0], max(1, _COPIED_VALUES // x.shape[1])):
        yield part, np.ascontiguousarray(x[part])


def _scoring_seconds(nearest: p.Nearest, x: Array) -> float:
    """What a sweep over some rows takes by tiles, at most."""
    return float(x.size * nearest.centers.shape[0] * _SECONDS_A_SCORE)


def _depth(n_features: int) -> int:
    """How many additions deep the sums of a tile are."""
    return min(n_features, PART + -(-n_features // PART))


def _prepare(nearest: p.Nearest, work: np.dtype[Any], dtype: np.dtype[Any]) -> _Ready:
    k, d = nearest.centers.shape
    groups, twinned = -(-k // GROUP), np.empty(k, np.bool_)
    panels, bias = np.empty((groups, d, GROUP), work), np.empty(groups * GROUP, work)
    errors = p.errors(nearest, work.name, _depth(d))
    frame = _loops.make_frame(nearest, errors, work, dtype)
    factor, share = nearest.scale.factor, 0.5 - errors[0]
    _center_loops.fill_panels(nearest.centers, frame[0], factor, share, panels, bias)
    _center_loops.mark_repeats(nearest.centers, bias, twinned)
    return _Ready(frame, panels, bias, twinned)


def _three(n_rows: int, dtype: Any) -> tuple[Array, Array, Array]:
    """Room for the bounds of rows."""
    return np.empty(n_rows, dtype), np.empty(n_rows, dtype), np.empty(n_rows, dtype)


def _distances_apart(centers: Array, ready: _Ready) -> Array:
    """The centers scored as rows: what is beyond their own is every other one."""
    k = centers.shape[0]
    lower, spare = np.empty(k), np.empty(k)
    state = np.empty(k, np.int32), spare, spare, lower, np.zeros(k, np.bool_)
    ready.score(np.zeros((3, 2, k)), centers, np.arange(k, dtype=np.int32), state)
    return lower
