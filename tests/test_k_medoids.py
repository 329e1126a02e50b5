"""KMedoids against brute force, plain loops, and itself on other libraries."""

from __future__ import annotations

from typing import Any

import medoid_oracle as oracle
import numpy as np
import pytest
from conftest import Backend
from medoid_cases import NUMPY, clusters, distances
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import KMedoids
from kmeans_xp._backend import context_of
from kmeans_xp.relatives import _clara, _losses, _medoids, _spaces
from kmeans_xp.relatives._clara import Search, sampled
from kmeans_xp.relatives._pairs import NAMED, Measure
from kmeans_xp.relatives._spaces import RowSpace

STARTS = ("build", "k-means++", "random")


def judge_small_cases() -> int:
    """Fit small tables; each must be a local optimum, and not below the optimum.  Counts optima."""
    optima = 0
    for seed in range(30):
        generator = np.random.default_rng(seed)
        n, k = int(generator.integers(5, 12)), int(generator.integers(1, 5))
        x = generator.normal(size=(n, 2))
        metric, init = NAMED[seed % len(NAMED)], STARTS[seed % len(STARTS)]
        table = distances(x, metric)
        model = KMedoids(k, metric=metric, init=init, random_state=seed).fit(x)
        medoids = model.medoid_indices_.tolist()
        found = oracle.loss(table, medoids)
        assert model.inertia_ == pytest.approx(found, rel=1e-12)
        least = oracle.optimum(table, k)
        assert least <= found * (1 + 1e-12)
        assert found <= oracle.best_swap(table, medoids) * (1 + 1e-9)
        optima += found <= least * (1 + 1e-9)
    return optima


def test_no_swap_is_better_and_most_results_are_optima() -> None:
    assert judge_small_cases() >= 26


def without_the_second_nearest(real: Any) -> Any:
    """`Medoids._look` that leaves the second nearest as the first look found them."""

    def look(self: Any, pays: Any) -> None:
        before = getattr(self, "_second", None)
        real(self, pays)
        self._second = self._second if before is None else before

    return look


def with_shared_excess(real: Any) -> Any:
    """`Medoids.changes` that forgets what rows of staying medoids save."""

    def changes(self: Any, table: Any) -> Any:
        xp = self._losses.context.xp
        return real(self, xp.maximum(table, self._nearest[None, :]))

    return changes


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("_look", without_the_second_nearest), ("changes", with_shared_excess)],
)
def test_wrong_steps_are_caught(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_medoids.Medoids, name, wrong(getattr(_medoids.Medoids, name)))
    with pytest.raises(AssertionError):
        judge_small_cases()


@pytest.mark.parametrize("seed", range(6))
def test_few_rows_are_swapped_as_by_pam(seed: int) -> None:
    """Whole numbers, so that there are ties; the same medoids in the same order."""
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 7, size=(40, 2)).astype(float)
    table, k = distances(x), 2 + seed
    start = oracle.build(table, k)
    wanted, swaps = oracle.pam(table, start)
    model = KMedoids(k).fit(x)
    assert model.medoid_indices_.tolist() == wanted
    assert model.n_swaps_ == swaps
    start = generator.choice(40, size=k, replace=False)
    wanted, swaps = oracle.pam(table, start.tolist())
    model = KMedoids(k, init=start).fit(x)
    assert swaps > 0
    assert (model.medoid_indices_.tolist(), model.n_swaps_) == (wanted, swaps)


def test_build_asks_no_row_in_vain_and_finds_the_same() -> None:
    generator = np.random.default_rng(3)
    x = generator.integers(0, 30, size=(150, 2)).astype(float)
    with_build = KMedoids(9, max_iter=1, init=oracle.build(distances(x), 9)).fit(x)
    model = KMedoids(9, max_iter=1).fit(x)
    assert model.medoid_indices_.tolist() == with_build.medoid_indices_.tolist()
    assert model.n_swaps_ == with_build.n_swaps_


@pytest.mark.parametrize("init", STARTS)
def test_many_rows_end_as_low_as_by_the_papers_loops(init: str) -> None:
    x = clusters(150, 6, spread=1.0)
    table = distances(x)
    model = KMedoids(6, init=init, random_state=1).fit(x)
    medoids = model.medoid_indices_.tolist()
    assert model.inertia_ == pytest.approx(oracle.loss(table, medoids), rel=1e-12)
    assert model.inertia_ <= oracle.best_swap(table, medoids) * (1 + 1e-9)
    start = np.random.default_rng(0).choice(150, size=6, replace=False)
    theirs = oracle.loss(table, oracle.faster_pam(table, start.tolist()))
    assert model.inertia_ <= theirs * 1.01
    assert model.status_ == "converged: no swap of a medoid and a row lowers the loss"


def answers(model: KMedoids, xp: Backend) -> tuple[Any, ...]:
    arrays = (model.medoid_indices_, model.labels_, model.cluster_centers_)
    return (
        *(xp.host(array).tobytes() for array in arrays),
        model.inertia_.hex(),
        model.n_iter_,
        model.n_swaps_,
        model.status_,
    )


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, "float64"),
        ({"metric": "euclidean", "init": "k-means++"}, "float32"),
        (
            {"metric": "cosine", "init": "random", "memory_limit": 1, "method": "fasterpam"},
            "float64",
        ),
        ({"metric": "sqeuclidean", "method": "clara", "sample_size": 70}, "float32"),
    ],
    ids=["manhattan", "euclidean", "unstored", "clara"],
)
def test_one_seed_has_one_answer(xp: Backend, options: dict[str, Any], dtype: str) -> None:
    x = clusters(140, 5, spread=1.0).astype(dtype)
    weight = np.random.default_rng(1).random(140) * 3.0
    weight[::7] = 0.0
    wanted = KMedoids(5, random_state=3, **options).fit(x, sample_weight=weight)
    assert wanted.n_swaps_ > 0
    model = KMedoids(5, random_state=3, **options).fit(xp.array(x), sample_weight=xp.array(weight))
    assert answers(model, xp) == answers(wanted, NUMPY)
    assert xp.host(model.predict(xp.array(x))).tobytes() == wanted.labels_.tobytes()


def search_on(backend: Backend, x: Any, weight: Any, start: str, *, samples: bool) -> Any:
    """A search in a library's own functions, in which host memory is worked on by NumPy else."""
    rows = backend.array(x)
    context = context_of(rows)
    with context.scope():
        measure = Measure.over("manhattan", [rows], context, who="a test")
        space = RowSpace.of(measure, rows)
        search = Search(4, start, 100, 11, 1 << 30)
        there = backend.array(weight)
        return sampled(space, there, search, 62, 2) if samples else search.among(space, there)


@pytest.mark.parametrize(("start", "far"), [("build", 0.0), ("k-means++", 1e15), ("random", 0.0)])
def test_the_mathematics_is_the_same_in_every_library(xp: Backend, start: str, far: float) -> None:
    if xp.id == "jax" and start != "k-means++":
        pytest.skip("one start is enough where each operation is compiled for each shape")
    n = 64 if xp.id == "jax" else 70  # one block of candidates, or two
    x = clusters(n, 4, d=2, seed=5, spread=1.0)
    x[3, 0] += far
    weight = np.random.default_rng(2).random(n) + 0.5
    samples = start == "random"
    wanted = search_on(NUMPY, x, weight, start, samples=samples)
    assert search_on(xp, x, weight, start, samples=samples) == wanted


@pytest.mark.parametrize("far", [1e15, 1e30])
def test_a_row_far_away_leaves_the_others_their_clusters(far: float) -> None:
    x = clusters(90, 4, d=2, spread=8.0, seed=2)
    alone = KMedoids(4).fit(x)
    model = KMedoids(5).fit(np.concatenate([x, [[far, 0.0]]]))
    assert sorted(model.medoid_indices_.tolist()) == sorted([*alone.medoid_indices_.tolist(), 90])
    assert model.inertia_ == pytest.approx(alone.inertia_, rel=1e-12)


def test_the_work_is_cut_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clusters(200, 5, spread=1.0)
    wanted = answers(KMedoids(5, init="random", random_state=0).fit(x), NUMPY)
    monkeypatch.setattr(_losses, "_HOST_PIECE", 7)
    monkeypatch.setattr(_spaces, "_HOST_CELLS", 320)
    for limit in (None, 1):
        model = KMedoids(5, init="random", random_state=0, method="fasterpam", memory_limit=limit)
        assert answers(model.fit(x), NUMPY) == wanted


def test_in_one_column_a_single_medoid_is_the_weighted_median() -> None:
    x = np.array([[5.0], [1.0], [9.0], [2.0], [40.0]])
    assert KMedoids(1).fit(x).cluster_centers_.tolist() == [[5.0]]
    weight = [1.0, 1.0, 1.0, 1.0, 10.0]
    model = KMedoids(1).fit(x, sample_weight=weight)
    assert model.cluster_centers_.tolist() == [[40.0]]
    assert model.inertia_ == 35.0 + 39.0 + 31.0 + 38.0


def test_every_row_can_be_a_medoid() -> None:
    x = clusters(13, 2)
    for init in STARTS:
        model = KMedoids(13, init=init, random_state=0).fit(x)
        assert sorted(model.medoid_indices_.tolist()) == list(range(13))
        assert model.inertia_ == 0.0
        assert model.n_swaps_ == 0
        assert model.medoid_indices_[model.labels_].tolist() == list(range(13))


@pytest.mark.parametrize("init", STARTS)
def test_equal_rows_are_told_of(init: str) -> None:
    x = np.repeat([[0.0, 1.0], [4.0, 4.0]], 5, axis=0)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(2\) found smaller than"):
        model = KMedoids(4, init=init, random_state=2).fit(x)
    assert len(set(model.medoid_indices_.tolist())) == 4
    assert model.inertia_ == 0.0


def test_whole_weights_are_repeated_rows() -> None:
    x = np.random.default_rng(5).integers(0, 9, size=(30, 2)).astype(float)
    weight = np.random.default_rng(6).integers(0, 4, size=30)
    weighted = KMedoids(4).fit(x, sample_weight=weight)
    repeated = KMedoids(4).fit(np.repeat(x, weight, axis=0))
    assert weighted.inertia_ == repeated.inertia_
    assert weighted.cluster_centers_.tolist() == repeated.cluster_centers_.tolist()
    assert (weight[weighted.medoid_indices_] > 0).all()
    assert weighted.labels_.tolist() == weighted.predict(x).tolist()
    assert weighted.score(x, sample_weight=weight) == -weighted.inertia_
    # weights of any size
    for power in (-1060, 1000):
        scaled = KMedoids(4).fit(x, sample_weight=np.ldexp(weight.astype(float), power))
        assert scaled.medoid_indices_.tolist() == weighted.medoid_indices_.tolist()
        assert scaled.inertia_ == np.ldexp(weighted.inertia_, power)


@pytest.mark.parametrize("metric", ["manhattan", "euclidean", "chebyshev"])
@pytest.mark.parametrize("power", [-1050, 1015])
def test_rows_of_any_size_are_clustered(metric: str, power: int) -> None:
    x = np.round(clusters(60, 3) * 4) / 4
    model = KMedoids(3, metric=metric).fit(x)
    scaled = KMedoids(3, metric=metric).fit(np.ldexp(x, power))
    assert scaled.medoid_indices_.tolist() == model.medoid_indices_.tolist()
    assert scaled.inertia_ == pytest.approx(np.ldexp(model.inertia_, power), rel=1e-12)
    assert scaled.predict(np.ldexp(x, power)).tolist() == model.labels_.tolist()


def test_the_last_look_and_ctrl_c_leave_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clusters(300, 8, spread=1.0)
    start = list(range(8))
    model = KMedoids(8, init=start, max_iter=1).fit(x)
    assert model.status_ == "stopped at max_iter before convergence"
    assert model.n_iter_ == 1
    real, left = _medoids.Medoids.swap, [2]

    def swap(self: Any, leaving: int, candidate: int) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, leaving, candidate)

    for options in ({"method": "fasterpam"}, {"method": "clara", "sample_size": 200}):
        left[0] = 2
        monkeypatch.setattr(_medoids.Medoids, "swap", swap)
        model = KMedoids(8, init=start, **options)
        with pytest.raises(KeyboardInterrupt, match="interrupted: the best state so far was kept"):
            model.fit(x)
        assert model.n_swaps_ == 2
        assert len(set(model.medoid_indices_.tolist()) - set(start)) in (1, 2)
        assert model.labels_.tolist() == model.predict(x).tolist()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.undo()
    monkeypatch.setattr(_clara, "at_best_rows", stop)
    model = KMedoids(8, method="clara", sample_size=200)
    with pytest.raises(KeyboardInterrupt, match="interrupted: the best state so far was kept"):
        model.fit(x)
    assert model.labels_.tolist() == model.predict(x).tolist()
