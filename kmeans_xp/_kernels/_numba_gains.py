"""Seeding in compiled loops: candidates appraised and accepted without a temporary a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._gains import Appraisal, Trials, bounded
from .._primitives import UNIT_ROUNDOFF, Nearest, Rung, errors
from .._typing import Array, Block, Source
from . import _gain_loops
from ._gain_tile import ROWS, TRIALS
from ._numpy_scores import half_norms
from ._price import PER_SCORE, SECONDS_A_UNIT, Account, Kind

_NOTHING = np.empty(0)
_NO_TOTALS = np.empty(0, dtype=np.int64)
_COMPILE_SECONDS = 3.0


@dataclass(frozen=True)
class CompiledTrials(Trials):
    """Candidates as the loops want them."""

    frame: tuple[Any, ...]  # shift, scale, factors and term of M
    panels: Array  # (groups, d, TRIALS)
    bias: Array  # (groups * TRIALS,), infinite for padding


@dataclass(frozen=True)
class _Listed:
    """Rows that the limits left, and a bit for each candidate by which one may gain."""

    rows: Array  # (count,)
    marks: Array  # (groups, n_rows or more)
    buffers: tuple[Array, ...]


ACCOUNT = Account("_gain_loops.appraise_rows", _COMPILE_SECONDS)
"""Whether the loops of seeding are worth having; see `_meter`."""


def pays(nearest: Nearest, source: Source) -> bool:
    """Whether one more step should use compiled loops."""
    work = source.n_rows * len(nearest.centers) * (source.n_features + PER_SCORE)
    return ACCOUNT.pays(Kind.of(source.sample), work * SECONDS_A_UNIT)


def make_trials(nearest: Nearest, seeds: Sequence[int], source: Source) -> CompiledTrials:
    """As `_gains.make_trials`."""
    (count, d), scale = nearest.centers.shape, nearest.scale
    theta, canonical, underflow = errors(nearest, nearest.first, d)
    work = np.dtype(nearest.first)
    groups = -(-count // TRIALS)
    weights = np.empty((count, d), dtype=work)
    panels, bias = np.empty((groups, d, TRIALS), work), np.empty(groups * TRIALS, work)
    limits = np.empty(len(seeds))
    shift = None if nearest.shift is None else nearest.shift.astype(work)
    # as in the proof of `_gains`, for sums of squares in any order
    share = 0.25 - 4.0 * canonical - 0.25 * (d + 8) * UNIT_ROUNDOFF["float64"]
    _gain_loops.prepare(
        nearest.centers,
        source.take(seeds),
        np.zeros(d) if shift is None else shift.astype(np.float64),
        (scale.before, scale.after),
        theta,
        share,
        (weights, panels, bias, limits),
    )
    rung = Rung(
        weights=weights,
        bias=bias[:count],
        twinned=None,
        shift=shift,
        origin=nearest.shift,
        scale=scale.factor,
        theta=theta,
        canonical=canonical,
        underflow=underflow,
    )
    wide = np.result_type(nearest.centers.dtype, work)
    moves = shift is not None or scale.factor != 1.0
    shift = np.zeros(d if moves else 0, wide) if shift is None else shift.astype(wide)
    terms = np.asarray([0.5 * (1.0 + 4.0 * theta), 1.0 - 5.0 * theta, underflow], dtype=work)
    frame = shift, wide.type(scale.factor), terms
    return CompiledTrials(nearest, rung, limits, 0, frame, panels, bias)


def appraise(
    x: Array, weight: Array | None, state: dict[str, Any], trials: CompiledTrials
) -> Appraisal:
    """As `_gains.appraise`; what is left in ``state["trial"]`` is for `gained` and `improve`."""
    count, n_rows = len(trials.rung.bias), x.shape[0]
    rows, margins, marks = _buffers(state, n_rows, len(trials.panels), trials.panels.dtype)
    half = half_norms(x, trials.rung, state)
    closest = state["closest"]
    rows = rows[: _gain_loops.list_reached(closest, state["seeds"], trials.limits, rows)]
    state["trial"] = _Listed(rows, marks, state["trial"].buffers)
    sums = np.zeros(trials.bias.size)
    pairs, margin, longest = _gain_loops.appraise_rows(
        trials.frame,
        (trials.panels, trials.bias),
        x,
        _NOTHING if weight is None else weight,
        closest,
        half,
        rows,
        (margins, marks, sums, np.empty((ROWS, x.shape[1]), margins.dtype)),
    )
    width = trials.width(float(margin), float(longest), float(trials.rung.bias.max()))
    high = (2.0 * sums[:count]).tolist()
    # eight rows are added up in the precision of the product, what they make in float64
    terms = ROWS if margins.dtype == np.float32 else rows.size
    return bounded(high, terms, UNIT_ROUNDOFF[margins.dtype.name], width, pairs)


def _buffers(state: dict[str, Any], n_rows: int, groups: int, work: Any) -> tuple[Array, ...]:
    """Arrays for a block, kept from step to step."""
    listed = state.get("trial")
    if isinstance(listed, _Listed):
        buffers = listed.buffers
        if len(buffers[2]) >= groups and buffers[1].dtype == work:
            return buffers
    padded = -(-n_rows // ROWS) * ROWS
    buffers = (
        np.empty(n_rows, np.int32),
        np.empty(n_rows + ROWS, work),
        np.empty((groups, padded), np.uint8),
    )
    state["trial"] = _Listed(buffers[0], buffers[2], buffers)
    return buffers


def gained(block: Block, trials: CompiledTrials, trial: int, lottery: Any) -> int:
    """As `_compare.gained`."""
    return _compare(block, trials, trial, -1, lottery, _NO_TOTALS, 1)


def improve(block: Block, trials: CompiledTrials, trial: int, number: int, lottery: Any) -> None:
    """As `_compare.improve`."""
    _compare(block, trials, trial, number, lottery, *lottery.pieces(block))


def _compare(
    block: Block,
    trials: CompiledTrials,
    trial: int,
    number: int,
    lottery: Any,
    totals: Array,
    size: int,
) -> int:
    listed, scale = block.state["trial"], trials.nearest.scale
    found = _gain_loops.compare_rows(
        block.x,
        _NOTHING if block.weight is None else block.weight,
        trials.nearest.centers[trial],
        (scale.before, scale.after),
        (lottery.units.up, lottery.units.more),
        (listed.rows, listed.marks[trial // TRIALS]),
        trial % TRIALS,
        number,
        (block.state["closest"], block.state["seeds"]),
        totals,
        size,
    )
    return int(found)
