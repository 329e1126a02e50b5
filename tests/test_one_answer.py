"""One seed, one answer: the same bits for any blocks, threads, memory layout and library."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from cases import CASES, STAND_INS, K, N, skip_where_slow
from conftest import Backend, make_backend
from engine import first_centers, opened, problem_of, solve

from kmeans_xp import KMeans
from kmeans_xp import _exact as exact
from kmeans_xp._outcome import Result, Rules

Bits = tuple[bytes, bytes, float, int]
STARTS = ("k-means++", "random", "random-partition", "k-means||")
RULES = Rules(max_iter=15, tol=1e-4)


def _rules(xp: Backend) -> Rules:
    """JAX compiles a shape for each count of rows that change or stay in doubt."""
    return Rules(max_iter=3, tol=1e-4) if xp.id == "jax" else RULES


def weights(seed: int) -> Any:
    random = np.random.default_rng(seed)
    return np.where(random.random(N) < 0.1, 0.0, random.exponential(size=N))


def _bits(backend: Backend, result: Result) -> Bits:
    labels = backend.host(result.labels)
    assert labels.dtype == np.int32
    centers = backend.host(result.centers).tobytes()
    return labels.tobytes(), centers, result.inertia, result.n_iter


def _answer(backend: Backend, case: str, weighted: bool, rules: Rules = RULES, **plan: Any) -> Bits:
    x, start = CASES[case]()
    with opened(backend):
        weight = weights(1) if weighted else None
        problem = problem_of(backend, x, weight, k=len(start), variance=True, **plan)
        return _bits(backend, solve(problem, backend.array(start), rules))


@functools.cache
def _standard(case: str, weighted: bool, rules: Rules = RULES) -> Bits:
    return _answer(make_backend("numpy"), case, weighted, rules)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_libraries_agree(xp: Backend, case: str, weighted: bool) -> None:
    skip_where_slow(xp, case)
    if xp.id == "jax" and weighted and case not in STAND_INS:
        pytest.skip("on jax a few cases with weights stand for all")
    rules = _rules(xp)
    assert _answer(xp, case, weighted, rules) == _standard(case, weighted, rules)


@pytest.mark.parametrize("case", ["blobs32", "shifted32", "lattice", "repeated_rows"])
@pytest.mark.parametrize("block_rows", [7, 300, 1499, 1501])
@pytest.mark.parametrize("first", ["exact", "float64", "float32"])
def test_blocks_and_first_precision_change_nothing(
    xp: Backend, case: str, block_rows: int, first: str
) -> None:
    if xp.id in ("jax", "strict-device1", "strict-strictest") and (
        (case, block_rows, first) != ("blobs32", 300, "float32")
    ):
        pytest.skip(f"on {xp.id} one case stands for all")
    if xp.id != "numpy" and block_rows == 7:
        pytest.skip("hundreds of blocks are for the fastest library")
    if first == "float32" and CASES[case]()[0].dtype != np.float32:
        first = "float64"
    weighted = block_rows == 300
    rules = _rules(xp)
    found = _answer(xp, case, weighted, rules, first=first, block_rows=block_rows)
    assert found == _standard(case, weighted, rules)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("case", ["blobs", "two_groups"])
def test_threads_change_nothing(case: str, threads: int) -> None:
    numpy = make_backend("numpy")
    for first in ("float64", "float32" if case == "two_groups" else "exact"):
        found = _answer(numpy, case, True, first=first, block_rows=100, threads=threads)
        assert found == _standard(case, True)


@pytest.mark.parametrize("case", ["blobs", "two_groups", "lattice"])
def test_the_reference_kernel_agrees_with_the_numpy_kernel(case: str) -> None:
    numpy = make_backend("numpy")
    first = "float32" if case == "two_groups" else "float64"
    for block_rows in (300, 4096):
        plan = {"first": first, "block_rows": block_rows, "kernel": "reference"}
        assert _answer(numpy, case, True, **plan) == _standard(case, True)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "columns of a wider array": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", ["blobs", "shifted32"])
def test_memory_layout_changes_nothing(layout: str, case: str) -> None:
    x, _ = CASES[case]()
    for init in STARTS:
        models = [
            KMeans(5, init=init, n_init=2, random_state=4).fit(rows)
            for rows in (x, LAYOUTS[layout](x))
        ]
        assert models[0].labels_.tobytes() == models[1].labels_.tobytes()
        assert models[0].cluster_centers_.tobytes() == models[1].cluster_centers_.tobytes()
        assert models[0].inertia_ == models[1].inertia_
        assert models[0].n_iter_ == models[1].n_iter_


@pytest.mark.parametrize("layout", ["fortran", "columns of a wider array", "transposed"])
def test_memory_layout_of_torch_changes_nothing(layout: str) -> None:
    torch = make_backend("torch")
    x = torch.array(CASES["shifted32"]()[0])
    other = {
        "fortran": lambda: x.T.contiguous().T,
        "columns of a wider array": lambda: x.repeat_interleave(2, dim=1)[:, ::2],
        "transposed": lambda: x.T.clone().T,
    }[layout]()
    one, two = (KMeans(5, random_state=4).fit(rows) for rows in (x, other))
    assert torch.host(one.labels_).tobytes() == torch.host(two.labels_).tobytes()
    assert torch.host(one.cluster_centers_).tobytes() == torch.host(two.cluster_centers_).tobytes()
    assert (one.inertia_, one.n_iter_) == (two.inertia_, two.n_iter_)


@pytest.mark.parametrize("case", ["blobs", "shifted32", "lattice", "two_groups"])
def test_the_order_of_the_rows_changes_no_center(case: str) -> None:
    x, start = CASES[case]()
    weight = weights(2)
    order = np.random.default_rng(3).permutation(N)
    options = {"n_clusters": 5, "init": start, "n_init": 1, "max_iter": 20}
    one = KMeans(**options).fit(x, sample_weight=weight)
    two = KMeans(**options).fit(x[order], sample_weight=weight[order])
    assert one.cluster_centers_.tobytes() == two.cluster_centers_.tobytes()
    assert one.labels_[order].tobytes() == two.labels_.tobytes()
    assert (one.inertia_, one.n_iter_) == (two.inertia_, two.n_iter_)


@functools.cache
def _fit(backend: Backend, init: str, weighted: bool) -> Bits:
    x, _ = CASES["blobs32"]()
    weight = backend.array(weights(5)) if weighted else None
    model = KMeans(5, init=init, n_init=2, random_state=11, empty_cluster="random")
    model.fit(backend.array(x), sample_weight=weight)
    centers = backend.host(model.cluster_centers_).tobytes()
    return backend.host(model.labels_).tobytes(), centers, model.inertia_, model.n_iter_


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_whole_fit_is_the_same_on_every_library(xp: Backend, init: str, weighted: bool) -> None:
    assert _fit(xp, init, weighted) == _fit(make_backend("numpy"), init, weighted)


@functools.cache
def _seeds(init: str, case: str, weighted: bool) -> bytes:
    return _seeds_of(make_backend("numpy"), init, case, weighted)


def _seeds_of(backend: Backend, init: str, case: str, weighted: bool, **plan: Any) -> bytes:
    with opened(backend):
        x, _ = CASES[case]()
        weight = weights(6) if weighted else None
        problem = problem_of(backend, x, weight, k=9, **plan)
        return backend.host(first_centers(problem, init, 9, random_state=5)).tobytes()


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("case", ["shifted32", "lattice", "far_center", "tiny32", "huge"])
def test_starts_draw_the_same_rows_everywhere(xp: Backend, init: str, case: str) -> None:
    skip_where_slow(xp, case)
    if xp.id == "jax" and init == "k-means||" and case != "tiny32":
        pytest.skip("JAX compiles this start for twenty seconds: once is enough")
    weighted = case in ("shifted32", "tiny32")
    wanted = _seeds(init, case, weighted)
    assert _seeds_of(xp, init, case, weighted) == wanted
    if xp.id == "jax":
        return
    first = "float32" if case.endswith("32") else "float64"
    for block_rows in (97, 700):
        found = _seeds_of(xp, init, case, weighted, first=first, block_rows=block_rows)
        assert found == wanted
    if xp.id == "numpy":
        plan = {"first": first, "block_rows": 200, "threads": 3}
        assert _seeds_of(xp, init, case, weighted, **plan) == wanted


@pytest.mark.parametrize("weighted", [False, True])
def test_totals_of_one_word_or_two_are_the_same_number(
    weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, start = CASES["blobs"]()
    numpy = make_backend("numpy")
    weight = np.random.default_rng(2).uniform(size=len(x)) if weighted else None
    found = []
    for most in (1 << 21, 0):
        monkeypatch.setattr(exact, "_ONE_WORD_ROWS", most)
        problem = problem_of(numpy, x, weight, k=K, first="float64", block_rows=300)
        assert problem.ledger.words == (1 if most else 2)
        result = solve(problem, start)
        found.append((result.centers.tolist(), result.labels.tolist(), result.inertia))
    assert found[0] == found[1]
