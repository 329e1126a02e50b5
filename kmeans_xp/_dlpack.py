"""Arrays handed from library to library on one device, without a copy: the DLPack protocol."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import array_api_compat

from ._typing import Array, Namespace

_CUDA = (2, 13)  # DLPack's numbers: memory of a CUDA device, managed memory


def cuda_index(array: Array, /) -> int | None:
    """The CUDA device that holds an array, by its library's word; None where none does.

    Other GPUs, and host memory that a GPU can read, have other numbers in DLPack.
    """
    if array_api_compat.is_cupy_array(array):
        return int(array.device.id)
    kind, index = array.__dlpack_device__()
    return int(index) if kind in _CUDA else None


def worked_on_by(backend: str, device: str, index: int | None, /, *, usable: bool) -> str:
    """The library that works on arrays of a library where they are.

    NumPy sees what lies in host memory; CuPy, where it is ``usable``, what torch and JAX have on
    the CUDA device ``index``.  All others work themselves.
    """
    if backend in ("torch", "jax"):
        if device == "cpu":
            return "numpy"
        if index is not None and usable:
            return "cupy"
    return backend


def share(array: Array, xp: Namespace, /) -> Array:
    """The same memory as an array of another library's namespace.

    The two libraries order their current streams: what the one queues from now on waits for what
    the other has queued.  An array of JAX must not be written to, whatever it is shared as.
    """
    if array_api_compat.is_torch_array(array):
        # the protocol knows no gradients, nor views that hold the negatives of what they show
        array = array.detach().resolve_neg()
    elif not array_api_compat.is_jax_array(array) and not array.flags.c_contiguous:
        array = array.copy()  # torch has no negative strides, JAX no strides at all
    return xp.from_dlpack(array)


def copy_between_gpus(array: Any, device: Any, cupy: Any, /) -> Any:
    """A CuPy array on another GPU; the host waits, since streams of two devices have no order."""
    if array.device == device:
        return array
    with array.device:
        cupy.cuda.get_current_stream().synchronize()
    with device:
        copied = array.copy()
        cupy.cuda.get_current_stream().synchronize()
    return copied


@dataclass(frozen=True)
class _Foreign:
    """A stream of another library, by the protocol that CuPy reads."""

    stream: Any

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, int(self.stream.cuda_stream)


def stream_of_torch(array: Array, cupy: Any, /) -> Any:
    """torch's current stream on the array's device, for CuPy to work on."""
    return as_cupy_stream(sys.modules["torch"].cuda.current_stream(array.device), cupy)


def as_cupy_stream(stream: Any, cupy: Any, /) -> Any:
    """A stream of torch as one of CuPy's."""
    if hasattr(cupy.cuda.Stream, "from_external"):
        return cupy.cuda.Stream.from_external(_Foreign(stream))
    return cupy.cuda.ExternalStream(int(stream.cuda_stream))  # before CuPy 14
