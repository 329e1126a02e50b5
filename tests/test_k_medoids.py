"""KMedoids against brute force, plain loops, and itself on other libraries."""

from __future__ import annotations

import pickle
from typing import Any

import array_api_compat
import medoid_oracle as oracle
import numpy as np
import pytest
from conftest import Backend, make_backend
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import KMedoids
from kmeans_xp._backend import context_of
from kmeans_xp.exceptions import DeviceMemoryError
from kmeans_xp.relatives import _clara, _losses, _medoids, _spaces
from kmeans_xp.relatives._best_rows import at_best_rows
from kmeans_xp.relatives._clara import Search, sampled
from kmeans_xp.relatives._pairs import NAMED, Measure
from kmeans_xp.relatives._spaces import RowSpace

STARTS = ("build", "k-means++", "random")


def distances(x: Any, metric: str = "manhattan") -> Any:
    return cdist(x, x, {"manhattan": "cityblock"}.get(metric, metric))


def clusters(n: int, k: int, d: int = 3, seed: int = 0, spread: float = 4.0) -> Any:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(k, d))[generator.integers(0, k, size=n)] * spread + (
        generator.normal(size=(n, d))
    )


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


NUMPY = Backend("numpy", np, None)


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


def test_given_distances_are_those_of_the_metric() -> None:
    x = clusters(80, 3)
    named = KMedoids(3, metric="euclidean").fit(x)
    table = named.set_params(n_clusters=80).fit(x).transform(x)
    table = table[:, np.argsort(named.medoid_indices_)]
    named.set_params(n_clusters=3).fit(x)
    for method in ("auto", "clara"):
        options = {"metric": "precomputed", "method": method, "sample_size": 80}
        model = KMedoids(3, **options).fit(table)
        assert model.medoid_indices_.tolist() == named.medoid_indices_.tolist()
        assert model.cluster_centers_ is None
        assert model.inertia_ == named.inertia_
        assert model.predict(table[:9]).tolist() == named.labels_[:9].tolist()
        assert model.transform(table).tobytes() == named.transform(x).tobytes()
        assert model.score(table) == -model.inertia_


def test_distances_need_not_be_symmetric() -> None:
    table = np.random.default_rng(0).random((11, 11))
    model = KMedoids(3, metric="precomputed").fit(table)
    medoids = model.medoid_indices_.tolist()
    assert model.inertia_ == pytest.approx(oracle.loss(table, medoids), rel=1e-14)
    assert model.inertia_ <= oracle.best_swap(table, medoids) * (1 + 1e-9)
    assert model.labels_.tolist() == table[:, medoids].argmin(axis=1).tolist()


def test_a_function_is_a_metric() -> None:
    x = clusters(60, 3)
    model = KMedoids(3, metric=lambda a, b: cdist(a, b, "canberra")).fit(x)
    table = cdist(x, x, "canberra")
    assert model.inertia_ == pytest.approx(
        oracle.loss(table, model.medoid_indices_.tolist()), rel=1e-12
    )
    assert model.predict(x).tolist() == model.labels_.tolist()
    rows = KMedoids(3, metric="precomputed").fit(table)
    assert rows.medoid_indices_.tolist() == model.medoid_indices_.tolist()


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


def test_many_rows_are_sampled() -> None:
    x = clusters(900, 5, spread=3.0)
    whole = KMedoids(5).fit(x)
    assert whole.method_ == "fasterpam"
    options = {"memory_limit": "1MB", "sample_size": 100, "random_state": 0}
    losses = []
    for count in (1, 2, 4, 8):
        model = KMedoids(5, n_samplings=count, **options).fit(x)
        assert model.method_ == "clara"
        assert f"the best of {count} samples of 100 of 900 rows" in model.status_
        medoids = model.medoid_indices_
        assert model.inertia_ == pytest.approx(distances(x)[:, medoids].min(axis=1).sum())
        assert model.cluster_centers_.tobytes() == x[medoids].tobytes()
        losses.append(model.inertia_)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert whole.inertia_ <= losses[-1] < 1.1 * whole.inertia_
    given = KMedoids(5, n_samplings=1, init=whole.medoid_indices_, **options).fit(x)
    assert given.inertia_ < 1.1 * whole.inertia_
    # a sample of all rows leaves nothing out
    model = KMedoids(5, method="clara", sample_size=900, n_samplings=1).fit(x)
    assert model.inertia_ == whole.inertia_


@pytest.mark.parametrize("metric", ["manhattan", "precomputed"])
def test_medoids_of_a_sample_go_to_the_best_rows_of_their_clusters(metric: str) -> None:
    rng = np.random.default_rng(5)
    x = clusters(900, 3, spread=3.0)
    weight = np.where(rng.random(900) < 0.5, 0.25, 1.0)
    table = distances(x)
    if metric == "precomputed":
        # what a row pays for the one beside it is not what that pays for it
        table = table * rng.uniform(0.9, 1.1, size=900) * 1e290
    options = {"method": "clara", "sample_size": 60, "n_samplings": 1, "random_state": 0}
    model = KMedoids(3, metric=metric, **options)
    model.fit(table if metric == "precomputed" else x, sample_weight=weight)
    for cluster, medoid in enumerate(model.medoid_indices_):
        mine = np.flatnonzero(model.labels_ == cluster)
        assert mine.size > 100
        paid = weight[mine] @ (table[np.ix_(mine, mine)] / table.max())
        assert mine[paid.argmin()] == medoid


def test_the_best_rows_are_the_same_in_every_library(xp: Backend) -> None:
    x = clusters(90, 2, d=2, spread=1.0)
    weight = np.random.default_rng(2).random(90) + 0.5
    start = [int(np.argmax(x[:, 0])), int(np.argmin(x[:, 0]))]

    def found(backend: Backend) -> list[int]:
        rows = backend.array(x)
        context = context_of(rows)
        with context.scope():
            space = RowSpace.of(Measure.over("manhattan", [rows], context, who="a test"), rows)
            return at_best_rows(space, backend.array(weight), start, 1e9, 7)

    assert found(xp) == found(NUMPY)
    assert not set(found(NUMPY)) & set(start)


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


def test_results_live_where_the_rows_do(xp: Backend) -> None:
    x = clusters(40, 3).astype("float32")
    rows = xp.array(x)
    model = KMedoids(3, init=xp.array([1, 2, 3])).fit(rows)
    namespace, device = array_api_compat.array_namespace(rows), array_api_compat.device(rows)
    arrays = {
        "float32": (model.cluster_centers_, model.transform(rows)),
        "int32": (model.labels_, model.predict(rows), model.fit_predict(rows)),
        "int64": (model.medoid_indices_,),
    }
    for dtype, some in arrays.items():
        for array in some:
            assert array_api_compat.array_namespace(array) is namespace
            assert array_api_compat.device(array) == device
            assert str(array.dtype).rpartition(".")[2] == dtype
    assert xp.host(rows).tobytes() == x.tobytes()
    centers = xp.host(model.cluster_centers_).astype(float)
    wanted = cdist(x.astype(float), centers, "cityblock")
    np.testing.assert_allclose(xp.host(model.transform(rows)), wanted, rtol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    assert xp.host(again.predict(rows)).tolist() == xp.host(model.labels_).tolist()


GOOD = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("options", "x", "weight", "message"),
    [
        ({"n_clusters": 7}, GOOD, None, "n_samples=6 should be >= n_clusters=7"),
        ({}, GOOD, [1, 0, 0, 0, 0, 0], "only 1 rows have a positive sample_weight"),
        ({}, GOOD, [1, 1], "sample_weight.shape == .2,., expected .6,."),
        ({"metric": "canberra"}, GOOD, None, "metric='canberra' is not known to KMedoids"),
        ({"metric": "precomputed"}, GOOD, None, r"square X .* got shape \(6, 2\)"),
        ({"metric": "precomputed"}, -np.ones((3, 3)), None, "Negative values in data: X of"),
        ({"metric": "precomputed"}, np.full((3, 3), np.nan), None, "holds NaN .row 0, column 0"),
        ({"metric": "cosine"}, GOOD * [[0], [1], [1], [1], [1], [1]], None, "row 0 is all zeros"),
        ({}, np.where(GOOD == 5.0, np.nan, GOOD), None, "NaN: the first is at row 2, column 1"),
        ({"init": [0, 0]}, GOOD, None, r"init=\[0, 0\] names a row twice"),
        ({"init": [0, 6]}, GOOD, None, "init names row 6, but X has rows 0 to 5"),
        ({"init": [0.0, 1.0]}, GOOD, None, "must be the positions of 2 rows"),
        ({"init": [0, 1, 2]}, GOOD, None, r"shape \(3,\) and dtype int64"),
        ({"init": [0, 3]}, GOOD, [1, 1, 1, 0, 1, 1], "init names row 3, whose sample_weight is 0"),
        ({"sample_size": 1}, GOOD, None, "sample_size=1 is less than n_clusters=2"),
        ({"memory_limit": "much"}, GOOD, None, "memory_limit='much' is no size"),
        ({"device": "gpu"}, GOOD, None, "device='gpu' is not known"),
        ({"init": "heuristic"}, GOOD, None, "The 'init' parameter of KMedoids must be"),
    ],
)
def test_what_cannot_be_clustered_is_refused(
    options: dict[str, Any], x: Any, weight: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        KMedoids(**{"n_clusters": 2, **options}).fit(x, sample_weight=weight)


def test_a_device_without_memory_says_what_to_do() -> None:
    def metric(a: Any, b: Any) -> Any:
        raise MemoryError("out of 12 bytes")

    x = make_backend("strict").array(GOOD)
    with pytest.raises(DeviceMemoryError, match=r"6 rows \(288 bytes.*memory_limit.*12 bytes"):
        KMedoids(2, metric=metric).fit(x)
    with pytest.raises(MemoryError, match=r"^out of 12 bytes$"):
        KMedoids(2, metric=metric).fit(GOOD)


def test_questions_are_checked() -> None:
    model = KMedoids(2).fit(GOOD)
    with pytest.raises(ValueError, match="X has 3 features, but KMedoids is expecting 2"):
        model.predict(np.ones((2, 3)))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        model.predict(np.full((2, 2), np.inf))
    table = KMedoids(2, metric="precomputed").fit(distances(GOOD))
    with pytest.raises(ValueError, match="Negative values in data"):
        table.predict(-np.ones((2, 6)))
