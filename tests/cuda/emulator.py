"""Runs the CUDA sources on the CPU: compiles them as C++, and launches kernels on NumPy arrays.

Arrays go into memory of their own with margins on both sides, which are NaN to a reader and must be
untouched after the run.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import hashlib
import itertools
import pathlib
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from kmeans_xp._backend import numpy_context
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._kernels.cuda._source import Unit

HERE = pathlib.Path(__file__).parent
MARGIN = 256
# KiB of shared memory that a block may ask for, by compute capability
_SHARED = {60: 48, 61: 48, 70: 96, 75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227}
# Kernels are compiled for each bug and run for moments: to optimise takes longer than it saves.
# Fibers leave functions by longjmp, which a fortified libc takes for an attack.
_FLAGS = ("-std=c++17", "-ffp-contract=off", "-fPIC", "-w", "-U_FORTIFY_SOURCE")


class EmulationError(RuntimeError):
    """What a kernel did that a GPU would punish, or worse, would not."""


@functools.cache
def compiler() -> str:
    """g++, or a skipped test."""
    found = shutil.which("g++")
    if found is None:
        pytest.skip("the CUDA sources are emulated by g++, which is not installed")
    return found


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where libraries are kept until the tests end, beside what is compiled once for all."""
    folder = tempfile.TemporaryDirectory(prefix="kmeans-xp-emulated-")
    header = shutil.copy(HERE / "emulator.h", folder.name)
    for options in (
        ("-x", "c++-header", header, "-o", f"{header}.gch"),
        ("-O2", "-c", str(HERE / "emulator.cpp"), "-o", f"{folder.name}/emulator.o"),
    ):
        subprocess.run([compiler(), *_FLAGS, *options], check=True)
    return folder


@functools.cache
def _linker() -> list[str]:
    """The faster linker, where there is one."""
    return ["-fuse-ld=gold"] if shutil.which("ld.gold") else []


def cuda_kernel(
    edit: Callable[[str], str] | None = None, seed: int = 0, capability: int = 80
) -> CudaKernel:
    """The CUDA kernel on NumPy arrays."""
    compiler()
    # the namespace that NumPy's own kernel has: old versions lack some of the standard's functions
    return CudaKernel(numpy_context().xp, launcher=Emulator(edit, seed, capability))


class Emulator:
    """A launcher of `_kernels.cuda._source` that needs g++ and no GPU.

    ``edit`` changes the text of a unit before it is compiled, to plant bugs; ``seed`` begins the
    schedules.
    """

    multiprocessors = 1

    def __init__(
        self, edit: Callable[[str], str] | None = None, seed: int = 0, capability: int = 80
    ) -> None:
        self._edit, self._seed, self.capability = edit, seed, capability
        self._libraries: dict[Unit, ctypes.CDLL] = {}
        weakref.finalize(self, _close, self._libraries)
        self.launches: list[str] = []

    def launch(
        self, unit: Unit, name: str, grid: int, shared: int, arguments: Sequence[Any], /
    ) -> None:
        if unit not in self._libraries:
            self._libraries[unit] = ctypes.CDLL(str(self._compile(unit)))
        run = getattr(self._libraries[unit], f"launch_{name}")
        run.restype = ctypes.c_char_p
        self._seed += 1
        self.launches.append(f"{name} {unit.work}" if name == "assign" else name)
        if shared > _SHARED[self.capability] << 10:
            raise EmulationError(f"{name}: {shared} bytes of shared memory")
        _check_types(unit, name, arguments)
        guarded: dict[tuple[Any, ...], _Guarded] = {}
        values = [_value(argument, guarded) for argument in arguments]
        addresses = (ctypes.c_void_p * len(values))(
            *(ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in values)
        )
        trouble = run(
            ctypes.c_longlong(grid),
            ctypes.c_int(unit.threads),
            ctypes.c_size_t(shared),
            ctypes.c_ulonglong(self._seed),
            addresses,
            ctypes.c_int(len(values)),
        )
        if trouble is not None:
            raise EmulationError(f"{name}: {trouble.decode()}")
        for memory in guarded.values():
            memory.give_back(name)

    def _compile(self, unit: Unit) -> pathlib.Path:
        text = unit.text if self._edit is None else self._edit(unit.text)
        kernels = re.findall(r"__global__ void[^(]*?(?:\(\w+(?:, \w+)?\) )?(\w+)\(\s", text)
        # definitions come after the header: one that is compiled in advance serves no others
        defines = [option[2:].replace("=", " ", 1) for option in unit.options if option[:2] == "-D"]
        parts = ['#include "emulator.h"', *(f"#define {define}" for define in defines), text]
        parts += [
            f'extern "C" const char* launch_{name}(long long grid, int block, size_t shared,'
            " unsigned long long seed, void** arguments, int count) {"
            f" return emulator::launch({name}, grid, block, shared, seed, arguments, count); }}"
            for name in kernels
        ]
        source = "\n".join(parts)
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        library = pathlib.Path(_folder().name) / f"{unit.file[:-3]}-{digest}.so"
        if not library.exists():
            file = library.with_suffix(".cpp")
            file.write_text(source, encoding="utf-8")
            runner = str(library.with_name("emulator.o"))
            command = [compiler(), *_FLAGS, "-shared", *_linker(), str(file), runner]
            command += ["-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise EmulationError(f"g++ on {unit}:\n{done.stderr[:2000]}")
        return library


def _close(libraries: dict[Unit, ctypes.CDLL]) -> None:
    """Let go of libraries, with the stacks of their threads: hundreds would fill the memory."""
    for library in libraries.values():
        _ctypes.dlclose(library._handle)


class _Guarded:
    """A copy of an array's memory with margins."""

    def __init__(self, array: Any) -> None:
        self._array = array
        low, high = np.lib.array_utils.byte_bounds(array)
        self._size = high - low if array.size else 0
        self._memory = np.full(self._size + 2 * MARGIN + 16, 0xFF, dtype=np.uint8)
        start = (low - self._memory.ctypes.data) % 16  # aligned as it was
        self._memory = self._memory[start : start + self._size + 2 * MARGIN]
        self._outside = array.ctypes.data - low
        self._low = low
        ctypes.memmove(self._memory.ctypes.data + MARGIN, low, self._size)

    @property
    def address(self) -> int:
        return int(self._memory.ctypes.data) + MARGIN + self._outside

    def give_back(self, name: str) -> None:
        margins = np.concatenate([self._memory[:MARGIN], self._memory[MARGIN + self._size :]])
        if (margins != 0xFF).any():
            raise EmulationError(f"{name}: a write beside an array of shape {self._array.shape}")
        if self._array.flags.writeable:
            ctypes.memmove(self._low, self._memory.ctypes.data + MARGIN, self._size)


_TYPES = {
    "i64": ("int64",),
    "u64": ("int64", "uint64"),
    "u8": ("bool", "uint8"),
    "int": ("int32",),
    "double": ("float64",),
    "void": ("float32", "float64"),
}


def _check_types(unit: Unit, name: str, arguments: Sequence[Any]) -> None:
    """What the kernel declares, and whole arrays where it asks for no strides.

    The device would not notice.
    """
    found = re.search(rf" {name}\(([^)]*)\) {{", unit.text)
    assert found is not None, f"{unit.file} has no kernel {name}"
    parameters = [re.sub(r"const |__restrict__ ", "", part).split() for part in found[1].split(",")]
    assert len(parameters) == len(arguments), f"{name} takes {len(parameters)} arguments"
    wide = "float64" if "float64" in (unit.row, unit.work) else "float32"
    types = _TYPES | {"Row": (unit.row,), "Work": (unit.work,), "Wide": (wide,)}
    types["float"] = ("float32",)
    strided = {
        label for (_, label), (_, after) in itertools.pairwise(parameters) if "stride" in after
    }
    for (kind, label), argument in zip(parameters, arguments, strict=True):
        is_pointer = "*" in kind + label
        assert is_pointer or isinstance(argument, np.generic), f"{name}: {label} is a number"
        assert not is_pointer or argument is None or isinstance(argument, np.ndarray), label
        if argument is not None:
            assert str(argument.dtype) in types[kind.strip("*")], (
                f"{name}: {label} {argument.dtype}"
            )
        if is_pointer and argument is not None and label not in strided:
            assert argument.flags.c_contiguous, f"{name}: {label} is not in one piece"


def _value(argument: Any, guarded: dict[tuple[Any, ...], _Guarded]) -> Any:
    """What the kernel's parameter holds: an address, or a number."""
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, np.ndarray):
        key = argument.ctypes.data, argument.shape, argument.strides
        if key not in guarded:
            guarded[key] = _Guarded(argument)
        return ctypes.c_void_p(guarded[key].address)
    if not isinstance(argument, np.generic):
        raise TypeError(f"kernels take arrays and NumPy scalars, not {type(argument)}")
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())
