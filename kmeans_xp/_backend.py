"""Where arrays live: the only room that asks which library and device an array has.

A library is looked at only after one of its arrays was seen, or after ``device="cuda"``
asked for CuPy by name.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from ._cuda import cuda_problem, probe_cuda
from ._dlpack import copy_between_gpus, cuda_index, share, stream_of_torch, worked_on_by
from ._typing import Array, Namespace
from .exceptions import DeviceError

logger = logging.getLogger("kmeans_xp")


@dataclass(frozen=True)
class Context:
    """A namespace and a device of it.

    With CuPy the work joins ``stream``, or CuPy's current one where it is None; ``waits``: the host
    waits for its end before it goes on.
    """

    xp: Namespace
    device: Any
    backend: str
    stream: Any = field(default=None, compare=False)
    waits: bool = field(default=False, compare=False)

    @property
    def device_name(self) -> str:
        """The device in this library's words: "cpu", "cuda:0", or the library's own name."""
        return _device_name(self.backend, self.device)

    @property
    def library(self) -> str:
        """The library that does the work."""
        return self.backend

    @property
    def on_host(self) -> bool:
        """Whether products run on the CPU in plain IEEE float32 and float64."""
        return self.device_name == "cpu" or self.backend == "array_api_strict"

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Hold what the library needs around the work: JAX x64, the CuPy device, no autograd."""
        with contextlib.ExitStack() as stack:
            if self.backend == "jax":
                stack.enter_context(_jax_x64())
            elif self.backend == "cupy":
                stack.enter_context(self.device)
                if self.stream is not None:
                    stack.enter_context(self.stream)
                if self.waits:
                    stack.callback(sys.modules["cupy"].cuda.get_current_stream().synchronize)
            elif self.backend in ("numpy", "array_api_strict"):
                # where values overflow, the bounds and comparisons deal with it
                stack.enter_context(np.errstate(over="ignore", invalid="ignore"))
            elif self.backend == "torch":
                stack.enter_context(sys.modules["torch"].no_grad())
            yield

    def from_host(self, host: npt.NDArray[Any]) -> Array:
        """Bring a NumPy array to this device."""
        if self.backend == "numpy":
            return host
        if self.backend == "torch":
            # torch refuses negative strides and warns of read-only memory
            host = np.require(host, requirements=["C", "W"])
        return self.xp.asarray(host, device=self.device)

    @property
    def free_memory(self) -> int | None:
        """Bytes that are free on the device now; None where its library does not tell.

        What CuPy's pool keeps counts, since CuPy gives it back rather than fail.
        """
        if self.backend == "cupy":
            pool = sys.modules["cupy"].get_default_memory_pool()
            with self.device:
                free = int(self.device.mem_info[0]) + int(pool.free_bytes())
                limit = int(pool.get_limit())
                return min(free, limit - int(pool.used_bytes())) if limit else free
        if self.backend == "torch" and self.gpu is not None:
            return int(sys.modules["torch"].cuda.mem_get_info(self.device)[0])
        return None

    @property
    def has_host_memory(self) -> bool:
        """Whether NumPy can view these arrays where they are."""
        return self.backend in ("numpy", "torch", "jax") and self.device_name == "cpu"

    def move(self, array: Array) -> Array:
        """Bring an array of any library here; nothing is copied when it is on this device."""
        source = context_of(array)
        if source == self:
            return array
        if "cupy" in (source.backend, self.backend):
            if self.gpu is not None and source.gpu is not None and cuda_index(array) is not None:
                return self._move_by_cupy(array, source)
        elif source.backend == self.backend:
            return array_api_compat.to_device(array, self.device)
        return self.from_host(to_host(array))

    def _move_by_cupy(self, array: Array, source: Context) -> Array:
        """From GPU to GPU, between libraries of which one is CuPy."""
        cupy = sys.modules["cupy"]
        if source.backend != "cupy":
            array = share(array, cupy)
        device = cupy.cuda.Device(self.gpu)
        array = copy_between_gpus(array, device, cupy)
        if self.backend == "cupy":
            return array
        with device:
            return share(array, self.xp)

    @property
    def gpu(self) -> int | None:
        """The number of the CUDA device; None for all other devices."""
        kind, _, number = self.device_name.partition(":")
        return int(number) if kind == "cuda" else None

    @property
    def float32_products_are_exact(self) -> bool:
        """Whether a float32 product rounds as float32 does (no TF32, no bfloat16)."""
        if self.backend in ("numpy", "array_api_strict"):
            return True
        if self.backend == "torch":
            torch = sys.modules["torch"]
            try:
                plain = torch.get_float32_matmul_precision() == "highest"
                return bool(plain and not torch.backends.cuda.matmul.allow_tf32)
            except RuntimeError:
                # set for one product library alone: torch gives no common answer
                return False
        if self.backend == "jax":
            wanted = sys.modules["jax"].config.jax_default_matmul_precision
            return self.on_host and wanted in (None, "highest", "float32")
        return os.environ.get("CUPY_TF32", "0") in ("", "0")


def context_of(array: Array) -> Context:
    """Return the context of an array; lists, frames and the like count as NumPy."""
    if isinstance(array, np.ndarray) or not array_api_compat.is_array_api_obj(array):
        return numpy_context()
    xp = array_api_compat.array_namespace(array)
    device, backend = array_api_compat.device(array), _backend_name(xp)
    if backend == "jax" and not hasattr(device, "platform"):
        raise _not_on_one_device(device)
    return Context(xp, device, backend)


@functools.cache
def numpy_context() -> Context:
    # NumPy 2.1 has every function itself; the wrappers cost a microsecond a call
    xp = np if hasattr(np, "cumulative_sum") else array_api_compat.array_namespace(np.empty(0))
    return Context(xp, "cpu", "numpy")


def resolve(array: Array, device: str | None) -> tuple[Context, Context]:
    """Return where the work happens and where results go, for data and a device word.

    ``None`` follows the data; ``"cpu"``, ``"cuda"``, ``"cuda:1"`` name a device;
    ``"auto"`` takes a GPU when one is usable and says so when none is.  Rows in host memory
    are worked on as NumPy arrays, and those of other libraries on a GPU as CuPy arrays where CuPy
    can be used; both see them where they are.
    """
    home = context_of(array)
    here = _working_context(array, home)
    if device is None:
        return here, home
    kind, _, number = device.partition(":")
    if kind == "auto":
        if home.device_name.startswith("cuda"):
            return here, home
        problem = cuda_problem(probe_cuda())
        if problem is not None:
            logger.info("device='auto' falls back to %s: %s", home.device_name, problem)
            return here, home
        return _cuda_context(0), home
    if kind == "cpu":
        return _cpu_context(home), home
    if home.device_name.startswith("cuda") and number in ("", home.device_name[5:]):
        return here, home
    index = int(number or 0)
    problem = cuda_problem(probe_cuda(), index)
    if problem is not None:
        raise DeviceError(f"device={device!r} cannot be used: {problem}.")
    return _cuda_context(index), home


def to_host(array: Array) -> npt.NDArray[Any]:
    """Bring an array to NumPy."""
    if isinstance(array, np.ndarray):
        return array
    context = context_of(array)
    if context.backend == "torch":
        # some views hold the negatives of what they show; others are handed over as they are
        return np.asarray(array.detach().cpu().resolve_neg().numpy())
    if context.backend == "cupy":
        return np.asarray(array.get())
    if context.backend == "array_api_strict":
        cpu = context.xp.Device("CPU_DEVICE")
        here = array_api_compat.to_device(array, cpu)
        # NumPy before 2.1 hands over nothing that is read-only, such as a broadcast
        return np.asarray(np.from_dlpack(context.xp.asarray(here, copy=True)))
    return np.asarray(array)


def bits_of(array: Array) -> Array:
    """The bits of float32 or float64 values as int32 or int64, where they are."""
    word = "int32" if dtype_name(array) == "float32" else "int64"
    context = context_of(array)
    if context.backend == "array_api_strict":
        # it shows no bits, and all its devices are the host
        return context.from_host(to_host(array).view(word))
    return array.view(getattr(context.xp, word))


def by_feature(x: Array) -> Array:
    """Transpose (m, d) to (d, m), contiguous on NumPy: sums along long rows are far faster."""
    return np.ascontiguousarray(x.T) if isinstance(x, np.ndarray) else x.T


def dtype_name(array: Array) -> str:
    """Return "float32" for any library's float32."""
    dtype = array.dtype
    return _numpy_name(dtype) if isinstance(dtype, np.dtype) else str(dtype).rpartition(".")[2]


@functools.cache
def _numpy_name(dtype: np.dtype[Any]) -> str:
    """NumPy puts it together anew each time, which takes microseconds."""
    return str(dtype)


def synchronize(context: Context) -> None:
    """Wait until the device has done what it was given (for timing)."""
    if context.backend == "cupy":
        context.device.synchronize()
    elif context.backend == "torch" and context.device_name.startswith("cuda"):
        sys.modules["torch"].cuda.synchronize(context.device)
    elif context.backend == "jax":
        sys.modules["jax"].effects_barrier()


def _backend_name(xp: Namespace) -> str:
    name = xp.__name__.removeprefix("array_api_compat.").partition(".")[0]
    return str(name)


def _device_name(backend: str, device: Any) -> str:
    if backend == "cupy":
        return f"cuda:{device.id}"
    if backend == "jax":
        platform = "cuda" if device.platform in ("gpu", "cuda") else device.platform
        # the id counts the devices of all processes
        number = device.local_hardware_id if platform == "cuda" else device.id
        return "cpu" if platform == "cpu" else f"{platform}:{number}"
    if backend == "torch" and device.type == "cuda":
        return f"cuda:{device.index or 0}"
    return str(device)


def _cpu_context(home: Context) -> Context:
    """NumPy, but for array-api-strict, which is there to work by itself."""
    if home.backend == "array_api_strict":
        return Context(home.xp, home.xp.Device("CPU_DEVICE"), home.backend)
    return numpy_context()


def _working_context(array: Array, home: Context) -> Context:
    """Where an array is worked on that stays on its device."""
    index = cuda_index(array) if home.backend in ("torch", "jax") and home.gpu is not None else None
    problem = None if index is None else cuda_problem(probe_cuda(), index)
    worker = worked_on_by(home.backend, home.device_name, index, usable=problem is None)
    if worker == "numpy":
        return numpy_context()
    if problem is not None:
        logger.info("%s works on %s itself: %s", home.backend, home.device_name, problem)
    if worker == home.backend or index is None:
        return home
    return _cuda_context(index, joined=array)


def _cuda_context(index: int, joined: Array | None = None) -> Context:
    """CuPy on a GPU, in order with the library that an array comes from."""
    import cupy

    device = cupy.cuda.Device(index)
    with device:  # elsewhere it would take memory of another GPU
        xp = array_api_compat.array_namespace(cupy.empty(0))
    if joined is None:
        return Context(xp, device, "cupy")
    if array_api_compat.is_torch_array(joined):
        return Context(xp, device, "cupy", stream_of_torch(joined, cupy))
    # JAX has no current stream: it may use memory again that is still read here
    return Context(xp, device, "cupy", waits=True)


def _not_on_one_device(sharding: Any) -> Exception:
    """The error for what JAX gives in place of a device."""
    if sharding is None:
        return TypeError(
            "JAX is tracing this array (in jax.jit or the like), so it has no values yet. Call "
            "kmeans_xp outside of traced functions."
        )
    return DeviceError(
        f"a JAX array is spread over {len(sharding.device_set)} devices ({sharding}), but the work "
        "happens on one. Bring it there with jax.device_put(array, jax.devices()[0])."
    )


def _jax_x64() -> contextlib.AbstractContextManager[Any]:
    jax = sys.modules["jax"]
    if hasattr(jax, "enable_x64"):
        manager: contextlib.AbstractContextManager[Any] = jax.enable_x64(True)
        return manager
    older: contextlib.AbstractContextManager[Any] = jax.experimental.enable_x64()
    return older
