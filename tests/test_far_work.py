"""Work in one library, results in another: the way that ``device="cuda"`` takes host data.

No GPU is needed: two CPU libraries, or two devices of array-api-strict, are as far apart for
the code, and every part that runs here is the part that runs there.  Work in torch and JAX
themselves, which their arrays on a GPU get, is forced on the host in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from sklearn.datasets import load_iris

from kmeans_xp import KMeans
from kmeans_xp._backend import context_of
from kmeans_xp.estimators import _rows
from kmeans_xp.estimators._place import Place

ROUTES = [
    ("numpy", "strict-device1"),
    ("numpy", "torch"),
    ("numpy", "jax"),
    ("torch", "torch"),
    ("jax", "jax"),
    ("strict", "strict-device1"),
    ("strict-device1", "numpy"),
    ("torch", "numpy"),
    ("torch", "strict"),
]


@pytest.mark.parametrize(("home", "work"), ROUTES)
@pytest.mark.parametrize("init", ["k-means++", "array"])
def test_work_elsewhere_changes_nothing_but_the_place(
    home: str, work: str, init: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = make_backend(home), make_backend(work)
    host = load_iris().data.astype(np.float32)
    rows, weight = near.array(host), near.array(np.arange(150.0) % 4)
    options: dict[str, Any] = {"n_clusters": 3, "random_state": 0}
    if work == "jax":
        # which compiles every step of a search for every shape
        options |= {"search": None, "n_init": 1}
    if init == "array":
        options["init"] = host[[0, 60, 120]]
    plain = KMeans(**options).fit(host, sample_weight=near.host(weight))
    expected = plain.transform(host)
    if init == "array":
        options["init"] = near.array(host[[0, 60, 120]])
    place = Place(context_of(far.array(host[:1])), context_of(rows))
    moved = []
    move = type(place.work).move
    monkeypatch.setattr(_rows, "place_of", lambda *_: place)
    monkeypatch.setattr(
        type(place.work),
        "move",
        lambda self, array: moved.append((self, array.shape)) or move(self, array),
    )

    seen: list[Any] = []
    model = KMeans(**options, callback=lambda _, centers: seen.append(centers))
    model.fit(rows, sample_weight=weight)
    assert moved.count((place.work, rows.shape)) == 1, "the rows move once"
    labels, distances = model.predict(rows), model.transform(rows)
    score = model.score(rows, sample_weight=weight)

    assert len(seen) == model.n_iter_
    for array in (model.labels_, model.cluster_centers_, labels, distances, *seen):
        assert context_of(array) == place.home
    assert model.backend_ == place.work.backend
    assert near.host(model.cluster_centers_).tobytes() == plain.cluster_centers_.tobytes()
    assert near.host(model.labels_).tobytes() == plain.labels_.tobytes()
    assert near.host(labels).tobytes() == plain.labels_.tobytes()
    assert (model.inertia_, model.n_iter_, score) == (
        plain.inertia_,
        plain.n_iter_,
        -plain.inertia_,
    )
    np.testing.assert_allclose(near.host(distances), expected, rtol=1e-6)
