"""Scores of a clustering: scikit-learn's results, plain loops and exact fractions as judges."""

from __future__ import annotations

import inspect
import itertools
import math

import numpy as np
import pytest
import sklearn.metrics
from conftest import make_backend
from score_cases import (
    OF_LABELS,
    OF_ROWS,
    blobs,
    calinski_harabasz,
    davies_bouldin,
    index,
    silhouettes,
)
from sklearn.datasets import load_iris, load_wine

from kmeans_xp import KMeans, metrics
from kmeans_xp._backend import context_of
from kmeans_xp.metrics import _agreement, _centroid_index, _dispersion, _rows, _silhouette


def scores(xp, x, labels):
    x, labels = xp.array(x), xp.array(labels)
    return [getattr(metrics, name)(x, labels) for name in OF_ROWS]


@pytest.mark.parametrize("name", metrics.__all__)
def test_signatures_are_scikit_learns_with_the_device_last(name):
    mine = inspect.signature(getattr(metrics, name)).parameters
    assert list(mine)[-1] == "device"
    if name == "centroid_index":
        return
    theirs = dict(inspect.signature(getattr(sklearn.metrics, name)).parameters)
    theirs.pop("kwds", None)
    assert list(mine)[:-1] == list(theirs)
    assert [mine[p].default for p in theirs] == [p.default for p in theirs.values()]


@pytest.mark.filterwarnings("ignore::kmeans_xp.exceptions.DataWarning")  # wine
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_rows_are_scored_as_by_scikit_learn(xp, load, dtype):
    x, truth = load(return_X_y=True)
    x = x.astype(dtype)
    labels = KMeans(4, random_state=0).fit_predict(x)
    for marks in (labels, truth):
        found = scores(xp, x, marks)
        assert {type(score) for score in found} == {float}
        # in float64: scikit-learn keeps float32 rows in float32
        wide = x.astype(np.float64)
        wanted = [getattr(sklearn.metrics, name)(wide, marks) for name in OF_ROWS]
        np.testing.assert_allclose(found, wanted, rtol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silhouettes_are_those_of_plain_loops(xp, dtype):
    x, labels = blobs(dtype=dtype)
    given = xp.array(x)
    found = metrics.silhouette_samples(given, xp.array(labels))
    assert type(found) is type(given)
    assert found.dtype == given.dtype
    assert getattr(found, "device", None) == getattr(given, "device", None)
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(xp.host(found), silhouettes(x, labels), atol=tolerance)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_scores_far_from_the_origin_are_exact(xp, offset):
    x, labels = blobs(n=40)
    x = x + offset
    found = scores(xp, x, labels)
    wanted = [np.mean(silhouettes(x, labels)), calinski_harabasz(x, labels)]
    np.testing.assert_allclose(found, [*wanted, davies_bouldin(x, labels)], rtol=1e-12)


def test_scores_in_two_groups_far_apart(xp):
    x, labels = blobs(n=40, k=4)
    x[labels > 1] += 1e7
    found = xp.host(metrics.silhouette_samples(xp.array(x), xp.array(labels)))
    np.testing.assert_allclose(found, silhouettes(x, labels), atol=1e-12)


@pytest.mark.parametrize("unit", [1e-200, 1e-12, 1e60, 1e300])
def test_scores_do_not_depend_on_the_unit(unit):
    x, labels = blobs(n=40)
    # a power of two, so that the rows differ in nothing else
    unit = math.ldexp(1.0, math.frexp(unit)[1])
    for name in OF_ROWS:
        score = getattr(metrics, name)
        assert score(x * unit, labels) == pytest.approx(score(x, labels), rel=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_ties_repeated_rows_and_single_rows(xp, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, size=(60, 2)).astype(np.float64)
    labels = rng.integers(0, 5, size=60) - 1
    labels[[3, 11]] = 10, 20
    found = xp.host(metrics.silhouette_samples(xp.array(x), xp.array(labels)))
    assert found[3] == found[11] == 0.0
    np.testing.assert_allclose(found, silhouettes(x, labels), atol=1e-14)
    wanted = [getattr(sklearn.metrics, name)(x, labels) for name in OF_ROWS]
    np.testing.assert_allclose(scores(xp, x, labels), wanted, rtol=1e-12)


def test_clusters_without_dispersion(xp):
    corners = np.array([[0.1, 0.7], [0.3, 0.2], [1e-9, 1e5]])
    labels = np.array([0, 1, 2] * 3)
    assert scores(xp, corners[labels], labels) == [1.0, 1.0, 0.0]
    # the same rows in each cluster: means coincide
    x = np.repeat(corners, 2, axis=0)
    wanted = [getattr(sklearn.metrics, name)(x, np.arange(6) % 2) for name in OF_ROWS]
    np.testing.assert_allclose(scores(xp, x, np.arange(6) % 2), wanted, atol=1e-9)
    assert scores(xp, x, np.arange(6) % 2)[1:] == [0.0, 0.0]
    # all rows the same
    assert scores(xp, np.full((6, 2), 0.1), np.arange(6) % 2) == [0.0, 1.0, 0.0]


def test_tiny_clusters_keep_their_score():
    x, labels = blobs(n=40)
    x = np.where(labels[:, None] > 1, x * 2.0**-30, x * 2.0**-30 + 1.0)
    assert metrics.davies_bouldin_score(x, labels) == pytest.approx(davies_bouldin(x, labels))
    x = x * 2.0**-20
    # scikit-learn takes distances below 1e-8 for zero
    assert metrics.davies_bouldin_score(x, labels) == pytest.approx(davies_bouldin(x, labels))


@pytest.mark.parametrize(("columns", "few"), [(1, 1), (7, 5), (64, 1000), (1000, 33)])
def test_silhouettes_do_not_depend_on_the_chunks(monkeypatch, columns, few):
    x, labels = blobs(n=200, k=9)
    labels[labels == 8] = 7
    wanted = metrics.silhouette_samples(x, labels)
    # too many for the sums of each pair
    monkeypatch.setattr(_silhouette, "_MOST_SUMS", 0)
    monkeypatch.setattr(_silhouette, "_COLUMNS", columns)
    monkeypatch.setattr(_silhouette, "_FEW_COLUMNS", few)
    monkeypatch.setattr(_rows, "_HOST_CELLS", 64 * columns)
    monkeypatch.setattr(_rows, "_DEVICE_CELLS", 64)
    found = metrics.silhouette_samples(x, labels)
    np.testing.assert_allclose(found, wanted, atol=1e-14)
    np.testing.assert_allclose(found, silhouettes(x, labels), atol=1e-13)


def test_dispersion_does_not_depend_on_the_chunks_in_any_bit(xp, monkeypatch):
    x, labels = blobs(n=200, k=9)
    wanted = [getattr(metrics, name)(x, labels) for name in OF_ROWS[1:]]
    for cells in (1, 9 * 3 + 1, 1000):
        monkeypatch.setattr(_rows, "_HOST_CELLS", cells)
        monkeypatch.setattr(_rows, "_DEVICE_CELLS", cells)
        assert scores(xp, x, labels)[1] == wanted[0]
        assert scores(xp, x, labels)[2] == pytest.approx(wanted[1], rel=1e-14)


def test_totals_of_two_words_are_the_same(monkeypatch):
    x, labels = blobs()
    wanted = [getattr(metrics, name)(x, labels) for name in OF_ROWS[1:]]
    # as for more than two million rows
    monkeypatch.setattr(_dispersion.exact, "words_for", lambda n_rows: 2)
    assert [getattr(metrics, name)(x, labels) for name in OF_ROWS[1:]] == wanted


def test_a_sample_is_scikit_learns(xp):
    x, labels = load_iris(return_X_y=True)
    for size, seed in ((40, 3), (149, 0), (1000, 1)):
        wanted = sklearn.metrics.silhouette_score(x, labels, sample_size=size, random_state=seed)
        found = metrics.silhouette_score(
            xp.array(x), xp.array(labels), sample_size=size, random_state=seed
        )
        assert found == pytest.approx(wanted, rel=1e-12)
    given = {"sample_size": 20, "random_state": np.random.RandomState(5)}
    first = metrics.silhouette_score(x.tolist(), labels.tolist(), **given)
    assert first != metrics.silhouette_score(x, labels, **given)


@pytest.mark.parametrize(
    "kind", ["strings", "objects", "floats", "bools", "uint8", "big", "swapped", "series"]
)
def test_kinds_of_labels(kind):
    x, labels = blobs(k=2)
    kinds = {
        "strings": np.array(["no", "yes"])[labels],
        "objects": np.array(["no", "yes"], dtype=object)[labels],
        "floats": labels * 2.0 - 1.0,
        "bools": labels == 1,
        "uint8": labels.astype(np.uint8) + 254,
        "big": labels + (2**63 - 2),
        "swapped": labels.astype(">i4"),
    }
    if kind == "series":
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        marks = pandas.Series(kinds["strings"], dtype="category")
    else:
        marks = kinds[kind]
    for name in OF_ROWS:
        assert getattr(metrics, name)(x, marks) == getattr(metrics, name)(x, labels)
    for name in OF_LABELS:
        assert getattr(metrics, name)(marks, labels) == 1.0


def test_labels_of_another_library_follow_the_rows(xp):
    x, labels = blobs()
    wanted = scores(xp, x, labels)
    for marks in (labels, labels.astype(">i2"), labels.tolist(), [f"c{i}" for i in labels]):
        assert [getattr(metrics, name)(xp.array(x), marks) for name in OF_ROWS] == wanted
    theirs = xp.array(labels)
    assert metrics.calinski_harabasz_score(x, theirs) == wanted[1]
    assert metrics.adjusted_rand_score([f"c{i}" for i in labels], theirs) == 1.0
    assert metrics.normalized_mutual_info_score(theirs, labels.astype(np.float32)) == 1.0
    assert metrics.silhouette_score(xp.array(x), theirs, device="cpu") == pytest.approx(wanted[0])


@pytest.mark.parametrize(
    ("home", "work"),
    [
        ("numpy", "strict-device1"),
        ("numpy", "torch"),
        ("torch", "torch"),
        ("jax", "jax"),
        ("torch", "strict"),
        ("strict-device1", "numpy"),
    ],
)
def test_work_elsewhere(home, work, monkeypatch):
    """As with device="cuda", and as for torch and JAX on a GPU without CuPy."""
    x, labels = blobs()
    wanted = scores(make_backend("numpy"), x, labels)
    near, far = make_backend(home), make_backend(work)
    there, here = context_of(far.array(x)), context_of(near.array(x))
    for module in (_rows, _agreement, _centroid_index):
        monkeypatch.setattr(module, "resolve", lambda *_: (there, here))
    np.testing.assert_allclose(scores(near, x, labels), wanted, rtol=1e-13)
    if work == "jax":
        # which compiles every step for every shape
        assert metrics.adjusted_rand_score(near.array(labels), labels) == 1.0
        return
    given = near.array(x.astype(np.float32))
    found = metrics.silhouette_samples(given, near.array(labels))
    assert (type(found), found.dtype) == (type(given), given.dtype)
    assert metrics.silhouette_score(given, labels, sample_size=50, random_state=0) < 1.0
    assert metrics.adjusted_rand_score(near.array(labels), labels) == 1.0
    score = metrics.normalized_mutual_info_score(near.array(labels), near.array(labels // 2))
    assert score == pytest.approx(sklearn.metrics.v_measure_score(labels, labels // 2))
    assert metrics.centroid_index(given[:9, :], near.array(x[5:20])) == index(
        x[:9].astype(np.float32), x[5:20]
    )


def test_rows_of_other_kinds():
    x, labels = blobs()
    whole = np.round(x * 10.0)
    wanted = metrics.silhouette_samples(whole, labels)
    for rows in (whole.astype(np.int32), whole.astype(int).tolist(), np.asfortranarray(whole)):
        found = metrics.silhouette_samples(rows, labels)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, wanted)


def test_wrong_numbers_of_labels(xp):
    x, _ = blobs(n=5)
    for name, marks in itertools.product(OF_ROWS, ([1] * 5, range(5))):
        count = len(set(marks))
        with pytest.raises(ValueError, match=rf"Number of labels is {count}\. Valid.*Score a"):
            getattr(metrics, name)(xp.array(x), xp.array(list(marks)))


def test_wrong_rows_and_lengths(xp):
    x, labels = blobs(n=6, k=2)
    bad = x.copy()
    bad[4, 1] = np.nan
    for name in OF_ROWS:
        score = getattr(metrics, name)
        with pytest.raises(ValueError, match=r"X contains NaN: the first is at row 4, column 1"):
            score(xp.array(bad), xp.array(labels))
        with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[6, 5\]"):
            score(xp.array(x), xp.array(labels[:5]))
        with pytest.raises(ValueError, match="Expected 2D array"):
            score(xp.array(x[:, 0]), xp.array(labels))
        with pytest.raises(ValueError, match="labels must be 1D"):
            score(xp.array(x), xp.array(labels[:, None]))
        with pytest.raises(ValueError, match=r"device='tpu' is not known"):
            score(xp.array(x), xp.array(labels), device="tpu")


def test_wrong_labels(xp):
    for name in OF_LABELS:
        score = getattr(metrics, name)
        with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[2, 3\]"):
            score(xp.array([0, 1]), xp.array([0, 1, 1]))
        with pytest.raises(ValueError, match=r"labels_pred has 0\.5 at row 1"):
            score(xp.array([0, 1]), xp.array([1.0, 0.5]))
        with pytest.raises(ValueError, match=r"labels_true (has nan|contains NaN)"):
            score(xp.array([np.nan, 1.0]), xp.array([0, 1]))
        with pytest.raises(ValueError, match="labels_true must be 1D"):
            score(xp.array([[0, 1]]), xp.array([0, 1]))
        with pytest.raises(ValueError, match="labels_true mixes kinds"):
            score(np.array(["a", 1], dtype=object), [0, 1])
    with pytest.raises(ValueError, match="Complex data not supported"):
        metrics.adjusted_rand_score(xp.array([0j, 1j]), xp.array([0, 1]))


def test_wrong_options():
    x, labels = blobs()
    for score in (metrics.silhouette_score, metrics.silhouette_samples):
        with pytest.raises(ValueError, match="metric='cosine' is not known"):
            score(x, labels, metric="cosine")
    for size in (0, 2.5, True):
        with pytest.raises(ValueError, match="'sample_size' parameter of silhouette_score must"):
            metrics.silhouette_score(x, labels, sample_size=size)
    with pytest.raises(ValueError, match=r"'average_method' must be 'min'.*got 'mean'"):
        metrics.normalized_mutual_info_score([0, 1], [0, 1], average_method="mean")
