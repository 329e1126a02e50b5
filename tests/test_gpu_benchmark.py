"""The script for machines with a GPU: all of it that needs none.  Nothing is timed."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from conftest import make_backend

from kmeans_xp import __version__
from kmeans_xp._cuda import cuda_problem, probe_cuda

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def gpu(load: Any) -> Any:
    return load("gpu")


def pass_of(n: int, k: int, kind: str) -> dict[str, Any]:
    times = {"ms": 2.0, "ms by round": [2.0], "first ms": 9.0, "TFLOP/s": 50.0, "GB/s": 900.0}
    return {
        "rows": kind, "n": n, "d": 128, "k": k, "flops a byte": k / 2.0,
        "products": {"float16": times | {"share of rows open": 0.125, "TFLOP/s": 80.0},
                     "tf32": times | {"share of rows open": 0.0}},
        "flash-kmeans": {"tf32": times | {"ms": 3.25}, "float16": times},
        "exact labels": times | {"products": ["float16", "float32"], "ms over the first": 0.25},
    }  # fmt: skip


def made_up() -> dict[str, Any]:
    """A report with something of each kind; its figures mean nothing."""
    rate = {"ms": 1.0, "ms by round": [1.0], "first ms": 2.0, "size": 64}
    run = {"name": "tests with a GPU", "exit code": 1, "last line": "1 failed, 2 passed"}
    sections: dict[str, Any] = {
        "tests": {"runs": [run | {"failed": ["FAILED tests/test_x.py::test_y"], "output": []}]},
        "limits": {
            "card": "name\nSome card, 1.0",
            "copy": rate | {"GB/s": 2000.0},
            "float16": rate | {"TFLOP/s": 700.0},
            "tf32": rate | {"TFLOP/s": 330.0},
        },
        "sums": {
            "tf32": {
                "one product of 1, others of 2**-j": {
                    "24": {"after it": 1.0},
                    "25": {"after it": 0},
                },
                "512 positive products, errors in 2**-24 of the sum": [-54.6, 3.0],
            }
        },
        "passes": {
            "float32": rate | {"TFLOP/s": 50.0},
            "cases": [pass_of(10**6, 1024, "uniform"), pass_of(8 * 10**6, 8, "blobs")],
            "left out, the time was over": ["uniform 8000000 x 128, k=4096"],
        },
        "small": {
            "fits": [
                {"n": 10**5, "d": 16, "k": 8, "start": "default", "ms": 4.5, "target ms": 5.0,
                 "iterations": 7, "inertia": 12.5}
            ]
        },
        "fits": {
            "cells": {"blobs": {
                "kmeans_xp": {
                    "seconds": 0.5, "times ours": 1.0, "peak MiB": None, "iterations": 9,
                    "inertia": 3.0, "labels differing": 0.0, "start": "given", "device MiB": 77.0,
                    "first call": {"seconds": 1.0},
                },
                "flash-kmeans": {"absent": "not installed: pip install flash-kmeans"},
            }}
        },
        "batches": {
            "batches": [{"batch": 1000, "n": 512, "d": 16, "k": 8, "ms": 25.0,
                         "ms a problem alone": 1.5, "iterations": 7.5, "inertia": 3.0,
                         "first ms": 7500.0, "left to fits alone": 2}]
        },
        "seeding": {
            "starts": [{"start": "k-means++", "rows": "uniform", "n": 10**5, "d": 32, "k": 1000,
                        "seconds": 0.25, "first seconds": 1.5}]
        },
        "memory": {
            "fits": [{"n": 10**6, "d": 128, "k": 1024, "data bytes": 512 << 20,
                      "peak bytes": 768 << 20, "target bytes": 1000 << 20,
                      "said to be needed": 900 << 20}]
        },
        "streams": {
            "fits": [{"n": 10**6, "d": 128, "k": 64, "share": 0.5, "ms an iteration": 20.5,
                      "reading": "5 of 10 blocks held on cuda:0", "iterations": 12, "GB/s": 12.25}]
        },
        "sanitizer": {"runs": [{"skipped": "compute-sanitizer was not found"}]},
    }  # fmt: skip
    for section in sections.values():
        section |= {"ended": "done", "seconds": 1.0}
    sections["all tests"] = {"ended": "over the limit of 5 s", "seconds": 5.0}
    return {"date": "never", "sections": sections}


def test_the_table_says_it_all(load: Any, gpu: Any) -> None:
    report = made_up()
    assert set(report["sections"]) == set(gpu.SECTIONS)
    said = load("_gpu_report").text(report)
    for words in (
        "FAILED tests/test_x.py::test_y",
        "copy 2000 GB/s",
        "20.5 ms an iteration, 12.2 GB/s copied\n    5 of 10 blocks held on cuda:0",
        "matmul tf32 330.0 TFLOP/s",
        "uniform 1M x 128, k=1024",
        "open 12.5 %",
        "0.250 ms over float16 alone",
        "flash-kmeans by tf32: 3.250 ms",
        "tf32: 2**-24 is the least that is kept beside 1; 512 products of one sign err by -55 to 3",
        "left out, the time was over: uniform 8000000 x 128, k=4096",
        "4.50 ms (target 5)",
        "not installed: pip install flash-kmeans",
        "77.0 MiB on the device",
        "25.00 ms, 0.0250 a problem, alone 1.500, first 7.50 s, 2 left to fits alone",
        "0.2500 s (first 1.50)",
        "768 MiB, 1.50 of the data's 512 (target 1000, said 900)",
        "skipped: compute-sanitizer was not found",
        "all tests: over the limit of 5 s",
    ):
        assert words in said


def test_sections_that_ended_early_have_words(load: Any, gpu: Any) -> None:
    """Each had nothing yet, or is not there."""
    for names in (list(gpu.SECTIONS), []):
        sections = {name: {"ended": "over the limit of 1 s", "seconds": 1} for name in names}
        report = {"sections": sections}
        assert load("_gpu_report").text(report).count("over the limit") == len(names)
        assert not load("_gpu_report").draw(report, pathlib.Path("nowhere.png"))


def test_the_roofline_is_drawn(load: Any, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "roofline.png"
    assert load("_gpu_report").draw(made_up(), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_roofs_are_those_that_were_measured(load: Any) -> None:
    bandwidth, rates = load("_gpu_report").roofs(made_up())
    assert bandwidth == 2.0
    assert rates == {"float16": 700.0, "tf32": 330.0, "3xtf32": 110.0, "float32": 50.0}
    assert load("_gpu_report").roofs({"sections": {}})[1]["tf32"] == 0.0


def test_sections_get_their_limit_or_what_is_left(gpu: Any) -> None:
    now = [100.0]
    budget = gpu.Budget(60.0, clock=lambda: now[0])
    assert budget.grant(20.0) == 20.0
    now[0] += 30.0
    assert budget.grant(20.0) == 20.0
    assert budget.grant(40.0) == 25.0  # five seconds are kept for the end
    now[0] += 21.0
    assert budget.grant(40.0) == 0.0
    # the sections that only a GPU can do have their time before the whole suite
    assert list(gpu.SECTIONS)[-1] == "all tests"


def test_a_section_keeps_to_its_time(load: Any, tmp_path: pathlib.Path) -> None:
    keeper = load("_gpu_measures").Keeper(tmp_path / "part.json", seconds=1000.0)
    assert keeper.has_time("one")
    keeper.began -= 1000.0
    assert not keeper.has_time("another")
    kept = json.loads((tmp_path / "part.json").read_text(encoding="utf-8"))
    assert kept == {"left out, the time was over": ["another"]}


@contextlib.contextmanager
def script(tmp_path: pathlib.Path, gpu: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> Any:
    """A script in place of this one, which the sections are run by."""
    file = tmp_path / "script.py"
    file.write_text(f"import json, os, pathlib, sys, time\n{text}", encoding="utf-8")
    monkeypatch.setattr(gpu, "__file__", str(file))
    monkeypatch.setattr(gpu, "_GRACE", 0.5)
    yield


_KEEP = "pathlib.Path(sys.argv[sys.argv.index('--out') + 1]).write_text(json.dumps({'x': 1}))\n"


@pytest.mark.parametrize(
    ("text", "ended", "kept"),
    [
        (_KEEP, "done", True),
        (_KEEP + "time.sleep(60)", "over the limit of 1 s", True),
        (_KEEP + "raise ValueError('so')", "failed (ValueError: so)", True),
        ("os.abort()", "failed (exit code -6)", False),
    ],
)
def test_what_ends_ends_alone(
    text: str,
    ended: str,
    kept: bool,
    gpu: Any,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with script(tmp_path, gpu, monkeypatch, text):
        found = gpu.run_section("small", 30.0 if "limit" not in ended else 1.0, tmp_path)
    assert found["ended"] == ended
    assert ("x" in found) == kept
    assert gpu.status_of(found) == (0 if ended == "done" else 1)


def test_ctrl_c_keeps_what_there_is(
    gpu: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        while not (tmp_path / "small.json").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    with script(tmp_path, gpu, monkeypatch, _KEEP + "time.sleep(60)"):
        thread = threading.Thread(target=interrupt)
        thread.start()
        found = gpu.run_section("small", 30.0, tmp_path)
        thread.join()
    assert found["ended"] == "interrupted"
    assert found["x"] == 1
    assert gpu.status_of(found) == 130


def test_commands_tell_what_failed(gpu: Any) -> None:
    words = "FAILED tests/a.py::b - so\\n1 failed"
    failing = gpu.checked([sys.executable, "-c", f"print('{words}'); raise SystemExit(1)"], 30.0)
    assert failing["exit code"] == 1
    assert failing["failed"] == ["FAILED tests/a.py::b - so"]
    assert failing["last line"] == "1 failed"
    assert gpu.status_of({"ended": "done", "runs": [failing]}) == 1
    slow = gpu.checked([sys.executable, "-c", "import time; time.sleep(60)"], 0.5)
    assert slow["exit code"] == "none: ended after 0 s"
    assert gpu.status_of({"ended": "done", "runs": [slow]}) == 1
    good = gpu.checked([sys.executable, "-c", "print('3 passed')"], 30.0)
    assert (good["exit code"], good["last line"]) == (0, "3 passed")
    assert gpu.status_of({"ended": "done", "runs": [good, {"skipped": "why"}]}) == 0


def test_both_checks_of_the_sanitizer_run(
    gpu: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script in its place says what it was asked, and finds something the second time."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(gpu, "_SANITIZER", "no-such-tool-here")
    part = tmp_path / "part.json"
    if shutil.which("compute-sanitizer") is None:
        gpu.child("sanitizer", 60.0, part)
        (run,) = json.loads(part.read_text(encoding="utf-8"))["runs"]
        assert "comes with the CUDA toolkit" in run["skipped"]
    tool = tmp_path / "compute-sanitizer"
    tool.write_text('#!/bin/sh\necho "$@"\ntest "$2" = memcheck || exit 9\n', encoding="utf-8")
    tool.chmod(0o755)
    gpu.child("sanitizer", 60.0, part)
    runs = json.loads(part.read_text(encoding="utf-8"))["runs"]
    assert [(run["name"], run["exit code"]) for run in runs] == [("memcheck", 0), ("racecheck", 9)]
    for run in runs:
        assert run["last line"].endswith("-m pytest -q -k shapes tests/test_gpu.py")
    assert gpu.status_of({"ended": "done", "runs": runs}) == 1


def test_without_a_gpu_it_says_so(gpu: Any) -> None:
    if cuda_problem(probe_cuda()) is None:
        pytest.skip("there is a GPU that CuPy can use")
    command = [sys.executable, str(FOLDER / "gpu.py"), "--out", "never.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == gpu.NO_GPU
    assert done.stderr.startswith("No GPU to measure: ")
    assert not pathlib.Path("never.json").exists()


def test_sections_and_libraries_are_listed(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--list"]) == 0
    shown = capsys.readouterr().out
    for name in (*gpu.SECTIONS, "kmeans_xp", "flash-kmeans", "fastkmeans", "torch loop"):
        assert f"{name}: " in shown
    with pytest.raises(SystemExit):
        gpu.parse(["--sections", "passes,nothing"])
    assert "no such section: nothing" in capsys.readouterr().err


def test_a_stored_result_is_shown_again(
    gpu: Any, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "stored.json"
    stored.write_text(json.dumps(made_up()), encoding="utf-8")
    assert gpu.main(["--replot", str(stored)]) == 0
    assert "copy 2000 GB/s" in capsys.readouterr().out


def test_the_whole_run_is_stored(
    gpu: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sections that keep one figure each."""
    monkeypatch.setattr(gpu, "problem", lambda: None)
    out = tmp_path / "results" / "gpu.json"
    with script(tmp_path, gpu, monkeypatch, _KEEP):
        assert gpu.main(["--sections", "limits,memory", "--out", str(out)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert set(report["sections"]) == {"limits", "memory"}
    assert report["sections"]["memory"]["x"] == 1
    assert report["peers"]["flash-kmeans"]["package"] == "flash-kmeans"
    assert {"command", "date", "commit", "environment", "hardware"} <= set(report)


def test_the_loop_in_torch_is_lloyds(load: Any) -> None:
    make_backend("torch")
    peers = load("_gpu_peers")
    rows = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    loop = peers.PlainTorch()
    loop.device, loop.most_scores = "cpu", 500
    task = load("_peers").Task(rows, np.arange(5), 300, True)
    loop.prepare(task)
    loop.train()
    loop.label()
    found = loop.outcome()
    from kmeans_xp import KMeans

    model = KMeans(5, init=rows[:5], n_init=1, tol=0).fit(rows)
    assert found.labels.tolist() == model.labels_.tolist()
    np.testing.assert_allclose(found.centers, model.cluster_centers_, atol=1e-5)
    assert found.iterations == model.n_iter_
    assert found.device_bytes is None


def test_libraries_that_are_missing_have_a_reason(load: Any) -> None:
    for peer in load("_gpu_peers").GPU_PEERS:
        nowhere = dataclasses.replace(peer, package="no-such-package-here").record()
        if peer.name == "kmeans_xp":
            # from a source tree, too
            assert (nowhere["version"], nowhere["absent"]) == (__version__, None)
        else:
            assert nowhere["absent"] == "not installed: pip install no-such-package-here"
        assert peer.refusal("convergence") is None
