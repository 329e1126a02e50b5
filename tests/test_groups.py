"""Groups of centers: nothing changes, every bound holds exactly, and they are given up in time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
from conftest import Backend, make_backend
from engine import opened, problem_of, solve
from test_pruning import _drifting, _need

from kmeans_xp import _bounds, _pruning
from kmeans_xp._distances import squared_distances
from kmeans_xp._groups import group
from kmeans_xp._kernels import Shape, select
from kmeans_xp._pruning import Pruner
from kmeans_xp._solver import Rules

Rows = np.ndarray[Any, Any]
Case = tuple[Rows, Rows, Rows | None]
LOOPS = ("numpy", "reference", "numba")
D, K = 5, 43


def _crowd(seed: int, dtype: str, n: int = 1500, d: int = D, at: float = 0.0) -> Rows:
    random = np.random.default_rng(seed)
    return (random.uniform(size=(n, d)) + at).astype(dtype)


def _crowded(dtype: str, d: int = D, at: float = 0.0) -> Callable[[], Case]:
    def make() -> Case:
        x = _crowd(d, dtype, d=d, at=at)
        return x, x[:K].copy(), None

    return make


def _ties() -> Case:
    """Whole numbers, rows on the bisectors of their start, and one step beside."""
    random = np.random.default_rng(1)
    start = random.permutation(np.indices((4,) * D).reshape(D, -1).T)[:K].astype(np.float32)
    pairs = random.integers(0, K, size=(400, 2))
    x = (start[pairs[:, 0]] + start[pairs[:, 1]]) / 2
    x[::3, 1] = np.nextafter(x[::3, 1], np.float32(100))
    others = start[random.integers(0, K, 1500)] + random.normal(size=(1500, D))
    return np.concatenate([x, start, others.astype(np.float32)]), start, None


def _twins() -> Case:
    x = _crowd(2, "float32")
    start = x[:K].copy()
    start[K // 2 :] = start[: K - K // 2]
    return x, start, None


def _empty() -> Case:
    """Far centers stay without rows, and get rows of others."""
    x = _crowd(3, "float64")
    start = x[:K].copy()
    start[::6] += 1e3
    return x, start, None


def _two_groups() -> Case:
    x = _crowd(4, "float32")
    x[::2] += np.float32(1e4)
    return x, x[:K].copy(), None


def _two_clouds() -> Case:
    """Norms are large beside distances, so that scores round by more than usual."""
    x = _crowd(5, "float32")
    x[::2] += np.float32(6)
    return x, x[:K].copy(), None


def _heavy() -> Case:
    """Weights, and rows far out that carry none."""
    x = _crowd(6, "float32")
    weight = np.random.default_rng(6).uniform(0.5, 2.0, size=len(x))
    x[::50] *= np.float32(1e15)
    weight[::50] = 0.0
    return x, x[np.flatnonzero(weight)[:K]].copy(), weight


def _huge() -> Case:
    x = _crowd(7, "float64") * 1e299
    return x, x[:K].copy(), None


SETS: dict[str, Callable[[], Case]] = {
    "crowded32": _crowded("float32"),
    "crowded64": _crowded("float64"),
    "shifted32": _crowded("float32", at=3000.0),
    "shifted64": _crowded("float64", at=1e8),
    "one feature": _crowded("float32", d=1),
    "33 features": _crowded("float32", d=33),
    "ties": _ties,
    "twins": _twins,
    "empty": _empty,
    "two groups": _two_groups,
    "two clouds": _two_clouds,
    "weights": _heavy,
    "huge": _huge,
}


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
    case = SETS[name]()
    # every shape is compiled anew there
    rules = Rules(4 if xp.id == "jax" else 25, 0.0)
    plain, grouped = (
        _fit(xp, case, size, rules, first="float32", block_rows=700) for size in (0, 6)
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
        for rows, threads in ((4096, 1), (100, 1), (400, 2)):
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
    x, centers, _ = _twins()
    with opened(numpy) as context:
        problem = problem_of(numpy, x, k=K, first="float32", kernel=kernel)
        drift, state, _ = _begun(problem, x, centers, 8, context.xp)
    assert state["bounds"].groups is None
    assert drift.groups.tally == []


@pytest.mark.parametrize("kernel", LOOPS)
def test_open_rows_keep_no_bound(kernel: str) -> None:
    _need(kernel)
    numpy = make_backend("numpy")
    x, centers, _ = _ties()
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
    centers = _crowd(8, "float32", n=K, d=9)
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


@pytest.mark.parametrize("size", [1, 6, 8, 50])
@pytest.mark.parametrize("k", [1, 2, 43, 48])
def test_each_center_is_in_one_group(xp: Backend, size: int, k: int) -> None:
    centers = np.random.default_rng(k).normal(size=(k, 3))
    centers[: k // 2] = centers[0]  # no direction parts these
    with opened(xp) as context:
        groups = group(xp.array(centers), size, context.xp.float64, xp=context.xp)
        members, present, home = (
            xp.host(part) for part in (groups.members, groups.present, groups.home)
        )
    assert members.shape == (-(-k // size), size)
    assert sorted(members[present].tolist()) == list(range(k))
    for center in range(k):
        assert center in members[home[center]].tolist()


def test_groups_part_what_lies_apart() -> None:
    random = np.random.default_rng(0)
    near = np.repeat(np.arange(4), 8)
    order = random.permutation(32)
    corners = np.asarray([[0, 0], [9, 1], [50, 0], [61, 0]])
    centers = corners[near[order]] + random.uniform(size=(32, 2))
    groups = group(centers, 8, np.float64, xp=np)
    assert sorted(set(near[order][row].tolist()).pop() for row in groups.members) == [0, 1, 2, 3]
    assert all(len(set(near[order][row].tolist())) == 1 for row in groups.members)


def _sweeps(pruner: Pruner, nearest: Any, part: float, count: int) -> list[bool]:
    """Sweeps in which every row is in doubt, and so much of its centers must be scored."""
    used = []
    for _ in range(count):
        drift, is_new = pruner.drift_for(nearest)
        groups = None if drift is None or is_new else drift.groups
        used.append(groups is not None)
        if groups is not None:
            groups.tally.append(int(part * 100 * groups.count * groups.size))
        pruner.learn(100, 100)
        pruner.moved(np.ones(16))
    return used


def test_groups_begin_where_rows_stay_in_doubt_and_go_where_they_do_not_pay() -> None:
    numpy = make_backend("numpy")
    x = np.random.default_rng(0).normal(size=(100, 8))
    with opened(numpy):
        nearest = problem_of(numpy, x, k=16, first="float64").nearest_to(x[:16])
    pruner = Pruner(True, np, 2)
    used = _sweeps(pruner, nearest, 0.9, 40)
    assert used[:2] == [False, False]
    assert 3 < sum(used) < 8  # the first sweep of each three does not count
    assert not any(used[20:])
    pruner.begin()
    assert _sweeps(pruner, nearest, 0.2, 40) == [False] * 2 + [True] * 38
    assert not any(_sweeps(Pruner(True, np), nearest, 0.2, 40))
    # few rows in doubt: no groups
    pruner.begin()
    for _ in range(5):
        drift, _ = pruner.drift_for(nearest)
        assert drift is not None
        assert drift.groups is None
        pruner.learn(10, 100)


def test_routing_of_groups() -> None:
    def size(n: int, d: int, k: int, *, compiled: bool = True) -> int:
        shape = Shape(n, d, k, "float32")
        return select(shape, backend="numpy", threads=1, compiled=compiled).group_size

    assert size(100_000, 32, 1000) == 32
    assert size(100_000, 32, 128) == 16
    assert size(100_000, 8, 1000) == 0
    assert size(100_000, 32, 100) == 0
    assert size(100_000, 32, 1000, compiled=False) == 0
    for n, d, k in itertools.product((1000, 100_000, 10_000_000), (16, 100, 768), (128, 5000)):
        if (found := size(n, d, k)) != 0:
            assert found % 8 == 0
            groups = -(-k // found)
            assert groups <= 32
            columns = -(-groups // 16) * 16
            assert 4 * n * columns <= 0.25 * 4 * n * d + (32 << 20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectors(dtype: str) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    from kmeans_xp._kernels import _group_tile as vectors
    from kmeans_xp._kernels._loops import jit

    gather_tile, needed_groups = vectors.gather_tile, vectors.needed_groups
    own_products = vectors.own_products

    @jit
    def gather(rows: Any, width: Any, places: Any, tile: Any) -> None:
        gather_tile(rows, rows.shape[1], width, places, tile)

    @jit
    def needed(kept: Any, start: Any, spent: Any, near: Any, beyond: Any) -> Any:
        return needed_groups(kept, start, spent.shape[0], spent, near, beyond)

    @jit
    def products(row: Any, weights: Any, start: Any, out: Any) -> None:
        own_products(row, weights, start, row.shape[0], out)

    random = np.random.default_rng(5)
    rows = random.integers(-9, 9, size=(40, 64)).astype(dtype)
    places, tile = random.integers(0, 40, 16), np.full((48, 16), np.nan, dtype)
    gather(rows, 48, places, tile)
    assert tile.tolist() == rows[places, :48].T.tolist()

    out = np.full(2, np.nan, dtype)
    products(rows[3], rows.ravel(), 7 * 64, out)
    assert out.tolist() == [float(rows[3] @ rows[7]), float(rows[3] @ rows[3])]

    kept, spent = (random.uniform(0, 9, size=48).astype(dtype) for _ in range(2))
    kept[5], kept[40] = -np.inf, np.inf
    beyond = np.full(1, np.nan, dtype)
    one = np.dtype(dtype).type
    for near in (-20.0, 0.5, 3.0, np.inf, np.nan):
        bits = needed(kept, 16, spent[:32], one(near), beyond)
        limits = (kept[16:48] - spent[:32]) * one(1.0 - 2.0**-22)
        far = near < limits
        assert [bool(bits >> g & 1) for g in range(32)] == (~far).tolist()
        assert beyond[0] == limits[far].min(initial=np.inf)
