"""Many problems at once: each gets the bits that it gets alone."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import EmptyClusterError, KMeans, Status, k_means, k_means_batched, kmeans_plusplus
from kmeans_xp.estimators import _batch_run, _run


def blobs(batch: int = 4, n: int = 30, d: int = 2, dtype: str = "float64") -> Any:
    random = np.random.default_rng(n)
    x = random.normal(size=(batch, n, d)) + 6 * random.integers(0, 3, size=(batch, n, 1))
    return x.astype(dtype)


def weights(batch: int = 4, n: int = 30) -> Any:
    random = np.random.default_rng(1)
    return random.exponential(size=(batch, n)) * (random.random((batch, n)) > 0.2)


EACH = {"init": 3, "sample_weight": 2}
"""Dimensions of arguments that hold one for each problem."""


def check_alone(xp: Backend, X: Any, k: int, **options: Any) -> Any:
    """Problem by problem against `k_means`; what was found."""
    found = k_means_batched(X, k, random_state=5, **options)
    centers, labels, inertia, n_iter = (xp.host(part) for part in found[:4])
    for b in range(len(labels)):
        mine = {
            name: value[b, ...] if getattr(value, "ndim", 0) == EACH.get(name) else value
            for name, value in options.items()
        }
        mine |= {"random_state": found.random_states[b], "search": None}
        alone = k_means(X[b, ...], k, return_n_iter=True, **mine)
        assert xp.host(alone[0]).tobytes() == centers[b].tobytes()
        assert xp.host(alone[1]).tobytes() == labels[b].tobytes()
        assert (alone[2], alone[3]) == (inertia[b], n_iter[b])
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_each_problem_gets_what_it_gets_alone(xp: Backend, weighted: bool, dtype: str) -> None:
    X = xp.array(blobs(dtype=dtype))
    more = {"sample_weight": xp.array(weights())} if weighted else {}
    found = check_alone(xp, X, 3, **more)
    centers, labels, inertia, n_iter, status, states, device, backend, kernel = found
    assert {type(part) for part in found[:4]} == {type(X)}
    assert (centers.shape, labels.shape) == ((4, 3, 2), (4, 30))
    assert centers.dtype == X.dtype
    kinds = [str(part.dtype).rpartition(".")[2] for part in (labels, inertia, n_iter, states)]
    assert kinds == ["int32", "float64", "int64", "int64"]
    assert (inertia.shape, n_iter.shape, len(status), states.shape) == ((4,), (4,), 4, (4,))
    assert set(status) <= {Status.CONVERGED, Status.TOLERANCE}
    model = KMeans(3, random_state=states[0]).fit(X[0, ...])
    worker = "cuda, a thread block a problem" if xp.id == "cupy" else model.kernel_
    assert (device, backend, kernel) == (model.device_, model.backend_, (worker,) * 4)


def test_one_answer_on_every_library(xp: Backend) -> None:
    x, weight = blobs(), weights()
    wanted = k_means_batched(x, 3, sample_weight=weight, random_state=0)
    found = k_means_batched(
        xp.array(x), 3, sample_weight=xp.array(weight), random_state=0, device="cpu"
    )
    for mine, theirs in zip(found[:4], wanted[:4], strict=True):
        assert xp.host(mine).tobytes() == theirs.tobytes()
    assert found.status == wanted.status


@pytest.mark.parametrize("init", ["random", "random-partition", "k-means||"])
def test_starts_and_restarts(init: str) -> None:
    check_alone(make_backend("numpy"), blobs(), 4, init=init, n_init=3, tol=0, max_iter=None)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_ties_duplicates_and_every_number_of_clusters(k: int) -> None:
    random = np.random.default_rng(2)
    X = random.integers(-1, 2, size=(6, 12, 2)).astype(float)
    X[0] = 1.5
    with pytest.warns(ConvergenceWarning) if k > 1 else contextlib.nullcontext():
        check_alone(make_backend("numpy"), X, k)


def test_given_centers_for_all_and_for_each(xp: Backend) -> None:
    x = blobs()
    each = x[:, :3, :] + 0.25
    check_alone(xp, xp.array(x), 3, init=xp.array(each))
    both = k_means_batched(xp.array(x), 3, init=xp.array(each[0]), max_iter=2)
    first = k_means_batched(xp.array(x), 3, init=np.stack([each[0]] * 4), max_iter=2)
    for mine, theirs in zip(both[:4], first[:4], strict=True):
        assert xp.host(mine).tobytes() == xp.host(theirs).tobytes()


def test_weights_for_all_problems() -> None:
    x, weight = blobs(), weights()[0]
    check_alone(make_backend("numpy"), x, 3, sample_weight=weight)
    once = k_means_batched(x, 3, sample_weight=weight, random_state=0)
    each = k_means_batched(x, 3, sample_weight=np.stack([weight] * 4), random_state=0)
    assert once.labels.tobytes() == each.labels.tobytes()
    assert once.inertia.tobytes() == each.inertia.tobytes()


def test_nothing_depends_on_the_other_problems() -> None:
    x = blobs()
    whole = k_means_batched(x, 3, random_state=9)
    fewer = k_means_batched(x[:2], 3, random_state=9)
    other = k_means_batched(np.concatenate([x[:1], -x[2:3], x[:1]]), 3, random_state=9)
    for b in range(2):
        assert fewer.cluster_centers[b].tobytes() == whole.cluster_centers[b].tobytes()
    assert fewer.random_states.tolist() == whole.random_states[:2].tolist()
    assert other.cluster_centers[0].tobytes() == whole.cluster_centers[0].tobytes()
    # the number of a problem counts: equal rows need not start alike
    assert len(set(whole.random_states.tolist())) == 4


def test_the_state_of_a_problem_serves_the_other_functions() -> None:
    x = blobs()
    found = k_means_batched(x, 3, random_state=np.random.RandomState(4), max_iter=1)
    model = KMeans(3, random_state=found.random_states[2], max_iter=1).fit(x[2])
    assert model.cluster_centers_.tobytes() == found.cluster_centers[2].tobytes()
    start, _ = kmeans_plusplus(x[2], 3, random_state=int(found.random_states[2]))
    again = k_means(x[2], 3, init=start, n_init=1, max_iter=1)
    assert again[0].tobytes() == found.cluster_centers[2].tobytes()
    seeds = [_run.draw_seed(np.random.RandomState(int(state))) for state in found.random_states]
    assert _batch_run.seeds_of(found.random_states) == seeds
    assert (k_means_batched(x, 3, random_state=None).random_states != found.random_states).any()


def test_lists_and_whole_numbers() -> None:
    found = k_means_batched([[[1], [2], [9]], [[5], [0], [5]]], 2, random_state=0)
    assert found.cluster_centers.dtype == np.float64
    assert sorted(found.cluster_centers[0, :, 0].tolist()) == [1.5, 9.0]
    assert found.inertia.tolist() == [0.5, 0.0]


BAD = np.zeros((2, 5, 3))
BAD[1, 4, 2] = np.nan
FAR = np.zeros((2, 2, 3))
FAR[1, 0, 2] = 1e39
HOLE = np.ones((2, 5))
HOLE[1, 3] = -0.5
LIGHT = np.ones((2, 5))
LIGHT[1, 1:] = 0.0
X = np.arange(30.0).reshape(2, 5, 3) ** 2


@pytest.mark.parametrize(
    ("x", "options", "said"),
    [
        (X[0], {}, "X has 2 dimensions (shape (5, 3)), but k_means_batched takes 3. Use k_means"),
        (X[None], {}, "X has 4 dimensions (shape (1, 2, 5, 3))"),
        (X[:0], {}, "Found array with 0 problem(s) (shape=(0, 5, 3))"),
        (X[:, :0], {}, "Found array with 0 sample(s)"),
        (X[:, :, :0], {}, "Found array with 0 feature(s)"),
        (X, {"n_clusters": 6}, "n_samples=5 should be >= n_clusters=6"),
        (BAD, {}, "Input X contains NaN: the first is at problem 1, row 4, column 2"),
        (
            np.where(np.isnan(BAD), np.inf, BAD),
            {},
            "X contains infinity: the first is at problem 1",
        ),
        (X + 1j, {}, "X holds complex numbers"),
        ([[["a", "b"]]], {"n_clusters": 1}, "X must hold real numbers"),
        (
            X,
            {"sample_weight": np.ones(2)},
            "sample_weight.shape == (2,), expected (2, 5) (one weig",
        ),
        (
            X,
            {"sample_weight": HOLE},
            "sample_weight contains -0.5: the first is at problem 1, row 3",
        ),
        (X, {"sample_weight": HOLE * np.nan}, "sample_weight contains NaN"),
        (
            X,
            {"sample_weight": LIGHT},
            "only 1 rows of problem 1 have a positive weight, fewer than",
        ),
        (X, {"init": np.ones((3, 2, 3))}, "(3, 2, 3) is neither (2, 2, 3), one set of centers"),
        (
            X,
            {"init": BAD[:, 3:]},
            "init contains NaN: the first is at problem 1, cluster 1, feature 2",
        ),
        (X, {"init": BAD[1, 3:]}, "init contains NaN: the first is at cluster 1, feature 2"),
        (
            X.astype("f4"),
            {"init": FAR},
            "beyond the range of X's dtype float32, as 1e+39: the first",
        ),
        (X, {"init": lambda x: x}, "The 'init' parameter of k_means_batched must be"),
        (X, {"n_init": 0}, "The 'n_init' parameter of k_means_batched must be"),
        (X, {"device": "gpu"}, "device='gpu' is not known"),
    ],
)
def test_errors_name_the_parameter_the_value_and_the_remedy(
    x: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        k_means_batched(x, **{"n_clusters": 2, **options})


def test_errors_of_arrays_of_other_libraries(xp: Backend) -> None:
    with pytest.raises(ValueError, match="problem 1, row 4, column 2"):
        k_means_batched(xp.array(BAD), 2)
    with pytest.raises(ValueError, match="problem 1, row 3"):
        k_means_batched(xp.array(X), 2, sample_weight=xp.array(HOLE))
    with pytest.raises(ValueError, match="X has 1 dimensions"):
        k_means_batched(xp.array(X[0, 0]), 1)


def test_sparse_data_is_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="Sparse data was passed for X"):
        k_means_batched(sparse.eye(4).tocsr(), 2)


def test_warnings_point_at_the_caller() -> None:
    with pytest.warns(RuntimeWarning, match="in k_means_batched instead of n_init=3") as caught:
        k_means_batched(X, 2, init=X[0, :2], n_init=3)
    assert caught[0].filename == __file__
    same = X.copy()
    same[1] = 4.0
    with pytest.warns(
        ConvergenceWarning, match="in 1 of 2 problems; the first is problem 1"
    ) as caught:
        k_means_batched(same, 2, random_state=0)
    assert caught[0].filename == __file__


def test_an_empty_cluster_names_its_problem() -> None:
    start = np.zeros((2, 2, 3))
    start[0], start[1, 1] = X[0, :2], -1e6
    with pytest.raises(EmptyClusterError, match="problem 1: clusters"):
        k_means_batched(X, 2, init=start, empty_cluster="error")
    check = k_means_batched(X, 2, init=start, empty_cluster="random", random_state=3)
    alone = k_means(
        X[1], 2, init=start[1], empty_cluster="random", random_state=check.random_states[1]
    )
    assert alone[0].tobytes() == check.cluster_centers[1].tobytes()


def test_an_interrupt_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return result(*arguments, **options)

    result = _run.lloyd
    monkeypatch.setattr(_run, "lloyd", interrupted)
    with pytest.raises(KeyboardInterrupt):
        k_means_batched(X, 2, init="random", n_init=3)
    assert len(steps) == 2
    # within a run, which then ends with what it has
    monkeypatch.setattr(_run, "lloyd", lambda *given, **more: result(*given, **more).interrupted())
    with pytest.raises(KeyboardInterrupt, match="at problem 0 of 2"):
        k_means_batched(X, 2)
