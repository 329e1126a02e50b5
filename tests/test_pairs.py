"""Distances of all pairs of rows: right, and the same bits on every library."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from conftest import Backend
from scipy.spatial.distance import cdist

from kmeans_xp._backend import context_of, numpy_context
from kmeans_xp._distances import Scale, folded, halving_sum, squared_distances
from kmeans_xp._exact import root
from kmeans_xp.relatives import _pairs
from kmeans_xp.relatives._pairs import NAMED, Measure, check_metric, check_precomputed

SCIPY = {"manhattan": "cityblock"}


def table_of(metric: Any, left: Any, right: Any) -> tuple[Any, Measure]:
    context = context_of(left)
    with context.scope():
        measure = Measure.over(metric, [left, right], context, who="a test")
        return measure.table(measure.ready(left), measure.ready(right)), measure


def rows(dtype: str = "float64") -> tuple[Any, Any]:
    generator = np.random.default_rng(7)
    return tuple((generator.normal(size=(m, 5)) * 3 + 1).astype(dtype) for m in (9, 23))


@pytest.mark.parametrize(
    ("metric", "dtype"), list(zip(NAMED, itertools.cycle(["float64", "float32"]), strict=False))
)
def test_distances_are_scipys_and_their_bits_those_of_numpy(
    xp: Backend, metric: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = rows(dtype)
    wanted, _ = table_of(metric, left, right)
    scipys = cdist(left.astype(float), right.astype(float), SCIPY.get(metric, metric))
    np.testing.assert_allclose(wanted, scipys, rtol=1e-13, atol=1e-15)
    # tiles of any size change no bit
    monkeypatch.setattr(_pairs, "_HOST_CELLS", 17)
    monkeypatch.setattr(_pairs, "_DEVICE_CELLS", 31)
    found, _ = table_of(metric, xp.array(left), xp.array(right))
    assert xp.host(found).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("features", range(1, 18))
def test_folded_makes_the_additions_of_halving_sum(features: int) -> None:
    terms = np.random.default_rng(features).normal(size=(features, 6))
    found = folded(lambda feature: terms[feature], features)
    assert found.tobytes() == halving_sum(terms, xp=np, axis=-2).tobytes()


class Sloppy:
    """NumPy, with square roots that are off by a rounding to either side."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def sqrt(self, values: Any) -> Any:
        side = np.where(np.arange(values.size) % 2 == 0, np.inf, 0.0)
        return np.nextafter(np.sqrt(values), side)


def test_roots_are_corrected() -> None:
    values = np.random.default_rng(0).random(2000) * np.ldexp(1.0, np.arange(2000) % 1600 - 800)
    assert (Sloppy().sqrt(values) != np.sqrt(values)).all()
    assert root(values, xp=Sloppy()).tobytes() == np.sqrt(values).tobytes()
    ends = np.array([0.0, 5e-324, 1e-300, 1.7e308, np.inf])
    assert root(ends, xp=np).tobytes() == np.sqrt(ends).tobytes()


def test_squares_are_the_canonical_distances() -> None:
    left, right = rows()
    found, _ = table_of("sqeuclidean", left, right)
    wanted = squared_distances(left[:, None, :], right[None, :, :], Scale(), xp=np)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("metric", NAMED)
@pytest.mark.parametrize("exponent", [-1040, -600, 600, 1019])
def test_rows_of_any_size_have_the_distances_of_ordinary_ones(metric: str, exponent: int) -> None:
    left, right = (np.round(part * 4) / 8 for part in rows())
    wanted, _ = table_of(metric, left, right)
    found, measure = table_of(metric, np.ldexp(left, exponent), np.ldexp(right, exponent))
    power = {"cosine": 0, "sqeuclidean": 2}.get(metric, 1)
    by = measure.exponent + exponent * power
    assert measure.exponent != 0 or metric == "cosine"
    np.testing.assert_allclose(np.ldexp(wanted, by), found, rtol=1e-15)


@pytest.mark.parametrize("metric", NAMED)
def test_no_distance_is_above_the_bound(metric: str) -> None:
    corners = np.array([[-1.0, 2.0, 0.0], [3.0, -5.0, 0.0], [-3.0, 5.0, 0.0]])
    table, measure = table_of(metric, corners, corners)
    assert measure.bound is not None
    assert table.max() == pytest.approx(measure.bound, rel=1e-15) or table.max() < measure.bound
    if metric != "cosine":
        assert table[1, 2] == pytest.approx(measure.bound, rel=1e-15)


def test_a_function_of_two_sets_of_rows_is_a_metric(xp: Backend) -> None:
    left, right = rows("float32")

    def above(a: Any, b: Any) -> Any:
        namespace = array_namespace(a)
        return namespace.count_nonzero(a[:, None, :] > b[None, :, :], axis=-1)

    found, measure = table_of(above, xp.array(left), xp.array(right))
    wanted = (left[:, None, :] > right[None, :, :]).sum(axis=-1)
    assert xp.host(found).tolist() == wanted.tolist()
    assert measure.bound is None
    assert measure.exponent == 0


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (1.0, r"for \(9, 23\) rows it returned float"),
        (np.zeros((23, 9)), r"returned shape \(23, 9\).*can be wrapped"),
        (np.full((9, 23), np.nan), "returned NaN .row 0, column 0., which is no distance"),
        (np.full((9, 23), -1.0), "returned -1.0"),
    ],
)
def test_what_a_function_returns_is_checked(returned: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table_of(lambda a, b: returned, *rows())


def test_words_for_metrics() -> None:
    assert [check_metric(word, "T") for word in ("l1", "cityblock", "l2")] == [
        "manhattan",
        "manhattan",
        "euclidean",
    ]
    assert check_metric("precomputed", "T") == "precomputed"
    for word in ("canberra", None, 2):
        with pytest.raises(ValueError, match=r"metric=.* is not known to T\. Use one of 'chebys"):
            check_metric(word, "T")


def test_rows_without_a_direction_are_refused(xp: Backend) -> None:
    x = np.array([[1.0, 2.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="row 1 is all zeros and has no direction"):
        table_of("cosine", xp.array(x), xp.array(x))
    table_of("manhattan", xp.array(x), xp.array(x))


def test_rows_of_very_different_lengths_have_directions() -> None:
    x = np.array([[3.0, 4.0], [3e-310, 4e-310], [3e307, 4e307], [-4e-200, 3e-200]])
    table, _ = table_of("cosine", x, x)
    wanted = np.ones((4, 4))
    wanted[:3, :3] = 0.0
    wanted[3, 3] = 0.0
    np.testing.assert_allclose(table, wanted, atol=1e-12)


def test_rows_that_are_not_finite_are_refused(xp: Backend) -> None:
    x = np.array([[1.0, 2.0], [0.0, np.nan]])
    with pytest.raises(ValueError, match="Input X contains NaN: the first is at row 1, column 1"):
        table_of("manhattan", xp.array(x), xp.array(x))


def test_given_distances_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    context = numpy_context()
    good = np.ones((3, 3))
    check_precomputed(good, context, who="T")
    check_precomputed(np.ones((2, 3)), context, who="T", n_columns=3)
    with pytest.raises(ValueError, match=r"needs a square X .* got shape \(2, 3\)"):
        check_precomputed(np.ones((2, 3)), context, who="T")
    with pytest.raises(ValueError, match=r"distances to the 4 rows of fit.* got shape \(3, 3\)"):
        check_precomputed(good, context, who="T", n_columns=4)
    monkeypatch.setattr(_pairs, "_DEVICE_CELLS", 3)  # a row at a time
    for bad, word in ((np.nan, "NaN"), (-1.0, "-1.0"), (np.inf, "inf")):
        table = good.copy()
        table[2, 1] = bad
        with pytest.raises(ValueError, match=rf"holds {word} \(row 2, column 1\)"):
            check_precomputed(table, context, who="T")
