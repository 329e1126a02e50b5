"""The CUDA sources, the numbers that they are compiled with, and who compiles and runs them.

One compilation serves every shape.  With CuPy it is NVRTC's, kept on disk by CuPy; the tests
compile the very same text as C++ and run it on the CPU.
"""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..._bounds import OUTWARDS
from ..._exact import EXACT_ROWS, LEAST_EXPONENT, ONE_LIMB
from ..._groups import TABLE
from ..._random import Purpose
from ...exceptions import DeviceError

FOLDER = pathlib.Path(__file__).parent
THREADS = 256
PART = 32
"""Features that are added up before their sum joins the others."""

CHUNK_TILES = 4
"""Tiles of rows that a block scores against groups: one of each group that a quarter needs.

What is found of the rows takes 15 KiB; with tiles that makes less than the 48 that any device has.
"""

_CENTERS = 64
_SHARED_UNASKED = 48 << 10
_NULL = np.uint64(0)
_C_NAMES = {"float32": "float", "float64": "double"}
_ROW_FILES = (
    "exact.cu",
    "choose.cu",
    "sums.cu",
    "segments.cu",
    "seed.cu",
    "oversample.cu",
    "survey.cu",
)
_LOOP_FILES = ("fused.cu", "recenter.cu")
_PASS_PRODUCTS = ("float16", "tf32")


class Tile(NamedTuple):
    """Rows of a block; how many threads it has."""

    rows: int
    threads: int = THREADS
    # of an image, for tensor cores: bytes of each row, and planes
    part_bytes: int = 0
    planes: int = 1


TILES = {
    "float32": Tile(128),
    "float64": Tile(64),
    "float16": Tile(128, threads=128, part_bytes=64),
    "tf32": Tile(128, threads=128, part_bytes=64),
    "3xtf32": Tile(128, threads=128, part_bytes=64),
    "float16 wgmma": Tile(128, part_bytes=128),
    "tf32 wgmma": Tile(128, part_bytes=128),
    "3xtf32 wgmma": Tile(128, part_bytes=64, planes=2),
}
MOST_LISTED = 8
"""Centers of a shortlist: more would be measured where the next product is as cheap."""
TENSOR_PRODUCTS = {
    "float16": 16,
    "tf32": 1,
    "3xtf32": 3,
    "float16 wgmma": 16,
    "tf32 wgmma": 1,
    "3xtf32 wgmma": 3,
}
"""Products on tensor cores (compute capability 8.0), and their name in the source."""

_ARCHITECTURES = {"assign_wgmma.cu": "90a"}
_THREADS = {"fused_mma.cu": THREADS}  # where it is not the products' tile that says so


class Unit(NamedTuple):
    """A source file and the types that it is compiled for."""

    file: str
    row: str
    work: str = "float64"  # of the products

    @property
    def text(self) -> str:
        return _read(self.file)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return _THREADS.get(self.file, TILES[self.work].threads)

    @property
    def options(self) -> tuple[str, ...]:
        """What the compiler is told besides the device."""
        tile = TILES[self.work]
        defines = {
            "ROW_TYPE": _C_NAMES[self.row],
            "WORK_TYPE": _C_NAMES.get(self.work, "float"),
            "PRODUCTS": TENSOR_PRODUCTS.get(self.work, 0),
            "THREADS": self.threads,
            "ROWS": tile.rows,
            "PART": PART,
            "PART_BYTES": tile.part_bytes,
            "PLANES": tile.planes,
            "CHUNK_TILES": CHUNK_TILES,
            "MOST_LISTED": MOST_LISTED,
            "OUTWARDS": OUTWARDS,
            "TABLE": TABLE,
            "ONE_LIMB": ONE_LIMB,
            "EXACT_ROWS": EXACT_ROWS,
            "LEAST_EXPONENT": LEAST_EXPONENT,
            **{word.name: int(word) for word in (Purpose.RUN, Purpose.SEEDING, Purpose.PARTITION)},
        }
        return "-std=c++17", *(f"-D{name}={value!s}" for name, value in defines.items())

    @property
    def architecture(self) -> str | None:
        """What the unit is compiled for whatever the device; None for the device's own.

        It runs on no other device.
        """
        return _ARCHITECTURES.get(self.file)


def assign_unit(row: str, work: str, /) -> Unit:
    """The unit of the kernel `assign` for some products."""
    if work not in TENSOR_PRODUCTS:
        return Unit("assign.cu", row, work)
    return Unit("assign_wgmma.cu" if work.endswith("wgmma") else "assign_mma.cu", row, work)


def groups_unit(row: str, work: str, /) -> Unit:
    """The unit of the kernel `score_groups` for some products."""
    return Unit("groups_mma.cu" if work in TENSOR_PRODUCTS else "groups.cu", row, work)


def assign_bytes(work: str, /) -> int:
    """Shared memory of the kernel `assign` without tensor cores (`_route.plan`: with them)."""
    rows = TILES[work].rows
    return 8 * rows + tile_bytes(work)


def tile_bytes(work: str, /) -> int:
    """Shared memory of a tile of rows and one of centers, without tensor cores."""
    rows = TILES[work].rows
    return (PART * (rows + 1 + _CENTERS + 1) + rows) * (int(work[5:]) // 8)


UNITS = (
    *(assign_unit(row, work) for row in _C_NAMES for work in TILES),
    *(groups_unit(row, work) for row in _C_NAMES for work in TILES if not work.endswith("wgmma")),
    *(Unit(file, row) for file in _ROW_FILES for row in _C_NAMES),
    *(Unit(file, row, work) for file in _LOOP_FILES for row in _C_NAMES for work in _C_NAMES),
    Unit("drift.cu", "float64"),
    *(Unit("fused_mma.cu", row, work) for row in _C_NAMES for work in _PASS_PRODUCTS),
    *(Unit(file, row) for file in ("batch_survey.cu", "batch.cu") for row in _C_NAMES),
)
"""All that is ever compiled."""


class Launcher(Protocol):
    """Compiles units, and runs their kernels on arrays of one library."""

    @property
    def capability(self) -> int:
        """Compute capability of the device: 80 for 8.0."""
        ...

    @property
    def multiprocessors(self) -> int:
        """How many the device has."""
        ...

    def launch(
        self, unit: Unit, name: str, grid: int, shared: int, arguments: Sequence[Any], /
    ) -> None:
        """Run a kernel in ``grid`` blocks; arguments are arrays, NumPy scalars, or None.

        The arrays are those of the current device; the launch joins the current stream.
        """
        ...


@dataclass(frozen=True)
class CupyLauncher:
    """NVRTC, and launches on CuPy's current device and stream."""

    cupy: Any
    # with the threads of a block
    _functions: dict[tuple[int, Unit, str], tuple[Any, tuple[int]]] = field(default_factory=dict)
    _shared: dict[tuple[int, Unit, str], int] = field(default_factory=dict)

    @property
    def capability(self) -> int:
        return int(self.cupy.cuda.Device().compute_capability)

    @property
    def multiprocessors(self) -> int:
        return int(self.cupy.cuda.Device().attributes["MultiProcessorCount"])

    def launch(
        self, unit: Unit, name: str, grid: int, shared: int, arguments: Sequence[Any], /
    ) -> None:
        if grid == 0:
            return  # no rows: a launch of no blocks is an error
        key = self.cupy.cuda.runtime.getDevice(), unit, name
        found = self._functions.get(key)
        if found is None:
            found = self._functions[key] = self._compile(unit, name), (unit.threads,)
        function, threads = found
        if shared > _SHARED_UNASKED and shared > self._shared.get(key, 0):
            function.max_dynamic_shared_size_bytes = shared
            # in percent: room for a second block, which the driver may give to the cache instead
            function.preferred_shared_memory_carveout = 100
            self._shared[key] = shared
        packed = tuple([_NULL if argument is None else argument for argument in arguments])
        function((grid,), threads, packed, shared_mem=shared)

    def _compile(self, unit: Unit, name: str) -> Any:
        options = unit.options
        if unit.architecture is not None:
            # CuPy adds the device's own architecture; NVRTC 13.0 compiles for this one, in either
            # order (that CuPy loads what comes of it was not seen)
            options = f"-arch=sm_{unit.architecture}", *options
        module = self.cupy.RawModule(code=unit.text, options=options)
        try:
            return module.get_function(name)
        except self.cupy.cuda.compiler.CompileException as error:
            raise DeviceError(
                f"NVRTC could not compile the CUDA kernels of {unit.file} for this GPU: {error}. "
                "Another CuPy release may bring a newer NVRTC; device='cpu' works without."
            ) from error


_INCLUDE = re.compile(r'^#include "(.*)"\n', re.MULTILINE)


@functools.cache
def _read(file: str) -> str:
    """A source with its headers, each once; CuPy's cache knows nothing of included files."""
    seen: set[str] = set()

    def expanded(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (FOLDER / name).read_text(encoding="utf-8")
        return _INCLUDE.sub(lambda found: expanded(found[1]), text)

    return expanded(file)
