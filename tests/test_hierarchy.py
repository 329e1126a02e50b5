"""`centers_linkage` and `cut_linkage`: beside scipy's Ward, plain loops and the inertia."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from cases import CASES
from conftest import Backend
from scipy.cluster import hierarchy
from sklearn.metrics import adjusted_rand_score

from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, centers_linkage, cut_linkage


def centers_of(k: int, d: int = 3, seed: int = 0, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(seed).normal(size=(k, d)).astype(dtype)


def checked(linkage: Any) -> Any:
    assert hierarchy.is_valid_linkage(linkage, throw=True)
    assert hierarchy.is_monotonic(linkage)
    assert (linkage[:, 0] < linkage[:, 1]).all()
    return linkage


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("k", "d"), [(2, 1), (3, 2), (60, 5), (300, 2)])
def test_centers_alone_are_merged_as_scipy_does(k: int, d: int, dtype: str) -> None:
    centers = centers_of(k, d, dtype=dtype)
    ours, theirs = checked(centers_linkage(centers)), hierarchy.ward(centers.astype(np.float64))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    assert ours[:, [0, 1, 3]].tolist() == theirs[:, [0, 1, 3]].tolist()


def test_sizes_are_repeated_rows() -> None:
    """The merges of the rows among themselves cost nothing; then scipy's are ours."""
    k = 25
    centers, sizes = centers_of(k), np.random.default_rng(1).integers(1, 9, size=k)
    labels = np.repeat(np.arange(k, dtype=np.int32), sizes)
    ours, theirs = checked(centers_linkage(centers, sizes)), hierarchy.ward(centers[labels])
    assert theirs[: 1 - k, 2].max() == 0.0
    np.testing.assert_allclose(ours[:, 2], theirs[1 - k :, 2], rtol=1e-10)
    plain = centers_linkage(centers)
    assert not np.allclose(ours[:, :2], plain[:, :2]), "the test's sizes must matter"
    for n_clusters in range(1, k + 1):
        found = cut_linkage(ours, n_clusters, labels)
        wanted = hierarchy.fcluster(theirs, n_clusters, "maxclust")
        assert adjusted_rand_score(found, wanted) == 1.0
        assert len(set(found.tolist())) == n_clusters


def cheapest_first(centers: Any, sizes: list[int]) -> list[Fraction]:
    """What each merge adds to the inertia, in exact numbers, the cheapest pair always first."""
    clusters = [
        (Fraction(size), [Fraction(value) for value in row])
        for row, size in zip(centers.tolist(), sizes, strict=True)
    ]
    costs = []
    while len(clusters) > 1:

        def cost(pair: tuple[int, int]) -> Fraction:
            (m, a), (n, b) = clusters[pair[0]], clusters[pair[1]]
            return m * n / (m + n) * sum((p - q) ** 2 for p, q in zip(a, b, strict=True))

        i, j = min(itertools.combinations(range(len(clusters)), 2), key=cost)
        costs.append(cost((i, j)))
        (n, b), (m, a) = clusters.pop(j), clusters.pop(i)
        mean = [(m * p + n * q) / (m + n) for p, q in zip(a, b, strict=True)]
        clusters.append((m + n, mean))
    return costs


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_plain_loops_merge_at_the_same_cost(shift: float) -> None:
    centers, sizes = centers_of(14, seed=3) + shift, list(range(1, 15))
    costs = [float(cost) for cost in cheapest_first(centers, sizes)]
    found = checked(centers_linkage(centers, sizes))[:, 2]
    # the centers come as they are: distances lose nothing far from the origin
    np.testing.assert_allclose(found**2 / 2, costs, rtol=1e-12)


def test_merges_add_up_to_the_inertia_of_one_cluster() -> None:
    x, _ = CASES["blobs"]()
    weight = np.random.default_rng(0).exponential(size=len(x))
    for given in (None, weight):
        model = KMeans(40, tol=0, random_state=0).fit(x, sample_weight=given)
        sizes = None if given is None else np.bincount(model.labels_, given, 40)
        added = centers_linkage(model, sizes)[:, 2] ** 2 / 2
        whole = KMeans(1, n_init=1).fit(x, sample_weight=given).inertia_
        assert model.inertia_ + added.sum() == pytest.approx(whole, rel=1e-12)


def test_equal_costs_end_and_give_a_tree() -> None:
    """Hundreds of ties, with sizes whose quotients are rounded: a chain must not go in circles."""
    grid = np.asarray(list(itertools.product(range(9), repeat=2)), dtype=float)
    for seed in range(6):
        sizes = np.random.default_rng(seed).integers(1, 2 + seed, size=81) * (1 / 3)
        linkage = checked(centers_linkage(grid / 7, sizes))
        assert linkage.tobytes() == centers_linkage(grid / 7, sizes).tobytes()
    same = checked(centers_linkage(np.ones((12, 2))))
    assert same[:, 2].tolist() == [0.0] * 11


def test_clusters_without_rows_join_the_nearest_one_first() -> None:
    centers = np.asarray([[0.0], [10.0], [11.5], [30.0], [29.0]])
    linkage = checked(centers_linkage(centers, [5, 4, 0, 0, 3]))
    assert linkage[:, 2].tolist()[:2] == [0.0, 0.0]
    assert cut_linkage(linkage, 3).tolist() == [0, 1, 1, 2, 2]
    full = centers_linkage(centers[[0, 1, 4]], [5, 4, 3])
    assert linkage[2:, 2].tolist() == full[:, 2].tolist()


@pytest.mark.parametrize("power", [-600, 300, 500])
def test_powers_of_two_change_no_bit(power: int) -> None:
    centers, sizes = centers_of(20), np.arange(1.0, 21.0)
    wanted = centers_linkage(centers, sizes)
    up = math.ldexp(1.0, power)
    found = centers_linkage(centers * up, sizes)
    assert (found[:, 2] / up).tolist() == wanted[:, 2].tolist()
    heavy = centers_linkage(centers, sizes * up)
    assert (heavy[:, 2] / math.ldexp(1.0, power // 2)).tolist() == wanted[:, 2].tolist()
    assert found[:, :2].tolist() == heavy[:, :2].tolist() == wanted[:, :2].tolist()


def test_every_library_gives_the_same_tree_and_keeps_the_labels(xp: Backend) -> None:
    x, _ = CASES["blobs32"]()
    x = x[:300]
    model, other = (KMeans(12, random_state=0).fit(rows) for rows in (xp.array(x), x))
    linkage = centers_linkage(model)
    assert linkage.tobytes() == centers_linkage(other).tobytes()
    assert linkage.tobytes() == centers_linkage(other, np.bincount(other.labels_)).tobytes()
    found = cut_linkage(linkage, 4, model.labels_)
    assert type(found) is type(model.labels_)
    assert found.dtype == xp.xp.int32
    assert xp.host(found).tolist() == cut_linkage(linkage, 4, other.labels_).tolist()
    sizes = xp.array(np.arange(1.0, 13.0))
    assert centers_linkage(model.cluster_centers_, sizes).tobytes() == (
        centers_linkage(other.cluster_centers_, range(1, 13)).tobytes()
    )


def test_a_cut_is_that_of_scipy_and_numbers_by_first_leaves() -> None:
    for seed in range(5):
        linkage = hierarchy.linkage(centers_of(30, seed=seed), "average")
        assert cut_linkage(linkage, 30).tolist() == list(range(30))
        for n_clusters in range(1, 28):  # of more, older versions of scipy merge some
            found = cut_linkage(linkage, n_clusters)
            wanted = hierarchy.fcluster(linkage, n_clusters, "maxclust")
            assert adjusted_rand_score(found, wanted) == 1.0
            assert list(dict.fromkeys(found.tolist())) == list(range(n_clusters))


def test_a_model_of_mini_batches_and_one_of_bisections() -> None:
    x, _ = CASES["blobs"]()
    batches = MiniBatchKMeans(20, random_state=0).fit(x)
    tree = checked(centers_linkage(batches))
    assert hierarchy.dendrogram(tree, no_plot=True)["leaves"]
    bisected = BisectingKMeans(20, random_state=0).fit(x)
    # Ward's merges are other ones than the bisections undone
    assert checked(centers_linkage(bisected)).tolist() != bisected.linkage_.tolist()
    blind = MiniBatchKMeans(20, random_state=0, compute_labels=False).fit(x)
    with pytest.raises(ValueError, match=r"MiniBatchKMeans are not known: it has no labels_"):
        centers_linkage(blind)
    sizes = np.bincount(batches.labels_, minlength=20)
    assert centers_linkage(blind, sizes).tobytes() == tree.tobytes()


def test_one_center_has_no_merges() -> None:
    assert centers_linkage([[1.0, 2.0]]).shape == (0, 4)
    assert cut_linkage(np.empty((0, 4)), 1, [0, 0]).tolist() == [0, 0]


LINKAGE = hierarchy.ward(centers_of(5))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: centers_linkage([[1.0], [math.inf]]), "centers contains infinity"),
        (lambda: centers_linkage([1.0, 2.0]), "Expected 2D array"),
        (lambda: centers_linkage([[1.0], [2.0]], [1]), r"sizes has shape \(1,\), expected \(2,\)"),
        (lambda: centers_linkage([[1.0], [2.0]], [1, -1]), r"sizes holds -1\.0 at 1"),
        (lambda: centers_linkage([[1.0], [2.0]], [math.nan, 1]), "sizes holds nan at 0"),
        (lambda: centers_linkage([[1.0], [2.0]], [0, 0]), "zero for every cluster"),
        (lambda: centers_linkage([[1.0]], ["a"]), "sizes must hold real numbers"),
        (lambda: cut_linkage(LINKAGE, 0), "n_clusters=0 must be an integer from 1 to 5"),
        (lambda: cut_linkage(LINKAGE, 6), "n_clusters=6 must be"),
        (lambda: cut_linkage(LINKAGE[:, :3], 2), r"linkage has shape \(4, 3\)"),
        (lambda: cut_linkage(LINKAGE[[0, 0, 1, 2]], 2), "linkage is not a tree"),
        (lambda: cut_linkage(LINKAGE[::-1], 2), "linkage is not"),
        (lambda: cut_linkage(LINKAGE * [1, 1, -1, 1], 2), "not sorted by its heights"),
        (lambda: cut_linkage(LINKAGE, 2, [0, 5]), "numbers from 0 to 5, but the linkage has"),
        (lambda: cut_linkage(LINKAGE, 2, [-1, 0]), "numbers from -1 to 0"),
        (lambda: cut_linkage(LINKAGE, 2, [0.5]), "expected integers"),
    ],
)
def test_what_is_no_hierarchy_is_named(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
