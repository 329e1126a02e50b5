"""Objectives that must not rise: what the relatives' ways compare, and in which units."""

from __future__ import annotations

from dataclasses import replace

from .._distances import Scale
from .._outcome import Status
from .._primitives import Nearest
from .._problem import Training
from .._solver import State


def relative(problem: Training, nearest: Nearest, /) -> Scale:
    """The scale of distances relative to that of the rows: in its units nothing overflows."""
    return Scale(nearest.scale.factor / problem.summary.variance_scale.factor)


def in_units_of_rows(problem: Training, value: float, /) -> float:
    """An objective in the units of the rows, where it may be too large or small for a number."""
    factor = problem.summary.variance_scale.factor
    return value / factor / factor


def falls(state: State, value: float, /) -> bool:
    """Whether an objective is lower than that of the centers before, if there were any."""
    return state.before is None or state.value is None or value < state.value


def ended(state: State, /) -> State:
    """A run whose last centers were no better than those before, by a rounding: it had ended."""
    assert state.before is not None
    return replace(state, centers=state.before, before=None, status=Status.OBJECTIVE)
