"""Seeding on an emulated device: the rows that NumPy's kernel picks."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_backend
from emulator import cuda_kernel
from engine import opened, problem_of
from seeding_checks import check_oversampling, check_seeding, check_steps, seeding_case

from kmeans_xp import _init, kmeans_plusplus
from kmeans_xp._kernels.cuda import _seed
from kmeans_xp._plusplus import plusplus

KINDS = ("plain", "lattice", "repeated", "blobs", "huge", "tiny", "far row", "mixed")


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d", "k"), [(20, 3, 20), (300, 1, 6), (520, 33, 5)])
def test_picks(n: int, d: int, k: int, kind: str, weighted: bool) -> None:
    """Ranges beyond float32, ties, rows that are all equal to a seed in the end."""
    x, weight = seeding_case(kind, n, d, weighted, k)
    check_seeding(cuda_kernel(seed=n), x, weight, k, n, 3)


@pytest.mark.parametrize("kind", ["plain", "lattice", "blobs", "mixed"])
@pytest.mark.parametrize("d", [2, 40])
def test_what_each_step_leaves(kind: str, d: int) -> None:
    x, weight = seeding_case(kind, 300, d, d == 2, 8)
    check_steps(cuda_kernel(), x, weight, 6, 5, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "k", "trials"), [(1, 1, 2), (2, 2, 1), (300, 5, 32), (257, 9, 1)])
def test_shapes_and_trials(n: int, k: int, trials: int, dtype: str) -> None:
    x, _ = seeding_case("plain", n, 5, False, n)
    x = x.astype(dtype)
    for rows in (np.asfortranarray(x), np.repeat(x, 3, axis=1)[:, ::3], x[:, ::-1]):
        check_seeding(cuda_kernel(), rows, None, k, n, trials)


@pytest.mark.parametrize("pieces", [1, 3])
def test_long_pieces(monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    """Several rows a thread, and the last piece is not full."""
    monkeypatch.setattr(_seed, "_PIECES", pieces)
    x, weight = seeding_case("lattice", 1700, 2, True, 0)
    check_seeding(cuda_kernel(), x, weight, 6, 1, 4)
    check_oversampling(cuda_kernel(), x, weight, 3, 1, 500)


def test_more_pieces_than_threads() -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 9, size=(256 * 257, 1)).astype(np.float32)
    check_seeding(cuda_kernel(), x, None, 2, 0, 2)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_rounds_of_oversampling(kind: str, weighted: bool) -> None:
    """Rows taken, and which of them is nearest to each row, over one block and several."""
    for seed, (d, block_rows) in enumerate(((2, 10_000), (33, 130))):
        x, weight = seeding_case(kind, 270, d, weighted, seed)
        check_oversampling(cuda_kernel(seed=d), x, weight, 4, seed, block_rows)


def test_rows_of_no_weight_may_lie_anywhere() -> None:
    """Their squares overflow; none is picked."""
    x, weight = seeding_case("plain", 400, 3, True, 2)
    x[weight == 0.0] *= 1e250
    check_seeding(cuda_kernel(), x, weight, 9, 2, 4)
    check_oversampling(cuda_kernel(), x, weight, 6, 2, 10_000)


def test_what_the_device_leaves_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = seeding_case("repeated", 100, 3, True, 0)
    numpy = make_backend("numpy")
    with opened(numpy):
        problem = problem_of(numpy, x, weight, k=40, first="float64", kernel="cuda")
        kernel = problem.kernel
        # there are 13 different rows at most, and some weigh nothing
        assert len(kernel.plusplus(problem, 40, 1, 3)) <= 13
        assert kernel.plusplus(problem, 4, 1, 33) is None
        monkeypatch.setattr(_seed, "_MOST_ROWS", 100)
        assert kernel.plusplus(problem, 4, 1, 3) is None
        assert kernel.oversample(problem, 1, 8.0, 5) is None
        expected = problem_of(numpy, x, weight, k=40, first="float64", kernel="numpy")
        assert plusplus(problem, 40, 1, 3) == plusplus(expected, 40, 1, 3)


def test_float32_proves_that_most_rows_are_no_nearer() -> None:
    """And proves nothing where its own errors, or its range, are in the way."""
    plain = np.float64(1.0), np.float64(1.0)
    random = np.random.default_rng(1)
    for d in (1, 8, 100, 4000):
        factor = _seed._factor(d, plain)
        x, y = random.normal(size=(2, 50, d)).astype(np.float32)
        loose = np.zeros(50, dtype=np.float32)
        for f in range(d):
            # in the worst order: one after the other
            loose += (x[:, f] - y[:, f]) ** 2
        exact = ((x.astype(np.longdouble) - y) ** 2).sum(axis=1)
        assert (loose < exact * (1.0 + (factor - 1.0) / 3.0)).all()
        assert 1.0 < factor < 1.02
    assert _seed._factor(1 << 17, plain) == np.inf
    assert _seed._factor(3, (np.float64(0.25), np.float64(4.0))) == np.inf


def test_the_function_with_trials_of_its_own() -> None:
    x, weight = seeding_case("blobs", 200, 3, True, 5)
    _, expected = kmeans_plusplus(x, 7, sample_weight=weight, n_local_trials=6, random_state=4)
    numpy = make_backend("numpy")
    with opened(numpy), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "kmeans_xp.estimators._rows.prepare",
            lambda rows, weight, *_, **__: problem_of(
                numpy, rows, weight, k=7, first="float64", kernel="cuda"
            ),
        )
        _, found = kmeans_plusplus(x, 7, sample_weight=weight, n_local_trials=6, random_state=4)
    assert found.tolist() == expected.tolist()


def test_oversampling_shares_its_rounds_with_the_start() -> None:
    """Centers of k-means||, whose last step is a weighted k-means++ over few candidates."""
    x, weight = seeding_case("blobs", 400, 3, True, 6)
    numpy = make_backend("numpy")
    with opened(numpy):
        found, expected = (
            _init.parallel(problem_of(numpy, x, weight, k=8, first="float64", kernel=kernel), 8, 3)
            for kernel in ("cuda", "numpy")
        )
    assert found.tobytes() == expected.tobytes()
