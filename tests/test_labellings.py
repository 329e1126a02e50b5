"""Scores of two labellings and of two sets of centers: scikit-learn and plain loops as judges."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics
from score_cases import OF_LABELS, index

from kmeans_xp import metrics

AVERAGES = ("min", "geometric", "arithmetic", "max")


@pytest.mark.parametrize("name", OF_LABELS)
def test_labellings_agree_as_by_scikit_learn(xp, name):
    mine, theirs = getattr(metrics, name), getattr(sklearn.metrics, name)
    rng = np.random.default_rng(1)
    options = [{"average_method": a} for a in AVERAGES] if name.startswith("norm") else [{}]
    for classes, clusters, n in ((1, 1, 5), (1, 4, 20), (3, 2, 60), (40, 30, 50), (500, 500, 300)):
        true, pred = rng.integers(-1, classes - 1, n), rng.integers(7, 7 + clusters, n)
        for given in options:
            found = mine(xp.array(true), xp.array(pred), **given)
            assert type(found) is float
            assert found == pytest.approx(theirs(true, pred, **given), abs=1e-14)
            assert found == pytest.approx(mine(pred, true, **given), abs=1e-14)
            assert mine(xp.array(true), xp.array(true * 3 - 1), **given) == 1.0


@pytest.mark.parametrize("name", OF_LABELS)
def test_labellings_at_the_edges(name):
    mine, theirs = getattr(metrics, name), getattr(sklearn.metrics, name)
    one, apart = [0, 0, 0, 0], [0, 1, 2, 3]
    pairs = [([], []), (one, one), (apart, apart), (one, apart), ([3], [9]), ([0, 1], [0, 0])]
    for true, pred in pairs:
        with warnings.catch_warnings():
            # as many classes as rows: scikit-learn asks whether these are labels
            warnings.simplefilter("ignore")
            wanted = theirs(true, pred)
        assert mine(true, pred) == wanted


def test_rand_index_of_many_rows_is_exact():
    # products of the counts of pairs are beyond int64
    n = 200_000
    true, pred = np.arange(n) % 2, np.arange(n) % 3 // 2
    assert metrics.adjusted_rand_score(true, pred) == sklearn.metrics.adjusted_rand_score(
        true, pred
    )


@pytest.mark.parametrize("seed", range(4))
def test_centroid_index_is_that_of_plain_loops(xp, seed):
    rng = np.random.default_rng(seed)
    draw = rng.normal if seed % 2 else lambda size: rng.integers(0, 4, size).astype(np.float64)
    for k, m in ((1, 1), (1, 5), (8, 8), (15, 12)):
        a, b = draw(size=(k, 2)), draw(size=(m, 2))
        found = metrics.centroid_index(xp.array(a), xp.array(b))
        assert type(found) is int
        assert found == index(a, b) == metrics.centroid_index(xp.array(b), a.tolist())
        assert metrics.centroid_index(xp.array(a + 1e8), xp.array(b + 1e8)) == index(
            a + 1e8, b + 1e8
        )


def test_centroid_index_counts_misplaced_centers(xp):
    truth = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    assert metrics.centroid_index(xp.array(truth[::-1] + 0.1), xp.array(truth)) == 0
    # two in one cluster, one between two
    moved = np.array([[0.0, 1.0], [0.0, -1.0], [9.0, 4.4], [0.0, 9.0]])
    assert metrics.centroid_index(xp.array(moved), xp.array(truth)) == 1
    assert metrics.centroid_index(xp.array(truth.astype(np.float32)), xp.array(truth)) == 0
    # every center has a twin that none is nearest to
    assert metrics.centroid_index(xp.array(np.repeat(truth, 2, axis=0)), xp.array(truth)) == 4


def test_wrong_centers(xp):
    good = xp.array(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="centers_b contains infinity: the first is at row 1"):
        metrics.centroid_index(good, xp.array([[0.0, 1.0], [np.inf, 0.0]]))
    with pytest.raises(ValueError, match="centers_a has 2 features and centers_b 3"):
        metrics.centroid_index(good, xp.array(np.zeros((2, 3))))
    with pytest.raises(ValueError, match="Expected 2D array"):
        metrics.centroid_index(xp.array(np.zeros(2)), good)
    with pytest.raises(ValueError, match="device='gpu' is not known"):
        metrics.centroid_index(good, good, device="gpu")


def test_centroid_index_on_the_battery(battery):
    x, truth = battery("s1")
    labels = truth.astype(int)
    means = np.array([x[labels == label].mean(axis=0) for label in np.unique(labels)])
    assert metrics.centroid_index(means, means[::-1]) == 0
    worse = np.vstack([means[1:], means[1:2] + 1.0])
    assert metrics.centroid_index(worse, means) == 1
