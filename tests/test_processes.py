"""Fits in processes and threads of others: after a fork, and under joblib."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import joblib
import numpy as np
import pytest

from kmeans_xp import KMeans

# enough rows for a thread on each of two processors
SCRIPT = """
import os
import numpy as np
from kmeans_xp import KMeans

X = np.random.default_rng(0).normal(size=(40_000, 16))
def fit():
    model = KMeans(40, n_init=1, max_iter=4, random_state=0).fit(X)
    return repr((model.inertia_, model.labels_[:50].tolist()))
before = fit()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, fit().encode())
    os._exit(0)
after = fit()
assert os.waitpid(child, 0)[1] == 0
assert os.read(reading, 1 << 16).decode() == before == after
print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("compiled", ["0", "1"])
def test_a_fork_after_a_fit_in_threads(compiled: str) -> None:
    if compiled == "1":
        pytest.importorskip("numba", reason="numba is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT],
        env={**os.environ, "OMP_NUM_THREADS": "2", "KMEANS_XP_NUMBA": compiled},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.strip() == "same", done.stderr


def _fit(seed: int) -> Any:
    X = np.random.default_rng(1).normal(size=(30_000, 16))
    model = KMeans(40, n_init=1, max_iter=3, random_state=seed).fit(X)
    return model.inertia_, model.labels_.tolist()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_fits_side_by_side_are_those_one_by_one(backend: str) -> None:
    parallel = joblib.Parallel(n_jobs=2, backend=backend)
    assert parallel(joblib.delayed(_fit)(seed) for seed in range(3)) == [_fit(i) for i in range(3)]
