"""What this machine offers: platform, threads, BLAS, versions, and the state of CUDA."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import re
from typing import Any

from ._cuda import CudaProbe, cuda_problem, probe_cuda
from ._threads import thread_count

_NEEDED = ("numpy", "scipy", "scikit-learn", "array-api-compat", "narwhals")
_ARRAY_LIBRARIES = {
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy"),
    "torch": ("torch",),
    "jax": ("jax",),
    "dask": ("dask",),
    "array-api-strict": ("array-api-strict",),
}
_OTHERS = ("pyarrow", "pandas", "numba", "matplotlib")
_DRIVER = pathlib.Path("/proc/driver/nvidia/version")


def info() -> dict[str, Any]:
    """Return what this machine offers, as plain values for a report or a bug report.

    Array libraries are looked up by their metadata and not imported; CuPy is imported when
    an NVIDIA driver is there.

    Returns
    -------
    facts : dict
        JSON can hold it.  Keys:

        - "kmeans_xp", "python", "platform": versions and the platform, as text.
        - "processors", "threads": processors of the machine, and the threads that a fit uses
          (``OMP_NUM_THREADS``, else the processors that this process may use).
        - "blas": a list with "library", "version" and "threads" of each BLAS that is loaded.
        - "versions", "array_libraries", "optional": version by name; None where not installed.
        - "cuda": "usable" (bool), "problem" (None, or what is missing and the command that
          installs it), "driver", "driver_cuda", "cupy", "runtime", "nvrtc" (versions or None)
          and "devices" (a list with "name" and "memory_gib").

    Examples
    --------
    >>> from kmeans_xp import info
    >>> facts = info()
    >>> facts["threads"] >= 1
    True
    >>> facts["cuda"]["usable"] == (facts["cuda"]["problem"] is None)
    True
    """
    from . import __version__

    return {
        "kmeans_xp": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": thread_count(),
        "blas": _blas(),
        "versions": versions(),
        "array_libraries": {
            name: _first_version(packages) for name, packages in _ARRAY_LIBRARIES.items()
        },
        "optional": {name: _first_version((name,)) for name in _OTHERS},
        "cuda": _cuda(probe_cuda()),
    }


def versions() -> dict[str, str | None]:
    """Versions of what the library needs."""
    return {name: _first_version((name,)) for name in _NEEDED}


def _first_version(packages: tuple[str, ...]) -> str | None:
    for package in packages:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return f"{version} ({package})" if len(packages) > 1 else version
    return None


def _blas() -> list[dict[str, Any]]:
    """Each BLAS that NumPy and SciPy have loaded."""
    import scipy.linalg  # noqa: F401  SciPy may bring a BLAS of its own
    import threadpoolctl

    return [
        {
            "library": pool["internal_api"],
            "version": pool["version"],
            "threads": pool["num_threads"],
        }
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]


def _cuda(probe: CudaProbe) -> dict[str, Any]:
    problem = cuda_problem(probe)
    facts: dict[str, Any] = {
        "usable": problem is None,
        "problem": problem,
        "driver": _driver_release(),
        "driver_cuda": _dotted(probe.driver_version),
        "cupy": probe.cupy_version,
        "runtime": None,
        "nvrtc": None,
        "devices": [],
    }
    if problem is None:
        facts.update(_gpus(probe.device_count))
    return facts


def _gpus(count: int) -> dict[str, Any]:
    import cupy

    runtime = cupy.cuda.runtime
    found = [runtime.getDeviceProperties(index) for index in range(count)]
    major, minor = cupy.cuda.nvrtc.getVersion()
    return {
        "runtime": _dotted(runtime.runtimeGetVersion()),
        "nvrtc": f"{major}.{minor}",
        "devices": [
            {
                "name": properties["name"].decode(),
                "memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
            }
            for properties in found
        ],
    }


def _dotted(version: int | None) -> str | None:
    """CUDA's 13010 as "13.1"."""
    return None if version is None else f"{version // 1000}.{version % 1000 // 10}"


def _driver_release() -> str | None:
    """The NVIDIA driver's own version, where Linux tells it."""
    try:
        text = _DRIVER.read_text()
    except OSError:
        return None
    match = re.search(r"\b\d{3}\.\d+(?:\.\d+)?\b", text)
    return None if match is None else match[0]
