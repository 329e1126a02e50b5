"""All that a machine with a GPU should tell, in one call of under ten minutes.

    python benchmarks/gpu.py [--out benchmarks/results/gpu.json] [--plot benchmarks/results/gpu.png]

Tests, checks by compute-sanitizer, and measurements, each a section with a process and a limit of
seconds of its own: what crashes or hangs ends alone.  The result file is written after each
section, and a section that was ended keeps what it had.  Nothing is asserted, and nothing
installed: a library that is missing is skipped, with the reason.  Exit codes: 0; 1 when a section
failed, found failures or ran out of time; 3 without a usable GPU; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from _gpu_report import draw, text
from _report import header, write

ROOT = pathlib.Path(__file__).resolve().parents[1]
NO_GPU = 3
DONE, INTERRUPTED, NO_TIME = "done", "interrupted", "left out, the time was over"
_GRACE = 5.0
_SANITIZER = "/usr/local/cuda/bin/compute-sanitizer"


@dataclass(frozen=True)
class Section:
    """A part of the run: at most so many seconds, and what it does."""

    limit: float
    about: str


SECTIONS = {
    "tests": Section(150, "the tests that need a GPU"),
    "limits": Section(40, "copies and matrix products: what the card reaches"),
    "sums": Section(20, "how tensor cores add up"),
    "passes": Section(100, "one assignment pass by each product, and with exact labels"),
    "small": Section(30, "fits of milliseconds"),
    "fits": Section(130, "fits to convergence beside other libraries"),
    "batches": Section(20, "many small problems at once, beside a few one by one"),
    "seeding": Section(30, "k-means++ and k-means||"),
    "memory": Section(30, "peak device memory"),
    "streams": Section(60, "rows in host memory that the GPU is given no room for"),
    "sanitizer": Section(90, "memcheck and racecheck on small shapes"),
    "all tests": Section(300, "the whole test suite, with what time is left"),
}
"""In this order; their limits may add up to more than the whole run has."""


@dataclass
class Budget:
    """Seconds of the whole run, and of its next section."""

    seconds: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.began = self.clock()

    def grant(self, limit: float) -> float:
        """The seconds of a section: its limit, or what is left; 0 where that is too little."""
        left = self.seconds - (self.clock() - self.began) - _GRACE
        return min(limit, left) if left > _GRACE else 0.0


def run_section(name: str, seconds: float, folder: pathlib.Path) -> dict[str, Any]:
    """Run a section in a process group of its own, and take what it has kept."""
    part = folder / f"{name.replace(' ', '-')}.json"
    command = [sys.executable, __file__, "--child", name, "--out", str(part)]
    command += ["--seconds", str(seconds)]
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=seconds + _GRACE)
        lines = said.strip().splitlines()
        code = process.returncode
        ended = DONE if code == 0 else f"failed ({lines[-1] if lines else f'exit code {code}'})"
    except subprocess.TimeoutExpired:
        ended = f"over the limit of {seconds:.0f} s"
    except KeyboardInterrupt:
        ended = INTERRUPTED
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # what it has started goes too
            process.communicate()
    kept = json.loads(part.read_text(encoding="utf-8")) if part.exists() else {}
    return {"ended": ended, "seconds": round(time.monotonic() - began, 1)} | kept


def child(name: str, seconds: float, out: pathlib.Path) -> None:
    """The section itself."""
    import _gpu_measures as measures

    keeper = measures.Keeper(out, seconds)
    if name == "tests":
        _checks(keeper, {"tests with a GPU": _tests("-k", "cupy or gpu", "--ignore=tests/cuda")})
    elif name == "all tests":
        _checks(keeper, {"all tests": _tests()})
    elif name == "sanitizer":
        sanitize(keeper)
    else:
        getattr(measures, name)(keeper, measures.Gpu())
        keeper.save()


def _tests(*options: str) -> list[str]:
    return ["bash", str(ROOT / "ci" / "test-gpu.sh"), "--here", "-q", *options]


def sanitize(keeper: Any) -> None:
    """compute-sanitizer on the shapes of the tests, where it is installed."""
    tool = shutil.which("compute-sanitizer") or shutil.which(_SANITIZER)
    if tool is None:
        reason = "compute-sanitizer was not found; it comes with the CUDA toolkit"
        keeper.add("runs", {"skipped": reason})
        return
    commands = {}
    for check in ("memcheck", "racecheck"):
        command = [tool, "--tool", check, "--error-exitcode", "9", sys.executable, "-m", "pytest"]
        commands[check] = [*command, "-q", "-k", "shapes", "tests/test_gpu.py"]
    _checks(keeper, commands)


def _checks(keeper: Any, commands: dict[str, list[str]]) -> None:
    """Run commands in turn; each may have its share of the time that is left."""
    names = list(commands)
    for number, name in enumerate(names):
        share = max(keeper.left(), 1.0) / (len(names) - number)
        keeper.add("runs", {"name": name} | checked(commands[name], share))


def checked(command: list[str], seconds: float) -> dict[str, Any]:
    """Run a command at the root; its exit code, what failed, and its last lines."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KMEANS_XP_REQUIRE": "cupy"}
    environment["PYTHON"] = sys.executable  # for the script that runs the tests
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        try:
            code: int | str = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = f"none: ended after {seconds:.0f} s"
        said.seek(0)
        lines = said.read().strip().splitlines()
    failed = [line for line in lines if re.match(r"(FAILED|ERROR) |=+ (Error|ERROR)", line)]
    return {
        "command": command,
        "exit code": code,
        "last line": lines[-1] if lines else "",
        "failed": failed,
        "output": lines[-150:] if code != 0 else lines[-3:],
    }


def problem() -> str | None:
    """Why there is no usable GPU; None where there is one."""
    from kmeans_xp._cuda import cuda_problem, probe_cuda

    return cuda_problem(probe_cuda())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", metavar="NAMES", help="only these, separated by commas")
    parser.add_argument("--seconds", type=float, default=560.0, help="of all (default 560)")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="the result file, JSON")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="the roofline, a PNG")
    parser.add_argument("--replot", type=pathlib.Path, metavar="JSON", help="measure nothing")
    parser.add_argument("--list", action="store_true", help="show sections and libraries")
    parser.add_argument("--child", choices=SECTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.names = options.sections.split(",") if options.sections else list(SECTIONS)
    if unknown := set(options.names) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {list(SECTIONS)}")
    return options


def show_list() -> None:
    """Sections, and libraries with the reason where one is missing."""
    from _gpu_peers import GPU_PEERS

    for name, section in SECTIONS.items():
        print(f"{name}: {section.about} (at most {section.limit:g} s)")
    for peer in GPU_PEERS:
        print(f"{peer.name}: {peer.version or peer.record()['absent']}; {peer.arithmetic}")


def measure(options: argparse.Namespace) -> int:
    """All sections, and what is left of them."""
    from _gpu_peers import GPU_PEERS

    report = header("gpu.py") | {
        "peers": {peer.name: peer.record() for peer in GPU_PEERS},
        "sections": {},
    }
    budget, status = Budget(options.seconds), 0
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        for name in options.names:
            seconds = budget.grant(SECTIONS[name].limit)
            print(f"{name} ...", flush=True)
            found: dict[str, Any] = {"ended": NO_TIME, "seconds": 0}
            if seconds:
                found = run_section(name, seconds, pathlib.Path(folder))
            report["sections"][name] = found
            write(report, options.out)
            print(f"{name}: {found['ended']}", flush=True)
            status = max(status, status_of(found))
            if found["ended"] == INTERRUPTED:
                break
    conclude(report, options.plot)
    return status


def status_of(found: dict[str, Any]) -> int:
    """The exit code that a section asks for."""
    if found["ended"] == INTERRUPTED:
        return 130
    codes = [run.get("exit code", 0) for run in found.get("runs", [])]
    return int(found["ended"] != DONE or any(code != 0 for code in codes))


def conclude(report: dict[str, Any], plot: pathlib.Path | None) -> None:
    """The tables and the picture of whatever was measured."""
    if plot is not None:
        if importlib.util.find_spec("matplotlib") is None:
            print("no picture: matplotlib is not installed; --replot draws it elsewhere")
        elif draw(report, plot):
            print(f"drawn: {plot}")
        else:
            print("no picture: the sections limits and passes have no figures")
    print(text(report))


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.child:
        child(options.child, options.seconds, options.out)
        return 0
    if options.list:
        show_list()
        return 0
    if options.replot:
        conclude(json.loads(options.replot.read_text(encoding="utf-8")), options.plot)
        return 0
    if why := problem():
        print(f"No GPU to measure: {why}.", file=sys.stderr)
        return NO_GPU
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
