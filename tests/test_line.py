"""The optimum in one dimension: no partition is better, on any library, and the model says so."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend
from engine import opened, problem_of, solve
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import cluster, datasets

from kmeans_xp import KMeans, _line, _line_sums
from kmeans_xp._effort import Effort
from kmeans_xp._line import Line, best_on_a_line
from kmeans_xp._outcome import Rules, Status
from kmeans_xp._search import search

RULES = Rules(max_iter=50, tol=0.0)
OPTIMUM = Status.OPTIMUM.value


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few groups, so that few rows too are worked on in passes."""
    monkeypatch.setattr(_line, "_FEW", 8)
    monkeypatch.setattr(_line, "_FIRST", 3)
    monkeypatch.setattr(_line, "_ALL", 0)


def line_of(backend: Backend, x: Any, k: int, weight: Any = None, **plan: Any) -> Line:
    with opened(backend):
        problem = problem_of(backend, np.asarray(x)[:, None], weight, k=k, **plan)
        line = best_on_a_line(problem, k)
    assert line is not None
    return line


def on_numpy(x: Any, k: int, weight: Any = None) -> tuple[Any, float]:
    line = line_of(make_backend("numpy"), x, k, weight)
    assert line.proven
    return line.centers[:, 0], line.bound


def exact_costs(x: Any, weight: Any) -> tuple[list[Fraction], list[list[Fraction]]]:
    """The sorted values, and the cost of each piece of them, without a rounding."""
    pairs = sorted((Fraction(value), Fraction(w)) for value, w in zip(x, weight, strict=True) if w)
    costs = [[Fraction(0)] * (len(pairs) + 1) for _ in pairs]
    for begin in range(len(pairs)):
        mass = first = second = Fraction(0)
        for end in range(begin, len(pairs)):
            value, w = pairs[end]
            mass, first, second = mass + w, first + w * value, second + w * value * value
            costs[begin][end + 1] = second - first * first / mass
    return [value for value, _ in pairs], costs


def least(costs: list[list[Fraction]], k: int) -> Fraction:
    """The best of all partitions into at most k pieces, one by one."""
    n = len(costs)
    return min(
        sum((costs[a][b] for a, b in itertools.pairwise([0, *cuts, n])), start=Fraction(0))
        for pieces in range(1, min(k, n) + 1)
        for cuts in itertools.combinations(range(1, n), pieces - 1)
    )


def cost_by(values: list[Fraction], costs: list[list[Fraction]], centers: Any) -> Fraction:
    """What the partition by the nearest of some centers costs."""
    points = [Fraction(center) for center in centers]
    labels = [min(range(len(points)), key=lambda c: abs(points[c] - value)) for value in values]
    edges = [i for i in range(1, len(labels)) if labels[i] != labels[i - 1]]
    return sum(
        (costs[a][b] for a, b in itertools.pairwise([0, *edges, len(values)])), start=Fraction(0)
    )


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_no_partition_is_better(data: st.DataObject) -> None:
    value = st.one_of(
        st.integers(-3, 3).map(float),
        st.integers(0, 1000).map(lambda i: i / 8.0 + 1e9),
        # squares of less are no numbers
        st.floats(-1e3, 1e3).map(lambda x: x if abs(x) > 1e-100 else 0.0),
    )
    x = data.draw(st.lists(value, min_size=1, max_size=9))
    weight = data.draw(
        st.one_of(
            st.none(),
            st.lists(
                st.sampled_from([0.0, 0.25, 1.0, 3.0, 2.0**-20]), min_size=len(x), max_size=len(x)
            ),
        )
    )
    positive = len(x) if weight is None else sum(w > 0 for w in weight)
    if positive == 0:
        return
    k = data.draw(st.integers(1, positive))
    few = data.draw(st.sampled_from([1, 1 << 10]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_line, "_FEW", few)
        patch.setattr(_line, "_FIRST", 2)
        patch.setattr(_line, "_ALL", 4 if few == 1 else 1 << 17)
        centers, bound = on_numpy(x, k, None if weight is None else np.asarray(weight))
    values, costs = exact_costs(x, weight or [1.0] * len(x))
    best = least(costs, k)
    assert list(centers) == sorted(centers)
    found = cost_by(values, costs, centers)
    # what may be missed, see `_line`
    unit = len(x) * (k + 1) * max(map(Fraction, weight or [1.0])) * (max(values) - min(values)) ** 2
    assert found <= best + unit / 2**92
    assert Fraction(bound) <= best
    assert Fraction(bound) >= best * (1 - Fraction(1, 2**39)) - unit / 2**90


def by_table(x: Any, weight: Any, k: int) -> float:
    """The least cost by the plain table of all cuts, of differences from a piece's own mean."""
    order = np.argsort(x)
    x, weight = x[order].astype(np.float64), weight[order]
    n = len(x)
    costs = np.zeros((n, n + 1))
    for begin in range(n):
        mass, offset = np.cumsum(weight[begin:]), x[begin:] - x[begin]
        first = np.cumsum(weight[begin:] * offset)
        costs[begin, begin + 1 :] = np.cumsum(weight[begin:] * offset**2) - first**2 / mass
    least = np.full(n + 1, np.inf)
    least[0] = 0.0
    for _ in range(k):
        table = least[:n, None] + np.where(np.tri(n, n + 1, dtype=bool), np.inf, costs)
        least = table.min(axis=0)
    return float(least[n])


SHAPES = {
    "normal": lambda random, n: random.normal(size=n),
    "tails": lambda random, n: random.standard_cauchy(n),
    "lattice": lambda random, n: np.arange(float(n)),
    "repeats": lambda random, n: random.integers(0, 40, n).astype(float),
    "twins": lambda random, n: np.concatenate([s := random.normal(size=n // 2), s + 50.0]),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("shape", SHAPES)
def test_groups_that_are_ruled_out_do_not_hold_the_optimum(shape: str, weighted: bool) -> None:
    random = np.random.default_rng(5)
    x = SHAPES[shape](random, 240)
    weight = random.integers(1, 5, len(x)) / 3.0 if weighted else np.ones(len(x))
    for k in (2, 3, 7, 12, 31):
        best = by_table(x, weight, k)
        centers, bound = on_numpy(x, k, weight if weighted else None)
        found = weight[:, None] * (x[:, None] - centers) ** 2
        found = found[np.arange(len(x)), np.abs(x[:, None] - centers).argmin(axis=1)].sum()
        assert found == pytest.approx(best, rel=1e-9)
        assert bound == pytest.approx(best, rel=1e-9)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_libraries_agree(xp: Backend, dtype: Any, weighted: bool) -> None:
    if xp.id == "jax" and (dtype is np.float32 or not weighted):
        pytest.skip("JAX compiles this for seconds: once is enough")
    random = np.random.default_rng(6)
    x = (random.normal(size=900) + 1e3).astype(dtype)
    weight = random.integers(0, 4, len(x)) / 3.0 if weighted else None
    line, standard = (line_of(b, x, 6, weight) for b in (xp, make_backend("numpy")))
    assert xp.host(line.centers).tobytes() == standard.centers.tobytes()
    assert (line.bound, line.proven) == (standard.bound, True)


def test_the_cuda_kernel_agrees() -> None:
    x = np.random.default_rng(7).integers(0, 60, 400).astype(np.float32)
    numpy = make_backend("numpy")
    line = line_of(numpy, x, 4, kernel="cuda", first="float32")
    assert line.centers.tobytes() == line_of(numpy, x, 4).centers.tobytes()


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("bits", [40, 21])
def test_sums_are_right(bits: int, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more rows than 2**21, a limb has fewer bits."""
    monkeypatch.setattr(_line_sums, "_LIMB_BITS", bits)
    random = np.random.default_rng(8)
    x = np.repeat(1e6 + random.normal(size=50), 3)
    weight = random.random(len(x)) if weighted else None
    problem = problem_of(make_backend("numpy"), x[:, None], weight, k=3)
    sums = _line_sums.Sums.of(problem)
    assert sums is not None
    assert sums.n_values == 50
    places = np.asarray([0, 1, 17, 50])
    scale, spread, of_weight = sums.grid.exponents
    kept = np.ones(len(x)) if weight is None else weight * 2.0**-of_weight
    unit, shift = Fraction(2) ** (scale + spread), Fraction(sums.grid.shift) * Fraction(2) ** scale
    rows = [((Fraction(v) - shift) / unit, Fraction(w)) for v, w in zip(x, kept, strict=True)]
    rows.sort()
    before = sums.before(places)
    for power, pair in enumerate(before):
        for place, high, low in zip(places, *pair, strict=True):
            true = sum((w * y**power for y, w in rows[: 3 * place]), start=Fraction(0))
            assert abs(Fraction(high) + Fraction(low) - true) <= Fraction(len(x)) / 2**104


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_bad_start_is_repaired(weighted: bool) -> None:
    random = np.random.default_rng(9)
    true = np.asarray([0.0, 10.0, 20.0, 30.0, 40.0])
    x = (true[:, None] + random.normal(size=(5, 40))).reshape(-1, 1)
    weight = random.integers(0, 3, len(x)) * 1.0 if weighted else None
    start = np.asarray([[0.0], [0.4], [1.0], [15.0], [35.0]])
    problem = problem_of(make_backend("numpy"), x, weight, k=5, variance=True)
    plain = solve(problem, start, RULES)
    told: list[Any] = []
    with problem.source.working():
        best, trials = search(problem, plain, RULES, Effort(), 7, announce=told.append)
    assert plain.status is Status.CONVERGED
    assert best.inertia < 0.2 * plain.inertia
    assert best.status is Status.OPTIMUM
    assert [(trial.swaps, trial.kept, trial.inertia) for trial in trials] == [
        (5, True, best.inertia)
    ]
    assert best.n_iter == trials[0].n_iter <= 2
    np.testing.assert_allclose(best.centers[:, 0], true, atol=0.5)
    assert [result.inertia for result in told] == [best.inertia]


def test_iris_and_digits_have_nothing_better() -> None:
    columns = [*datasets.load_iris().data.T, datasets.load_digits().data[:300].ravel()]
    for x in columns:
        rows = x[:, None]
        for k in (2, 3, 5, 8):
            model = KMeans(k, random_state=0, search="auto", tol=0).fit(rows)
            values, counts = np.unique(x, return_counts=True)
            assert model.inertia_ == pytest.approx(by_table(values, counts * 1.0, k), rel=1e-9)
            assert model.status_ == OPTIMUM
            other = cluster.KMeans(k, n_init=3, random_state=0).fit(rows)
            assert model.inertia_ <= other.inertia_ * (1 + 1e-9)
            np.testing.assert_array_equal(model.predict(rows), model.labels_)
            assert model.score(rows) == -model.inertia_


@pytest.mark.parametrize(
    ("dtype", "factor", "offset"),
    [
        (np.float64, 1.0, 2.0**30),
        (np.float64, 2.0**996, 0.0),
        (np.float64, 2.0**-997, 0.0),
        (np.float64, 2.0**1020, 0.0),
        (np.float64, 2.0**-1070, 0.0),
        (np.float32, 1.0, 2.0**20),
        (np.float32, 2.0**100, 0.0),
        (np.float32, 2.0**-140, 0.0),
    ],
)
def test_units_and_offsets_change_nothing(dtype: Any, factor: float, offset: float) -> None:
    random = np.random.default_rng(10)
    # whole numbers, so that nothing is rounded
    x = np.concatenate([random.integers(0, 9, 60), random.integers(-8, -2, 50)]).astype(dtype)
    weight = random.integers(0, 3, len(x)) * factor if abs(math.log2(factor)) < 900 else None
    moved = (x * dtype(factor) + dtype(offset))[:, None]
    assert len(np.unique(moved)) == len(np.unique(x))
    plain = None if weight is None else weight / factor
    one, other = (
        KMeans(5, random_state=1, search="auto", tol=0).fit(rows, sample_weight=w)
        for rows, w in ((x[:, None], plain), (moved, weight))
    )
    np.testing.assert_array_equal(one.labels_, other.labels_)
    assert one.status_ == OPTIMUM
    if offset == 0.0:
        assert other.status_ == OPTIMUM
    best = by_table(x, np.ones(len(x)) if plain is None else plain + 1e-30, 5)
    assert one.inertia_ == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("exponent", [-1018, -1030, -1074])
def test_the_least_weights_count(exponent: int) -> None:
    x, weight = np.arange(12.0)[:, None] ** 2, np.tile([0.0, 1.0, 2.0], 4)
    plain = KMeans(3, random_state=0).fit(x, sample_weight=weight)
    model = KMeans(3, random_state=0).fit(x, sample_weight=np.ldexp(weight, exponent))
    assert model.cluster_centers_.tobytes() == plain.cluster_centers_.tobytes()


def test_few_values_and_many_clusters() -> None:
    x = np.repeat([3.0, 1.0, 7.0, 2.0], 3)[:, None]
    for k in (1, 2, 3, 4):
        model = KMeans(k, random_state=0, search="auto").fit(x)
        best = by_table(np.asarray([3.0, 1.0, 7.0, 2.0]), np.full(4, 3.0), k)
        assert model.inertia_ == pytest.approx(best, abs=1e-12)
        assert model.status_ == OPTIMUM
    for rule in ("farthest", "error"):
        more = KMeans(6, random_state=0, search="auto", empty_cluster=rule, init="random")
        if rule == "error":
            with pytest.raises(ValueError, match="empty"):
                more.fit(x)
            continue
        with pytest.warns(UserWarning, match="distinct clusters"):
            assert more.fit(x).inertia_ == 0.0
    random = np.random.default_rng(11).normal(size=(300, 1))
    assert KMeans(299, random_state=0, search="auto").fit(random).status_ == OPTIMUM


@pytest.mark.usefixtures("small")
def test_where_too_much_is_left_a_bound_is_and_the_search_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = np.random.default_rng(12).normal(size=400)
    best = by_table(x, np.ones(400), 9)
    on_the_whole = line_of(make_backend("numpy"), x, 9)
    bounds = []
    for most in (50, 100, 200):
        monkeypatch.setattr(_line, "MOST", most)
        line = line_of(make_backend("numpy"), x, 9)
        assert not line.proven
        bounds.append(line.bound)
        model = KMeans(9, random_state=0, search="auto").fit(x[:, None])
        assert best * (1 - 1e-9) <= model.inertia_ <= 1.05 * best
        assert model.status_ != OPTIMUM
        assert [trial.swaps for trial in model.trials_[:2]] == [0, 9]
        assert len(model.trials_) > 2
    # what was better before stays
    problem = problem_of(make_backend("numpy"), x[:, None], k=9, variance=True)
    found = solve(problem, on_the_whole.centers, RULES)
    monkeypatch.setattr(_line, "MOST", 50)
    with problem.source.working():
        after, (trial, *_) = search(problem, found, RULES, Effort(), 7)
    assert after is found
    assert trial.inertia > found.inertia
    assert not trial.kept
    assert bounds == sorted(bounds)
    assert 0.4 * best < bounds[-1] <= best
    monkeypatch.setattr(_line, "_MOST_CUTS", 8)
    model = KMeans(9, random_state=0, search="auto").fit(x[:, None])
    assert [trial.swaps == 9 for trial in model.trials_] == [False] * len(model.trials_)
    # one pass over all places needs no groups
    monkeypatch.setattr(_line, "_ALL", 9 * 400)
    line = line_of(make_backend("numpy"), x, 9)
    assert line.proven
    assert line.bound == pytest.approx(best, rel=1e-9)


def test_few_cuts_look_at_few_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, seen = _line.sweep, [0]

    def counted(groups: Any, windows: Any) -> Any:
        seen[0] += int((windows.high - windows.low + 1).sum())
        return sweep(groups, windows)

    monkeypatch.setattr(_line, "sweep", counted)
    x = np.random.default_rng(0).normal(size=20_000)
    x[::2] += 8.0
    backend = make_backend("numpy")
    assert line_of(backend, x, 2).proven
    assert line_of(backend, x, 3).proven
    assert seen[0] < 20_000, "less than the rows, which each run of the loop looks at"
