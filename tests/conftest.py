"""Backends as fixtures: each test that takes ``xp`` runs on every array library there is.

``KMEANS_XP_REQUIRE=cupy,torch`` turns "not installed, skipped" into a failure, for the
machines where those libraries must be tested.
"""

from __future__ import annotations

import gzip
import importlib
import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

# pictures need no screen; read when matplotlib is first imported
os.environ.setdefault("MPLBACKEND", "Agg")

BACKENDS = ("numpy", "strict", "strict-device1", "strict-strictest", "torch", "jax", "cupy")
REQUIRED = set(filter(None, os.environ.get("KMEANS_XP_REQUIRE", "").split(",")))


@dataclass(frozen=True)
class Backend:
    """A library and device under test, and the way there and back."""

    id: str
    xp: Any
    device: Any

    def array(self, host: Any, dtype: Any = None) -> Any:
        """Bring host data to the backend; JAX keeps float64 through its local context."""
        host = np.asarray(host, dtype=dtype)
        if self.id == "jax":
            import jax

            with jax.enable_x64(True):
                return self.xp.asarray(host)
        if self.id == "numpy":
            return host
        if self.id == "cupy":
            return self.xp.asarray(host)  # on the current device: it has no such argument
        if self.id == "torch":
            host = np.require(host, requirements=["C", "W"])
        return self.xp.asarray(host, device=self.device)

    def host(self, array: Any) -> Any:
        """Bring a result back to NumPy, by the library's own means."""
        if self.id.startswith("strict"):
            cpu = self.xp.Device("CPU_DEVICE")
            return np.array(np.from_dlpack(self.xp.asarray(array, device=cpu)))
        if self.id == "cupy":
            return array.get()
        return np.asarray(array)


def _import(name: str, backend: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        if backend in REQUIRED:
            pytest.fail(f"{backend} is required by KMEANS_XP_REQUIRE and not installed")
        pytest.skip(f"{backend} is not installed")


def make_backend(name: str) -> Backend:
    """Import a backend, or skip (fail if required) with the reason."""
    if name == "numpy":
        return Backend(name, np, None)
    if name.startswith("strict"):
        strict = _import("array_api_strict", "strict")
        return Backend(name, strict, strict.Device("device1" if "1" in name else "CPU_DEVICE"))
    if name == "torch":
        torch = _import("torch", name)
        return Backend(name, torch, "cpu")
    if name == "jax":
        return Backend(name, _import("jax.numpy", name), None)
    cupy = _import("cupy", name)
    if not cupy.is_available():
        if name in REQUIRED:
            pytest.fail("cupy is required by KMEANS_XP_REQUIRE and sees no GPU")
        pytest.skip("cupy sees no GPU")
    return Backend(name, cupy, None)


@pytest.fixture(params=BACKENDS)
def xp(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each available backend; "strict-strictest" forbids data-dependent shapes."""
    backend = make_backend(request.param)
    if request.param != "strict-strictest":
        yield backend
        return
    backend.xp.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)
    try:
        yield backend
    finally:
        backend.xp.reset_array_api_strict_flags()


@pytest.fixture
def pyplot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Pyplot without a screen; a call of show fails, and no figure may be left by a helper."""
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def show(*_: Any, **__: Any) -> None:
        raise AssertionError("show was called")

    monkeypatch.setattr(plt, "show", show)
    monkeypatch.setattr(matplotlib.figure.Figure, "show", show)
    before = dict(matplotlib.rcParams)
    plt.close("all")
    yield plt
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="session")
def battery() -> Any:
    """Load a set of the clustering battery: ``battery("s1")`` is (rows, labels from 0)."""
    folder = os.environ.get("KMEANS_XP_DATA")
    if not folder:
        pytest.skip("KMEANS_XP_DATA is not set: the benchmark sets are not at hand")

    def load(name: str) -> tuple[Any, Any]:
        def read(kind: str) -> Any:
            with gzip.open(pathlib.Path(folder) / f"{name}.{kind}.gz", "rt") as file:
                return np.loadtxt(file)

        return read("data"), read("labels0").astype(int) - 1

    return load


@pytest.fixture
def threads() -> Iterator[None]:
    """dask's own threads, whatever cluster another test left open."""
    dask = pytest.importorskip("dask", reason="dask is not installed")
    with dask.config.set(scheduler="threads"):
        yield
