"""What `info` says about the machine."""

from __future__ import annotations

import doctest
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kmeans_xp
from kmeans_xp import _info, _model_file, info
from kmeans_xp._cli._report import info_text
from kmeans_xp._cuda import CudaProbe, cuda_problem, probe_cuda
from kmeans_xp.cli import main


def test_json_holds_it_and_it_is_true() -> None:
    facts = info()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["kmeans_xp"] == kmeans_xp.__version__
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["versions"]["array-api-compat"] == importlib.metadata.version("array-api-compat")
    assert facts["cuda"]["problem"] == cuda_problem(probe_cuda())
    assert all(pool["threads"] >= 1 for pool in facts["blas"])


def test_threads_follow_the_environment() -> None:
    code = "import kmeans_xp; print(kmeans_xp.info()['threads'])"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "3",
        "PYTHONPATH": str(Path(kmeans_xp.__file__).parents[1]),
    }
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, text=True, check=True, capture_output=True)
    assert done.stdout == "3\n"


def test_array_libraries_are_not_imported() -> None:
    code = (
        "import sys, kmeans_xp; facts = kmeans_xp.info()\n"
        "loaded = {'torch', 'jax', 'dask', 'array_api_strict', 'numba'} & set(sys.modules)\n"
        "print(sorted(loaded), 'cupy' in sys.modules and facts['cuda']['driver_cuda'] is None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(kmeans_xp.__file__).parents[1])}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, text=True, check=True, capture_output=True)
    assert done.stdout == "[] False\n"


@pytest.mark.parametrize(
    ("probe", "piece"),
    [
        (CudaProbe(None, None, None, 0, None), "no NVIDIA driver"),
        (CudaProbe(12040, None, None, 0, None), "kmeans-xp[cuda12]"),
        (CudaProbe(13000, "14.0.1", "no device", 0, None), "sees no GPU"),
        (CudaProbe(13000, "14.0.1", None, 1, "libnvrtc.so is missing"), "NVRTC"),
    ],
)
def test_the_missing_piece_of_cuda_is_shown(probe: CudaProbe, piece: str) -> None:
    facts = {**info(), "cuda": _info._cuda(probe)}
    assert not facts["cuda"]["usable"]
    assert facts["cuda"]["devices"] == []
    (line,) = (line for line in info_text(facts).splitlines() if line.startswith("CUDA "))
    assert "not usable" in line
    assert piece in line


def test_a_usable_gpu_is_named() -> None:
    pytest.importorskip("cupy", reason="cupy is not installed")
    if cuda_problem(probe_cuda()) is not None:
        pytest.skip("CUDA cannot be used on this machine")
    cuda = info()["cuda"]
    assert cuda["usable"]
    assert cuda["nvrtc"].count(".") == 1
    assert all(device["memory_gib"] > 0 for device in cuda["devices"])
    assert f"{cuda['devices'][0]['name']}, " in info_text(info())


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = {re_second_column(line) for line in lines}
    assert len(starts) == 1
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"]["numpy"] == np.__version__


def re_second_column(line: str) -> int:
    """Where the value begins: after the first run of two or more spaces."""
    gap = line.index("  ")
    return len(line) - len(line[gap:].lstrip())


def test_the_examples_run() -> None:
    for module in (_info, _model_file):
        results = doctest.testmod(module)
        assert results.attempted > 0
        assert results.failed == 0
