"""The command ``fit``: cluster a table."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from .._files import (
    DataError,
    Selection,
    StreamedTable,
    Table,
    array_blocks,
    replacing,
    write_centers,
    write_json,
    write_labels,
)
from ._common import (
    INTERRUPTED,
    OK,
    by_name,
    check_folder,
    input_facts,
    input_name,
    make_folder,
    width,
)
from ._console import Progress, listening, say
from ._models import model_for, parameters, settle
from ._rows import rows_for
from ._scale import Scaled, scale


def fit(args: argparse.Namespace) -> int:
    check_folder(args.out)
    settle(args)
    began = time.perf_counter()
    table = _rows(args)
    make_folder(args.out)
    ready = time.perf_counter()
    model = model_for(args)
    scaled = scale(args.scale, table)
    what = f"fitting {table.n_rows:,} x {len(table.names)}, k={args.n_clusters}"
    with listening() as heard, Progress(what, quiet=args.quiet):
        interrupted = _run_fit(model, scaled, table)
    fitted = time.perf_counter()
    warned = [by_name(text, table) for text in heard]
    report = {
        "command": "fit",
        "input": input_facts(args, table),
        "algorithm": args.algorithm,
        "parameters": {**parameters(args), "seed": model.random_state},
        "scale": args.scale,
        "seed_given": args.seed is not None,
        **_outcome(model, scaled, table),
        "seconds": {"read": ready - began, "fit": fitted - ready},
        "warnings": warned,
    }
    _write_fit(args, report, model, scaled, table)
    for text in warned:
        say("warning", text)
    if interrupted:
        kept = (
            f"the results so far are in {args.out}" if args.out else "these are the results so far"
        )
        say("interrupted", f"after {model.n_iter_} iterations; {kept}")
    _print_fit(args, report)
    return INTERRUPTED if interrupted else OK


def _rows(args: argparse.Namespace) -> Table | StreamedTable:
    table = rows_for(args, Selection(args.columns, args.exclude, args.weights))
    if table.n_rows < args.n_clusters:
        raise DataError(
            f"{input_name(args)} has {table.n_rows} rows, fewer than --n-clusters "
            f"{args.n_clusters}. Ask for fewer clusters or give more rows"
        )
    return table


def _run_fit(model: Any, scaled: Scaled, table: Table | StreamedTable) -> bool:
    """Fit; return whether Ctrl-C ended it with a result."""
    try:
        model.fit(scaled.values, sample_weight=table.weights)
    except KeyboardInterrupt:
        if not hasattr(model, "labels_"):
            raise
        return True
    except ValueError as error:
        if isinstance(table, Table):
            table.refuse_non_finite()
        raise DataError(str(error)) from error
    return False


def _outcome(model: Any, scaled: Scaled, table: Table | StreamedTable) -> dict[str, Any]:
    from ._report import cluster_facts, library_versions

    blocks = table.blocks() if isinstance(table, StreamedTable) else array_blocks(scaled.values)
    return {
        "status": model.status_,
        "iterations": model.n_iter_,
        **_progress(model),
        "inertia": model.inertia_,
        **cluster_facts(blocks, table.weights, model.labels_, model.cluster_centers_),
        "centers": scaled.original(model.cluster_centers_).tolist(),
        "device": model.device_,
        "backend": model.backend_,
        "kernel": model.kernel_,
        "versions": library_versions(),
    }


def _progress(model: Any) -> dict[str, Any]:
    """How far the fit came and by what: its batches, or its runs and iterations."""
    if not hasattr(model, "history_"):
        return {"n_steps": model.n_steps_}
    return {
        "n_passes": model.n_passes_,
        "lower_bound": model.lower_bound_,
        "n_best": model.n_best_,
        "trials": [vars(trial) for trial in model.trials_],
        "history": [
            {"iteration": item.iteration, "changed": item.changed, "shift": item.shift}
            for item in model.history_
        ],
    }


def _write_fit(
    args: argparse.Namespace,
    report: dict[str, Any],
    model: Any,
    scaled: Scaled,
    table: Table | StreamedTable,
) -> None:
    """Write the files; the report goes last and so tells that all are there."""
    if args.out is None:
        return
    from .. import save_model

    report["files"] = ["labels.csv", "centers.csv", "model.npz", "report.json"]
    with replacing(args.out / "labels.csv") as file:
        file.write("label\n")
        write_labels(file, model.labels_)
    with replacing(args.out / "centers.csv") as file:
        write_centers(file, scaled.original(model.cluster_centers_), table.names)
    first = model if scaled.scaler is None else scaled.scaler
    if table.named:
        import numpy as np

        first.feature_names_in_ = np.asarray(table.names, dtype=object)
    if scaled.scaler is not None:
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(scaled.scaler, model)
    save_model(model, args.out / "model.npz")
    with replacing(args.out / "report.json") as file:
        write_json(file, report)


def _print_fit(args: argparse.Namespace, report: dict[str, Any]) -> None:
    from ._report import fit_text

    if args.json:
        write_json(sys.stdout, report)
    elif args.out is None or not args.quiet:
        print(fit_text(report, width()))
        if args.out is not None:
            print(f"\nwritten to {args.out}: {', '.join(report['files'])}")
