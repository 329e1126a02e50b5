"""The command ``predict``: label rows by a saved model."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from .._files import (
    DataError,
    Selection,
    StreamedTable,
    Table,
    UsageError,
    listing,
    replacing,
    write_json,
    write_labels,
)
from ._common import OK, check_folder, input_facts, make_folder
from ._console import Progress, listening, say
from ._rows import rows_for


def predict(args: argparse.Namespace) -> int:
    check_folder(args.out)
    if args.out is not None and args.model.resolve().parent == args.out.resolve():
        raise UsageError(
            f"--out {args.out} is the model's own folder, and labels.csv there belongs to its "
            "fit. Name another folder"
        )
    model = load(args)
    # rows come without names
    names = vars(first_step(model)).pop("feature_names_in_", None)
    wanted = None if names is None else [str(name) for name in names]
    table = rows_for(args, Selection(args.columns, args.exclude, wanted=wanted))
    if isinstance(table, StreamedTable):
        notes: list[str] = []
        _prepare_stream(args, model, table, wanted)
    else:
        notes = check_features(model, table, wanted)
    make_folder(args.out)
    began = time.perf_counter()
    with listening() as warned, Progress(f"labelling {table.n_rows:,} rows", quiet=args.quiet):
        try:
            labels = model.predict(
                table.paths if isinstance(table, StreamedTable) else table.values
            )
        except ValueError as error:
            if isinstance(table, Table):
                table.refuse_non_finite()
            raise DataError(str(error)) from error
    report = {
        "command": "predict",
        "input": input_facts(args, table),
        "model": str(args.model),
        "parameters": {"device": args.device, "memory_limit": args.memory_limit},
        **_sizes(labels, model),
        "seconds": {"predict": time.perf_counter() - began},
        "warnings": notes + warned,
    }
    for text in report["warnings"]:
        say("warning", text)
    _give_labels(args, report, labels)
    return OK


def first_step(model: Any) -> Any:
    """The scaler of a fit with a scale, else the model."""
    return model[0] if hasattr(model, "steps") else model


def _last_step(model: Any) -> Any:
    return model[-1] if hasattr(model, "steps") else model


def load(args: argparse.Namespace) -> Any:
    from .. import load_model

    try:
        return load_model(args.model, device=args.device)
    except OSError as error:
        raise DataError(f"--model {args.model} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"--model: {error}") from error


def check_features(model: Any, table: Table, wanted: Sequence[str] | None) -> list[str]:
    """Refuse another number of features; return a warning for other names."""
    if len(table.names) != model.n_features_in_:
        raise DataError(
            f"the data has {len(table.names)} columns, and the model was fitted on "
            f"{model.n_features_in_} features. Choose them with --columns or --exclude"
        )
    if wanted is None or not table.named or list(table.names) == list(wanted):
        return []
    return [
        f"columns {', '.join(table.names)} stand for the model's {', '.join(wanted)}, as "
        "--columns or --exclude say"
    ]


def _prepare_stream(
    args: argparse.Namespace, model: Any, table: StreamedTable, wanted: Sequence[str] | None
) -> None:
    """Give the model the limit, and refuse columns other than those that it was fitted on."""
    if "memory_limit" not in model.get_params():
        raise UsageError(
            f"--memory-limit {args.memory_limit}: the model of {args.model} is a "
            f"{type(model).__name__}, which takes whole tables. Leave --memory-limit out"
        )
    are_others = wanted is not None and table.named and list(table.names) != list(wanted)
    if len(table.names) != model.n_features_in_ or are_others:
        fitted = f"{model.n_features_in_} features" if wanted is None else listing(wanted)
        raise DataError(
            f"the data has the columns {listing(table.names)}, and the model was fitted on "
            f"{fitted}. Streamed files are taken with all their columns in their order: leave "
            "--memory-limit out to choose some, or write a file of the model's"
        )
    model.set_params(memory_limit=args.memory_limit)
    if table.named:
        import numpy as np

        # scikit-learn's check would warn where only one of both has names
        model.feature_names_in_ = np.asarray(table.names, dtype=object)


def _sizes(labels: Any, model: Any) -> dict[str, Any]:
    import numpy as np

    k = len(_last_step(model).cluster_centers_)
    return {"cluster_sizes": np.bincount(labels, minlength=k).tolist()}


def _give_labels(args: argparse.Namespace, report: dict[str, Any], labels: Any) -> None:
    from ._report import predict_text

    if args.out is None:
        if args.json:
            write_json(sys.stdout, {**report, "labels": labels.tolist()})
        else:
            write_labels(sys.stdout, labels)
        return
    report["files"] = ["labels.csv", "report.json"]
    with replacing(args.out / "labels.csv") as file:
        file.write("label\n")
        write_labels(file, labels)
    with replacing(args.out / "report.json") as file:
        write_json(file, report)
    if args.json:
        write_json(sys.stdout, report)
    elif not args.quiet:
        print(predict_text(report))
        print(f"\nwritten to {args.out}: labels.csv, report.json")
