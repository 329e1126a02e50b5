"""This library beside its peers: the same data, starting centers and iterations.

    python benchmarks/versus.py [--quick] [--out benchmarks/results/versus.json] [--plot ...]

Each cell (a data set and a number of clusters) is fitted in two modes: with the same number of
iterations and no tolerance, and until no row changes its cluster.  Every library runs in a
process of its own, and the processes take turns.  The result file is written anew after every
cell, so that an interrupted run (Ctrl-C too) keeps what it has.  Nothing is asserted.
The sets s1, a1 and birch1 are read from the folder that KMEANS_XP_DATA names.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import time
from typing import Any

from _data import GRID, Cell, scaling_cells
from _peers import BY_NAME, OURS, PEERS, SKLEARN
from _report import busy, header, write
from _summary import summarise, table_lines, text
from _turns import MODES, Options, Table, run_mode, table

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_QUIET = 0.25


_OPTIONS: dict[str, dict[str, Any]] = {
    "--cells": {"metavar": "TEXT", "default": "", "help": "only cells whose name holds TEXT"},
    "--peers": {"metavar": "NAMES", "help": "only these libraries, separated by commas"},
    "--quick": {"action": "store_true", "help": "a small subset, under two minutes"},
    "--rounds": {
        "type": int,
        "default": 5,
        "help": "turns of each library in a cell (default 5)",
    },
    "--seconds": {
        "type": float,
        "default": 3.0,
        "help": "no further turn in a cell for a library that would use more (default 3)",
    },
    "--limit-seconds": {
        "type": float,
        "default": 60.0,
        "help": "end a fit that takes longer, and record that (default 60)",
    },
    "--threads": {"type": int, "help": "threads of every library (default: its own choice)"},
    "--no-scaling": {"action": "store_true", "help": "leave out the curves over n and k"},
    "--out": {"type": pathlib.Path, "metavar": "FILE", "help": "the result file, JSON"},
    "--plot": {
        "type": pathlib.Path,
        "metavar": "FILE",
        "help": "draw FILE, a PNG, and the curves beside it as FILE-scaling.png",
    },
    "--replot": {
        "type": pathlib.Path,
        "metavar": "JSON",
        "help": "measure nothing: summarise and draw a stored result",
    },
    "--list": {"action": "store_true", "help": "show cells and libraries; measure nothing"},
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, settings in _OPTIONS.items():
        parser.add_argument(name, **settings)
    return parser.parse_args(arguments)


def chosen_cells(options: argparse.Namespace) -> list[Cell]:
    """Cells of the grid by ``--cells`` and ``--quick``."""
    wanted = options.cells.lower()
    return [
        cell for cell in GRID if wanted in cell.name.lower() and (cell.quick or not options.quick)
    ]


def show_list(cells: list[Cell]) -> None:
    """Cells and libraries, with the reason where one is missing."""
    for cell in cells:
        print(cell.name, f"(skipped: {cell.missing})" if cell.missing else "")
    for peer in PEERS:
        facts = peer.record()
        kind = "exact" if peer.exact else "approximate"
        print(f"{peer.name}: {facts['version'] or facts['absent']}; {kind}; {peer.arithmetic}")


def describe(cell: Cell, found: Table) -> dict[str, Any]:
    """What a result file says of a cell."""
    return {
        "n": cell.n,
        "d": cell.d,
        "k": cell.k,
        "dtype": cell.dtype,
        "start": cell.start,
        "data MiB": round(found.X.nbytes / 2**20, 2),
        "modes": {},
    }


def run_grid(report: dict[str, Any], cells: list[Cell], options: Any) -> None:
    """Measure the cells, and keep each mode of a cell as soon as it is there."""
    for cell in cells:
        if cell.missing:
            report["cells"][cell.name] = {"skipped": cell.missing}
            print(f"\n{cell.name}: skipped, {cell.missing}", flush=True)
            continue
        load, began = busy(), time.perf_counter()
        with table(cell, options.peers, options.limits) as found:
            record = describe(cell, found) | {"processors busy before": load}
            report["cells"][cell.name] = record
            for mode, title in MODES.items():
                request, results = found.request(mode), run_mode(found, mode, options.limits)
                record["modes"][mode] = {
                    "rows": request.rows,
                    "max_iter": request.max_iter,
                    "results": results,
                }
                show(f"{cell.name}, {title}", results, load)
                record["seconds of the cell"] = round(time.perf_counter() - began, 1)
                write(report, options.out)


def run_scaling(report: dict[str, Any], options: Any) -> None:
    """Measure the curves: this library and scikit-learn, to convergence."""
    peers = [peer for peer in options.peers if peer.name in (OURS, *SKLEARN)]
    limits = dataclasses.replace(options.limits, rounds=min(options.limits.rounds, 3))
    for axis, cells in scaling_cells(quick=options.quick).items():
        points = report["scaling"].setdefault(axis, [])
        for cell in cells:
            load = busy()
            with table(cell, peers, limits) as found:
                results = run_mode(found, "convergence", limits)
            points.append({"cell": cell.name, "n": cell.n, "k": cell.k, "results": results})
            show(f"{cell.name}, over {axis}", results, load)
            write(report, options.out)


def show(title: str, results: dict[str, Any], load: float | None) -> None:
    """Print the results of a cell in one mode, and a warning where they mislead."""
    print(f"\n{title}", *table_lines(results), sep="\n", flush=True)
    if load is not None and load > _QUIET:
        print(f"  Other work kept {load:.1f} processors busy: these times mislead.", flush=True)


def conclude(report: dict[str, Any], out: Any, plot: pathlib.Path | None) -> None:
    """Summary, file and pictures of whatever was measured."""
    report["summary"] = {mode: summarise(report["cells"], mode) for mode in MODES}
    for mode, title in MODES.items():
        print(f"\n{title}", text(report["summary"][mode]), sep="\n")
    write(report, out)
    if plot is not None:
        from _picture import draw

        for path in draw(report, plot):
            print(f"drawn: {path}")


def measure(options: argparse.Namespace, cells: list[Cell]) -> int:
    """The whole run; 130 when Ctrl-C ended it."""
    report = header("versus.py") | {
        "rules": {
            "time": "one fit from given centers to centers and a label for each row; median of the "
            "rounds, and in a round the fastest of the repeats of a short fit",
            "times ours": "their time over ours, median over the rounds that both played",
            "peak MiB": "rows as handed over, and what memory grew by in the first fit",
            "labels differing": "share of labels with a strictly nearer one among the returned "
            "centers, float64",
            "inertia": "float64, from the returned labels and centers and the original rows",
            "rounds": options.limits.rounds,
            "limit seconds": options.limits.limit,
        },
        "peers": {peer.name: peer.record() for peer in options.peers},
        "cells": {},
        "scaling": {},
    }
    began, status = time.perf_counter(), 0
    try:
        run_grid(report, cells, options)
        if not options.no_scaling and not options.cells:
            run_scaling(report, options)
    except KeyboardInterrupt:
        report["interrupted"] = True
        status = 130
        print("\ninterrupted; what was measured so far is kept", flush=True)
    report["seconds of the run"] = round(time.perf_counter() - began, 1)
    conclude(report, options.out, options.plot)
    return status


def main() -> int:
    options = parse()
    cells = chosen_cells(options)
    if options.list:
        show_list(cells)
        return 0
    if options.replot:
        conclude(json.loads(options.replot.read_text(encoding="utf-8")), None, options.plot)
        return 0
    names = options.peers.split(",") if options.peers else list(BY_NAME)
    options.peers = [BY_NAME[name] for name in names]
    options.limits = Options(options.rounds, options.seconds, options.limit_seconds)
    if options.threads:
        os.environ.update(dict.fromkeys(_THREADS, str(options.threads)))
    with tempfile.TemporaryDirectory(prefix="versus-numba-") as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache  # so that compiling shows in the first call
        os.environ.setdefault("KMEANS_XP_NUMBA", "1")  # our best setting
        return measure(options, cells)


if __name__ == "__main__":
    sys.exit(main())
