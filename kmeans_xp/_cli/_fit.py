"""The command ``fit``: cluster a table."""

from __future__ import annotations

import argparse
import pathlib
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
    write_rows,
)
from ._algorithms import ALGORITHMS, Algorithm
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
    k = "" if args.n_clusters is None else f", k={args.n_clusters}"
    what = f"fitting {table.n_rows:,} x {len(table.names)}{k}"
    with listening() as heard, Progress(what, quiet=args.quiet):
        interrupted = _run_fit(model, scaled, table)
    fitted = time.perf_counter()
    warned = [by_name(text, table) for text in heard]
    report = {
        "command": "fit",
        "input": input_facts(args, table),
        "algorithm": args.algorithm,
        "parameters": {**parameters(args), **_seed(model)},
        "scale": args.scale,
        "seed_given": args.seed is not None,
        **_outcome(ALGORITHMS[args.algorithm], model, scaled, table),
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
    if table.n_rows < (args.n_clusters or 1):
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


def _seed(model: Any) -> dict[str, Any]:
    """The seed, where the algorithm draws."""
    return {"seed": model.random_state} if hasattr(model, "random_state") else {}


def _outcome(
    entry: Algorithm, model: Any, scaled: Scaled, table: Table | StreamedTable
) -> dict[str, Any]:
    from ._report import cluster_facts, library_versions, own_distances, plain, search_text

    blocks = table.blocks() if isinstance(table, StreamedTable) else array_blocks(scaled.values)
    centers = getattr(model, "cluster_centers_", None)
    measure = own_distances(model) if entry.has_metric else None
    return {
        **_attributes(model, {"status": "status_", "iterations": "n_iter_"}),
        **_progress(model),
        **_attributes(model, {"inertia": "inertia_"}),
        **({"search": search_text(model)} if hasattr(model, "search") else {}),
        **{name.rstrip("_"): plain(getattr(model, name)) for name in entry.tells},
        **cluster_facts(blocks, table.weights, model.labels_, centers, measure),
        **({} if centers is None else {"centers": scaled.original(centers).tolist()}),
        **_attributes(model, {"device": "device_", "backend": "backend_", "kernel": "kernel_"}),
        "versions": library_versions(),
    }


def _attributes(model: Any, names: dict[str, str]) -> dict[str, Any]:
    """Those that the model has."""
    return {key: getattr(model, name) for key, name in names.items() if hasattr(model, name)}


def _progress(model: Any) -> dict[str, Any]:
    """How far the fit came and by what: its batches, or its runs and iterations."""
    progress = _attributes(
        model,
        {
            "n_steps": "n_steps_",
            "n_passes": "n_passes_",
            "reading": "reading_",
            "lower_bound": "lower_bound_",
            "n_best": "n_best_",
        },
    )
    if hasattr(model, "trials_"):
        progress["trials"] = [vars(trial) for trial in model.trials_]
    if hasattr(model, "history_"):
        progress["history"] = [
            {"iteration": item.iteration, "changed": item.changed, "shift": item.shift}
            for item in model.history_
        ]
    return progress


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
    report["files"] = ["labels.csv"]
    with replacing(args.out / "labels.csv") as file:
        file.write("label\n")
        write_labels(file, model.labels_)
    if "centers" in report:
        report["files"].append("centers.csv")
        with replacing(args.out / "centers.csv") as file:
            write_centers(file, scaled.original(model.cluster_centers_), table.names)
    if args.memberships:
        report["files"].append("memberships.csv")
        _write_memberships(args.out / "memberships.csv", model, scaled)
    if ALGORITHMS[args.algorithm].is_saved:
        report["files"].append("model.npz")
        _save(args.out / "model.npz", model, scaled, table)
    report["files"].append("report.json")
    with replacing(args.out / "report.json") as file:
        write_json(file, report)


def _write_memberships(path: pathlib.Path, model: Any, scaled: Scaled) -> None:
    """One row a line, one cluster a column; some rows at a time."""
    with replacing(path) as file:
        write_rows(file, [f"cluster {index}" for index in range(len(model.cluster_centers_))])
        for _, rows in array_blocks(scaled.values):
            write_rows(file, *model.predict_proba(rows))


def _save(path: pathlib.Path, model: Any, scaled: Scaled, table: Table | StreamedTable) -> None:
    """Write the model, behind its scaler, with the names of the columns."""
    from .. import save_model

    first = model if scaled.scaler is None else scaled.scaler
    if table.named:
        import numpy as np

        first.feature_names_in_ = np.asarray(table.names, dtype=object)
    if scaled.scaler is not None:
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(scaled.scaler, model)
    save_model(model, path)


def _print_fit(args: argparse.Namespace, report: dict[str, Any]) -> None:
    from ._report import fit_text

    if args.json:
        write_json(sys.stdout, report)
    elif args.out is None or not args.quiet:
        entry = ALGORITHMS[args.algorithm]
        print(fit_text(report, entry, width()))
        if args.out is not None:
            print(f"\nwritten to {args.out}: {', '.join(report['files'])}")
            if not entry.is_saved:
                print(f"no model.npz: there is none of a {entry.estimator}, nor a predict by it")
