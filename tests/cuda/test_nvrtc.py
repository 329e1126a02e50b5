"""Every kernel becomes machine code of every generation, and keeps its numbers in registers."""

from __future__ import annotations

import re

import nvrtc
import pytest
from conftest import REQUIRED

from kmeans_xp._kernels.cuda._source import TENSOR_PRODUCTS, TILES, UNITS, Unit, assign_bytes

ARCHITECTURES = ("80", "86", "89", "90", "100", "120")
# two blocks share a multiprocessor: of 256 threads, or of 128 on tensor cores
MOST_REGISTERS = {
    "assign": 128,
    "score_groups": 208,  # one block
    "sweep": 192,
    "sweep float32 float32": 128,
    "sweep float16": 128,
    "sweep tf32": 128,
    "survey_batch": 128,
    "fit_batch": 128,
} | {
    f"{name} {work}": min(255, (1 << 15) // TILES[work].threads)
    for name in ("assign", "shortlist", "score_groups")
    for work in TENSOR_PRODUCTS
}
MOST_SHARED = 48 << 10  # without asking


def need() -> None:
    if nvrtc.library() is None:
        assert "nvrtc" not in REQUIRED, "NVRTC is required by KMEANS_XP_REQUIRE"
        pytest.skip("NVRTC is not installed (nvidia-cuda-nvrtc)")


CASES = [
    pytest.param(unit, architecture, id=f"{unit.file}-{unit.row}-{unit.work}-{architecture}")
    for unit in UNITS
    for architecture in ((unit.architecture,) if unit.architecture else ARCHITECTURES)
]


@pytest.mark.parametrize(("unit", "architecture"), CASES)
def test_a_unit_compiles_without_spills(unit: Unit, architecture: str) -> None:
    need()
    kernels, ptx = nvrtc.compile_for(unit, architecture)
    assert kernels
    for kernel in kernels:
        assert kernel.spilled == 0, kernel
        names = f"{kernel.name} {unit.row} {unit.work}", f"{kernel.name} {unit.work}", kernel.name
        most = next((MOST_REGISTERS[name] for name in names if name in MOST_REGISTERS), 64)
        assert kernel.registers <= most, kernel
    # 4 x 8 fragments (in one pass 1 x 8) for each of two steps of 32 bytes (3xTF32: three of one)
    products = {"float16": 64, "tf32": 64, "3xtf32": 96}.get(unit.work, 0)
    matrices = {"float16": 16, "tf32": 16, "3xtf32": 8}.get(unit.work, 0)
    if unit.file == "fused_mma.cu":
        products, matrices = 16, 10
    both = 2 if unit.file == "assign_mma.cu" else 1  # `assign` and `shortlist`
    assert (ptx.count("mma.sync"), ptx.count("ldmatrix")) == (both * products, both * matrices)
    # in both four steps of 32 bytes (3xTF32: two, of three products), for the first part and others
    products = {"float16 wgmma": 16, "tf32 wgmma": 16, "3xtf32 wgmma": 24}.get(unit.work, 0)
    assert ptx.count("wgmma.mma_async.sync") == products
    kind = "k8.f32.tf32.tf32" if "tf32" in unit.work else "k16.f32.f16.f16"
    assert ptx.count(f"wgmma.mma_async.sync.aligned.m64n128{kind}") == products
    if unit.work in TENSOR_PRODUCTS:
        # what turns chunks repeats after 8 rows, from anywhere (`ldmatrix`); copies need 16
        (aligned,) = re.findall(r"\.extern \.shared \.align (\d+) \.b8 memory\[\]", ptx)
        in_groups = unit.file == "groups_mma.cu"
        assert int(aligned) == (16 if in_groups else 8 * TILES[unit.work].part_bytes)
    assert ("cp.async.cg.shared.global" in ptx) == (unit.work in TENSOR_PRODUCTS and products == 0)
    assert ("cp.async.bulk.shared::cluster.global" in ptx) == (products > 0)
    # where bits count, no two roundings may become one
    assert unit.file.startswith(("assign", "choose", "fused", "groups")) or "fma.rn.f64" not in ptx


def test_wgmma_is_for_one_architecture() -> None:
    """CuPy adds the device's own after it, and begins with a compilation to PTX."""
    need()
    units = [unit for unit in UNITS if unit.architecture]
    assert {unit.architecture for unit in units} == {"90a"}
    assert {unit.work for unit in units} == {"float16 wgmma", "tf32 wgmma", "3xtf32 wgmma"}
    for more in ("-arch=sm_90", "-arch=compute_90"):
        ptx = nvrtc.compile_for(units[0], "90a", more)[1]
        assert ".target sm_90a" in ptx
    with pytest.raises(RuntimeError, match="not supported"):
        nvrtc.compile_for(Unit("assign_wgmma.cu", "float32", "float16 wgmma"), "100a")


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


@pytest.mark.parametrize("work", [work for work in TILES if work not in TENSOR_PRODUCTS])
def test_tiles_fit_the_shared_memory_of_every_device(work: str) -> None:
    assert assign_bytes(work) <= MOST_SHARED
