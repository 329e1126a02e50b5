"""Sparse matrices give the bits of the same rows as a dense array, and stay sparse."""

from __future__ import annotations

import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sparse_cases import SMALL, STARTS, THICK, THIN, WEIGHT, D, K, N, check_same, rows, thin

from kmeans_xp import KMeans, MiniBatchKMeans, _problem, k_means, kmeans_plusplus
from kmeans_xp._backend import numpy_context
from kmeans_xp._distances import Scale, squared_distances
from kmeans_xp._exact import Grid, exponent_above
from kmeans_xp._kernels._sparse_block import SparseBlock
from kmeans_xp._kernels._sparse_distances import Folded
from kmeans_xp._kernels._sparse_survey import SparseSurveyor
from kmeans_xp._sparse import SparseRows
from kmeans_xp._stats import Surveyor
from kmeans_xp._streams import StreamSource

sparse = pytest.importorskip("scipy.sparse")


def with_long_indices(x: Any) -> Any:
    found = sparse.csr_matrix(x)
    found.indices, found.indptr = (a.astype(np.int64) for a in (found.indices, found.indptr))
    assert found.indices.dtype == np.int64
    return found


def unsorted_with_repeats(x: Any) -> Any:
    """Each value as a sum of three that rounds, columns from the last to the first."""
    whole = sparse.csr_array(x)
    lengths = 3 * np.diff(whole.indptr)
    data = np.repeat(whole.data, 3) * np.tile(np.asarray([0.1, 0.7, 0.2], x.dtype), whole.nnz)
    found = sparse.csr_array(x.shape, dtype=x.dtype)
    for row in range(len(x)):
        part = slice(3 * whole.indptr[row], 3 * whole.indptr[row + 1])
        data[part] = data[part][::-1]
    backwards = [whole.indices[whole.indptr[i] : whole.indptr[i + 1]][::-1] for i in range(len(x))]
    found.indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    found.indices = np.repeat(np.concatenate(backwards), 3).astype(np.int32)
    found.data = data
    assert not found.has_canonical_format
    return found


FORMS: dict[str, Callable[[Any], Any]] = {
    "array": sparse.csr_array,
    "matrix": sparse.csr_matrix,
    "long indices": with_long_indices,
    "repeats": unsorted_with_repeats,
    "csc": sparse.csc_array,
    "coo": sparse.coo_matrix,
    "lil": sparse.lil_array,
    "bsr": lambda x: sparse.bsr_array(x, blocksize=(13, 1)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("dtype", "density", "limit"),
    [("float32", THIN, SMALL), ("float64", THIN, None), ("float64", THICK, SMALL)],
)
def test_a_sparse_matrix_gives_the_bits_of_its_dense_array(
    form: str, dtype: str, density: float, limit: int | None
) -> None:
    start = STARTS[(list(FORMS).index(form) + (dtype == "float32") + (limit is None)) % 4]
    given = FORMS[form](rows(dtype, density))
    x, weight = given.toarray(), WEIGHT if limit else None
    before = pickle.dumps(given)

    def fit(x: Any, **more: Any) -> KMeans:
        model = KMeans(K, init=start, n_init=2, random_state=1, max_iter=30, tol=0, **more)
        return model.fit(x, sample_weight=weight)

    model, dense = fit(given, memory_limit=limit), fit(x)
    check_same(model, dense)
    assert model.history_ == dense.history_
    assert len(set(model.labels_)) == K
    assert "sparse matrix" in model.reading_
    is_read_as_stored = density == THIN and form not in ("repeats", "bsr")
    assert (model.kernel_ == "sparse") == is_read_as_stored
    assert model.predict(given).tobytes() == dense.labels_.tobytes()
    assert model.predict(x).tobytes() == dense.labels_.tobytes()
    assert model.score(given, sample_weight=weight) == -dense.inertia_
    model.memory_limit = None
    distances = model.transform(given)
    assert (type(distances), distances.dtype) == (np.ndarray, x.dtype)
    np.testing.assert_allclose(distances, dense.transform(x), rtol=1e-5, atol=1e-6)
    assert pickle.dumps(given) == before


def hard(name: str, density: float, d: int) -> Any:
    """Thin rows that are hard to tell apart, or whose squares leave the range of numbers."""
    x = rows(density=density, d=d)
    rng = np.random.default_rng(5)
    if name == "ties":
        x = np.minimum(np.round(x), 1.0)
    elif name == "far":
        x[:, 5] = 1e8 + rng.normal(size=N)
    elif name == "huge":
        x *= 1e200
    elif name == "tiny":
        x *= 1e-200
    elif name == "mixed":
        x *= 10.0 ** rng.integers(-30, 5, x.shape)
    elif name == "copies":
        x = x[rng.integers(50, 60, N)]
    return x


@pytest.mark.parametrize("weight", [None, WEIGHT * 0.3], ids=["", "weighted"])
@pytest.mark.parametrize("name", ["ties", "far", "huge", "tiny", "mixed", "copies"])
@pytest.mark.parametrize(("init", "density", "d"), [("k-means++", 0.005, 600), ("random", THIN, D)])
@pytest.mark.filterwarnings("ignore:Number of distinct:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:column 5 of X outweighs:kmeans_xp.DataWarning")
def test_hard_rows_read_as_they_are_stored(
    name: str, weight: Any, init: str, density: float, d: int
) -> None:
    x = hard(name, density, d)
    options: dict[str, Any] = {"random_state": 3, "init": init, "n_init": 1, "max_iter": 15}
    options["empty_cluster"] = "farthest" if weight is None else "random"
    for k in (2, 9):
        model = KMeans(k, **options).fit(sparse.csr_array(x), sample_weight=weight)
        assert model.kernel_ == "sparse"
        check_same(model, KMeans(k, **options).fit(x, sample_weight=weight))


def test_places_stored_twice_are_not_read_as_they_are_stored() -> None:
    given = unsorted_with_repeats(rows(density=0.004, d=90))
    assert 16 * given.nnz < N * 90
    model = KMeans(K, random_state=0, tol=0).fit(given)
    assert model.kernel_ != "sparse"
    check_same(model, KMeans(K, random_state=0, tol=0).fit(given.toarray()))


@pytest.mark.parametrize("init", STARTS)
def test_several_threads_read_stored_rows(init: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(n=4000, d=60, density=0.008)
    options: dict[str, Any] = {"init": init, "random_state": 0, "n_init": 1, "max_iter": 6}
    dense = KMeans(K, **options).fit(x)
    monkeypatch.setattr(_problem, "thread_count", lambda: 3)
    model = KMeans(K, memory_limit=300_000, **options).fit(sparse.csr_array(x))
    assert model.kernel_ == "sparse"
    check_same(model, dense)


@pytest.mark.parametrize("weight", [None, WEIGHT * 0.3], ids=["", "weighted"])
def test_statistics_of_stored_places_are_those_of_all(weight: Any) -> None:
    x = rows()
    x[:, 7] = 1.0 + x[:, 8]
    block, ours, theirs = (
        SparseBlock(sparse.csr_array(x), x.dtype),
        SparseSurveyor(np),
        Surveyor(np),
    )
    found, wanted = ours.ranges(block, weight), theirs.ranges(x, weight)
    for name, value in vars(wanted).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    grid = Grid(tuple(map(exponent_above, wanted.largest)), 1)
    weight_grid = None if weight is None else Grid((exponent_above(weight.max()),), 1)
    asked = weight, grid, weight_grid, [1, 1]
    sums, all_sums = ours.sums(block, *asked), theirs.sums(x, *asked)
    assert sums.sums.tolist() == all_sums.sums.tolist()
    assert (sums.limbs, sums.weight_limbs) == (all_sums.limbs, all_sums.weight_limbs)
    for factor in (1.0, 0.25):
        squares = ours.squares(block, weight, x.mean(axis=0), factor, grid)
        expected = theirs.squares(x, weight, x.mean(axis=0), factor, grid)
        assert squares.tolist() == expected.tolist()


def test_what_is_kept_of_a_block_holds_no_rows() -> None:
    reader = SparseRows(sparse.csr_array(rows()), is_stored=False)
    sizes = {"block_rows": 100, "piece_rows": 50, "threads": 1, "limit": 10**6}
    source = StreamSource(reader, None, None, numpy_context(), **sizes)

    def keep_a_column(block: Any) -> None:
        block.state["closest"] = block.x.T.copy()[3]

    source.map(keep_a_column)
    assert [block.state["closest"].base for block in source.blocks] == [None] * 5


@pytest.mark.parametrize("d", [1, 2, 3, 5, 7, 8, 37, 100, 1025])
@pytest.mark.parametrize("scale", [Scale(), Scale(0.25, 2.0**-30)], ids=["", "scaled"])
def test_paths_through_the_tree_give_canonical_distances(d: int, scale: Scale) -> None:
    rng = np.random.default_rng(d)
    centers, labels = rng.normal(size=(4, d)), rng.integers(0, 4, 50).astype(np.int32)
    for density in (0.0, 0.01, 0.3, 1.0):
        x = thin(50, d, density, rng)
        found = Folded(centers, scale).distances(SparseBlock(x, "float64"), labels)
        wanted = squared_distances(x.toarray(), centers[labels], scale, xp=np)
        assert found.tobytes() == wanted.tobytes()


def test_a_search_the_functions_and_a_column_are_as_with_dense_rows() -> None:
    x, options = rows(), {"random_state": 0, "search": 40}
    check_same(KMeans(K, **options).fit(sparse.csr_array(x)), KMeans(K, **options).fit(x))
    column = x[:, :1] + x[:, 1:2]
    model, dense = (KMeans(K, **options).fit(a) for a in (sparse.csc_array(column), column))
    check_same(model, dense)
    assert model.status_ == dense.status_
    assert "optimum" in model.status_
    here, there = (
        k_means(a, K, sample_weight=WEIGHT, random_state=2) for a in (x, sparse.csr_matrix(x))
    )
    assert here[0].tobytes() == there[0].tobytes()
    assert here[1].tobytes() == there[1].tobytes()
    here, there = (kmeans_plusplus(a, K, random_state=2) for a in (x, sparse.csr_matrix(x)))
    assert here[0].tobytes() == there[0].tobytes()
    assert here[1].tobytes() == there[1].tobytes()
    given = sparse.csr_array(x)
    KMeans(K, init=lambda x, k, random_state: x[:k].toarray(), n_init=1).fit(given)


def test_a_checkpoint_of_dense_rows_is_that_of_sparse_ones(tmp_path: pathlib.Path) -> None:
    x = rows()
    model = KMeans(K, random_state=0, checkpoint=tmp_path / "fit.ckpt").fit(x, sample_weight=WEIGHT)
    stored = (tmp_path / "fit.ckpt").read_bytes()
    again = KMeans(K, random_state=0, checkpoint=tmp_path / "fit.ckpt")
    check_same(again.fit(sparse.csr_array(x), sample_weight=WEIGHT), model)
    assert (tmp_path / "fit.ckpt").read_bytes() == stored
    x[7, 3] = 1.0
    with pytest.raises(ValueError, match="belongs to another fit: X or the sample weights hold"):
        again.fit(sparse.csr_array(x), sample_weight=WEIGHT)


@pytest.mark.parametrize("limit", [SMALL, None])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_mini_batches_are_those_of_dense_rows(limit: int | None, weight: Any) -> None:
    x = rows()
    given = sparse.csr_array(x)

    def fit(x: Any, **more: Any) -> MiniBatchKMeans:
        options: dict[str, Any] = {"random_state": 0, "batch_size": 60, "max_iter": 5, **more}
        return MiniBatchKMeans(K, tol=1e-6, **options).fit(x, sample_weight=weight)

    for init in ("k-means++", "random"):
        check_same(fit(given, memory_limit=limit, init=init), fit(x, init=init))
    models = (
        MiniBatchKMeans(K, random_state=0, memory_limit=limit),
        MiniBatchKMeans(K, random_state=0),
    )
    for part in (slice(0, 90), slice(90, 93), slice(93, N)):
        weights = None if weight is None else weight[part] * (part.start != 90)
        for model, x_given in zip(models, (given, x), strict=True):
            model.partial_fit(x_given[part], sample_weight=weights)
        assert models[0].cluster_centers_.tobytes() == models[1].cluster_centers_.tobytes()
        assert models[0].labels_.tobytes() == models[1].labels_.tobytes()
        assert models[0].inertia_ == models[1].inertia_
    with pytest.raises(ValueError, match="X has dtype float32"):
        models[0].partial_fit(given.astype("float32"))
