"""Groups of centers: how they are made, when they begin and end, and the vectors they need."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend
from engine import opened, problem_of

from kmeans_xp._groups import group
from kmeans_xp._kernels import Shape, select
from kmeans_xp._pruning import Pruner


@pytest.mark.parametrize("size", [1, 6, 8, 50])
@pytest.mark.parametrize("k", [1, 2, 43, 48])
def test_each_center_is_in_one_group(xp: Backend, size: int, k: int) -> None:
    if xp.id == "jax" and (size not in (6, 50) or k not in (1, 43)):
        pytest.skip("JAX compiles every shape anew: four stand for all")
    centers = np.random.default_rng(k).normal(size=(k, 3))
    centers[: k // 2] = centers[0]  # no direction parts these
    with opened(xp) as context:
        groups = group(xp.array(centers), size, context.xp.float64, xp=context.xp)
        members, present, home = (
            xp.host(part) for part in (groups.members, groups.present, groups.home)
        )
    assert members.shape == (-(-k // size), size)
    assert sorted(members[present].tolist()) == list(range(k))
    for center in range(k):
        assert center in members[home[center]].tolist()


def test_groups_part_what_lies_apart() -> None:
    random = np.random.default_rng(0)
    near = np.repeat(np.arange(4), 8)
    order = random.permutation(32)
    corners = np.asarray([[0, 0], [9, 1], [50, 0], [61, 0]])
    centers = corners[near[order]] + random.uniform(size=(32, 2))
    groups = group(centers, 8, np.float64, xp=np)
    assert sorted(set(near[order][row].tolist()).pop() for row in groups.members) == [0, 1, 2, 3]
    assert all(len(set(near[order][row].tolist())) == 1 for row in groups.members)


def _sweeps(pruner: Pruner, nearest: Any, part: float, count: int) -> list[bool]:
    """Sweeps in which every row is in doubt, and so much of its centers must be scored."""
    used = []
    for _ in range(count):
        drift, is_new = pruner.drift_for(nearest)
        groups = None if drift is None or is_new else drift.groups
        used.append(groups is not None)
        if groups is not None:
            groups.tally.append(int(part * 100 * groups.count * groups.size))
        pruner.learn(100, 100)
        pruner.moved(np.ones(16))
    return used


def test_groups_begin_where_rows_stay_in_doubt_and_go_where_they_do_not_pay() -> None:
    numpy = make_backend("numpy")
    x = np.random.default_rng(0).normal(size=(100, 8))
    with opened(numpy):
        nearest = problem_of(numpy, x, k=16, first="float64").nearest_to(x[:16])
    pruner = Pruner(True, np, 2)
    used = _sweeps(pruner, nearest, 0.9, 40)
    assert used[:2] == [False, False]
    assert 3 < sum(used) < 8  # the first sweep of each three does not count
    assert not any(used[20:])
    pruner.begin()
    assert _sweeps(pruner, nearest, 0.2, 40) == [False] * 2 + [True] * 38
    assert not any(_sweeps(Pruner(True, np), nearest, 0.2, 40))
    # few rows in doubt: no groups
    pruner.begin()
    for _ in range(5):
        drift, _ = pruner.drift_for(nearest)
        assert drift is not None
        assert drift.groups is None
        pruner.learn(10, 100)


def test_routing_of_groups() -> None:
    def size(n: int, d: int, k: int, *, compiled: bool = True) -> int:
        shape = Shape(n, d, k, "float32")
        return select(shape, backend="numpy", threads=1, compiled=compiled).group_size

    assert size(100_000, 32, 1000) == 32
    assert size(100_000, 32, 128) == 16
    assert size(100_000, 8, 1000) == 0
    assert size(100_000, 32, 100) == 0
    assert size(100_000, 32, 1000, compiled=False) == 0
    for n, d, k in itertools.product((1000, 100_000, 10_000_000), (16, 100, 768), (128, 5000)):
        if (found := size(n, d, k)) != 0:
            assert found % 8 == 0
            groups = -(-k // found)
            assert groups <= 32
            columns = -(-groups // 16) * 16
            assert 4 * n * columns <= 0.25 * 4 * n * d + (32 << 20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectors(dtype: str) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    from kmeans_xp._kernels import _group_tile as vectors
    from kmeans_xp._kernels._loops import jit

    gather_tile, needed_groups = vectors.gather_tile, vectors.needed_groups
    own_products = vectors.own_products

    @jit
    def gather(rows: Any, width: Any, places: Any, tile: Any) -> None:
        gather_tile(rows, rows.shape[1], width, places, tile)

    @jit
    def needed(kept: Any, start: Any, spent: Any, near: Any, beyond: Any) -> Any:
        return needed_groups(kept, start, spent.shape[0], spent, near, beyond)

    @jit
    def products(row: Any, weights: Any, start: Any, out: Any) -> None:
        own_products(row, weights, start, row.shape[0], out)

    random = np.random.default_rng(5)
    rows = random.integers(-9, 9, size=(40, 64)).astype(dtype)
    places, tile = random.integers(0, 40, 16), np.full((48, 16), np.nan, dtype)
    gather(rows, 48, places, tile)
    assert tile.tolist() == rows[places, :48].T.tolist()

    out = np.full(2, np.nan, dtype)
    products(rows[3], rows.ravel(), 7 * 64, out)
    assert out.tolist() == [float(rows[3] @ rows[7]), float(rows[3] @ rows[3])]

    kept, spent = (random.uniform(0, 9, size=48).astype(dtype) for _ in range(2))
    kept[5], kept[40] = -np.inf, np.inf
    beyond = np.full(1, np.nan, dtype)
    one = np.dtype(dtype).type
    for near in (-20.0, 0.5, 3.0, np.inf, np.nan):
        bits = needed(kept, 16, spent[:32], one(near), beyond)
        limits = (kept[16:48] - spent[:32]) * one(1.0 - 2.0**-22)
        far = near < limits
        assert [bool(bits >> g & 1) for g in range(32)] == (~far).tolist()
        assert beyond[0] == limits[far].min(initial=np.inf)
