"""Whether this machine can run CuPy, and in one sentence what is missing if not."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
from dataclasses import dataclass
from typing import Any

_SUPPORTED_MAJORS = (12, 13)


@dataclass(frozen=True)
class CudaProbe:
    """What was found; every field can be set by a test."""

    driver_version: int | None
    """CUDA version that the driver supports (13000 is 13.0); None without a driver."""
    cupy_version: str | None
    """None when CuPy is not installed."""
    cupy_error: str | None
    """Why CuPy cannot be imported or see a device."""
    device_count: int
    nvrtc_error: str | None

    @property
    def extra(self) -> str:
        """The extra of this package that fits the driver."""
        major = (self.driver_version or 13000) // 1000
        return f"cuda{min(max(major, _SUPPORTED_MAJORS[0]), _SUPPORTED_MAJORS[-1])}"


def cuda_problem(probe: CudaProbe, index: int = 0) -> str | None:
    """Return the first missing piece with its remedy, or None when CUDA is usable."""
    install = f'pip install "kmeans-xp[{probe.extra}]"'
    if probe.driver_version is None:
        return (
            "no NVIDIA driver was found (libcuda cannot be loaded). Install the driver of "
            f"your GPU, for example with: apt-get install nvidia-driver; then: {install}"
        )
    version = f"{probe.driver_version // 1000}.{probe.driver_version % 1000 // 10}"
    if probe.driver_version // 1000 < _SUPPORTED_MAJORS[0]:
        return (
            f"the NVIDIA driver supports CUDA {version}, and CUDA {_SUPPORTED_MAJORS[0]}.0 or "
            f"newer is needed. Update the driver; then: {install}"
        )
    if probe.cupy_version is None:
        return f"CuPy is not installed. For this driver (CUDA {version}) run: {install}"
    if probe.device_count == 0:
        reason = f" ({probe.cupy_error})" if probe.cupy_error else ""
        return (
            f"CuPy {probe.cupy_version} sees no GPU with the driver's CUDA {version}{reason}. "
            "If nvidia-smi lists one, the CuPy wheel is for another CUDA version: "
            f"pip uninstall the cupy packages, then: {install}"
        )
    if index >= probe.device_count:
        return (
            f"there is no GPU number {index}; this machine has {probe.device_count} "
            f"(cuda:0 to cuda:{probe.device_count - 1}). Use one of those, or device='cuda'"
        )
    if probe.nvrtc_error is not None:
        return (
            f"NVRTC, which compiles the kernels, cannot be used ({probe.nvrtc_error}). "
            f"Install it with: {install}"
        )
    return None


def probe_cuda() -> CudaProbe:
    """Look at the driver first, and import CuPy only when there is one."""
    driver = _driver_version()
    installed = importlib.util.find_spec("cupy") is not None
    if driver is None or not installed:
        version = "not imported" if installed else None
        return CudaProbe(driver, version, None, 0, None)
    return _probe_cupy(driver)


def _driver_version() -> int | None:
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        version = ctypes.c_int(0)
        if library.cuDriverGetVersion(ctypes.byref(version)) == 0:
            return version.value
    return None


def _probe_cupy(driver: int) -> CudaProbe:
    try:
        import cupy
    except ImportError as error:
        return CudaProbe(driver, None, str(error).strip().splitlines()[0], 0, None)
    cupy_error, count = None, 0
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except RuntimeError as error:
        cupy_error = str(error)
    return CudaProbe(driver, cupy.__version__, cupy_error, count, _nvrtc_error(cupy))


def _nvrtc_error(cupy: Any) -> str | None:
    try:
        cupy.cuda.nvrtc.getVersion()
    except (ImportError, RuntimeError, OSError) as error:
        return str(error).strip().splitlines()[0]
    return None
