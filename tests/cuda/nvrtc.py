"""NVRTC without CuPy and without a GPU: what the wheel nvidia-cuda-nvrtc holds, by ctypes."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import pathlib
import re
from typing import Any, NamedTuple

from kmeans_xp._kernels.cuda._source import Unit


class Compiled(NamedTuple):
    """What ptxas says of one kernel."""

    name: str
    registers: int
    spilled: int


@functools.cache
def library() -> ctypes.CDLL | None:
    """The newest NVRTC among the installed wheels; None without one."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    found = [
        path
        for folder in folders
        for path in pathlib.Path(folder).rglob("libnvrtc.so.*")
        if "alt" not in path.name
    ]
    if not found:
        return None
    path = max(found, key=lambda path: int(path.suffix[1:]))
    for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(path))


def compile_for(unit: Unit, architecture: str, *more: str) -> tuple[list[Compiled], str]:
    """Compile a unit; raise RuntimeError with the compiler's words if it fails.

    What became of each kernel, and the whole in PTX.
    """
    nvrtc = library()
    assert nvrtc is not None
    program = ctypes.c_void_p()
    text = unit.text.encode()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"unit.cu", 0, None, None))
    try:
        # CuPy adds the third and the fourth
        options = [
            f"-arch=sm_{architecture}",
            "--ptxas-options=-v",
            "-ftz=true",
            "--device-as-default-execution-space",
            *unit.options,
            *more,
        ]
        packed = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        code = nvrtc.nvrtcCompileProgram(program, len(options), packed)
        log = _log(nvrtc, program)
        # wgmma that waits for each product is as good as a failure
        if code or "are serialized" in log:
            raise RuntimeError(f"NVRTC on {unit} for sm_{architecture}:\n{log}")
        size = ctypes.c_size_t()
        _check(nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size)))
        ptx = ctypes.create_string_buffer(size.value)
        _check(nvrtc.nvrtcGetPTX(program, ptx))
        return _read(log), ptx.value.decode()
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _check(code: int) -> None:
    if code:
        raise RuntimeError(f"NVRTC answered {code}")


def _log(nvrtc: Any, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _check(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    log = ctypes.create_string_buffer(size.value)
    _check(nvrtc.nvrtcGetProgramLog(program, log))
    return log.value.decode()


def _read(log: str) -> list[Compiled]:
    kernels = []
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part.partition("'")[0]
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill (?:stores|loads)", part)))
        (registers,) = re.findall(r"Used (\d+) registers", part)
        kernels.append(Compiled(name, int(registers), spilled))
    return kernels
