"""What every result file says of its run: the command, the date, the commit, the machine."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import kmeans_xp

_PROC = pathlib.Path("/proc")
_PROJECT = pathlib.Path(__file__).resolve().parents[1]


def header(script: str) -> dict[str, Any]:
    """Command, date, commit and environment of a run of ``benchmarks/<script>``."""
    return {
        "command": " ".join(["python", f"benchmarks/{script}", *map(_anywhere, sys.argv[1:])]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "environment": kmeans_xp.info(),
        "hardware": hardware(),
    }


def hardware() -> dict[str, Any]:
    """Processor, memory, and how busy the machine was before the run."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = re.search(r"^model name\s*: (.+)$", _text(_PROC / "cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _text(_PROC / "meminfo"), re.MULTILINE)
    return {
        "processor": model[1] if model else None,
        "processors usable": usable,
        "memory GiB": round(int(memory[1]) / 2**20, 1) if memory else None,
        "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def busy(seconds: float = 0.2) -> float | None:
    """Processors that are busy while this process sleeps; None where Linux's count is missing."""
    before = _idle_ticks()
    time.sleep(seconds)
    after = _idle_ticks()
    if before is None or after is None:
        return None
    (idle, every), (idle_after, every_after) = before, after
    share = 1 - (idle_after - idle) / max(every_after - every, 1)
    return round(share * (os.cpu_count() or 1), 2)


def _idle_ticks() -> tuple[int, int] | None:
    """Ticks of all processors without work, and all ticks."""
    fields = _text(_PROC / "stat").partition("\n")[0].split()[1:9]
    ticks = [int(field) for field in fields]
    return (ticks[3] + ticks[4], sum(ticks)) if len(ticks) == 8 else None


def write(report: dict[str, Any], path: pathlib.Path | None) -> None:
    """Write the report whole or not at all: an interrupted run keeps the file before."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".part")
    fresh.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def _anywhere(word: str) -> str:
    """A word of the command as it is the same on any machine: without the way to a folder there."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    path = pathlib.Path(value)
    if not path.is_absolute():
        return word
    inside = path.is_relative_to(_PROJECT)
    return option + equals + (path.relative_to(_PROJECT).as_posix() if inside else path.name)


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _commit() -> str | None:
    """The commit of the checkout that kmeans_xp comes from; None for an installed package."""
    folder = pathlib.Path(kmeans_xp.__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
