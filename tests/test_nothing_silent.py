"""Rule 5, nothing silent: no change of X, no other dtype, library or device, no global state."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
import pytest
from cases import CASES
from conftest import Backend, make_backend

from kmeans_xp import KMeans

STARTS = ("k-means++", "random", "random-partition", "k-means||")


@pytest.mark.parametrize("copy_x", [True, False])
@pytest.mark.parametrize("case", ["blobs", "shifted32"])
def test_rows_are_never_changed(xp: Backend, copy_x: bool, case: str) -> None:
    if xp.id == "jax":
        pytest.skip("JAX arrays cannot be changed")
    x, start = CASES[case]()
    rows, first, weight = xp.array(x.copy()), xp.array(start.copy()), xp.array(np.ones(len(x)))
    model = KMeans(5, init=first, n_init=1, copy_x=copy_x).fit(rows, sample_weight=weight)
    model.predict(rows)
    model.transform(rows)
    model.score(rows, sample_weight=weight)
    assert xp.host(rows).tobytes() == x.tobytes()
    assert xp.host(first).tobytes() == start.tobytes()
    assert xp.host(weight).tobytes() == np.ones(len(x)).tobytes()
    assert xp.host(model.cluster_centers_).tobytes() != start.tobytes()


@pytest.mark.parametrize("copy_x", [True, False])
@pytest.mark.parametrize("init", STARTS)
def test_read_only_rows_are_clustered(copy_x: bool, init: str) -> None:
    x, _ = CASES["shifted32"]()
    weight = np.ones(len(x))
    for array in (x, weight):
        array.flags.writeable = False
    options = {"init": init, "n_init": 1, "copy_x": copy_x, "random_state": 0}
    model = KMeans(5, **options).fit(x, sample_weight=weight)
    model.predict(x)
    model.transform(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_live_where_the_rows_do(xp: Backend, dtype: str) -> None:
    x = CASES["blobs"]()[0].astype(dtype)
    rows = xp.array(x)
    namespace, device = array_api_compat.array_namespace(rows), array_api_compat.device(rows)
    model = KMeans(5, random_state=0, max_iter=3).fit(rows)
    arrays: dict[str, Any] = {
        "labels": model.labels_,
        "centers": model.cluster_centers_,
        "predicted": model.predict(rows),
        "distances": model.transform(rows),
    }
    for name, array in arrays.items():
        assert array_api_compat.array_namespace(array) is namespace, name
        assert array_api_compat.device(array) == device, name
        wanted = "int32" if name in ("labels", "predicted") else dtype
        assert str(array.dtype).rpartition(".")[2] == wanted, name
    assert type(model.inertia_) is float
    assert type(model.n_iter_) is int
    assert type(model.score(rows)) is float


@pytest.mark.parametrize("other", ["numpy", "strict", "torch"])
def test_weights_and_centers_of_another_library_follow_the_rows(xp: Backend, other: str) -> None:
    guest = make_backend(other)
    x, start = CASES["blobs32"]()
    weight = np.random.default_rng(0).integers(0, 3, size=len(x)).astype(float)
    options = {"n_clusters": 5, "n_init": 1, "max_iter": 3}
    rows = xp.array(x)
    one = KMeans(init=xp.array(start), **options).fit(rows, sample_weight=xp.array(weight))
    two = KMeans(init=guest.array(start), **options).fit(rows, sample_weight=guest.array(weight))
    assert type(two.cluster_centers_) is type(rows)
    one_centers, two_centers = xp.host(one.cluster_centers_), xp.host(two.cluster_centers_)
    assert one_centers.tobytes() == two_centers.tobytes()
    assert one.inertia_ == two.inertia_
    scores = [model.score(rows, sample_weight=guest.array(weight)) for model in (one, two)]
    assert scores == [-one.inertia_] * 2


def test_centers_of_another_dtype_are_read_in_the_rows_dtype(xp: Backend) -> None:
    x, start = CASES["blobs32"]()
    model = KMeans(5, init=xp.array(start.astype(np.float64)), n_init=1, max_iter=2)
    model.fit(xp.array(x))
    assert xp.host(model.cluster_centers_).dtype == np.float32


@pytest.mark.parametrize("init", STARTS)
def test_the_global_generator_is_left_alone(xp: Backend, init: str) -> None:
    x, _ = CASES["blobs32"]()
    np.random.seed(123)  # noqa: NPY002 - the state of this one is what is watched
    before = np.random.get_state()  # noqa: NPY002
    KMeans(5, init=init, n_init=1, random_state=0, max_iter=2).fit(xp.array(x))
    after = np.random.get_state()  # noqa: NPY002
    assert before[1].tolist() == after[1].tolist()
    assert before[2:] == after[2:]


def test_one_number_is_drawn_from_the_generator_for_a_fit() -> None:
    x, _ = CASES["blobs"]()
    ends = []
    for init, runs in (("k-means++", 1), ("random", 4), ("k-means||", 2)):
        generator = np.random.RandomState(5)
        KMeans(5, init=init, n_init=runs, random_state=generator, max_iter=2).fit(x)
        ends.append(generator.randint(1 << 30))
    assert len(set(ends)) == 1
