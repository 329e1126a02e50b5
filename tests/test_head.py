"""Heads: nothing changes, every inequality holds exactly, and they are given up in time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from cases import CASES, wide
from conftest import make_backend
from engine import opened, problem_of, solve
from test_pruning import _check, _drifting

pytest.importorskip("numba", reason="numba is not installed")

from kmeans_xp import _bounds
from kmeans_xp._distances import squared_distances
from kmeans_xp._kernels import _head, _numba
from kmeans_xp._kernels._loops import jit
from kmeans_xp._kernels._tile import GROUP, LANES, STRIDE, dot, list_near
from kmeans_xp._outcome import Rules
from kmeans_xp._query import predict, prepare

Rows = np.ndarray[Any, Any]
Case = tuple[Rows, Rows, Rows | None]
D, K = 131, 67


@jit
def _list(
    tile: Any, panels: Any, bias: Any, width: Any, groups: Any, limits: Any, near: Any
) -> Any:
    return list_near(tile, panels, bias, width, groups, limits, near[0], near[1])


@jit
def _dot(a: Any, b: Any, width: Any) -> Any:
    return dot(a, 0, b, 0, width)


@pytest.fixture(autouse=True)
def loops_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else heads and groups wait until they have paid for their compiled loops."""
    monkeypatch.setenv("KMEANS_XP_NUMBA", "1")


def _widened(case: str) -> Callable[[], Case]:
    def make() -> Case:
        x, start = CASES[case]()
        factors = np.random.default_rng(0).choice([0.5, 1.0, 2.0], size=33).astype(x.dtype)
        x, start = (
            np.kron(factors, rows[:, None, :]).reshape(len(rows), -1) for rows in (x, start)
        )
        return x[:, :D], start[:, :D], None

    return make


def _ties() -> Case:
    """Rows on the bisectors of their start, and one step beside."""
    random = np.random.default_rng(1)
    start = random.integers(-8, 8, size=(K, D)).astype(np.float32)
    pairs = random.integers(0, K, size=(800, 2))
    x = (start[pairs[:, 0]] + start[pairs[:, 1]]) / 2
    x[::3, 5] = np.nextafter(x[::3, 5], np.float32(100))
    # so many others that the first rung is not given up
    others = start[random.integers(0, K, size=6000)] + random.normal(size=(6000, D))
    return np.concatenate([x, start, others.astype(np.float32)]), start, None


def _twins() -> Case:
    x, start = wide(D, 2, np.float32, 900, K)
    start[K // 2 :] = start[: K - K // 2]
    return x, start, None


def _two_groups() -> Case:
    x, _ = wide(D, 3, np.float32, 900, K)
    x[::2] += np.float32(1e4)
    x[1::2] -= np.float32(1e4)
    return x, x[:K].copy(), None


def _shifted() -> Case:
    x, start = wide(D, 4, np.float32, 900, K)
    return x + np.float32(1e4), start + np.float32(1e4), None


def _float64() -> Case:
    return *wide(D, 5, np.float64, 901, K), None


def _weightless_far_rows() -> Case:
    x, _ = wide(D, 6, np.float32, 900, K)
    weight = np.random.default_rng(6).uniform(0.5, 2, size=900)
    x[::50] *= np.float32(1e15)
    weight[::50] = 0.0
    kept = np.flatnonzero(weight)[:K]
    return x, x[kept].copy(), weight


def _flat() -> Case:
    """Rows in a subspace that the heads hold whole."""
    random = np.random.default_rng(7)
    x = random.normal(size=(900, 5)) @ random.normal(size=(5, D))
    return x.astype(np.float32), x[:K].astype(np.float32), None


def _constant() -> Case:
    x = np.full((300, D), 3.25, dtype=np.float32)
    return x, x[:K].copy(), None


def _clouds() -> Case:
    random = np.random.default_rng(8)
    x = 3 * random.normal(size=(90, D))[random.integers(0, 90, 1500)]
    x = (x + random.normal(size=x.shape)).astype(np.float32)
    return x, x[:K].copy(), None


SETS: dict[str, Callable[[], Case]] = {
    "ties": _ties,
    "twins": _twins,
    "two groups": _two_groups,
    "shifted": _shifted,
    "float64": _float64,
    "weightless far rows": _weightless_far_rows,
    "flat": _flat,
    "constant": _constant,
    "clouds": _clouds,
    **{f"{case}, widened": _widened(case) for case in CASES},
}


USES_HEADS = ("ties", "twins", "flat", "clouds", "shifted", "float64", "weightless far rows")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads for few clusters too, whether they pay or not."""
    monkeypatch.setattr(_head, "LEAST_CLUSTERS", 2)
    monkeypatch.setattr(_head, "_WORTH", np.inf)
    monkeypatch.setattr(_head, "direction_count", lambda d, k: 8)


def _fit(case: Case, *, heads: bool, max_iter: int | None = None, **options: Any) -> Any:
    x, start, weight = case
    numpy = make_backend("numpy")
    with opened(numpy):
        options = {"block_rows": 400, **options}
        problem: Any = problem_of(
            numpy, x, weight, k=len(start), first="float32", kernel="numba", **options
        )
        problem.kernel.heads.tries = 3 if heads else 0
        result = solve(problem, start, Rules(max_iter, 0.0))
    history = [(record.changed, record.shift) for record in result.history]
    summary = [result.labels.tolist(), result.centers.tolist(), result.inertia, result.n_iter]
    return [*summary, result.status, history], problem.kernel.heads


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("prunes", [True, False])
def test_heads_change_nothing(name: str, prunes: bool) -> None:
    case = SETS[name]()
    plain, _ = _fit(case, heads=False)
    # fewer rows a block than lanes; no multiple of them; threads
    for options in ({"block_rows": 400}, {"block_rows": 11}, {"block_rows": 100, "threads": 2}):
        found, heads = _fit(case, heads=True, prunes=prunes, **options)
        assert found == plain
        if name in USES_HEADS:
            assert heads.rows > 0


def test_heads_pay_for_far_clouds() -> None:
    random = np.random.default_rng(11)
    near = random.integers(0, 200, 4000)
    x = (5 * random.normal(size=(200, 128)))[near] + random.normal(size=(4000, 128))
    x = x.astype(np.float32)
    _, first = np.unique(near, return_index=True)
    case = x, x[first[::-1]], None
    plain, _ = _fit(case, heads=False)
    found, heads = _fit(case, heads=True, prunes=False)
    assert found == plain
    assert heads.tries == 3
    assert heads.rows >= len(x)
    assert heads.scores < 0.05 * 200 * heads.rows


def test_heads_are_given_up_where_they_do_not_pay() -> None:
    x = np.random.default_rng(0).random((3000, 128), dtype=np.float32)
    case = x, x[:64].copy(), None
    plain, _ = _fit(case, heads=False, max_iter=8)
    found, heads = _fit(case, heads=True, max_iter=8)
    assert found == plain
    assert heads.tries == 0
    assert heads.rows <= 3 * _head.TRIAL


def _adversarial(q: Rows, reach: float) -> Rows:
    """Rows in the span, across it, tiny, huge, and zero."""
    random = np.random.default_rng(9)
    d, r = q.shape
    inside = random.normal(size=(6, r)) @ q.T
    outside = random.normal(size=(4, d))
    mixed = inside[:4] + 1e-4 * outside
    rows = np.concatenate([inside, outside, mixed, q.T[:4], np.zeros((1, d)), np.eye(d)[:2]])
    factors = np.asarray([1.0, 1e-20, reach / 200])
    return np.concatenate([rows * factor for factor in factors]).astype(np.float32)


def _bases() -> list[_head.Basis]:
    _, start, _ = _clouds()
    good = _head.basis_of(start, 8)
    random = np.random.default_rng(10)
    # not orthogonal, of rounded directions, of zeros: nothing is asked of it
    skewed = good.q + np.float32(0.02) * random.normal(size=good.q.shape).astype(np.float32)
    coarse = (np.rint(good.q * 16) / 16).astype(np.float32)
    zeros = np.zeros_like(good.q)
    return [good, *(_head.measured(q) for q in (skewed, coarse, zeros))]


def _exact(rows: Rows) -> list[list[Fraction]]:
    return [[Fraction(value) for value in row] for row in rows.astype(np.float64).tolist()]


def _product(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _tails_hold(basis: _head.Basis, rows: Rows, reach: float) -> None:
    heads = np.empty((len(rows), basis.q.shape[1] + 1), dtype=np.float32)
    _head.heads_of(rows, basis, reach, heads)
    q = _exact(basis.q)
    for row, head in zip(_exact(rows), _exact(heads), strict=True):
        *y, rho = head
        tail = [value - _product(line, y) for value, line in zip(row, q, strict=True)]
        assert rho >= 0
        assert _product(tail, tail) <= rho * rho


@pytest.mark.parametrize("basis", _bases(), ids=["good", "skewed", "coarse", "zeros"])
@pytest.mark.parametrize("reach", [1.0, 1e10])
def test_tails_are_upper_bounds(basis: _head.Basis, reach: float) -> None:
    rows = _adversarial(basis.q, reach)
    _tails_hold(basis, rows, 20.0 * (1.0 + reach))


def test_a_tail_that_is_rounded_down_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def lower(whole: Rows, part: Rows, basis: Any, reach: float) -> Rows:
        return np.sqrt(np.maximum(whole - part, 0.0)).astype(np.float32)

    monkeypatch.setattr(_head, "tail_bounds", lower)
    basis = _bases()[0]
    with pytest.raises(AssertionError):
        _tails_hold(basis, _adversarial(basis.q, 1.0), 40.0)


def _excluded_in_error(basis: _head.Basis, rows: Rows, rung: Any, reach: float) -> int:
    """Pairs whose head's score exceeds what the module's doc allows, by exact arithmetic."""
    centers = _head.head_centers(rung, basis, reach)
    _, twice_theta, eta = (Fraction(float(term)) for term in centers.terms[0])
    heads = np.empty((len(rows), basis.q.shape[1] + 1), dtype=np.float32)
    _head.heads_of(rows, basis, reach, heads)
    wrong = 0
    size = len(centers.bias)
    near = np.empty(size, np.int32), np.empty(size, np.int32)
    weights, exact = _exact(rung.weights), _exact(rows)
    for start in range(0, len(rows), LANES):
        tile = np.zeros((heads.shape[1], LANES), dtype=np.float32)
        part = heads[start : start + LANES]
        tile[:, : len(part)] = part.T
        for j, weight in enumerate(weights):
            limits = np.full(LANES, -np.inf, dtype=np.float32)
            for lane, row in enumerate(exact[start : start + LANES]):
                score = Fraction(float(rung.bias[j])) + _product(weight, row)
                allowed = score + twice_theta * _product(row, row) / 2 + eta
                limit = np.float32(float(allowed))
                if Fraction(float(limit)) < allowed:
                    limit = np.nextafter(limit, np.float32(np.inf))
                limits[lane] = limit
            count = _list(
                tile, centers.panels, centers.bias, len(tile), size // GROUP, limits, near
            )
            masks = dict(zip(near[0][:count].tolist(), near[1][:count].tolist(), strict=True))
            wrong += len(part) - bin(masks.get(j, 0)).count("1")
    return wrong


def _rung(centers: Rows, reach: float) -> Any:
    numpy = make_backend("numpy")
    with opened(numpy):
        problem = problem_of(numpy, centers, k=len(centers), first="float32")
        nearest = problem.nearest_to(centers)
        nearest.shift = None
        return nearest.rung("float32", xp=np)


@pytest.mark.parametrize("basis", _bases(), ids=["good", "skewed", "coarse", "zeros"])
@pytest.mark.parametrize("reach", [1.0, 1e10])
def test_the_score_of_heads_is_a_lower_bound(basis: _head.Basis, reach: float) -> None:
    rows = _adversarial(basis.q, reach)
    centers = np.unique(rows[::4], axis=0)
    assert _excluded_in_error(basis, rows, _rung(centers, reach), 20.0 * (1.0 + reach)) == 0


def test_a_score_without_its_tail_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_head, "tail_bounds", lambda whole, *_: np.zeros_like(whole))
    basis = _bases()[0]
    rows = _adversarial(basis.q, 1.0)
    assert _excluded_in_error(basis, rows, _rung(np.unique(rows[::4], axis=0), 1.0), 40.0) > 0


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", ["clouds", "shifted", "float64", "blobs32, widened"])
def test_every_bound_is_true(name: str) -> None:
    numpy = make_backend("numpy")
    x, centers, _ = SETS[name]()
    x, k = x[::30], len(centers)
    with opened(numpy) as context:
        problem: Any = problem_of(numpy, x, k=k, first="float32", kernel="numba")
        problem.cover(centers)
        drift = _bounds.no_drift(k, "float32", x, xp=context.xp)
        nearest = problem.nearest_to(centers)
        state: dict[str, Any] = {}
        problem.kernel.look(x, nearest, None, state)
        problem.kernel.look(x, nearest, drift, state)
        assert problem.kernel.heads.rows == len(x)
        assert "heads" in state
        labels, bounds = state["labels"], state["bounds"]
        scored = np.isfinite(bounds.slack)
        assert scored.any()
        for moved in itertools.islice(_drifting(x, centers), 4):
            squared = squared_distances(centers, moved, nearest.scale, xp=context.xp)
            drift = _bounds.drifted(drift, squared, xp=context.xp)
            centers = moved
            _check(x, centers, labels, bounds, drift, scored)


@pytest.mark.usefixtures("always")
def test_heads_wait_until_their_loops_have_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = make_backend("numpy")
    x, centers, _ = _clouds()
    with opened(numpy):
        for pays in (False, True):
            monkeypatch.setattr(_numba.HEADS, "pays", lambda *_, pays=pays: pays)
            problem: Any = problem_of(numpy, x, k=len(centers), first="float32", kernel="numba")
            nearest, state = problem.nearest_to(centers), {}
            for _ in range(2):
                problem.kernel.look(x, nearest, None, state)
            assert (problem.kernel.heads.rows > 0) is pays
            assert state["labels"].tolist() == problem.kernel.settle(x, nearest).tolist()


@pytest.mark.usefixtures("always")
def test_a_kernel_takes_no_heads_of_another() -> None:
    """A worker that many fits share makes kernels anew; those before left what blocks keep."""
    numpy = make_backend("numpy")
    x, centers, _ = _clouds()
    with opened(numpy):
        problem: Any = problem_of(numpy, x, k=len(centers), first="float32", kernel="numba")
        nearest, state = problem.nearest_to(centers), {}
        for _ in range(2):
            problem.kernel.look(x, nearest, None, state)
        assert "heads" in state
        other, moved = _numba.NumbaKernel(), problem.nearest_to(x[200 : 200 + K])
        other.look(x, moved, None, state)
        assert other.heads.rows > 0
        assert state["labels"].tolist() == other.settle(x, moved).tolist()


def test_queries_build_no_heads() -> None:
    numpy = make_backend("numpy")
    x, centers, _ = _clouds()
    with opened(numpy) as context:
        problem, held = prepare(x, None, centers, [0.0] * D, context, who="KMeans")
        predict(problem, held)
    assert all("heads" not in block.state for block in problem.source.blocks)


def test_heads_take_a_fifth_of_the_rows_memory_at_most() -> None:
    for d, k in itertools.product((128, 129, 200, 256, 768, 4096, 30_000), (64, 100, 256, 5000)):
        count = _head.direction_count(d, k)
        assert 8 <= count <= 128
        assert count + 1 <= 0.2 * d


def test_directions_are_the_same_each_time() -> None:
    _, start, _ = _clouds()
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (_head.basis_of(start, 16) for _ in range(2))
    assert first.q.tolist() == second.q.tolist()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", [0, 1, 2, 13])
def test_dot(dtype: str, parts: int) -> None:
    random = np.random.default_rng(parts)
    a, b = random.integers(-9, 9, size=(2, parts * STRIDE + 3)).astype(dtype)
    width = parts * STRIDE
    assert _dot(a, b, width) == float(a[:width] @ b[:width])
