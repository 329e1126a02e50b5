"""The command ``elbow``: fit a range of k, and tell what criteria make of it."""

from __future__ import annotations

import argparse
import csv
import secrets
import sys
import time
from typing import Any

from .._files import DataError, Selection, Table, UsageError, replacing, write_json
from ._common import (
    INTERRUPTED,
    OK,
    by_name,
    check_folder,
    input_facts,
    input_name,
    make_folder,
    read,
)
from ._console import Progress, listening, say
from ._plot import check_picture
from ._scale import Scaled, scale
from ._words import LARGEST_SEED


def elbow(args: argparse.Namespace) -> int:
    check_folder(args.out)
    check_picture(args.plot)
    if args.k_min > args.k_max:
        raise UsageError(f"--k-min {args.k_min} is above --k-max {args.k_max}")
    began = time.perf_counter()
    table = read(args, Selection(args.columns, args.exclude, args.weights))
    if len(table.values) < args.k_max:
        raise DataError(
            f"{input_name(args)} has {len(table.values)} rows, fewer than --k-max {args.k_max}. "
            "Ask for fewer clusters or give more rows"
        )
    make_folder(args.out)
    ready = time.perf_counter()
    seed = secrets.randbelow(LARGEST_SEED + 1) if args.seed is None else args.seed
    scaled = scale(args.scale, table)
    what = f"fitting {len(table.values):,} x {len(table.names)}, k={args.k_min} to {args.k_max}"
    with listening() as heard, Progress(what, quiet=args.quiet) as line:
        result = _choose(args, table, scaled, seed, line)
    chosen = time.perf_counter()
    warned = [by_name(text, table) for text in heard]
    report = _report(args, table, result, seed)
    report["total_seconds"] = {"read": ready - began, "choose": chosen - ready}
    report["warnings"] = warned
    _draw(args, result)
    _write(args, report, result)
    for text in warned:
        say("warning", text)
    if result.interrupted:
        where = f"they are in {args.out}" if args.out else "these are they"
        say("interrupted", f"{len(result.k)} k are done; {where}")
    _print(args, report, result)
    return INTERRUPTED if result.interrupted else OK


def _choose(
    args: argparse.Namespace, table: Table, scaled: Scaled, seed: int, line: Progress
) -> Any:
    """The result; what is done of it when Ctrl-C came."""
    from .. import ChooseKInterrupted, choose_k

    def tell(step: Any) -> None:
        share = (step.k - args.k_min + 1) / (args.k_max - args.k_min + 1)
        explained = f"{step.variance_explained:.1f} % explained"
        line.tell(f"k={step.k} of {args.k_max} done, {explained}", share)

    names = args.criteria[0] if len(args.criteria) == 1 else args.criteria
    try:
        return choose_k(
            scaled.values,
            range(args.k_min, args.k_max + 1),
            criteria=names,
            sample_weight=table.weights,
            random_state=seed,
            device=args.device,
            callback=tell,
        )
    except ChooseKInterrupted as stop:
        return stop.result
    except ValueError as error:
        table.refuse_non_finite()
        raise DataError(str(error)) from error


def _report(args: argparse.Namespace, table: Table, result: Any, seed: int) -> dict[str, Any]:
    from ._report import library_versions

    return {
        "command": "elbow",
        "input": input_facts(args, table),
        "parameters": {
            "k_min": args.k_min,
            "k_max": args.k_max,
            "criteria": args.criteria,
            "device": args.device,
            "seed": seed,
        },
        "scale": args.scale,
        "seed_given": args.seed is not None,
        **result.to_dict(),
        "versions": library_versions(),
    }


def _draw(args: argparse.Namespace, result: Any) -> None:
    if args.plot is not None:
        from ..plot._save import save_elbow

        save_elbow(result, args.plot)


def _write(args: argparse.Namespace, report: dict[str, Any], result: Any) -> None:
    """Write the files; the report goes last and so tells that all are there."""
    if args.out is None:
        return
    report["files"] = ["elbow.csv", "report.json"]
    with replacing(args.out / "elbow.csv") as file:
        columns = {
            "k": result.k,
            "inertia": result.inertia,
            "variance_explained": result.variance_explained,
            "n_iter": result.n_iter,
            "seconds": result.seconds,
            # which is the variance explained
            **{name: values for name, values in result.criteria.items() if name != "elbow"},
        }
        if result.gap_error is not None:
            columns["gap_error"] = result.gap_error
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    with replacing(args.out / "report.json") as file:
        write_json(file, report)


def _print(args: argparse.Namespace, report: dict[str, Any], result: Any) -> None:
    from ._report import elbow_text

    if args.json:
        write_json(sys.stdout, report)
    elif args.out is None or not args.quiet:
        print(elbow_text(report, str(result)))
        if args.out is not None:
            print(f"\nwritten to {args.out}: {', '.join(report['files'])}")
