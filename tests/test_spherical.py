"""SphericalKMeans: against plain loops, at the ends of the range, the same bits everywhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend
from engine import opened, problem_of, solve
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import KMeans, SphericalKMeans
from kmeans_xp._outcome import Rules, Status
from kmeans_xp._solver import State
from kmeans_xp.relatives._spherical import SPHERICAL, unit_rows


def rays(n: int = 150, d: int = 4, k: int = 3, seed: int = 0) -> Any:
    """Rows around k directions, of lengths between 0.01 and 100."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(k, d))[random.integers(k, size=n)] * 2 + random.normal(size=(n, d))
    return x * 10.0 ** random.uniform(-2, 2, (n, 1))


def fit(x: Any, start: Any, weight: Any = None, **parameters: Any) -> SphericalKMeans:
    model = SphericalKMeans(len(start), init=start, **{"tol": 0} | parameters)
    return model.fit(x, sample_weight=weight)


def unit(row: Any) -> list[float]:
    largest = max(abs(value) for value in row)
    length = math.hypot(*(value / largest for value in row))
    return [value / largest / length for value in row]


def cosine(a: Any, b: Any) -> float:
    return math.fsum(p * q for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("weighted", [False, True])
def test_iterations_are_those_of_plain_loops(weighted: bool) -> None:
    x = rays()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(x)) if weighted else np.ones(len(x))
    model = fit(x, x[:3], weight if weighted else None)
    rows, centers = [unit(row) for row in x.tolist()], [unit(row) for row in x[:3].tolist()]
    values: list[float] = []
    labels: list[int] = []
    while True:
        cosines = [[cosine(row, center) for center in centers] for row in rows]
        found = [row.index(max(row)) for row in cosines]
        values.append(math.fsum(w * (1 - max(c)) for w, c in zip(weight, cosines, strict=True)))
        if found == labels:
            break
        labels = found
        for j in range(3):
            mine = [i for i, label in enumerate(labels) if label == j]
            centers[j] = unit(
                [math.fsum(weight[i] * rows[i][f] for i in mine) for f in range(x.shape[1])]
            )
    assert model.status_ == Status.CONVERGED.value
    np.testing.assert_array_equal(model.labels_, labels)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-13)
    assert [record.inertia for record in model.history_] == pytest.approx(values, rel=1e-12)
    assert values == sorted(values, reverse=True)
    assert len(values) > 3
    assert model.inertia_ == pytest.approx(values[-1], rel=1e-12)
    np.testing.assert_array_equal(model.predict(x), labels)
    assert model.score(x, sample_weight=weight) == pytest.approx(-values[-1], rel=1e-12)
    apart = 1 - np.asarray(rows) @ np.asarray(centers).T
    np.testing.assert_allclose(model.transform(x), apart, atol=1e-14)
    clone = SphericalKMeans(3, init=x[:3], tol=0)
    np.testing.assert_array_equal(clone.fit_transform(x), fit(x, x[:3]).transform(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_have_length_1_at_the_ends_of_the_number_range(dtype: str, xp: Backend) -> None:
    low, high = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    x = np.asarray([[3, 4], [high, -high], [low, 0], [low, -low], [high, 1], [-7, low]], dtype)
    half = math.sqrt(0.5)
    wanted = [[0.6, 0.8], [half, -half], [1, 0], [half, -half], [1, float(1 / high)], [-1, 0]]
    if xp.id == "jax":
        # XLA takes subnormal numbers for zero; the estimator works on its host arrays in NumPy
        x, wanted = x[:2], wanted[:2]
    with opened(xp):
        found = xp.host(unit_rows(xp.array(x), "X", "SphericalKMeans"))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.asarray(wanted, dtype), rtol=2.0**-52, atol=0)
    assert found.tobytes() == unit_rows(x, "X", "SphericalKMeans").tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lengths_do_not_matter(dtype: str) -> None:
    x = rays(seed=2).astype(dtype)
    random = np.random.default_rng(3)
    model = fit(x, x[:4])
    exact = np.ldexp(x, random.integers(-60, 60, (len(x), 1)))
    other = fit(exact, exact[:4])
    assert other.labels_.tobytes() == model.labels_.tobytes()
    assert other.cluster_centers_.tobytes() == model.cluster_centers_.tobytes()
    assert model.predict(exact).tobytes() == model.labels_.tobytes()
    near = x * random.uniform(0.1, 10, (len(x), 1)).astype(dtype)
    assert (fit(near, near[:4]).labels_ == model.labels_).mean() > 0.98


def test_the_first_step_is_that_of_k_means_on_scaled_rows() -> None:
    x = rays(seed=4)
    rows = unit_rows(x, "X", "SphericalKMeans")
    kmeans = KMeans(5, init="k-means++", random_state=3, tol=0, max_iter=1).fit(rows)
    model = SphericalKMeans(5, random_state=3, tol=0, max_iter=1).fit(x)
    # means of one assignment, and their directions
    np.testing.assert_allclose(
        model.cluster_centers_, unit_rows(kmeans.cluster_centers_, "X", "it"), rtol=1e-14
    )
    assert model.history_[0].inertia > model.inertia_


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_the_objective_never_rises(dtype: str, init: str) -> None:
    for seed in range(4):
        x = rays(400, 6, 2, seed).astype(dtype)
        model = SphericalKMeans(9, init=init, n_init=1, tol=0, max_iter=None, random_state=seed)
        values = [record.inertia for record in model.fit(x).history_]
        assert len(values) > 4
        assert all(a >= b for a, b in zip(values, [*values[1:], model.inertia_], strict=True))
        lengths = np.linalg.norm(model.cluster_centers_.astype("float64"), axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=4 * np.finfo(dtype).eps)


def test_whole_weights_are_repeated_rows() -> None:
    x, counts = rays(80, seed=5), np.random.default_rng(6).integers(1, 4, 80)
    weighted = fit(x, x[:4], counts.astype(float))
    repeated = fit(np.repeat(x, counts, axis=0), x[:4])
    np.testing.assert_allclose(repeated.cluster_centers_, weighted.cluster_centers_, rtol=1e-14)
    np.testing.assert_array_equal(repeated.labels_, np.repeat(weighted.labels_, counts))
    assert repeated.inertia_ == pytest.approx(weighted.inertia_, rel=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_every_library(xp: Backend, dtype: str, weighted: bool) -> None:
    x = rays(90, 5, seed=7).astype(dtype)
    weight = np.random.default_rng(8).random(len(x)) if weighted else None
    here = fit(x, x[:4], weight)
    there = fit(xp.array(x), x[:4], None if weight is None else xp.array(weight))
    assert xp.host(there.cluster_centers_).tobytes() == here.cluster_centers_.tobytes()
    assert xp.host(there.labels_).tobytes() == here.labels_.tobytes()
    for name in ("inertia_", "n_iter_", "status_", "history_"):
        assert getattr(there, name) == getattr(here, name), name
    np.testing.assert_array_equal(xp.host(there.predict(xp.array(x))), here.predict(x))


@pytest.mark.parametrize(("kernel", "threads"), [("numpy", 3), ("reference", 1)])
def test_no_kernel_and_no_block_shows(kernel: str, threads: int) -> None:
    x = np.round(rays(300, seed=9))
    x[:, 3] += 1000  # near each other: centers leave the rows
    wanted = fit(x, x[:5])
    rows, cut = unit_rows(x, "X", "it"), {"block_rows": 41, "threads": threads}
    problem = problem_of(make_backend("numpy"), rows, k=5, first="float32", kernel=kernel, **cut)
    found = solve(problem, rows[:5], Rules(300, 0.0), way=SPHERICAL)
    assert found.centers.tobytes() == wanted.cluster_centers_.tobytes()
    assert found.labels.tobytes() == wanted.labels_.tobytes()
    assert (found.inertia, found.history) == (wanted.inertia_, wanted.history_)


def test_a_mean_of_zero_keeps_the_center() -> None:
    x = np.asarray([[1.0, 0], [-1, 0]])
    model = fit(x, [[0.0, 3]])
    assert model.cluster_centers_.tolist() == [[0, 1]]
    assert (model.inertia_, model.labels_.tolist()) == (2.0, [0, 0])


def test_as_many_clusters_as_rows_and_repeated_directions() -> None:
    x = rays(7, seed=10)
    model = SphericalKMeans(7, random_state=0).fit(x)
    assert sorted(model.labels_) == list(range(7))
    assert 0 <= model.inertia_ < 1e-14
    with pytest.warns(ConvergenceWarning, match="rows of one direction"):
        model = SphericalKMeans(3, random_state=0).fit([[1.0, 1], [2, 2], [0, 1], [0, 4]])
    assert len(set(model.labels_.tolist())) == 2
    assert model.inertia_ == pytest.approx(0, abs=1e-15)


def test_rows_and_starts_without_a_direction_are_refused() -> None:
    x = rays(20)
    model = SphericalKMeans(2, random_state=0).fit(x)
    zero = x.copy()
    zero[[5, 9]] = 0
    asked = (SphericalKMeans(2).fit, model.predict, model.transform, model.score)
    for ask in asked:
        with pytest.raises(ValueError, match=r"row 5 of X is all zeros.*Leave such rows out"):
            ask(zero)
    zero[7, 1] = math.inf
    with pytest.raises(ValueError, match="infinity"):
        SphericalKMeans(2).fit(zero)
    with pytest.raises(ValueError, match="row 1 of init is all zeros"):
        fit(x, np.stack([x[0], 0 * x[0]]))


def test_a_step_that_does_not_lower_the_objective_is_taken_back() -> None:
    rows = unit_rows(rays(3000, 3, 30, seed=11), "X", "it")
    problem = problem_of(make_backend("numpy"), rows, k=30, first="float32", block_rows=411)
    rules = Rules(99, 0.0)
    state = State(rows[:30], None)
    for _ in range(4):
        state = SPHERICAL.step(problem, state, rules, 0)
    # as if the last centers had been as good as any
    after = SPHERICAL.step(problem, replace(state, value=0.0), rules, 0)
    assert (after.status, len(after.history)) == (Status.OBJECTIVE, 4)
    result = SPHERICAL.finish(problem, after, False)
    assert state.before is not None
    assert result.centers.tobytes() == state.before.tobytes()
    cosines = rows @ result.centers.T
    np.testing.assert_array_equal(result.labels, np.argmax(cosines, axis=1))
    assert result.inertia == pytest.approx(np.sum(1 - cosines.max(axis=1)), rel=1e-12)


def test_labels_of_runs_cut_short_are_those_of_predict() -> None:
    x = rays(3000, 3, 30, seed=11).astype("float32")
    for most in (1, 2, 5, 9):
        model = SphericalKMeans(30, random_state=0, tol=0, max_iter=most).fit(x)
        np.testing.assert_array_equal(model.labels_, model.predict(x))


def test_directions_that_leave_the_range_of_the_rows_by_a_rounding() -> None:
    """Where rows differ by 2**-300 alone, squares of other differences overflow in their scale."""
    x = np.asarray([[1.0, 1.0, z * 2.0**-300] for z in (0, 1, 5, 6)])
    with pytest.warns(ConvergenceWarning, match="one direction"):
        model = fit(x, x[[0, 2]], max_iter=1)
    assert model.history_[0].inertia == pytest.approx(2.0**-601, rel=1e-12, abs=0)
    # a mean's direction is another number in the first two columns
    apart = unit_rows(x, "X", "it")[:, None, :] - model.cluster_centers_[None, :, :]
    assert (apart[:, :, 0] != 0.0).all()
    value = 0.5 * (apart**2).sum(axis=2).min(axis=1).sum()
    assert model.inertia_ == pytest.approx(value, rel=1e-12, abs=0)


@pytest.mark.parametrize("most", [1, 9])
def test_distances_are_measured_for_directions_outside_the_rows(most: int) -> None:
    """The mean of these rows lies between them, its direction above them all."""
    rows = unit_rows(np.asarray([[3.0, 0, 4], [-3, 0, 4], [0, 3, 4], [0, -3, 4]]), "X", "it")
    problem, reaches = problem_of(make_backend("numpy"), rows, k=1), []
    nearest_to = problem.nearest_to

    def asked(centers: Any, **options: Any) -> Any:
        nearest = nearest_to(centers, **options)
        assert nearest.shift is None
        reaches.append((float(np.abs(centers).max()), nearest.reach))
        return nearest

    problem.nearest_to = asked
    found = solve(problem, rows[:1], Rules(most, 0.0), way=SPHERICAL)
    np.testing.assert_allclose(found.centers, [[0, 0, 1]], atol=1e-15)
    assert all(largest <= reach for largest, reach in reaches)
