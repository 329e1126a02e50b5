"""TrimmedKMeans: against plain loops, k-means without trimming, and the same bits everywhere."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
from conftest import Backend, make_backend
from engine import problem_of, solve
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import KMeans, TrimmedKMeans
from kmeans_xp._backend import numpy_context
from kmeans_xp._outcome import Rules, Status
from kmeans_xp._solver import State
from kmeans_xp.relatives._trimmed import Masses, Trimmed, last_kept, masses


def planted(n: int = 200, out: int = 20, seed: int = 0) -> tuple[Any, Any, Any]:
    """Three groups, rows far from all of them and from each other, and which these are."""
    random = np.random.default_rng(seed)
    middles = np.asarray([[0.0, 0], [12, 0], [0, 12]])
    x = middles[random.integers(3, size=n)] + random.normal(size=(n, 2))
    rows = np.sort(random.choice(n, out, replace=False))
    angles = random.uniform(0, 2 * np.pi, out)
    radii = random.uniform(60, 200, out)
    x[rows] = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    return x, middles, rows


def fit(x: Any, k: Any, weight: Any = None, **parameters: Any) -> TrimmedKMeans:
    """From given centers if ``k`` are these."""
    if np.ndim(k):
        parameters |= {"init": k, "n_init": 1}
        k = len(k)
    return TrimmedKMeans(k, **{"random_state": 0} | parameters).fit(x, sample_weight=weight)


def loop_step(x: Any, centers: Any, left_out: int) -> tuple[Any, Any, float]:
    """Labels under some centers, the means of the rows that are kept, and what these sum up to."""
    apart = [[oracle.canonical(row, c) for c in centers.tolist()] for row in x.tolist()]
    labels = [row.index(min(row)) for row in apart]
    order = sorted(range(len(x)), key=lambda i: (min(apart[i]), i))
    for row in order[len(x) - left_out :]:
        labels[row] = -1
    value = math.fsum(min(apart[i]) for i in range(len(x)) if labels[i] >= 0)
    means = oracle.means(x, labels, len(centers))
    assert all(mean is not None for mean in means)
    return (
        labels,
        np.asarray([oracle.rounded(mean, x.dtype) for mean in means if mean], x.dtype),
        value,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("trim", [0.03, 0.1, 0.4])
def test_iterations_are_those_of_plain_loops(dtype: str, trim: float) -> None:
    x, _, _ = planted(seed=1)
    x = x.astype(dtype)
    centers = x[[0, 5, 9]]
    model = fit(x, centers, trim=trim, tol=0, max_iter=None)
    values = []
    while True:
        labels, means, value = loop_step(x, centers, math.floor(trim * len(x)))
        values.append(value)
        if (means == centers).all():
            break
        centers = means
    assert model.cluster_centers_.tobytes() == centers.tobytes()
    np.testing.assert_array_equal(model.labels_, labels)
    np.testing.assert_array_equal(model.outliers_, np.flatnonzero(model.labels_ < 0))
    assert len(model.outliers_) == math.floor(trim * len(x))
    assert model.inertia_ == pytest.approx(values[-1], rel=1e-14)
    assert [record.inertia for record in model.history_] == pytest.approx(values, rel=1e-14)
    kept = model.transform(x).min(axis=1)[model.labels_ >= 0]
    assert model.radius_ == pytest.approx(kept.max(), rel=1e-6)


def test_planted_outliers_are_found() -> None:
    x, middles, rows = planted()
    model = fit(x, 3, trim=0.1)
    np.testing.assert_array_equal(model.outliers_, rows)
    order = np.argmin(((model.cluster_centers_[:, None] - middles) ** 2).sum(axis=2), axis=0)
    np.testing.assert_allclose(model.cluster_centers_[order], middles, atol=0.4)
    plain = KMeans(3, random_state=0, n_init=10).fit(x)
    assert np.abs(plain.cluster_centers_).max() > 50.0
    nearest = model.predict(x)
    np.testing.assert_array_equal(nearest[model.labels_ >= 0], model.labels_[model.labels_ >= 0])
    assert nearest.min() == 0
    far = model.transform(x).min(axis=1) > model.radius_
    np.testing.assert_array_equal(np.flatnonzero(far), rows)
    np.testing.assert_array_equal(
        TrimmedKMeans(3, trim=0.1, random_state=0).fit_predict(x), model.labels_
    )


@pytest.mark.parametrize(("trim", "n"), [(0.0, 200), (0.04, 24)])
@pytest.mark.parametrize("weighted", [False, True])
def test_with_no_row_left_out_it_is_k_means(trim: float, n: int, weighted: bool) -> None:
    x, _, _ = planted(n, 2)
    weight = np.random.default_rng(2).choice([0.0, 1.0], n) if weighted else None
    parameters = {"init": "random", "n_init": 4, "random_state": 1}
    model = TrimmedKMeans(3, trim=trim, **parameters).fit(x, sample_weight=weight)
    kmeans = KMeans(3, tol=0, **parameters).fit(x, sample_weight=weight)
    assert model.cluster_centers_.tobytes() == kmeans.cluster_centers_.tobytes()
    assert model.labels_.tobytes() == kmeans.labels_.tobytes()
    assert (model.inertia_, model.n_iter_) == (kmeans.inertia_, kmeans.n_iter_)
    assert model.history_ == kmeans.history_
    assert model.outliers_.shape == (0,)
    own = model.transform(x).min(axis=1)
    assert model.radius_ == pytest.approx((own if weight is None else own[weight > 0]).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_same_bits_on_every_library(xp: Backend, dtype: str, weighted: bool) -> None:
    x, _, _ = planted(120, 9, seed=3)
    x = x.astype(dtype)
    weight = np.random.default_rng(4).random(len(x)) if weighted else None
    here = fit(x, x[:3], weight, trim=0.1)
    there = TrimmedKMeans(3, trim=0.1, init=xp.array(x[:3]), n_init=1).fit(
        xp.array(x), sample_weight=None if weight is None else xp.array(weight)
    )
    assert xp.host(there.cluster_centers_).tobytes() == here.cluster_centers_.tobytes()
    assert xp.host(there.labels_).tobytes() == here.labels_.tobytes()
    np.testing.assert_array_equal(xp.host(there.outliers_), here.outliers_)
    for name in ("inertia_", "radius_", "n_iter_", "status_", "history_"):
        assert getattr(there, name) == getattr(here, name), name


KERNELS = [("numpy", 41, 1), ("numpy", 41, 3), ("reference", 67, 1)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kernel", "block_rows", "threads"), KERNELS)
def test_no_kernel_and_no_block_shows(
    kernel: str, block_rows: int, threads: int, weighted: bool
) -> None:
    x, _, _ = planted(300, 12, seed=5)
    x = np.round(x)  # many equal distances
    weight = np.random.default_rng(6).choice([0.0, 0.5, 1.5], len(x)) if weighted else None
    wanted = fit(x, x[:3], weight, trim=0.08, tol=0)
    backend, cut = make_backend("numpy"), {"block_rows": block_rows, "threads": threads}
    problem = problem_of(backend, x, weight, k=3, first="float32", kernel=kernel, **cut)
    found = solve(problem, x[:3], Rules(300, 0.0), way=Trimmed(0.08))
    assert found.centers.tobytes() == wanted.cluster_centers_.tobytes()
    assert found.labels.tobytes() == wanted.labels_.tobytes()
    assert (found.inertia, found.history) == (wanted.inertia_, wanted.history_)
    assert found.facts["radius"] == wanted.radius_


def test_of_equal_rows_the_lower_ones_are_kept() -> None:
    x = np.asarray([[0.0], [4], [-4], [1], [-1], [4], [-4], [0]])
    model = fit(x, np.zeros((1, 1)), trim=0.4, tol=0)
    np.testing.assert_array_equal(model.labels_, [0, 0, -1, 0, 0, -1, -1, 0])
    # of the four that are equally far the first stays, and draws the center to itself
    assert model.cluster_centers_.tolist() == [[0.8]]
    apart = np.asarray([3.0, 1, 3, 3, 0, 3])
    for kept, row in ((1, 4), (2, 1), (3, 0), (4, 2), (5, 3), (6, 5)):
        plain = last_kept(apart, None, kept, xp=numpy_context().xp)
        whole = last_kept(apart, np.full(6, 8), 8 * kept, xp=numpy_context().xp)
        assert plain == whole == (row, apart[row], 1.0)
    part = last_kept(apart, np.asarray([4, 2, 0, 4, 8, 0]), 11, xp=numpy_context().xp)
    assert part == (0, 3.0, 0.25)


def test_what_is_kept_of_weights() -> None:
    ones = np.ones(20)
    assert masses(None, 20, 0.05, 0) == Masses(None, 20, 19)
    whole, total, kept = masses(ones, 20, 0.07, 0)
    assert whole is not None
    assert (kept * 20, total) == (19 * total, int(whole.sum()))
    # weights of 8 and 4, given as 1 and 1/2 times 2**3: of 90 rows floor(0.05 * 90) = 4
    whole, total, kept = masses(np.repeat([1.0, 0.5, 0.25], [5, 10, 5]), 20, 0.05, 3)
    assert kept * 90 == total * 86
    whole, total, kept = masses(np.full(20, 0.3), 20, 0.05, 0)
    assert kept / total == pytest.approx(0.95)


@pytest.mark.parametrize("seed", range(4))
def test_whole_weights_are_repeated_rows(seed: int) -> None:
    x, _, _ = planted(80, 6, seed=seed)
    weight = np.random.default_rng(seed).integers(0, 4, len(x))
    places = np.repeat(np.arange(len(x)), weight)
    one = fit(x, x[:3], weight, trim=0.13)
    repeated = fit(x[places], x[:3], trim=0.13)
    np.testing.assert_allclose(one.cluster_centers_, repeated.cluster_centers_, rtol=1e-13)
    assert one.inertia_ == pytest.approx(repeated.inertia_, rel=1e-13)
    assert one.radius_ == pytest.approx(repeated.radius_, rel=1e-13)
    # of a row whose weight is left out in part, the copies that are kept say its label
    labels = np.full(len(x), -1)
    np.maximum.at(labels, places, repeated.labels_)
    np.testing.assert_array_equal(one.labels_[weight > 0], labels[weight > 0])
    x[weight == 0] = 1e9
    away = fit(x, one.cluster_centers_, weight, trim=0.13)
    again = fit(x[weight > 0], one.cluster_centers_, weight[weight > 0], trim=0.13)
    assert away.cluster_centers_.tobytes() == again.cluster_centers_.tobytes()
    assert (away.labels_[weight == 0] == -1).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_objective_never_rises(weighted: bool) -> None:
    longest = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        x = random.standard_cauchy(size=(150, 2)) + 100.0
        weight = random.exponential(size=150) ** 3 if weighted else None
        model = fit(x, 5, weight, trim=0.2, tol=0, max_iter=None, n_init=1)
        values = [record.inertia for record in model.history_]
        assert all(b <= a for a, b in itertools.pairwise(values))
        assert model.inertia_ <= values[-1]
        longest = max(longest, len(values))
    assert longest > 6


def test_centers_that_are_no_better_are_not_taken() -> None:
    """As if a rounding had raised the objective: the run had ended at the centers before."""
    x, middles, _ = planted()
    problem, way, rules = problem_of(make_backend("numpy"), x, k=3), Trimmed(0.1), Rules(9, 0.0)
    first = way.step(problem, State(x[:3], None), rules, 0)
    assert first.value == first.history[0].inertia
    best = replace(first, before=middles, value=1.0)
    ended = way.step(problem, best, rules, 0)
    assert (ended.centers is middles, ended.status) == (True, Status.OBJECTIVE)
    assert ended.history == best.history
    cut = way.finish(problem, replace(best, status=Status.MAX_ITER), False)
    assert cut.centers is middles
    assert cut.labels.tolist() == way.finish(problem, ended, False).labels.tolist()
    lower = replace(best, value=1e9, status=Status.MAX_ITER)
    assert way.finish(problem, lower, False).centers is lower.centers


def test_an_empty_cluster_starts_anew() -> None:
    x, _, rows = planted(seed=8)
    # the second is the nearest of rows that are left out alone, the third of none
    start = np.asarray([[0.0, 0], [1e3, 1e3], [1e4, 1e4]])
    model = fit(x, start, trim=0.1, tol=0)
    np.testing.assert_array_equal(model.outliers_, rows)
    assert model.history_[0].changed == len(x) + 2
    assert sorted(set(model.labels_.tolist())) == [-1, 0, 1, 2]


def test_rows_as_many_as_clusters_and_duplicates() -> None:
    x = np.asarray([[0.0, 1], [2, 3], [7, 7], [900, 900]])
    model = fit(x, x[:3], trim=0.25)
    assert (model.inertia_, model.radius_) == (0.0, 0.0)
    np.testing.assert_array_equal(model.labels_, [0, 1, 2, -1])
    twice = np.repeat(x[:2], 6, axis=0)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(2\)"):
        spare = fit(twice, 3, trim=0.1)
    assert len(spare.outliers_) == 1
    assert spare.inertia_ == 0.0


@pytest.mark.parametrize("trim", [0.0, 0.1])
@pytest.mark.parametrize("exponent", [-700, -400, 300, 900])
def test_the_scale_of_the_data_does_not_matter(exponent: int, trim: float) -> None:
    x, _, _ = planted(100, 8)
    up = 2.0**exponent
    one, other = (fit(x * scale, x[:3] * scale, trim=trim) for scale in (1.0, up))
    assert (other.cluster_centers_ / up).tobytes() == one.cluster_centers_.tobytes()
    np.testing.assert_array_equal(other.labels_, one.labels_)
    assert other.radius_ == one.radius_ * up
    # of 2**-700 it is 0, of 2**900 infinite
    assert other.inertia_ == one.inertia_ * up * up
    if trim:
        values = [record.inertia for record in one.history_ if record.inertia]
        assert [record.inertia for record in other.history_] == [v * up * up for v in values]


def test_a_start_far_away_is_forgotten() -> None:
    """Distances are measured for the centers there are, not for one that lay at 2**1000."""
    x, _, _ = planted(seed=8)
    start = np.asarray([[0.0, 0], [0, 12], [2.0**1000, 0]])
    one, two = (fit(x, start, trim=0.1, tol=0, max_iter=most) for most in (1, 2))
    labels, _, value = loop_step(x, one.cluster_centers_, 20)
    np.testing.assert_array_equal(one.labels_, labels)
    assert one.inertia_ == pytest.approx(value, rel=1e-14)
    assert two.history_[1].inertia == pytest.approx(value, rel=1e-14)


def test_labels_are_judged_in_the_scale_of_the_centers() -> None:
    """Beside a row at 2**1000 the squares of the others lose half their digits."""
    x = np.asarray([[0.0], [1 + 2.0**-40], [2.0], [2.0**1000]])
    problem, way = problem_of(make_backend("numpy"), x, k=2), Trimmed(0.25)
    centers = np.asarray([[0.0], [2.0]])
    with numpy_context().scope():
        found = way.finish(problem, State(centers, None, status=Status.MAX_ITER), False)
    assert found.labels.tolist() == [0, 1, 1, -1]


@pytest.mark.parametrize("trim", [-0.1, 1.0, float("nan"), "0.1"])
def test_bad_shares_are_refused(trim: Any) -> None:
    with pytest.raises(ValueError, match="The 'trim' parameter of TrimmedKMeans must be a float"):
        TrimmedKMeans(2, trim=trim).fit(planted()[0])


def test_too_few_rows_left_are_refused() -> None:
    x, _, _ = planted(20, 1)
    with pytest.raises(ValueError, match=r"trim=0.9 leaves 2 of 20 rows, fewer than n_clusters=3"):
        TrimmedKMeans(3, trim=0.9).fit(x)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        TrimmedKMeans(3, trim=0.9).fit(x[:2])
    x[4, 1] = np.inf
    with pytest.raises(ValueError, match="contains infinity: the first is at row 4, column 1"):
        TrimmedKMeans(3).fit(x)
