"""FuzzyCMeans: against plain loops, in the crisp limit, and the same bits everywhere."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend
from engine import problem_of, solve
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import FuzzyCMeans, KMeans
from kmeans_xp import _exact as exact
from kmeans_xp._backend import context_of, numpy_context
from kmeans_xp._outcome import Rules, Status
from kmeans_xp._products import numerator, product_sums
from kmeans_xp._solver import State
from kmeans_xp.relatives import _fuzzy
from kmeans_xp.relatives._powers import power

FUZZIFIERS = (1.2, 1.5, 2.0, 3.0)


def rows(n: int = 300, d: int = 3, k: int = 4, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    middles = random.uniform(-4, 4, size=(k, d))
    x = middles[random.integers(k, size=n)] + random.normal(size=(n, d))
    return x, x[random.choice(n, k, replace=False)]


def loop_memberships(row: Any, centers: Any, m: float) -> list[float]:
    """By the textbook's formula; a row on centers belongs to these in equal shares."""
    apart = [sum((a - b) ** 2 for a, b in zip(row, c, strict=True)) for c in centers]
    if 0.0 in apart:
        return [(value == 0.0) / apart.count(0.0) for value in apart]
    p = 1.0 / (m - 1.0)
    return [1.0 / math.fsum((mine / other) ** p for other in apart) for mine in apart]


def loop_iterations(x: Any, centers: Any, m: float, count: int, weight: Any = None) -> Any:
    """Centers after so many iterations, and the objective under them, by plain loops."""
    x, centers = x.astype(float).tolist(), centers.astype(float).tolist()
    weight = [1.0] * len(x) if weight is None else weight.tolist()
    for _ in range(count):
        u = [loop_memberships(row, centers, m) for row in x]
        for j in range(len(centers)):
            mass = [w * row[j] ** m for w, row in zip(weight, u, strict=True)]
            total = math.fsum(mass)
            columns = zip(*x, strict=True)
            centers[j] = [
                math.fsum(a * b for a, b in zip(mass, column, strict=True)) / total
                for column in columns
            ]
    value = math.fsum(
        w * u**m * sum((a - b) ** 2 for a, b in zip(row, center, strict=True))
        for row, w in zip(x, weight, strict=True)
        for u, center in zip(loop_memberships(row, centers, m), centers, strict=True)
    )
    return np.asarray(centers), value


def fit(x: Any, k: Any, **parameters: Any) -> FuzzyCMeans:
    """From given centers if ``k`` are these."""
    if np.ndim(k):
        parameters |= {"init": k, "n_init": 1}
        k = len(k)
    weight = parameters.pop("sample_weight", None)
    return FuzzyCMeans(k, **{"random_state": 0} | parameters).fit(x, sample_weight=weight)


@pytest.mark.parametrize("exponent", [0.5, 1.7, 100.0])
def test_powers(xp: Backend, exponent: float) -> None:
    random = np.random.default_rng(1)
    base = np.concatenate(
        [[0.0, 1.0, 1 - 2**-53], random.random(40), 2.0 ** -random.uniform(0, 90, 40)]
    )
    here = power(base, exponent, xp=numpy_context().xp)
    wanted = np.asarray([value**exponent for value in base.tolist()])
    np.testing.assert_allclose(here, wanted, rtol=2e-14, atol=1e-18)
    assert here[0] == 0.0
    assert here[1] == 1.0
    context = context_of(xp.array(base))
    with context.scope():
        found = power(xp.array(base), exponent, xp=context.xp)
        assert xp.host(found).tobytes() == here.tobytes()


@pytest.mark.parametrize(("words", "limbs"), [(1, 1), (2, 3)])
def test_sums_of_products_are_exact(xp: Backend, words: int, limbs: int) -> None:
    """Against whole numbers without bound, over more rows than one product adds exactly."""
    if xp.id == "jax":
        pytest.skip("JAX compiles these for seconds: powers show that it keeps to the standard")
    random, n, k, d = np.random.default_rng(2), exact.EXACT_ROWS + 300, 2, 2
    top = 2**exact.LIMB_BITS
    columns = random.integers(-top, top, size=(n, limbs * d), endpoint=True).astype(float)
    columns[: n // 2] = top
    shares = np.where(random.random((k, n)) < 0.5, 1.0, random.random((k, n)) ** 30)
    context = context_of(xp.array(columns))
    with context.scope():
        sums = product_sums(xp.array(shares), xp.array(columns), xp=context.xp)
        totals = exact.in_words(sums, words, xp=context.xp)
        terms = [xp.host(term) for term in numerator(totals, d, limbs, xp=context.xp)]
    units = [[round(Fraction(value) * 2**60) for value in row] for row in shares.tolist()]
    for j in range(k):
        for f in range(d):
            cells = [
                sum(Fraction(int(columns[i, limb * d + f])) / top**limb for limb in range(limbs))
                for i in range(n)
            ]
            wanted = sum(unit * cell for unit, cell in zip(units[j], cells, strict=True))
            assert sum(Fraction(float(term[j, f])) for term in terms) == wanted
    assert all(float(term.min()) >= 0 for term in terms[1:])


@pytest.mark.parametrize("m", FUZZIFIERS)
def test_memberships_at_the_ends(m: float) -> None:
    apart = np.asarray(
        [
            [0.0, 0.0, 1e-300, np.inf, 1e300, 2.0],
            [1.0, 0.0, 1e-300, np.inf, 1e-300, 2.0],
            [5.0, 7.0, 4e-300, np.inf, 5.0, 2.0],
        ]
    )
    found = _fuzzy.shares(apart, m, xp=numpy_context().xp)
    np.testing.assert_array_equal(found.memberships[:, 0], [1, 0, 0])
    np.testing.assert_array_equal(found.memberships[:, 1], [0.5, 0.5, 0])
    np.testing.assert_array_equal(found.memberships[:, 3], [1 / 3] * 3)
    np.testing.assert_array_equal(found.memberships[:, 4].round(99), [0, 1, 0])
    np.testing.assert_allclose(
        found.memberships[2, 2], 1 / (1 + 2 * 4 ** (1 / (m - 1))), rtol=1e-13
    )
    np.testing.assert_allclose(found.memberships.sum(axis=0), 1.0, rtol=1e-15)
    np.testing.assert_allclose(found.powers, found.memberships**m, rtol=1e-13)
    np.testing.assert_array_equal(found.parts[:2], 0.0)
    np.testing.assert_allclose(found.parts[5], 3 * (1 / 3) ** m * 2.0, rtol=1e-14)


@pytest.mark.parametrize("m", FUZZIFIERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_iterations_are_those_of_plain_loops(m: float, weighted: bool) -> None:
    x, start = rows()
    weight = np.random.default_rng(3).choice([0.0, 0.25, 1.0, 3.0], len(x)) if weighted else None
    for count in (1, 6):
        model = fit(x, start, m=m, max_iter=count, tol=0, sample_weight=weight)
        centers, value = loop_iterations(x, start, m, count, weight)
        np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-11)
        assert model.inertia_ == pytest.approx(value, rel=1e-12)
        assert model.n_iter_ == len(model.history_) == count
    u = np.asarray(
        [loop_memberships(row, model.cluster_centers_.tolist(), m) for row in x.tolist()]
    )
    found = model.predict_proba(x)
    np.testing.assert_allclose(found, u, rtol=1e-12, atol=1e-15)
    squares = np.average((u * u).sum(axis=1), weights=weight)
    assert model.partition_coefficient_ == pytest.approx(squares, rel=1e-13)
    normalized = (4 * squares - 1) / 3
    assert model.normalized_partition_coefficient_ == pytest.approx(normalized, rel=1e-12)
    assert -model.score(x, sample_weight=weight) == model.inertia_
    np.testing.assert_array_equal(model.labels_, model.predict(x))
    np.testing.assert_array_equal(found[range(len(x)), model.labels_], found.max(axis=1))


def facts(model: FuzzyCMeans, proba: Any) -> list[Any]:
    return [
        model.inertia_,
        model.n_iter_,
        model.status_,
        model.partition_coefficient_,
        [record.inertia for record in model.history_],
        proba.tobytes(),
    ]


@pytest.mark.parametrize("m", [2.0, 1.7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_every_library(xp: Backend, m: float, dtype: str) -> None:
    x, start = rows(200)
    x, start = x.astype(dtype), start.astype(dtype)
    weight = np.random.default_rng(4).random(len(x))
    here = fit(x, start, m=m, max_iter=5, sample_weight=weight)
    there = FuzzyCMeans(4, m=m, init=xp.array(start), n_init=1, max_iter=5).fit(
        xp.array(x), sample_weight=xp.array(weight)
    )
    assert xp.host(there.cluster_centers_).tobytes() == here.cluster_centers_.tobytes()
    assert xp.host(there.labels_).tobytes() == here.labels_.tobytes()
    proba = xp.host(there.predict_proba(xp.array(x)))
    assert proba.dtype == dtype
    assert facts(there, proba) == facts(here, here.predict_proba(x))


@pytest.mark.parametrize("m", [2.0, 1.7])
def test_no_order_and_no_piece_of_rows_shows(monkeypatch: pytest.MonkeyPatch, m: float) -> None:
    x, start = rows(5000, d=2)
    x += 1e3
    start += 1e3
    weight = np.random.default_rng(5).random(len(x))
    one = fit(x, start, m=m, max_iter=4, tol=0, sample_weight=weight)
    order = np.random.default_rng(6).permutation(len(x))
    monkeypatch.setattr(_fuzzy, "_HOST_CELLS", 700)
    other = fit(x[order], start, m=m, max_iter=4, tol=0, sample_weight=weight[order])
    assert other.cluster_centers_.tobytes() == one.cluster_centers_.tobytes()
    assert other.labels_.tobytes() == one.labels_[order].tobytes()
    assert facts(other, np.zeros(1)) == facts(one, np.zeros(1))


KERNELS = [("numpy", 97, 1), ("numpy", 97, 3), ("reference", 130, 1)]


@pytest.mark.parametrize(("kernel", "block_rows", "threads"), KERNELS)
def test_no_kernel_and_no_block_shows(kernel: str, block_rows: int, threads: int) -> None:
    x, start = rows(600, d=5, k=3, seed=12)
    weight = np.random.default_rng(13).choice([0.0, 0.5, 1.0], len(x))
    wanted = fit(x, start, m=1.8, tol=0, max_iter=3, sample_weight=weight)
    backend, cut = make_backend("numpy"), {"block_rows": block_rows, "threads": threads}
    problem = problem_of(backend, x, weight, k=3, first="float32", kernel=kernel, **cut)
    found = solve(problem, start, Rules(3, 0.0), way=_fuzzy.Fuzzy(1.8))
    assert found.centers.tobytes() == wanted.cluster_centers_.tobytes()
    assert found.labels.tobytes() == wanted.labels_.tobytes()
    assert (found.inertia, found.history) == (wanted.inertia_, wanted.history_)
    assert found.facts["partition"] == wanted.partition_coefficient_


def test_memberships_are_held_for_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, start = rows(30_000, k=5)
    held: list[int] = []

    def watched(apart: Any, *args: Any, **named: Any) -> _fuzzy.Shares:
        held.append(apart.size)
        return shares(apart, *args, **named)

    shares = _fuzzy.shares
    monkeypatch.setattr(_fuzzy, "shares", watched)
    fit(x, start, max_iter=2)
    assert sum(held) == 3 * x.shape[0] * len(start)
    assert max(held) <= 1 << 15


def test_what_an_interrupted_run_leaves_belongs_together() -> None:
    x, start = rows()
    problem = problem_of(make_backend("numpy"), x, k=4)
    state = State(start, None, status=Status.INTERRUPTED)
    left = _fuzzy.Fuzzy(2.0).finish(problem, state, False)
    _, value = loop_iterations(x, start, 2.0, 0)
    assert left.inertia == pytest.approx(value, rel=1e-12)
    u = [loop_memberships(row, start.tolist(), 2.0) for row in x.tolist()]
    np.testing.assert_array_equal(left.labels, np.argmax(u, axis=1))


@pytest.mark.parametrize("init", ["k-means++", "array"])
def test_the_crisp_limit_is_k_means(init: str) -> None:
    x, start = rows(seed=7)
    parameters = {"tol": 1e-6, "random_state": 3}
    if init == "array":
        parameters |= {"init": start, "n_init": 1}
    kmeans = KMeans(4, search=None, **parameters).fit(x)
    crisp = FuzzyCMeans(4, m=1, **parameters).fit(x)
    assert crisp.cluster_centers_.tobytes() == kmeans.cluster_centers_.tobytes()
    assert crisp.labels_.tobytes() == kmeans.labels_.tobytes()
    assert (crisp.inertia_, crisp.n_iter_) == (kmeans.inertia_, kmeans.n_iter_)
    assert crisp.score(x) == kmeans.score(x)
    assert crisp.partition_coefficient_ == 1.0
    np.testing.assert_array_equal(crisp.predict_proba(x), np.eye(4)[kmeans.labels_])
    near = [FuzzyCMeans(4, m=m, **parameters).fit(x) for m in (1.1, 1.01)]
    off = [np.abs(model.cluster_centers_ - kmeans.cluster_centers_).max() for model in near]
    assert off[1] < 0.02
    assert off[1] < 0.5 * off[0]
    assert near[1].inertia_ == pytest.approx(kmeans.inertia_, rel=0.01)
    assert near[0].partition_coefficient_ < near[1].partition_coefficient_ < 1.0


@pytest.mark.parametrize("m", [*FUZZIFIERS, 6.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_objective_never_rises(m: float, dtype: str) -> None:
    """Down to the last rounding: tol=0 ends where it falls no more."""
    x, start = rows(120, seed=8)
    x = (x + 50.0).astype(dtype)
    start = (start + 50.0).astype(dtype)
    model = fit(x, start, m=m, tol=0, max_iter=None)
    values = [record.inertia for record in model.history_]
    assert all(b < a for a, b in itertools.pairwise(values))
    assert len(values) > 5
    assert model.inertia_ <= values[-1]
    assert model.status_ == "converged: the objective falls no more"
    again, _ = loop_iterations(x, model.cluster_centers_, m, 1)
    np.testing.assert_allclose(again, model.cluster_centers_, rtol=1e-6)


def test_of_two_centers_the_better_are_kept() -> None:
    """Of these rows the last iteration raises the objective, by a rounding."""
    x, start = rows(60, seed=9)
    model = fit(x + 50.0, start + 50.0, tol=0, max_iter=None)
    again = fit(x + 50.0, model.cluster_centers_, tol=0, max_iter=1)
    assert again.history_[0].shift > 0.0
    assert again.inertia_ == model.inertia_
    assert again.cluster_centers_.tobytes() == model.cluster_centers_.tobytes()


def test_rows_as_many_as_clusters_and_duplicates() -> None:
    x = np.asarray([[0.0, 1], [2, 3], [7, 7]])
    model = fit(x, 3)
    assert model.inertia_ == 0.0
    assert model.partition_coefficient_ == 1.0
    np.testing.assert_array_equal(np.sort(model.labels_), [0, 1, 2])
    np.testing.assert_array_equal(model.predict_proba(x), np.eye(3)[model.labels_])
    twice = np.repeat(x, 2, axis=0)
    with pytest.warns(ConvergenceWarning, match="only 3 of the 4 centers"):
        spare = FuzzyCMeans(4, init=np.vstack([x, x[:1]]), n_init=1).fit(twice)
    np.testing.assert_array_equal(spare.predict_proba(x[:1]), [[0.5, 0, 0, 0.5]])
    np.testing.assert_array_equal(spare.labels_, [0, 0, 1, 1, 2, 2])
    alone = fit(x, 1, m=3.0)
    np.testing.assert_allclose(alone.cluster_centers_, x.mean(axis=0, keepdims=True))
    assert alone.partition_coefficient_ == alone.normalized_partition_coefficient_ == 1.0


@pytest.mark.parametrize("exponent", [-700, -200, 300, 900])
def test_the_scale_of_the_data_does_not_matter(exponent: int) -> None:
    x, start = rows(100)
    one, other = (fit(x * up, start * up, m=1.7, max_iter=4) for up in (1.0, 2.0**exponent))
    assert (other.cluster_centers_ * 2.0**-exponent).tobytes() == one.cluster_centers_.tobytes()
    proba = [model.predict_proba(x * up) for model, up in ((one, 1.0), (other, 2.0**exponent))]
    assert proba[0].tobytes() == proba[1].tobytes()


def test_weights() -> None:
    x, start = rows(60, seed=9)
    weight = np.random.default_rng(10).integers(0, 4, len(x))
    one = fit(x, start, max_iter=5, sample_weight=weight)
    repeated = fit(np.repeat(x, weight, axis=0), start, max_iter=5)
    np.testing.assert_allclose(one.cluster_centers_, repeated.cluster_centers_, rtol=1e-13)
    assert one.inertia_ == pytest.approx(repeated.inertia_, rel=1e-13)
    x[weight == 0] = 1e6
    moved = fit(x, start, max_iter=5, sample_weight=weight)
    assert moved.cluster_centers_.tobytes() == one.cluster_centers_.tobytes()
    assert moved.partition_coefficient_ == one.partition_coefficient_
    assert moved.history_[0].changed == np.count_nonzero(weight)


def test_a_center_that_no_row_belongs_to_stays() -> None:
    x, _ = rows(50)
    start = np.asarray([[0.0, 0, 0], [1, 1, 1], [1e12, 0, 0]])
    with pytest.warns(ConvergenceWarning, match="only 2 of the 3"):
        model = fit(x, start, m=1.5)
    np.testing.assert_array_equal(model.cluster_centers_[2], start[2])
    # a smaller distance brings it back among the rows at once
    near = fit(x, np.asarray([[0.0, 0, 0], [1, 1, 1], [1e4, 0, 0]]), max_iter=1)
    assert np.abs(near.cluster_centers_).max() < 10.0


@pytest.mark.parametrize("m", [0.5, -1, float("nan"), float("inf"), "2"])
def test_bad_fuzzifiers_are_refused(m: Any) -> None:
    with pytest.raises(ValueError, match="The 'm' parameter of FuzzyCMeans must be a float"):
        FuzzyCMeans(2, m=m).fit(rows()[0])


def test_bad_rows_are_refused() -> None:
    x, _ = rows(20)
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=4"):
        FuzzyCMeans(4).fit(x[:3])
    model = fit(x, 2)
    bad = x.copy()
    bad[4, 1] = np.nan
    for method in (model.fit, model.predict_proba, model.score):
        with pytest.raises(ValueError, match="contains NaN: the first is at row 4, column 1"):
            method(bad)
    with pytest.raises(ValueError, match="X has 2 features"):
        model.predict_proba(x[:, :2])


def test_of_several_starts_the_lowest_is_kept() -> None:
    x, _ = rows(200, k=8, seed=11)
    alone = [fit(x, 8, m=1.2, init="random", n_init=n).inertia_ for n in (1, 2, 6)]
    assert alone[0] >= alone[1] >= alone[2]
    assert alone[2] < alone[0]
