"""The command ``plot``: pictures of rows under a saved model."""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from .._files import DataError, Selection, Table, UsageError, write_json
from ._common import OK, check_folder, input_facts, make_folder, read
from ._console import Progress, listening, say
from ._predict import check_features, first_step, load


def plot(args: argparse.Namespace) -> int:
    check_folder(args.out)
    kinds = _kinds(args.kind)
    model = load(args)
    # rows come without names
    names = vars(first_step(model)).pop("feature_names_in_", None)
    wanted = None if names is None else [str(name) for name in names]
    table = read(args, Selection(args.columns, args.exclude, wanted=wanted))
    notes = check_features(model, table, wanted)
    table.refuse_non_finite()
    make_folder(args.out)
    began = time.perf_counter()
    files: list[str] = []
    with listening() as warned, Progress("drawing", quiet=args.quiet):
        for kind in kinds:
            problem = _draw(kind, model, table, args)
            if problem is None:
                files.append(f"{kind}.{args.format}")
            elif args.kind is not None:
                raise DataError(f"--kind {kind}: {problem}")
            else:
                notes.append(f"no picture of the {kind}: {problem}")
    _give(args, table, kinds, files, [*notes, *warned], time.perf_counter() - began)
    return OK


def check_picture(path: pathlib.Path | None) -> None:
    """Refuse a picture that cannot be written, before the work."""
    if path is None:
        return
    from ..plot._save import check_path

    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"--plot {path}: there is no folder {path.parent}; make it, or name another"
        )
    try:
        check_path(path)
    except (ValueError, ImportError) as error:
        raise UsageError(f"--plot: {error}") from error


def _kinds(asked: Sequence[str] | None) -> tuple[str, ...]:
    """The kinds of pictures that were asked for, or all."""
    from ..plot._save import KINDS

    unknown = [kind for kind in asked or () if kind not in KINDS]
    if unknown:
        raise UsageError(f"--kind {unknown[0]} is not known. Use some of {','.join(KINDS)}")
    return KINDS if asked is None else tuple(dict.fromkeys(asked))


def _draw(kind: str, model: Any, table: Table, args: argparse.Namespace) -> str | None:
    """Write one picture; return what is in its way, if something is."""
    from ..plot import save_picture
    from ..plot._save import display_of

    try:
        display = display_of(kind, model, table.values, table.names)
    except (ValueError, TypeError) as error:
        return str(error)
    try:
        save_picture(display, args.out / f"{kind}.{args.format}")
    except ImportError as error:
        raise UsageError(str(error)) from error
    return None


def _give(
    args: argparse.Namespace,
    table: Table,
    kinds: Sequence[str],
    files: list[str],
    warnings: list[str],
    seconds: float,
) -> None:
    for text in warnings:
        say("warning", text)
    if args.json:
        report = {
            "command": "plot",
            "input": input_facts(args, table),
            "model": str(args.model),
            "parameters": {"kinds": list(kinds), "format": args.format, "device": args.device},
            "seconds": {"draw": seconds},
            "warnings": warnings,
            "files": files,
        }
        write_json(sys.stdout, report)
    elif not args.quiet:
        print(f"written to {args.out}: {', '.join(files)}")
