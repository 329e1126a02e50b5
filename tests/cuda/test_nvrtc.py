"""Every kernel becomes machine code of every generation, and keeps its numbers in registers."""

from __future__ import annotations

import nvrtc
import pytest
from conftest import REQUIRED

from kmeans_xp._kernels.cuda._source import TILES, UNITS, Unit, assign_bytes

ARCHITECTURES = ("80", "86", "89", "90", "100", "120")
# two blocks of 256 threads share a multiprocessor; of 3xTF32 there is one
MOST_REGISTERS = {
    "assign": 128,
    "assign 3xtf32": 168,
    "sweep": 192,
    "sweep float32 float32": 128,
    "survey_batch": 128,
    "fit_batch": 128,
}
# where a division's rare cases are a call, which registers are saved around
MOST_SPILLED = {"recenter": 48}
# without asking; for the last two what compute capability 8.6 gives at most
MOST_SHARED = dict.fromkeys(TILES, 48 << 10) | {"tf32": 99 << 10, "3xtf32": 99 << 10}


def need() -> None:
    if nvrtc.library() is None:
        assert "nvrtc" not in REQUIRED, "NVRTC is required by KMEANS_XP_REQUIRE"
        pytest.skip("NVRTC is not installed (nvidia-cuda-nvrtc)")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: f"{unit.file}-{unit.row}-{unit.work}")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_unit_compiles_without_spills(unit: Unit, architecture: str) -> None:
    need()
    kernels, ptx = nvrtc.compile_for(unit, architecture)
    assert kernels
    for kernel in kernels:
        assert kernel.spilled <= MOST_SPILLED.get(kernel.name, 0), kernel
        names = f"{kernel.name} {unit.row} {unit.work}", f"{kernel.name} {unit.work}", kernel.name
        most = next((MOST_REGISTERS[name] for name in names if name in MOST_REGISTERS), 64)
        assert kernel.registers <= most, kernel
    # 2 x 4 fragments for each 8 or 16 of 32 features
    assert ptx.count("mma.sync") == {"float16": 16, "tf32": 32, "3xtf32": 96}.get(unit.work, 0)
    # where bits count, no two roundings may become one
    assert unit.file.startswith(("assign", "fused")) or "fma.rn.f64" not in ptx


def test_what_the_compiler_says_is_read() -> None:
    need()

    class Broken(Unit):
        @property
        def text(self) -> str:
            return super().text + "\nthis is no C++"

    with pytest.raises(RuntimeError, match="this is no C"):
        nvrtc.compile_for(Broken("exact.cu", "float32"), "80")
    found, _ = nvrtc.compile_for(Unit("sums.cu", "float32"), "80")
    assert {kernel.name for kernel in found} == {"add_rows", "group_sums"}
    assert all(kernel.registers > 8 for kernel in found)


@pytest.mark.parametrize("work", MOST_SHARED)
def test_tiles_fit_the_shared_memory_of_every_device(work: str) -> None:
    assert assign_bytes(work) <= MOST_SHARED[work]
