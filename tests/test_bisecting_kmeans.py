"""`BisectingKMeans`: beside plain loops, scikit-learn's and `KMeans`, on every library."""

from __future__ import annotations

import functools
import itertools
import pickle
from typing import Any

import numpy as np
import oracle
import pytest
import sklearn.cluster
from cases import CASES
from conftest import Backend, make_backend
from scipy.cluster import hierarchy
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import BisectingKMeans, DataWarning, KMeans, Status, cut_linkage

STRATEGIES = ("biggest_inertia", "largest_cluster")
K = 7


def ends(x: Any, n_clusters: int, random_state: Any) -> Any:
    """Starts that depend on the rows' values alone: the first and the last, sorted by columns."""
    assert n_clusters == 2
    rows = np.asarray(x)
    order = np.lexsort(rows.T[::-1])
    return rows[order[[0, -1]]]


def lattice(n: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    """Whole numbers, with ties and repeated rows, whose means are exact quotients."""
    return np.random.default_rng(seed).integers(-9, 10, size=(n, 3)).astype(dtype)


def part(x: Any, weight: Any, rows: list[int]) -> tuple[list[int], Any]:
    """Lloyd's loop with two centers by plain loops, until no row changes its cluster."""
    centers, before = ends(x[rows], 2, None), None
    while True:
        found = oracle.labels(x[rows], centers)
        if found == before:
            return found, centers
        means = oracle.means(x[rows], found, 2, weight[rows])
        assert None not in means, "the test's rows must leave no cluster empty"
        centers = np.asarray([oracle.rounded(mean, x.dtype) for mean in means], x.dtype)
        before = found


def bisected(x: Any, weight: Any, k: int, strategy: str) -> tuple[Any, Any, list[float]]:
    """Labels, centers, and the inertias of the clusters in the order in which they are parted."""

    def described(rows: list[int], center: Any) -> dict[str, Any]:
        cost = oracle.inertia(x[rows], [center], [0] * len(rows), weight[rows])
        return {"rows": rows, "center": center, "cost": cost, "weight": sum(weight[rows])}

    (mean,) = oracle.means(x, [0] * len(x), 1, weight)
    leaves, heights = [described(list(range(len(x))), oracle.rounded(mean, x.dtype))], []
    while len(leaves) < k:
        worth = [leaf["cost" if strategy == STRATEGIES[0] else "weight"] for leaf in leaves]
        place = worth.index(max(worth))
        whole = leaves[place]
        found, centers = part(x, weight, whole["rows"])
        heights.append(whole["cost"])
        leaves[place : place + 1] = [
            described(
                [row for row, label in zip(whole["rows"], found, strict=True) if label == side],
                centers[side],
            )
            for side in (0, 1)
        ]
    labels = np.empty(len(x), np.int32)
    for number, leaf in enumerate(leaves):
        labels[leaf["rows"]] = number
    return labels, np.asarray([leaf["center"] for leaf in leaves]), heights


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_plain_loops_find_the_same_tree(strategy: str, weighted: bool, dtype: str) -> None:
    x = lattice(150, dtype)
    weight = np.resize([1.0, 3.0, 0.5, 2.0], len(x)) if weighted else np.ones(len(x))
    labels, centers, heights = bisected(x, weight, K, strategy)
    model = BisectingKMeans(K, init=ends, tol=0, max_iter=None, bisecting_strategy=strategy)
    model.fit(x, sample_weight=weight if weighted else None)
    assert model.labels_.tolist() == labels.tolist()
    assert model.cluster_centers_.dtype == dtype
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=3e-16)
    np.testing.assert_allclose(model.linkage_[:, 2], sorted(heights), rtol=1e-14)
    assert model.inertia_ == oracle.inertia(x, model.cluster_centers_, labels, weight)


def answers(backend: Backend, strategy: str, init: Any, dtype: str = "float64") -> dict[str, bytes]:
    x, _ = CASES["blobs"]()
    x = x[:300].astype(dtype)
    weight = np.where(np.arange(300) % 7, np.random.default_rng(0).exponential(size=300), 0.0)
    rows, others = backend.array(x), backend.array(x[::3] * 1.2)
    model = BisectingKMeans(9, init=init, random_state=3, bisecting_strategy=strategy, n_init=2)
    model.fit(rows, sample_weight=backend.array(weight))
    scores = model.inertia_, model.score(rows, sample_weight=backend.array(weight))
    arrays = model.labels_, model.cluster_centers_, model.predict(others)
    assert [array.dtype for array in arrays] == [
        getattr(backend.xp, name) for name in ("int32", dtype, "int32")
    ]
    again = pickle.loads(pickle.dumps(model)).predict(others)
    assert backend.host(again).tobytes() == backend.host(arrays[2]).tobytes()
    return {
        "arrays": b"".join(backend.host(array).tobytes() for array in arrays),
        "linkage": model.linkage_.tobytes(),
        "scores": np.asarray(scores).tobytes(),
        "iterations": model.n_iter_.to_bytes(4, "big"),
    }


def two_rows(x: Any, n_clusters: int, random_state: Any) -> Any:
    """Random rows in the library of x."""
    first = int(random_state.randint(0, x.shape[0] - 1))
    return x[first : first + n_clusters, :]


@functools.cache
def on_numpy(strategy: str, init: Any, dtype: str) -> dict[str, bytes]:
    return answers(make_backend("numpy"), strategy, init, dtype)


@pytest.mark.parametrize(
    ("strategy", "init", "dtype"),
    [
        ("biggest_inertia", "random", "float64"),
        ("largest_cluster", "k-means++", "float32"),
        ("biggest_inertia", two_rows, "float64"),
    ],
)
def test_libraries_agree_to_the_last_bit(xp: Backend, strategy: str, init: Any, dtype: str) -> None:
    found = answers(xp, strategy, init, dtype)
    assert found == on_numpy(strategy, init, dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:column:kmeans_xp.DataWarning")
def test_labels_are_those_of_predict_and_the_inertia_that_of_score(case: str) -> None:
    x, _ = CASES[case]()
    weight = np.resize([1.0, 0.0, 2.5], len(x))
    model = BisectingKMeans(K, random_state=0, max_iter=2).fit(x, sample_weight=weight)
    assert model.predict(x).tobytes() == model.labels_.tobytes()
    assert -model.score(x, sample_weight=weight) == model.inertia_
    assert set(model.labels_.tolist()) == set(range(K))


def test_each_bisection_is_judged_in_its_own_scale() -> None:
    """Squares of 1e-200 are nothing beside squares of 1, and all there is without them."""
    tiny = np.asarray([[0.0], [1e-200], [3e-200], [9e-200]])
    x = np.concatenate([tiny, tiny + 1.0, [[-1.0], [2.0]]])
    model = BisectingKMeans(7, init=ends, tol=0).fit(x)
    assert len(set(model.labels_[:4].tolist())) == 4
    assert model.predict(x).tolist() == model.labels_.tolist()


def merged_sets(linkage: Any, labels: Any) -> set[frozenset[int]]:
    """The rows of each cluster of a tree."""
    k = len(linkage) + 1
    sets = [frozenset(np.flatnonzero(labels == leaf).tolist()) for leaf in range(k)]
    for first, second in linkage[:, :2].astype(int).tolist():
        sets.append(sets[first] | sets[second])
    return set(sets)


def their_sets(node: Any, labels: Any) -> set[frozenset[int]]:
    """The same of scikit-learn's tree."""
    if node.left is None:
        return {frozenset(np.flatnonzero(labels == node.label).tolist())}
    halves = their_sets(node.left, labels), their_sets(node.right, labels)
    return halves[0] | halves[1] | {max(halves[0], key=len) | max(halves[1], key=len)}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scikit_learn_finds_the_same_tree_of_clear_clusters(strategy: str) -> None:
    corners = np.asarray(list(itertools.product([0, 900], [0, 150], [0, 20])), dtype=float)
    sizes = np.arange(8) + 20
    x = np.repeat(corners, sizes, axis=0)
    x += np.random.default_rng(0).normal(size=x.shape)
    for seed, init in enumerate(("random", ends)):
        options = {"n_clusters": 8, "init": init, "random_state": seed, "n_init": 3}
        options["bisecting_strategy"] = strategy
        ours = BisectingKMeans(**options).fit(x)
        try:
            theirs = sklearn.cluster.BisectingKMeans(**options).fit(x)
        except ValueError as error:
            # older versions want the centers of all clusters from a function that is asked for two
            if init is not ends or "does not match the number of clusters 8" not in str(error):
                raise
            continue
        assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-12)
        found = merged_sets(ours.linkage_, ours.labels_)
        assert len(found) == 15
        assert found == their_sets(theirs._bisecting_tree, theirs.labels_)
        if init is ends:
            # and the same numbers
            assert ours.labels_.tolist() == theirs.labels_.tolist()
            np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_)
            others = np.random.default_rng(1).uniform(0, 900, size=(200, 3))
            assert ours.predict(others).tolist() == theirs.predict(others).tolist()


def test_fewer_clusters_are_the_upper_part_of_the_tree() -> None:
    x, _ = CASES["blobs32"]()
    model = BisectingKMeans(30, random_state=4).fit(x)
    for n_clusters in (1, 2, 3, 5, 11, 29, 30):
        few = BisectingKMeans(n_clusters, random_state=4).fit(x)
        assert (
            cut_linkage(model.linkage_, n_clusters, model.labels_).tolist() == few.labels_.tolist()
        )
    assert BisectingKMeans(30, random_state=5).fit(x).inertia_ != model.inertia_


@pytest.mark.parametrize("max_iter", [1, 300])
def test_heights_are_inertias_and_grow(max_iter: int) -> None:
    for seed in range(4):
        x = np.random.default_rng(seed).normal(size=(40, 2)).astype(np.float32)
        model = BisectingKMeans(40, random_state=seed, max_iter=max_iter, tol=0).fit(x)
        linkage, sets = model.linkage_, [np.flatnonzero(model.labels_ == i) for i in range(40)]
        for first, second, height, count in linkage.tolist():
            rows = np.concatenate([sets[int(first)], sets[int(second)]])
            sets.append(rows)
            assert count == len(rows)
            best = ((x[rows] - x[rows].mean(axis=0, dtype=float)) ** 2).sum()
            # a run that was cut short has not brought the center to the mean
            assert height >= best * (1 - 1e-6)
            if max_iter == 300:
                assert height == pytest.approx(best, rel=1e-5)
        # without what evens out roundings
        halves = {40 + i: height for i, height in enumerate(linkage[:, 2].tolist())}
        for pair, height in zip(linkage[:, :2].tolist(), linkage[:, 2].tolist(), strict=True):
            assert all(halves.get(half, 0.0) <= height for half in pair)
        assert hierarchy.is_valid_linkage(linkage, throw=True)
        assert hierarchy.is_monotonic(linkage)
        drawn = hierarchy.dendrogram(linkage, no_plot=True)
        assert sorted(drawn["leaves"]) == list(range(40))


def test_one_cluster_is_that_of_kmeans() -> None:
    x = lattice(50)
    ours, theirs = BisectingKMeans(1).fit(x), KMeans(1, n_init=1).fit(x)
    assert ours.cluster_centers_.tobytes() == theirs.cluster_centers_.tobytes()
    assert (ours.inertia_, ours.linkage_.shape) == (theirs.inertia_, (0, 4))
    assert ours.predict(x).tolist() == ours.labels_.tolist() == [0] * 50


def test_as_many_clusters_as_rows() -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    model = BisectingKMeans(30, random_state=0).fit(x)
    assert sorted(model.labels_.tolist()) == list(range(30))
    assert model.inertia_ == 0.0
    assert model.cluster_centers_[model.labels_].tobytes() == x.tobytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_fewer_distinct_rows_than_clusters(strategy: str, weighted: bool) -> None:
    distinct = np.random.default_rng(1).normal(size=(3, 2))
    x = np.repeat(distinct, [9, 2, 5], axis=0)
    # so that weighted means of equal rows are rounded
    weight = np.random.default_rng(2).uniform(0.1, 3, size=16) if weighted else None
    model = BisectingKMeans(6, random_state=0, bisecting_strategy=strategy)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(3\) .* n_clusters \(6\)"):
        model.fit(x, sample_weight=weight)
    assert sorted(set(model.labels_.tolist())) == [0, 1, 2]
    assert model.cluster_centers_.shape == (6, 2)
    assert model.predict(x).tolist() == model.labels_.tolist()
    assert model.linkage_[:3, 2].max() < 1e-25 < model.linkage_[3, 2]
    assert hierarchy.is_valid_linkage(model.linkage_, throw=True)
    with pytest.warns(ConvergenceWarning, match=r"\(1\) .* \(4\)"):
        same = BisectingKMeans(4, bisecting_strategy=strategy).fit(np.ones((5, 2)))
    assert same.labels_.tolist() == same.predict(np.ones((5, 2))).tolist() == [0] * 5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_whole_weights_are_repeated_rows(strategy: str) -> None:
    x = lattice(60)
    times = np.arange(60) % 3 + 1
    options = {"init": ends, "tol": 0, "bisecting_strategy": strategy}
    weighted = BisectingKMeans(K, **options).fit(x, sample_weight=times)
    repeated = BisectingKMeans(K, **options).fit(np.repeat(x, times, axis=0))
    assert np.repeat(weighted.labels_, times).tolist() == repeated.labels_.tolist()
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, rtol=1e-15)
    np.testing.assert_allclose(weighted.linkage_, repeated.linkage_, rtol=1e-14)


def test_rows_without_weight_change_nothing_but_get_labels() -> None:
    x = np.random.default_rng(0).normal(size=(80, 2))
    more = np.concatenate([x, 5 * x[:20]])
    for strategy in STRATEGIES:
        options = {"random_state": 1, "bisecting_strategy": strategy}
        alone = BisectingKMeans(6, **options).fit(x, sample_weight=np.ones(80))
        both = BisectingKMeans(6, **options).fit(more, sample_weight=np.repeat([1, 0], [80, 20]))
        assert both.cluster_centers_.tobytes() == alone.cluster_centers_.tobytes()
        assert both.linkage_.tobytes() == alone.linkage_.tobytes()
        assert both.labels_.tolist() == alone.predict(more).tolist()


def test_the_heaviest_is_parted_whatever_the_largest_weight_in_it() -> None:
    """40 rows of weight 1 beside 12 of weight 8: the latter come to 24 before the former to 20."""
    x = np.concatenate([np.arange(40) / 40, 1000.0 + np.arange(12)])[:, None]
    model = BisectingKMeans(7, init=ends, bisecting_strategy="largest_cluster")
    model.fit(x, sample_weight=np.repeat([1.0, 8.0], [40, 12]))
    assert np.bincount(model.labels_).tolist()[:2] == [20, 20]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_among_equals_the_leftmost_is_parted(strategy: str) -> None:
    model = BisectingKMeans(3, init=ends, bisecting_strategy=strategy)
    assert model.fit([[11.0], [9.0], [-9.0], [-11.0]]).labels_.tolist() == [2, 2, 1, 0]


def test_each_start_of_a_callable_has_a_random_state_of_its_own() -> None:
    drawn: list[int] = []

    def told(x: Any, n_clusters: int, random_state: Any) -> Any:
        drawn.append(int(random_state.randint(1 << 30)))
        return ends(x, n_clusters, random_state)

    x = lattice(60)
    BisectingKMeans(5, init=told, n_init=2, random_state=0).fit(x)
    five, drawn = drawn.copy(), []
    assert len(set(five)) == 8
    BisectingKMeans(3, init=told, n_init=2, random_state=0).fit(x)
    assert drawn == five[:4]


def test_the_tree_is_for_scipy_whatever_the_library_of_the_rows(xp: Backend) -> None:
    model = BisectingKMeans(5, random_state=0)
    assert not hasattr(model, "linkage_")
    linkage = model.fit(xp.array(lattice(40))).linkage_
    assert type(linkage) is np.ndarray
    assert hierarchy.dendrogram(linkage, no_plot=True)["leaves"]


def test_ctrl_c_keeps_the_clusters_so_far() -> None:
    calls = itertools.count(1)

    def pressed(x: Any, n_clusters: int, random_state: Any) -> Any:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return ends(x, n_clusters, random_state)

    x = lattice(100)
    model = BisectingKMeans(9, init=pressed)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    assert model.status_ == Status.INTERRUPTED.value
    so_far = BisectingKMeans(4, init=ends).fit(x)
    for name in ("cluster_centers_", "labels_", "linkage_"):
        assert getattr(model, name).tolist() == getattr(so_far, name).tolist()
    assert model.predict(x).tolist() == model.labels_.tolist()


def test_what_ended_the_bisections_is_told() -> None:
    x, _ = CASES["blobs"]()
    ends_of = {
        Status.CONVERGED: {"tol": 0, "max_iter": None},
        Status.TOLERANCE: {"tol": 0.5},
        Status.MAX_ITER: {"max_iter": 1},
    }
    for status, options in ends_of.items():
        model = BisectingKMeans(K, random_state=0, **options).fit(x)
        assert model.status_ == status.value
        assert model.n_iter_ >= K - 1


def test_verbose_tells_each_bisection(capsys: pytest.CaptureFixture[str]) -> None:
    model = BisectingKMeans(4, init=ends, verbose=1).fit(lattice(40))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"Bisection 1: cluster 0 of inertia {model.linkage_[-1, 2]} into ")


def test_a_column_that_decides_is_told_where_fit_was_called() -> None:
    x = lattice(40) * [1.0, 1.0, 1e4]
    with pytest.warns(DataWarning, match="column 2 of X outweighs") as told:
        BisectingKMeans(2, random_state=0).fit(x)
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("error", "text", "x", "options"),
    [
        (ValueError, "'init' parameter", lattice(9), {"init": lattice(2)}),
        (ValueError, "'bisecting_strategy' parameter", lattice(9), {"bisecting_strategy": "any"}),
        (ValueError, "'n_init' parameter", lattice(9), {"n_init": "auto"}),
        (ValueError, "n_samples=3 should be >= n_clusters=8", lattice(3), {}),
        (ValueError, "the first is at row 1, column 0", [[1.0], [float("nan")]], {"n_clusters": 2}),
        (ValueError, "does not match the number of clusters 2", lattice(9), {"init": "three"}),
        (ValueError, "device='gpu' is not known", lattice(9), {"device": "gpu"}),
        (TypeError, "is a text or a path", "rows.npy", {}),
    ],
)
def test_what_cannot_be_clustered_is_named(
    error: type[Exception], text: str, x: Any, options: dict[str, Any]
) -> None:
    if isinstance(options.get("init"), str):
        options = {"init": lambda x, n_clusters, random_state: x[:3]}
    with pytest.raises(error, match=text):
        BisectingKMeans(**options).fit(x)
