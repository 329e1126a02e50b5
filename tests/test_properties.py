"""Properties of any data whatever, with hypothesis: the oracle's answer, and symmetries."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import oracle
import pytest
from conftest import make_backend
from engine import problem_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import DataWarning, KMeans
from kmeans_xp._assign import relabel

STARTS = ("k-means++", "random", "random-partition", "k-means||")
BRIEF = settings(max_examples=60, deadline=None, derandomize=True, database=None)

shapes = st.tuples(st.integers(1, 24), st.integers(1, 4))
whole = st.integers(-4, 4).map(float)
wild = st.floats(-1e6, 1e6, width=32).map(lambda value: 0.0 if abs(value) < 1e-6 else value)
rows = st.sampled_from(["float32", "float64"]).flatmap(
    lambda dtype: shapes.flatmap(
        lambda shape: st.one_of(
            arrays(dtype, shape, elements=whole), arrays(dtype, shape, elements=wild)
        )
    )
)


def _fit(x: Any, weight: Any = None, **options: Any) -> Any:
    with warnings.catch_warnings():
        # hypothesis likes rows that are all alike
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", DataWarning)
        return KMeans(**options).fit(x, sample_weight=weight)


@given(rows, st.data())
@BRIEF
def test_any_fit_is_what_it_says(x: Any, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(x)), label="k")
    model = _fit(
        x,
        n_clusters=k,
        init=data.draw(st.sampled_from(STARTS), label="init"),
        n_init=1,
        random_state=data.draw(st.integers(0, 99), label="seed"),
        tol=data.draw(st.sampled_from([0, 1e-4, 0.5]), label="tol"),
        max_iter=data.draw(st.sampled_from([1, 2, 300]), label="max_iter"),
        empty_cluster=data.draw(st.sampled_from(["farthest", "random"]), label="rule"),
    )
    centers, labels = model.cluster_centers_, model.labels_
    assert labels.tolist() == oracle.labels(x, centers)
    assert model.inertia_ == pytest.approx(oracle.inertia(x, centers, labels), rel=2.3e-16, abs=0)
    assert model.predict(x).tolist() == labels.tolist()
    assert -model.score(x) == model.inertia_
    low, high = x.min(axis=0), x.max(axis=0)
    # means of stored values, once rounded, lie among them
    assert (centers >= low).all()
    assert (centers <= high).all()


@given(rows, st.data())
@BRIEF
def test_any_rung_gives_the_nearest_of_any_centers(x: Any, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 9))
    elements = st.one_of(whole, wild)
    centers = data.draw(arrays(x.dtype, (k, x.shape[1]), elements=elements))
    wanted = oracle.labels(x, centers)
    for first in ("exact", str(x.dtype), "float64"):
        problem = problem_of(make_backend("numpy"), x, k=k, first=first, block_rows=7)
        problem.cover(centers)
        relabel(problem, problem.nearest_to(centers))
        assert problem.source.collect("labels").tolist() == wanted


@given(rows, st.data())
@BRIEF
def test_order_of_rows_and_powers_of_two_do_not_matter(x: Any, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(x)))
    start = x[data.draw(st.permutations(range(len(x))))[:k]]
    order = data.draw(st.permutations(range(len(x))))
    factor = data.draw(st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**20]))
    options = {"n_clusters": k, "n_init": 1, "tol": 0, "max_iter": 20, "empty_cluster": "random"}
    one = _fit(x, init=start, random_state=0, **options)
    two = _fit(
        x * x.dtype.type(factor), init=start * x.dtype.type(factor), random_state=0, **options
    )
    assert (one.cluster_centers_ * x.dtype.type(factor)).tobytes() == two.cluster_centers_.tobytes()
    assert one.labels_.tobytes() == two.labels_.tobytes()
    assert one.inertia_ * factor**2 == two.inertia_
    if len(np.unique(start, axis=0)) == k == len(set(one.labels_.tolist())):
        # no cluster was ever empty at the end; relocation goes by row number otherwise
        three = _fit(x[order], init=start, random_state=0, **options)
        if one.history_[0].changed == three.history_[0].changed == len(x):
            assert one.cluster_centers_.tobytes() == three.cluster_centers_.tobytes()
            assert one.labels_[order].tobytes() == three.labels_.tobytes()
            assert (one.inertia_, one.n_iter_) == (three.inertia_, three.n_iter_)


@given(rows, st.data())
@BRIEF
def test_whole_weights_count_as_rows(x: Any, data: st.DataObject) -> None:
    weight = np.asarray(data.draw(st.lists(st.integers(1, 3), min_size=len(x), max_size=len(x))))
    k = data.draw(st.integers(1, len(np.unique(x, axis=0))))
    start = np.unique(x, axis=0)[:k]
    options = {"n_clusters": k, "init": start, "n_init": 1, "tol": 0, "max_iter": 1}
    one = _fit(x, weight, **options)
    two = _fit(np.repeat(x, weight, axis=0), **options)
    spread = max(float(np.abs(x).max()), 1e-300)
    np.testing.assert_allclose(
        one.cluster_centers_, two.cluster_centers_, rtol=1e-6, atol=1e-12 * spread
    )
    assert one.inertia_ == pytest.approx(two.inertia_, rel=1e-5, abs=1e-12 * spread**2)


@given(rows)
@BRIEF
def test_every_row_a_cluster_leaves_nothing(x: Any) -> None:
    distinct = np.unique(x, axis=0)
    model = _fit(distinct, n_clusters=len(distinct), init=distinct, n_init=1)
    assert model.inertia_ == 0.0
    assert model.cluster_centers_.tolist() == distinct.tolist()
    assert math.isfinite(model.score(x))
