"""Groups of centers: nothing changes, and every bound holds exactly."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import oracle
import pytest
from conftest import Backend, make_backend
from engine import opened, problem_of, solve
from group_cases import LOOPS, SETS, Case, K, Rows, crowd, ties, twins
from test_pruning import _drifting, _need

from kmeans_xp import _bounds, _pruning
from kmeans_xp._distances import squared_distances
from kmeans_xp._outcome import Rules
from kmeans_xp._pruning import Pruner


@pytest.fixture(autouse=True)
def loops_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else heads and groups wait until they have paid for their compiled loops."""
    monkeypatch.setenv("KMEANS_XP_NUMBA", "1")


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Groups after every second sweep, whether they pay or not; the pairs that they scored."""
    pairs: list[int] = []
    learn = Pruner.learn

    def watched(self: Pruner, scored: int, n_rows: int, /) -> None:
        if self._drift is not None and self._drift.groups is not None:
            pairs.extend(self._drift.groups.tally)
        learn(self, scored, n_rows)

    monkeypatch.setattr(Pruner, "learn", watched)
    monkeypatch.setattr(_pruning, "_DOUBTFUL_SHARE", -1.0)
    monkeypatch.setattr(_pruning, "_WORTH", np.inf)
    monkeypatch.setattr(_pruning, "_POOR_SHARE", np.inf)
    return pairs


def _fit(xp: Backend, case: Case, size: int, rules: Rules, **options: Any) -> list[Any]:
    x, start, weight = case
    with opened(xp):
        problem = problem_of(xp, x, weight, k=len(start), group_size=size, **options)
        result = solve(problem, xp.array(start), rules)
    return [
        xp.host(result.labels).tolist(),
        xp.host(result.centers).tolist(),
        result.inertia,
        result.n_iter,
        result.status,
        [(record.changed, record.shift) for record in result.history],
    ]


@pytest.mark.parametrize("name", ["crowded32", "ties", "twins", "empty"])
def test_groups_change_nothing(xp: Backend, used: list[int], name: str) -> None:
    if xp.id == "jax" and name in ("twins", "empty"):
        pytest.skip("JAX compiles every shape anew: two sets stand for all")
    case = SETS[name]()
    most, rows = (3, 4096) if xp.id == "jax" else (25, 700)
    rules = Rules(most, 0.0)
    plain, grouped = (
        _fit(xp, case, size, rules, first="float32", block_rows=rows) for size in (0, 6)
    )
    assert grouped == plain
    assert used or name == "twins"


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kernel", LOOPS)
def test_groups_change_nothing_with_any_kernel(used: list[int], kernel: str, name: str) -> None:
    _need(kernel)
    case, numpy = SETS[name](), make_backend("numpy")
    first = "float64" if name == "two groups" else "float32"
    for rule in ("farthest", "random"):
        rules = Rules(60, 0.0, rule)
        plain = _fit(numpy, case, 0, rules, first=first, kernel=kernel, prunes=False)
        for rows, threads in ((4096, 1), (100, 1), (400, 2))[2 * (rule == "random") :]:
            options = {"first": first, "kernel": kernel, "block_rows": rows, "threads": threads}
            assert _fit(numpy, case, 8, rules, **options) == plain
    assert sum(used) > 0


def _begun(problem: Any, x: Rows, centers: Rows, size: int, xp: Any) -> tuple[Any, Any, Any]:
    """Bounds of all rows, groups and all: a look without labels, and one that proves nothing."""
    drift = _bounds.no_drift(len(centers), "float32", x, xp=xp).grouped(centers, size, xp=xp)
    state: dict[str, Any] = {}
    nearest = problem.nearest_to(centers)
    problem.kernel.look(x, nearest, drift, state)
    sides = vars(state["bounds"]) | {
        name: np.full(len(x), sign * np.inf, dtype=np.float32)
        for name, sign in (("slack", -1), ("upper", 1), ("lower", -1))
    }
    state["bounds"] = _bounds.Bounds(**sides)
    problem.kernel.look(x, nearest, drift, state)
    return drift, state, nearest


def _true(x: Rows, centers: Rows, state: Any, drift: Any) -> int:
    """Compare bounds with exact distances; how many bounds of groups were finite."""
    labels, bounds, groups = state["labels"], state["bounds"], drift.groups
    spent, own, rival = drift.tables[:, 1, :]
    _, bits = oracle.whole(np.concatenate([x, centers]).astype(np.float64))
    finite = 0
    for row, exact in enumerate(oracle.exact_distances(x, centers)):
        label = labels[row]
        distances = np.asarray([math.sqrt(value) * 2.0**bits for value in exact])
        others = np.where(np.arange(len(centers)) == label, np.inf, distances)
        assert distances[label] <= bounds.upper[row] + own[label]
        assert others.min() >= bounds.lower[row] - rival[label]
        if bounds.slack[row] > spent[label]:
            assert distances[label] < others.min()
        for g in range(groups.count):
            limit = bounds.groups[row, g] - groups.tables[1, g]
            assert others[groups.members[g]].min() >= limit
            finite += bool(np.isfinite(limit))
    return finite


@pytest.mark.parametrize(
    "name", ["crowded32", "crowded64", "shifted32", "33 features", "ties", "two clouds"]
)
@pytest.mark.parametrize("kernel", LOOPS)
def test_every_bound_is_true(kernel: str, name: str) -> None:
    """While the centers move, and rows are looked at again or not."""
    _need(kernel)
    numpy = make_backend("numpy")
    x, centers, _ = SETS[name]()
    x = x[::11]
    with opened(numpy) as context:
        problem = problem_of(numpy, x, k=len(centers), first="float32", kernel=kernel)
        problem.cover(np.concatenate([centers - 9, centers + 9]))
        drift, state, nearest = _begun(problem, x, centers, 8, context.xp)
        assert _true(x, centers, state, drift) > 0
        for step, moved in enumerate(itertools.islice(_drifting(x, centers), 6)):
            squared = squared_distances(centers, moved, nearest.scale, xp=context.xp)
            drift, centers = _bounds.drifted(drift, squared, xp=context.xp), moved
            _true(x, centers, state, drift)
            if step % 2:
                nearest = problem.nearest_to(centers)
                _, left = problem.kernel.look(x, nearest, drift, state)
                if left is not None and left.any():
                    state["labels"][left] = problem.kernel.settle(x[left], nearest)
                _true(x, centers, state, drift)
                exact = [row.index(min(row)) for row in oracle.exact_distances(x, centers)]
                assert state["labels"].tolist() == exact


@pytest.mark.parametrize("kernel", LOOPS)
def test_bounds_are_nearly_tight(kernel: str) -> None:
    """Right after a look; a bound that is far too small would cost time and go unseen."""
    _need(kernel)
    numpy = make_backend("numpy")
    x, centers, _ = SETS["33 features"]()
    with opened(numpy) as context:
        problem = problem_of(numpy, x, k=K, first="float32", kernel=kernel)
        drift, state, _ = _begun(problem, x, centers, 8, context.xp)
    distances = np.sqrt(((x[:, None, :].astype(float) - centers) ** 2).sum(axis=2))
    distances[np.arange(len(x)), state["labels"]] = np.inf
    scored = np.isfinite(state["bounds"].slack)
    for g, members in enumerate(drift.groups.members):
        least = distances[:, members].min(axis=1)[scored]
        assert (state["bounds"].groups[scored, g] >= 0.999 * least).all()


@pytest.mark.parametrize("kernel", LOOPS)
def test_twins_go_without_groups(kernel: str) -> None:
    """One of them has no score, so that no bound would speak of it once they part."""
    _need(kernel)
    numpy = make_backend("numpy")
    x, centers, _ = twins()
    with opened(numpy) as context:
        problem = problem_of(numpy, x, k=K, first="float32", kernel=kernel)
        drift, state, _ = _begun(problem, x, centers, 8, context.xp)
    assert state["bounds"].groups is None
    assert drift.groups.tally == []


@pytest.mark.parametrize("kernel", LOOPS)
def test_open_rows_keep_no_bound(kernel: str) -> None:
    _need(kernel)
    numpy = make_backend("numpy")
    x, centers, _ = ties()
    with opened(numpy) as context:
        problem = problem_of(numpy, x, k=K, first="float32", kernel=kernel)
        nearest = problem.nearest_to(centers)
        drift, state, _ = _begun(problem, x, centers, 8, context.xp)
        _, left = problem.kernel.look(x, nearest, drift, state)
    assert left is not None
    assert left.any()
    assert (state["bounds"].groups[left] == -np.inf).all()


@pytest.mark.parametrize("kernel", LOOPS)
def test_near_ties_stay_open(kernel: str) -> None:
    """Rows half way between neighbours, rounded: float32 scores do not tell which is nearer."""
    _need(kernel)
    numpy = make_backend("numpy")
    centers = crowd(8, "float32", n=K, d=9)
    apart = ((centers[:, None, :] - centers) ** 2).sum(axis=2) + 9 * np.eye(K)
    x = (centers + centers[apart.argmin(axis=1)]) / 2
    x = (x + np.random.default_rng(8).normal(size=(9, K, 9)) * 1e-8).astype(np.float32)
    x = x.reshape(-1, 9)
    with opened(numpy) as context:
        problem = problem_of(numpy, x, k=K, first="float32", kernel=kernel)
        drift, state, nearest = _begun(problem, x, centers, 8, context.xp)
        _, left = problem.kernel.look(x, nearest, drift, state)
        labels = state["labels"]
        labels[left] = problem.kernel.settle(x[left], nearest)
    assert labels.tolist() == [row.index(min(row)) for row in oracle.exact_distances(x, centers)]
