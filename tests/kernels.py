"""What tests of kernels share: the kernels by name, rows and centers, and poisoned memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from emulator import cuda_kernel
from engine import opened, plan_of

from kmeans_xp._kernels import load

KERNELS = ("numpy", "reference", "numba", "cuda")
KINDS = ("fresh", "repeated rows", "repeated centers", "far centers")


def kernel_of(name: str) -> Any:
    """A kernel for NumPy arrays; the CUDA kernel runs on an emulated device."""
    if name == "cuda":
        return cuda_kernel()
    if name == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    numpy = make_backend("numpy")
    with opened(numpy) as context:
        return load(plan_of(name, "float64"), context)


def data_of(shape: tuple[int, int, int], kind: str, dtype: str) -> tuple[Any, Any]:
    n, d, k = shape
    random = np.random.default_rng([n, d, k, KINDS.index(kind)])
    x = random.normal(size=(n, d)) + 3
    if kind == "repeated rows":
        x = x[random.integers(0, (n + 3) // 4, n)]
    centers = x[random.permutation(n)[:k]] + 0.1 * random.normal(size=(k, d))
    if kind == "repeated centers":
        centers = centers[np.arange(k) // 2]
    if kind == "far centers":
        # clusters that stay without rows
        centers[1::2] += 1e6
    return x.astype(dtype), centers.astype(dtype)


def poison() -> None:
    """Leave NaN and garbage in freed memory, so that what a kernel forgets to write shows."""
    junk = [np.full(1 << power, np.nan) for power in range(4, 18)]
    junk += [np.full(1 << power, -1, dtype=np.int32) for power in range(4, 14)]
    del junk
