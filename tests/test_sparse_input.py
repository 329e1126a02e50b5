"""Sparse matrices: what is refused, what has few values or none, how much memory they take."""

from __future__ import annotations

import tracemalloc
from typing import Any

import array_api_compat
import numpy as np
import pytest
from conftest import make_backend
from sparse_cases import SMALL, D, K, N, check_same, rows, thin

from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans
from kmeans_xp._backend import to_host
from kmeans_xp.prepare import FeatureScaler

sparse = pytest.importorskip("scipy.sparse")


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_other_numbers_become_float64(dtype: str) -> None:
    x = np.minimum(rows(), 200).astype(dtype)
    check_same(KMeans(2, random_state=0).fit(sparse.csr_array(x)), KMeans(2, random_state=0).fit(x))


@pytest.mark.parametrize("model", [KMeans, MiniBatchKMeans])
def test_memory_is_that_of_a_tile(model: Any) -> None:
    n, d = 2000, 5000
    x = thin(n, d, 0.001, np.random.default_rng(0))
    limit = 12 << 20
    fitted = model(3, random_state=0, max_iter=1, tol=0, memory_limit=limit)
    fitted.fit(x[:64])  # what is imported counts for nothing
    tracemalloc.start()
    try:
        fitted.fit(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * limit < n * d * 8 / 3


def test_degenerate_matrices() -> None:
    with pytest.warns(Warning, match="Number of distinct clusters"):
        model = KMeans(2, random_state=0).fit(sparse.csr_array((9, 4)))
    assert (model.inertia_, model.labels_.tolist()) == (0.0, [0] * 9)
    assert model.predict(sparse.csr_array((3, 4))).tolist() == [0, 0, 0]
    for shape, what in (((0, 3), "sample"), ((3, 0), "feature")):
        with pytest.raises(ValueError, match=rf"Found array with 0 {what}\(s\)"):
            KMeans(2).fit(sparse.csr_matrix(shape))
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=5"):
        KMeans(5).fit(sparse.csr_array((3, 4)))
    with pytest.raises(ValueError, match="expecting 4 features"):
        model.predict(sparse.csr_array((3, 5)))
    x = rows()
    x[:, 5] = 0
    check_same(KMeans(K, random_state=0).fit(sparse.csr_array(x)), KMeans(K, random_state=0).fit(x))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_as_in_dense_rows(value: float) -> None:
    x = rows()
    x[300, 7] = value
    good = sparse.csr_array(rows())
    for bad, what in (
        (lambda x: KMeans(K).fit(x), "fit"),
        (lambda x: MiniBatchKMeans(K).fit(x), "fit"),
        (lambda x: MiniBatchKMeans(K).fit(good).partial_fit(x), "partial_fit"),
        (lambda x: KMeans(K).fit(good).predict(x), "predict"),
    ):
        texts = []
        for given in (x, sparse.csr_array(x)):
            with pytest.raises(ValueError, match="row 300, column 7") as caught:
                bad(given)
            texts.append(str(caught.value))
        assert texts[0] == texts[1], what


def test_what_cannot_be_read_is_refused() -> None:
    x = rows()
    wild = sparse.csr_array(x)
    wild.indices[4] = D
    with pytest.raises(ValueError, match=rf"X\.indices names columns from 0 to {D}"):
        KMeans(K).fit(wild)
    wild = sparse.csr_array(x)
    wild.indptr[N - 3] = wild.nnz + 1
    with pytest.raises(ValueError, match=r"X\.indptr does not tell"):
        KMeans(K).fit(wild)
    with pytest.raises(ValueError, match="Complex data not supported"):
        KMeans(K).fit(sparse.csr_array(x * 1j))
    for function in (
        lambda: KMeans(K).fit(x, sample_weight=sparse.csr_array(x[:, :1])),
        lambda: FeatureScaler().fit(sparse.csr_array(x)),
        lambda: BisectingKMeans(K).fit(x).transform(sparse.csr_array(x)),
        lambda: BisectingKMeans(K).fit(x).score(sparse.csr_array(x)),
    ):
        with pytest.raises(TypeError, match=r"Sparse data was passed for .*toarray\(\)"):
            function()


class DeviceRows:
    """A CSR matrix of arrays of a device, with the part of CuPy's interface that is read here."""

    __module__ = "cupyx.scipy.sparse._csr"

    def __init__(self, xp: Any, host: Any) -> None:
        self._xp, self._host, self.shape = xp, host, host.shape
        self.data, self.indices, self.indptr = map(xp.array, (host.data, host.indices, host.indptr))

    def tocsr(self) -> DeviceRows:
        return self

    def __getitem__(self, rows: Any) -> DeviceRows:
        rows = rows if isinstance(rows, slice) else to_host(rows)
        return DeviceRows(self._xp, self._host[rows])

    def toarray(self) -> Any:
        return self._xp.array(self._host.toarray())


def test_a_matrix_on_a_device_becomes_dense_there() -> None:
    """Its results stay there.  What CuPy itself does is not run on a GPU."""
    xp, x = make_backend("strict-device1"), rows("float32")
    given, dense = DeviceRows(xp, sparse.csr_matrix(x)), KMeans(K, random_state=0).fit(x)
    model = KMeans(K, random_state=0, memory_limit=SMALL).fit(given)
    for array in (model.labels_, model.cluster_centers_, model.predict(given)):
        assert array_api_compat.device(array) == array_api_compat.device(given.data)
    assert to_host(model.cluster_centers_).tobytes() == dense.cluster_centers_.tobytes()
    assert to_host(model.labels_).tobytes() == dense.labels_.tobytes()
    with pytest.raises(ValueError, match="must use the same namespace"):
        model.predict(sparse.csr_array(x))
    assert KMeans(K, random_state=0, device="cpu").fit(given).inertia_ == dense.inertia_
    here, there = (
        MiniBatchKMeans(K, random_state=0, batch_size=64).fit(a).partial_fit(a) for a in (x, given)
    )
    assert to_host(there.cluster_centers_).tobytes() == here.cluster_centers_.tobytes()
