"""What DBSCAN is made of: boxes and products that tell near rows, and labels that spread."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kmeans_xp._backend import numpy_context
from kmeans_xp._kernels import _numpy
from kmeans_xp._primitives import UNIT_ROUNDOFF
from kmeans_xp.relatives import _by_product, _leaves
from kmeans_xp.relatives._density import hooked
from kmeans_xp.relatives._pairs import Measure


def test_boxes_bound_rounded_distances_to_the_last_bit() -> None:
    """With eps at any distance that occurs, what boxes say of all pairs of two leaves is true."""
    generator, context = np.random.default_rng(5), numpy_context()
    x = generator.normal(size=(60, 3)) * [1.0, 3.0, 1e-8] + 0.1
    x[::3] = np.round(x[::3], 1)
    said = 0
    for metric in ("sqeuclidean", "manhattan", "chebyshev", "cosine"):
        measure = Measure.over(metric, [x], context, who="a test")
        ready = measure.ready(x)
        table = measure.table(ready, ready)
        order = _leaves.by_halves(ready, 2, xp=np)
        assert sorted(order.rows[order.counts].tolist()) == list(range(60))
        places = order.rows.reshape(-1, order.leaf_rows)
        for threshold in generator.choice(table.ravel(), size=40):
            relation = _leaves.by_boxes(
                measure, ready[:, order.rows], order.leaf_rows, float(threshold), xp=np
            )
            for leaf, mine in enumerate(places):
                near = table[np.ix_(mine, order.rows)] <= threshold
                by_leaf = near.reshape(order.leaf_rows, -1, order.leaf_rows)
                inside, to_look_at = relation.inside[leaf], relation.open[leaf]
                assert by_leaf[:, inside].all()
                rest = np.setdiff1d(np.arange(order.n_leaves), [*inside, *to_look_at])
                assert not by_leaf[:, rest].any()
                said += inside.size * rest.size
    assert said > 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shift", [0.0, 3000.0])
def test_products_mark_what_canonical_distances_do(
    dtype: str, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With eps at distances that occur: the product leaves these open, and they are settled."""
    generator = np.random.default_rng(6)
    x = (generator.normal(size=(96, 10)) + shift).astype(dtype)
    x[::4] = np.round(x[::4])
    measure = Measure.over("sqeuclidean", [x], numpy_context(), who="a test")
    table = measure.table(measure.ready(x), measure.ready(x))
    settled: list[int] = []
    compress = _numpy.NumpyKernel.compress
    monkeypatch.setattr(
        _numpy.NumpyKernel,
        "compress",
        lambda self, mask, count: settled.append(count) or compress(self, mask, count),
    )
    first = set()
    for threshold in generator.choice(table[table > 0], size=25):
        judge = _by_product.by_product(x, measure, 32, float(threshold))
        assert judge is not None
        first.add(str(judge.rung.weights.dtype))
        for start in (0, 32, 64):
            block = _Block(start)
            for leaves in (np.arange(3), np.array([0, 2])):
                found = judge.near(block, leaves)
                columns = (leaves[:, None] * 32 + np.arange(32)).ravel()
                wanted = table[start : start + 32][:, columns] <= threshold
                assert (found == wanted).all()
    assert sum(settled) >= 25
    assert ("float32" in first) == (dtype == "float32")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_products_may_err_as_much_as_their_bound_says(sign: float) -> None:
    """Rows in one direction: there the products of the longer ones with the shorter err most."""
    generator, features = np.random.default_rng(7), 1000
    lengths = generator.uniform(0.1, 1.0, 48) * np.resize([-1.0, 1.0], 48)
    x = lengths[:, None] * generator.choice([-1.0, 1.0], features)
    measure = Measure.over("sqeuclidean", [x], numpy_context(), who="a test")
    table = measure.table(measure.ready(x), measure.ready(x))
    least = sign * features * UNIT_ROUNDOFF["float64"]

    class Worst:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def matmul(self, a: Any, b: Any) -> Any:
            return a @ b + least * (np.abs(a) @ np.abs(b))

    for pair in zip(generator.permutation(48), generator.permutation(48), strict=True):
        if pair[0] == pair[1]:
            continue
        # such pairs are neighbours if only just, or just no longer
        threshold = float(table[pair] if sign < 0 else np.nextafter(table[pair], 0.0))
        judge = _by_product.by_product(x, measure, 16, threshold)
        assert judge is not None
        judge = replace(judge, context=replace(judge.context, xp=Worst()))
        found = [judge.near(_Block(start), np.arange(3)) for start in (0, 16, 32)]
        assert (np.concatenate(found) == (table <= threshold)).all()


class _Block:
    def __init__(self, start: int) -> None:
        self.start = start


def graphs(n: int) -> dict[str, list[tuple[int, int]]]:
    generator = np.random.default_rng(n)
    names = generator.permutation(n).tolist()
    path = [(i, i + 1) for i in range(n - 1)]
    half = n // 2
    zigzag = [end for i in range(half - 1) for end in ((i, half + i), (half + i, i + 1))]
    return {
        "path": path,
        "path in any order": [(names[a], names[b]) for a, b in path],
        "least and largest in turn": zigzag,
        "star about the last": [(n - 1, i) for i in range(n - 1)],
        "star about the first": [(0, i) for i in range(1, n)],
        "stars in a row": [(i, n - 1 - i // 9) for i in range(half)]
        + [(n - 1 - i, i + 1) for i in range(half // 9)],
        "few edges": generator.integers(0, n, size=(n // 2, 2)).tolist(),
        "some edges": generator.integers(0, n, size=(n, 2)).tolist(),
        "none": [],
    }


@pytest.mark.parametrize("name", graphs(64))
@pytest.mark.parametrize("n", [64, 1000])
def test_labels_spread_in_few_rounds(name: str, n: int) -> None:
    """As scipy's components, and no more rounds than halving the groups every two takes."""
    edges = np.array(graphs(n)[name], dtype=np.int64).reshape(-1, 2)
    both = np.vstack([edges, edges[:, ::-1]])
    labels, rounds = np.arange(n), 0
    while True:
        low = labels.copy()
        np.minimum.at(low, both[:, 0], labels[both[:, 1]])
        if (low == labels).all():
            break
        labels, rounds = hooked(labels, low, xp=np), rounds + 1
    graph = coo_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(n, n))
    n_components, wanted = connected_components(graph)
    pairs = set(zip(labels.tolist(), wanted.tolist(), strict=True))
    assert len(pairs) == len(set(labels.tolist())) == n_components
    assert rounds <= 2 * np.log2(n)
