"""The data of the benchmarks: seeded generators, scikit-learn's tables, files, and the grid."""

from __future__ import annotations

import gzip
import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Rows = np.ndarray[Any, Any]
DATA = "KMEANS_XP_DATA"


def blobs(n: int, d: int, k: int, dtype: str) -> Rows:
    """Gaussian blobs of unit variance around centers of standard deviation 4."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(k, d)) * 4
    return (centers[rng.integers(0, k, n)] + rng.normal(size=(n, d))).astype(dtype)


def uniform(n: int, d: int, k: int, dtype: str) -> Rows:
    """Uniform rows in the unit cube: no clusters at all."""
    return np.random.default_rng(0).random((n, d), dtype="float32").astype(dtype, copy=False)


def spectrum(n: int, d: int, k: int, dtype: str) -> Rows:
    """Rotated Gaussian rows whose j-th principal deviation is j^-0.5: like embeddings."""
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
    deviations = np.arange(1, d + 1) ** -0.5
    rotate = (deviations[:, None] * turn).astype("float32")
    return (rng.standard_normal((n, d), dtype="float32") @ rotate).astype(dtype, copy=False)


def colours(n: int, d: int, k: int, dtype: str) -> Rows:
    """Whole numbers from 0 to 255, as of pixels: many duplicates, many equal distances."""
    rng = np.random.default_rng(0)
    centers = rng.integers(0, 256, (40, d))
    rows = centers[rng.integers(0, 40, n)] + rng.normal(size=(n, d)) * 20
    return np.clip(np.rint(rows), 0, 255).astype(dtype)


def student(n: int, d: int, k: int, dtype: str) -> Rows:
    """Student's t with 3 degrees of freedom: rows far from all others."""
    return np.random.default_rng(0).standard_t(3, size=(n, d)).astype(dtype)


def iris(n: int, d: int, k: int, dtype: str) -> Rows:
    """Scikit-learn's iris."""
    from sklearn.datasets import load_iris

    return load_iris().data.astype(dtype)


def wine(n: int, d: int, k: int, dtype: str) -> Rows:
    """Scikit-learn's wine."""
    from sklearn.datasets import load_wine

    return load_wine().data.astype(dtype)


def digits(n: int, d: int, k: int, dtype: str) -> Rows:
    """Scikit-learn's digits."""
    from sklearn.datasets import load_digits

    return load_digits().data.astype(dtype)


def texts(n: int, d: int, k: int, filled: float) -> Any:
    """CSR rows of length 1, as of texts: half the words of a topic's own, frequent ones rare."""
    from scipy.sparse import csr_array

    rng = np.random.default_rng(0)
    frequency = 1.0 / np.arange(1, d + 1)
    running = np.cumsum(frequency / frequency.sum())
    orders = np.stack([rng.permutation(d) for _ in range(k)])
    # words repeat, so that fewer are different than are drawn
    length = int(1.2 * filled * d)
    words = np.minimum(np.searchsorted(running, rng.random((n, length))), d - 1)
    topics, own = rng.integers(0, k, n), rng.random((n, length)) < 0.5
    words = np.where(own, orders[topics[:, None], words], words)
    # whole numbers of 32 bits, since scikit-learn takes no others
    places = np.repeat(np.arange(n, dtype=np.int32), length), words.ravel().astype(np.int32)
    counts = csr_array((np.ones(words.size), places), shape=(n, d))
    held = np.bincount(counts.indices, minlength=d)
    counts.data = (1.0 + np.log(counts.data)) * np.log(n / held[counts.indices] + 1.0)
    norms = np.sqrt(np.bincount(np.repeat(np.arange(n), np.diff(counts.indptr)), counts.data**2))
    counts.data /= np.repeat(norms, np.diff(counts.indptr))
    return counts


def table(name: str) -> Rows:
    """Rows of ``NAME.data.gz`` in the folder that KMEANS_XP_DATA names."""
    with gzip.open(pathlib.Path(os.environ[DATA]) / f"{name}.data.gz", "rt") as file:
        return np.loadtxt(file)


def no_table(name: str) -> str | None:
    """Why ``table(name)`` cannot be read; None when it can."""
    if not os.environ.get(DATA):
        return f"{DATA} is not set"
    path = pathlib.Path(os.environ[DATA]) / f"{name}.data.gz"
    return None if path.exists() else f"{path.name} is not in the folder of {DATA}"


@dataclass(frozen=True)
class Cell:
    """One data set and what is asked of it.

    ``make`` is a generator, or the name of a table.  ``start`` says where the shared starting
    centers come from: rows drawn at random, or k-means++.  ``iterations`` is the count of the
    mode with the same iterations; the mode to convergence runs on the first ``rows`` rows.
    """

    label: str
    make: Callable[[int, int, int, str], Rows] | str
    n: int
    d: int
    k: int
    dtype: str
    start: str
    iterations: int
    rows: int | None = None
    max_iter: int = 300
    quick: bool = False

    @property
    def name(self) -> str:
        short = {"float32": "f4", "float64": "f8"}[self.dtype]
        return f"{self.label} {count(self.n)} x {self.d}, k={self.k}, {short}"

    @property
    def missing(self) -> str | None:
        """Why the cell cannot be built; None when it can."""
        return no_table(self.make) if isinstance(self.make, str) else None

    def build(self) -> Rows:
        """The rows, C-contiguous, in the cell's dtype."""
        if isinstance(self.make, str):
            return table(self.make).astype(self.dtype)
        return self.make(self.n, self.d, self.k, self.dtype)


def count(n: int) -> str:
    """2000000 as "2M", 60000 as "60k"."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if n >= size and n % size == 0:
            return f"{n // size}{letter}"
    return str(n)


def start_rows(X: Rows, k: int, how: str) -> np.ndarray[Any, Any]:
    """Indices of ``k`` distinct rows of X, which every library starts from."""
    rng = np.random.default_rng(1)
    drawn = rng.permutation(len(X))[: max(20 * k, 10_000)]
    if how == "k-means++":
        from sklearn.cluster import kmeans_plusplus

        _, chosen = kmeans_plusplus(X[drawn], k, random_state=1, n_local_trials=1)
        return drawn[chosen]
    _, first = np.unique(X[drawn], axis=0, return_index=True)
    return drawn[np.sort(first)[:k]]


GRID = (
    Cell("iris", iris, 150, 4, 3, "float64", "k-means++", 4, quick=True),
    Cell("wine", wine, 178, 13, 3, "float64", "k-means++", 4),
    Cell("digits", digits, 1797, 64, 10, "float64", "k-means++", 8, quick=True),
    Cell("s1", "s1", 5000, 2, 15, "float64", "k-means++", 5, quick=True),
    Cell("a1", "a1", 3000, 2, 20, "float64", "k-means++", 5),
    Cell("birch1", "birch1", 100_000, 2, 100, "float64", "k-means++", 20),
    Cell("blobs", blobs, 20_000, 16, 32, "float32", "rows", 10, quick=True),
    Cell("blobs", blobs, 500_000, 16, 32, "float32", "rows", 20),
    Cell("blobs", blobs, 100_000, 128, 256, "float32", "k-means++", 15),
    Cell("blobs", blobs, 60_000, 784, 10, "float64", "rows", 10),
    Cell("blobs", blobs, 200_000, 8, 100, "float64", "rows", 20),
    Cell("uniform", uniform, 500_000, 3, 64, "float32", "rows", 20, max_iter=150),
    Cell("uniform", uniform, 100_000, 32, 1000, "float32", "rows", 8, rows=20_000),
    Cell("spectrum", spectrum, 50_000, 256, 256, "float32", "rows", 10, rows=25_000),
    Cell("spectrum", spectrum, 100_000, 768, 1000, "float32", "rows", 3, rows=10_000),
    Cell("colours", colours, 300_000, 3, 64, "float64", "k-means++", 20),
    Cell("student", student, 200_000, 16, 32, "float64", "rows", 20),
    Cell("blobs", blobs, 2_000_000, 2, 50, "float32", "k-means++", 10),
    Cell("blobs", blobs, 2_000_000, 8, 2, "float32", "rows", 4),
)


def scaling_cells(*, quick: bool) -> dict[str, list[Cell]]:
    """The two curves: fits to convergence over the rows, and over the clusters."""
    sizes = (3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
    clusters = (2, 5, 10, 30, 100, 300, 1000)
    if quick:
        sizes, clusters = sizes[:3], clusters[:4]
    return {
        "n": [Cell("blobs", blobs, n, 8, 32, "float32", "rows", 2) for n in sizes],
        "k": [
            Cell("mixture", mixture, 10_000 if quick else 50_000, 8, k, "float32", "rows", 2)
            for k in clusters
        ],
    }


def mixture(n: int, d: int, k: int, dtype: str) -> Rows:
    """The same 100 blobs whatever k is."""
    return blobs(n, d, 100, dtype)
