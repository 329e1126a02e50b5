"""What tests of the search share: planted bad starts, and what is found from them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from cases import CASES
from conftest import Backend, make_backend
from engine import opened, problem_of, solve

from kmeans_xp import Trial
from kmeans_xp._effort import Effort
from kmeans_xp._outcome import Result, Rules
from kmeans_xp._search import search

RULES = Rules(max_iter=50, tol=0.0)
TRUE = np.asarray([[0, 0], [10, 0], [0, 10], [10, 10], [20, 0], [20, 10]], dtype=np.float64)


def planted(dtype: Any = np.float64, rows: int = 40) -> tuple[Any, Any]:
    """Six groups, and a start with two centers in the first and one for the last two."""
    random = np.random.default_rng(1)
    x = np.concatenate([center + random.normal(size=(rows, 2)) for center in TRUE])
    start = np.concatenate([TRUE[:4], [TRUE[4:].mean(axis=0), [0.0, 0.5]]])
    return x.astype(dtype), start.astype(dtype)


def found_by(
    backend: Backend,
    x: Any,
    start: Any,
    weight: Any = None,
    effort: Effort | None = None,
    **plan: Any,
) -> tuple[Result, Result, list[Trial]]:
    """The plain run, what the search makes of it, and its trials."""
    with opened(backend):
        problem = problem_of(backend, x, weight, k=len(start), variance=True, **plan)
        plain = solve(problem, backend.array(start), RULES)
        with problem.source.working():
            best, trials = search(problem, plain, RULES, effort or Effort(), 7)
        return plain, best, trials


def bits(backend: Backend, result: Result, trials: list[Trial]) -> Any:
    labels, centers = backend.host(result.labels), backend.host(result.centers)
    return labels.tobytes(), centers.tobytes(), result.inertia, result.n_iter, trials


@functools.cache
def standard(case: str, weighted: bool) -> Any:
    return answer(make_backend("numpy"), case, weighted)


def answer(backend: Backend, case: str, weighted: bool, **plan: Any) -> Any:
    rows = {"planted": 250, "few": 20}
    x, start = planted(np.float32, rows[case]) if case in rows else CASES[case]()
    weight = np.random.default_rng(3).integers(0, 4, len(x)) / 3.0 if weighted else None
    _, best, trials = found_by(backend, x, start, weight, Effort(16), **plan)
    return bits(backend, best, trials)


class Keys:
    """A callback that acts in the iterations of the search, at the given one."""

    def __init__(self, at: int, *, raises: bool) -> None:
        self.at, self.raises, self.runs, self.count = at, raises, 0, 0

    def __call__(self, record: Any, centers: Any) -> bool:
        self.runs += record.iteration == 1
        self.count += self.runs > 1
        if self.count == self.at and self.raises:
            raise KeyboardInterrupt
        return self.count == self.at
