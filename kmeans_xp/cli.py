"""The command ``kmeans-xp``, built on the public names of the library."""

from __future__ import annotations

import argparse
import io
import json
import os
import pathlib
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from ._cli._arguments import BAD_USAGE, LARGEST_SEED, make_parser
from ._cli._console import Progress, hush_stdout, listening, say
from ._files import (
    DataError,
    Selection,
    Table,
    UsageError,
    read_example,
    read_table,
    replacing,
    write_centers,
    write_json,
    write_labels,
)

OK, FAILED, BAD_DATA, NO_DEVICE, INTERRUPTED = 0, 1, 3, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    from . import DeviceError

    if isinstance(sys.stdout, io.TextIOWrapper):
        # column names are the user's own, and the terminal may not know their letters
        sys.stdout.reconfigure(errors="backslashreplace")
    args = make_parser().parse_args(argv)
    try:
        code = _COMMANDS[args.command](args)
        sys.stdout.flush()
    except UsageError as error:
        return _fail(error, BAD_USAGE)
    except DataError as error:
        return _fail(error, BAD_DATA)
    except DeviceError as error:
        return _fail(error, NO_DEVICE)
    except BrokenPipeError:
        hush_stdout()
        return OK
    except OSError as error:
        return _fail(f"cannot write {error.filename or 'the output'}: {error.strerror}", FAILED)
    except MemoryError as error:
        return _fail(f"not enough memory: {error}. Use fewer columns or float32 data", FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted before the results were complete", INTERRUPTED)
    return code


def _fail(error: object, code: int) -> int:
    say("error", str(error))
    return code


def _fit(args: argparse.Namespace) -> int:
    from . import KMeans

    _check_folder(args.out)
    began = time.perf_counter()
    table = _read(args, Selection(args.columns, args.exclude, args.weights))
    if len(table.values) < args.n_clusters:
        raise DataError(
            f"{_input_name(args)} has {len(table.values)} rows, fewer than --n-clusters "
            f"{args.n_clusters}. Ask for fewer clusters or give more rows"
        )
    _make_folder(args.out)
    read = time.perf_counter()
    seed = secrets.randbelow(LARGEST_SEED + 1) if args.seed is None else args.seed
    parameters = {
        "n_clusters": args.n_clusters,
        "init": args.init,
        "n_init": args.n_init,
        "max_iter": args.max_iter,
        "tol": args.tol,
        "empty_cluster": args.empty_cluster,
        "device": args.device,
    }
    model = KMeans(**parameters, random_state=seed)
    what = f"fitting {len(table.values):,} x {len(table.names)}, k={args.n_clusters}"
    with listening() as warned, Progress(what, quiet=args.quiet):
        interrupted = _run_fit(model, table)
    fitted = time.perf_counter()
    report = {
        "command": "fit",
        "input": _input_facts(args, table),
        "parameters": {**parameters, "seed": seed},
        "seed_given": args.seed is not None,
        **_outcome(model, table),
        "seconds": {"read": read - began, "fit": fitted - read},
        "warnings": warned,
    }
    _write_fit(args, report, model, table)
    for text in warned:
        say("warning", text)
    if interrupted:
        kept = (
            f"the results so far are in {args.out}" if args.out else "these are the results so far"
        )
        say("interrupted", f"after {model.n_iter_} iterations; {kept}")
    _print_fit(args, report)
    return INTERRUPTED if interrupted else OK


def _run_fit(model: Any, table: Table) -> bool:
    """Fit; return whether Ctrl-C ended it with a result."""
    try:
        model.fit(table.values, sample_weight=table.weights)
    except KeyboardInterrupt:
        if not hasattr(model, "labels_"):
            raise
        return True
    except ValueError as error:
        table.refuse_non_finite()
        raise DataError(str(error)) from error
    return False


def _outcome(model: Any, table: Table) -> dict[str, Any]:
    from ._cli._report import cluster_facts, library_versions

    return {
        "status": model.status_,
        "iterations": model.n_iter_,
        "inertia": model.inertia_,
        **cluster_facts(table.values, table.weights, model.labels_, model.cluster_centers_),
        "centers": model.cluster_centers_.tolist(),
        "history": [
            {"iteration": item.iteration, "changed": item.changed, "shift": item.shift}
            for item in model.history_
        ],
        "device": model.device_,
        "backend": model.backend_,
        "kernel": model.kernel_,
        "versions": library_versions(),
    }


def _write_fit(args: argparse.Namespace, report: dict[str, Any], model: Any, table: Table) -> None:
    """Write the files; the report goes last and so tells that all are there."""
    if args.out is None:
        return
    from . import save_model

    report["files"] = ["labels.csv", "centers.csv", "model.npz", "report.json"]
    with replacing(args.out / "labels.csv") as file:
        file.write("label\n")
        write_labels(file, model.labels_)
    with replacing(args.out / "centers.csv") as file:
        write_centers(file, model.cluster_centers_, table.names)
    if table.named:
        import numpy as np

        model.feature_names_in_ = np.asarray(table.names, dtype=object)
    save_model(model, args.out / "model.npz")
    with replacing(args.out / "report.json") as file:
        write_json(file, report)


def _print_fit(args: argparse.Namespace, report: dict[str, Any]) -> None:
    from ._cli._report import fit_text

    if args.json:
        write_json(sys.stdout, report)
    elif args.out is None or not args.quiet:
        print(fit_text(report, _width()))
        if args.out is not None:
            print(f"\nwritten to {args.out}: {', '.join(report['files'])}")


def _predict(args: argparse.Namespace) -> int:
    _check_folder(args.out)
    if args.out is not None and args.model.resolve().parent == args.out.resolve():
        raise UsageError(
            f"--out {args.out} is the model's own folder, and labels.csv there belongs to its "
            "fit. Name another folder"
        )
    model = _load(args)
    names = vars(model).pop("feature_names_in_", None)
    wanted = None if names is None else [str(name) for name in names]
    table = _read(args, Selection(args.columns, args.exclude, wanted=wanted))
    notes = _check_features(model, table, wanted)
    _make_folder(args.out)
    began = time.perf_counter()
    with listening() as warned, Progress(f"labelling {len(table.values):,} rows", quiet=args.quiet):
        try:
            labels = model.predict(table.values)
        except ValueError as error:
            table.refuse_non_finite()
            raise DataError(str(error)) from error
    report = {
        "command": "predict",
        "input": _input_facts(args, table),
        "model": str(args.model),
        "parameters": {"device": args.device},
        **_sizes(labels, model),
        "seconds": {"predict": time.perf_counter() - began},
        "warnings": notes + warned,
    }
    for text in report["warnings"]:
        say("warning", text)
    _give_labels(args, report, labels)
    return OK


def _load(args: argparse.Namespace) -> Any:
    from . import load_model

    try:
        return load_model(args.model, device=args.device)
    except OSError as error:
        raise DataError(f"--model {args.model} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"--model: {error}") from error


def _check_features(model: Any, table: Table, wanted: Sequence[str] | None) -> list[str]:
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


def _sizes(labels: Any, model: Any) -> dict[str, Any]:
    import numpy as np

    k = len(model.cluster_centers_)
    return {"cluster_sizes": np.bincount(labels, minlength=k).tolist()}


def _give_labels(args: argparse.Namespace, report: dict[str, Any], labels: Any) -> None:
    from ._cli._report import predict_text

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


def _info(args: argparse.Namespace) -> int:
    from . import info
    from ._cli._report import info_text

    facts = info()
    print(json.dumps(facts, indent=2) if args.json else info_text(facts))
    return OK


def _read(args: argparse.Namespace, selection: Selection) -> Table:
    if (args.input is None) == (args.example is None):
        raise UsageError("give either INPUT (a file, or - for text on stdin) or --example NAME")
    if args.example is not None:
        return read_example(args.example, selection)
    with Progress(f"reading {args.input}", quiet=args.quiet):
        return read_table(args.input, selection, array=args.array, header=args.header)


def _input_name(args: argparse.Namespace) -> str:
    if args.example is not None:
        return f"{args.example} (comes with scikit-learn)"
    return "stdin" if args.input == "-" else str(args.input)


def _input_facts(args: argparse.Namespace, table: Table) -> dict[str, Any]:
    rows, features = table.values.shape
    return {
        "name": _input_name(args),
        "rows": rows,
        "features": features,
        "columns": list(table.names),
        "weights": getattr(args, "weights", None),
        "dtype": str(table.values.dtype),
        **table.facts,
    }


def _check_folder(folder: pathlib.Path | None) -> None:
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; name a folder")


def _make_folder(folder: pathlib.Path | None) -> None:
    """Made before the work, so that no result is lost to a folder that cannot be."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--out {folder} cannot be written to; name another folder")


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100


_COMMANDS = {"fit": _fit, "predict": _predict, "info": _info}
