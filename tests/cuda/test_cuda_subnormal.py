"""Subnormal float32 numbers, which CuPy's own kernels take for zero: the bits of the CPU."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from device_arrays import DeviceNamespace, flushing
from engine import first_centers, opened, problem_of, solve
from test_cuda_waits import counting, problem_on_device

from kmeans_xp import _batch_checks, _problem
from kmeans_xp._backend import numpy_context
from kmeans_xp._outcome import Rules
from kmeans_xp._validation import place_centers


def rows() -> tuple[Any, Any]:
    """Blobs, and weights that repeat rows."""
    random = np.random.default_rng(0)
    corners = random.integers(-4000, 4000, size=(6, 3))
    x = corners[random.integers(6, size=90)] + random.integers(-300, 300, size=(90, 3))
    return (x * 2.0**-149).astype(np.float32), random.integers(1, 9, size=90) / 8.0


def bits(problem: Any, start: Any) -> tuple[Any, ...]:
    result = solve(problem, start, Rules(9, 1e-4))
    return result.labels.tolist(), result.centers.tobytes(), result.inertia, result.history


def test_arrays_here_lose_them() -> None:
    x, _ = rows()
    assert np.abs(x).max() > 0.0
    assert not (flushing(x) * 1.0).any()
    assert not flushing(x).astype(np.float64).any()
    assert flushing(x)[:5].tobytes() == x[:5].tobytes()


@pytest.mark.parametrize("init", ["k-means++", "random", "random-partition", "k-means||", "empty"])
def test_fits_keep_them(init: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From every start; from one center twice, whose second cluster is given a row."""
    x, weight = rows()
    found, numpy = [], make_backend("numpy")
    with opened(numpy):
        there = problem_on_device(x, 6, weight, flushing, first="float32")
        here = problem_of(numpy, x, weight, k=6, variance=True, first="float64", kernel="numpy")
        for problem in (here, there):
            start = flushing(x)[[0, 1, 2, 2, 3, 4]] if problem is there else x[[0, 1, 2, 2, 3, 4]]
            with counting() if problem is there else contextlib.nullcontext():
                if problem is there:  # the rows taken by k-means|| are a problem of their own
                    monkeypatch.setattr(_problem, "load", lambda *_: there.kernel)
                if init != "empty":
                    start = first_centers(problem, init, 6, 5)
                found.append(bits(problem, start))
    assert found[0] == found[1]
    assert len(set(found[0][0])) == 6


def test_given_centers_keep_them() -> None:
    x, _ = rows()
    start = flushing(x[:6])
    context = dataclasses.replace(numpy_context(), xp=DeviceNamespace(numpy_context().xp, flushing))
    assert place_centers(start, context, "float32", 3).tobytes() == x[:6].tobytes()
    placed = _batch_checks.check_batch_centers(start, (2, 6, 3), "float32", context)
    assert placed[1].tobytes() == x[:6].tobytes()
