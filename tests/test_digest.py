"""The number that tells other rows: all bits and places count, blocks and libraries do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend
from engine import opened, problem_of

from kmeans_xp._digest import _CELLS, fingerprint


def digest(backend: Backend, x: Any, weight: Any = None, **options: Any) -> Any:
    with opened(backend):
        return fingerprint(problem_of(backend, x, weight, k=3, **options))


def rows(dtype: str) -> Any:
    return np.random.default_rng(0).normal(size=(200, 3)).astype(dtype)


def plain(x: Any, weight: Any) -> str:
    """The same by loops over Python integers, from the description in words."""
    word = 1 << 64

    def finalise(bits: int) -> int:
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) % word
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) % word
        return bits ^ (bits >> 31)

    def keyed(*words: int) -> int:
        state = 0
        for part in words:
            state = finalise((state ^ part) + 0x9E3779B97F4A7C15 & word - 1)
        return state

    total, purpose = 0, 15
    for number, row in enumerate(x):
        values: list[int] = row.view(f"int{8 * row.itemsize}").tolist()
        values += [] if weight is None else [int(weight[number].view("int64"))]
        linear = sum(value * (keyed(purpose, c) | 1) for c, value in enumerate(values)) % word
        place = finalise((number ^ keyed(purpose)) + 0x9E3779B97F4A7C15 & word - 1) % (1 << 63)
        total += finalise((linear + place) % word)
    return f"{total % word:016x}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_library_gives_the_number_of_the_description(xp: Backend, dtype: str) -> None:
    if (xp.id, dtype) == ("jax", "float64"):
        pytest.skip("JAX compiles for long: one of both is enough")
    x, weight = rows(dtype), np.linspace(0.0, 1.0, 200)
    assert digest(xp, x, weight)["digest"] == plain(x, weight)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_blocks_threads_and_strides_change_nothing(weighted: bool) -> None:
    numpy, x = make_backend("numpy"), np.random.default_rng(1).normal(size=(_CELLS // 3 + 99, 4))
    weight = np.linspace(0.0, 1.0, len(x)) if weighted else None
    wanted = digest(numpy, x, weight)
    cut = {"first": "float64", "block_rows": 777, "threads": 2}
    assert digest(numpy, np.asfortranarray(x), weight, **cut) == wanted
    assert digest(numpy, np.repeat(x, 2, axis=0)[::2], weight) == wanted


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_change_is_seen(dtype: str) -> None:
    numpy, x, weight = make_backend("numpy"), rows(dtype), np.linspace(0.5, 1.0, 200)
    found = [digest(numpy, x), digest(numpy, x, weight), digest(numpy, x, 2.0 * weight)]
    for change in range(3):
        other = x.copy()
        if change == 0:  # the smallest there is
            other[7, 2] = np.nextafter(other[7, 2], np.inf)
        elif change == 1:
            other[[3, 4]] = other[[4, 3]]
        else:
            other[:, [0, 1]] = other[:, [1, 0]]
        found.append(digest(numpy, other))
    other = weight.copy()
    other[[3, 4]] = other[[4, 3]]
    found.append(digest(numpy, x, other))
    assert len({tuple(facts.values()) for facts in found}) == len(found)
