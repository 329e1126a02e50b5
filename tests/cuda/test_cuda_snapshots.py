"""Runs of the CUDA kernel go on from snapshots, and from those of NumPy, to the same end."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import opened, problem_of, solve

from kmeans_xp._kernels.cuda import _loop
from kmeans_xp._outcome import Rules, Snapshot

RULES = Rules(None, 0.0)


def rows_and_start() -> tuple[Any, Any]:
    """With centers that lose all rows later than in the first iteration."""
    x = np.random.default_rng(3).normal(size=(64, 3)).astype(np.float32)
    start = x[:6].copy()
    start[3:] = start[:3] * np.float32(1.02)
    return x, start


def run_of(kernel: str, start: Any, rules: Rules) -> tuple[Any, ...]:
    problem = problem_of(
        make_backend("numpy"), rows_and_start()[0], k=6, first="float32", kernel=kernel
    )
    result = solve(problem, start, rules)
    return result.labels.tolist(), result.centers.tobytes(), result.inertia, result.history


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_each_snapshot_leads_to_the_end(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not at_once:
        monkeypatch.setattr(_loop, "_MOST_SWEEP_WORK", 0)
        monkeypatch.setattr(_loop, "sweeps", lambda *_: False)
    taken: list[Snapshot] = []
    with opened(make_backend("numpy")):
        start = rows_and_start()[1]
        wanted = run_of("numpy", start, RULES)
        assert run_of("cuda", start, dataclasses.replace(RULES, keep=taken.append)) == wanted
        assert (max(snapshot.again for snapshot in taken) > 1) == at_once
        for snapshot in taken:
            assert run_of("numpy", snapshot, RULES) == wanted
        for snapshot in (taken[1], taken[-1]):
            assert run_of("cuda", snapshot, RULES) == wanted
