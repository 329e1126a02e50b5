"""The seam between passes and where rows come from: rows that are away, and state that is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kmeans_xp import _exact
from kmeans_xp._backend import resolve
from kmeans_xp._effort import Effort
from kmeans_xp._exact import Accumulator, carry
from kmeans_xp._init import seed_centers
from kmeans_xp._outcome import Result, Rules
from kmeans_xp._problem import Training, training_over, training_problem
from kmeans_xp._search import search
from kmeans_xp._solver import lloyd
from kmeans_xp._sources import MemorySource
from kmeans_xp._typing import Block

STARTS = ("k-means++", "random", "random-partition", "k-means||")


class Away(MemorySource):
    """Rows that are there in a task alone; with losses tasks share nothing and state gets lost."""

    is_resident = False

    def __init__(self, *args: Any, losses: random.Random | None, **kwargs: Any) -> None:
        self.shares = losses is None
        self._losses, self._kept = losses, {}
        self._recipes: dict[str, list[Callable[[Block], object]]] = {}
        super().__init__(*args, **kwargs)
        self._pool = None

    def spans(self, most_rows: int, /) -> list[Block]:
        return [
            replace(block, x=None, weight=None, length=block.n_rows)
            for block in super().spans(most_rows)
        ]

    def map(self, task: Any, blocks: Sequence[Block] | None = None, /) -> list[Any]:
        return [self._run(task, block) for block in (self.blocks if blocks is None else blocks)]

    def _run(self, task: Any, block: Block) -> Any:
        rows = slice(block.start, block.start + block.n_rows)
        weight = None if self._weight is None else self._weight[rows]
        key = block.start, block.n_rows
        state = self._kept.pop(key, {})
        there = replace(block, x=self._x[rows, :], weight=weight, state=state)
        if self._losses is not None and self._losses.random() < 0.5:
            state.clear()
            for recipes in self._recipes.values():
                for recipe in recipes:
                    recipe(there)
        found = task(there)
        self._kept[key] = there.state
        return found

    def add_up(self, task: Any, words: int, blocks: Any = None, /) -> tuple[list[Any], Any]:
        def alone(block: Block) -> tuple[Any, Any]:
            sums = Accumulator(self.xp, words)
            return task(block, sums), sums.total()

        parts, totals = zip(*self.map(alone, blocks), strict=True)
        total = None
        for one in totals:
            if one is not None:
                total = one if total is None else carry(total + one, xp=self.xp)
        return list(parts), total

    def remake(self, name: str, task: Any, /, *, then: bool = False) -> None:
        self._recipes[name] = [*self._recipes[name], task] if then else [task]

    def collect(self, name: str, /) -> Any:
        return np.concatenate(self.map(lambda block: block.state[name]))

    def forget(self, *names: str) -> None:
        for name in names:
            self._recipes.pop(name, None)
            for state in self._kept.values():
                state.pop(name, None)


class Staying(Away):
    """Labels stay with the rows too."""

    def collect(self, name: str, /) -> None:
        """As dask's."""


def fit(problem: Training, start: str, rule: str, k: int) -> Result:
    centers = seed_centers(problem, start, k, 7)
    return lloyd(problem, centers, Rules(30, 0.0, rule), 3)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("rule", ["farthest", "random"])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_that_are_away_and_lost_state_change_no_bit(
    start: str, rule: str, weighted: bool
) -> None:
    rng = np.random.default_rng(5)
    x = np.round(rng.normal(size=(403, 3)) * 4) / 4
    x[::7] = x[0]
    weight = rng.integers(0, 4, 403).astype(np.float64) if weighted else None
    context, _ = resolve(x, None)
    k = 60
    problem = training_problem(x, weight, context, k)
    here = fit(problem, start, rule, k)

    there = fit(moved_away(problem, random.Random(1)), start, rule, k)
    check_same(here, there)


@pytest.mark.parametrize("start", ["k-means++", "k-means||"])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_that_come_and_go_are_screened_by_products_too(start: str, weighted: bool) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(9000, 8)) + 6 * rng.integers(0, 3, (9000, 1))
    weight = rng.random(9000) if weighted else None
    problem = training_problem(x, weight, resolve(x, None)[0], 12)
    here = fit(problem, start, "farthest", 12)
    check_same(here, fit(moved_away(problem, None), start, "farthest", 12))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_search_survives_what_is_lost(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(700, 2)) + 5 * rng.integers(0, 4, (700, 1))
    weight = rng.integers(0, 4, 700) * 0.3 if weighted else None
    problem = training_problem(x, weight, resolve(x, None)[0], 16)
    rules, ends = Rules(30, 0.0), []
    for kind, losses in ((None, None), (Staying, random.Random(2)), (Staying, None)):
        there = problem if kind is None else moved_away(problem, losses, kind)
        start = there.source.take(list(range(16)))
        best, trials = search(there, lloyd(there, start, rules, 3), rules, Effort(), 5)
        ends.append((best.centers.tobytes(), best.inertia, best.history, trials))
        # the others with totals of two words, as of many rows
        monkeypatch.setattr(_exact, "_ONE_WORD_ROWS", 1)
    assert {trial.kept for trial in trials} == {False, True}
    assert any(trial.exchanges > 0 for trial in trials)
    assert any(trial.swaps > 1 for trial in trials)
    assert ends[1] == ends[0]
    assert ends[2] == ends[0]


def moved_away(
    problem: Training, losses: random.Random | None, kind: type[Away] = Away
) -> Training:
    """The problem with its rows somewhere else, in blocks of an odd size."""
    source = problem.source
    assert isinstance(source, MemorySource)
    away = kind(
        source._x,
        source._weight,
        source.context,
        block_rows=source.n_rows // 4 - 3,
        piece_rows=40,
        losses=losses,
        weight_exponent=source.weight_exponent,
    )
    return training_over(away, problem.plan, problem.shape.n_clusters)


def check_same(here: Result, there: Result) -> None:
    assert here.centers.tobytes() == there.centers.tobytes()
    assert here.labels.tobytes() == there.labels.tobytes()
    assert here.inertia == there.inertia
    assert here.history == there.history
    assert here.n_distinct == there.n_distinct
