"""What several commands share: rows in, folders out, exit codes."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import sys
from typing import Any

from .._files import Selection, StreamedTable, Table, UsageError, read_example, read_table
from ._console import Progress

OK, FAILED, BAD_USAGE, BAD_DATA, NO_DEVICE, INTERRUPTED = 0, 1, 2, 3, 4, 130


def read(args: argparse.Namespace, selection: Selection) -> Table:
    if (args.input is None) == (args.example is None):
        raise UsageError("give either INPUT (a file, or - for text on stdin) or --example NAME")
    if args.example is not None:
        return read_example(args.example, selection)
    with Progress(f"reading {args.input}", quiet=args.quiet):
        return read_table(args.input, selection, array=args.array, header=args.header)


def input_name(args: argparse.Namespace) -> str:
    if args.example is not None:
        return f"{args.example} (comes with scikit-learn)"
    more = getattr(args, "more", [])
    return "stdin" if args.input == "-" else ", ".join([str(args.input), *more])


def input_facts(args: argparse.Namespace, table: Table | StreamedTable) -> dict[str, Any]:
    return {
        "name": input_name(args),
        "rows": table.n_rows,
        "features": len(table.names),
        "columns": list(table.names),
        "weights": getattr(args, "weights", None),
        "dtype": table.dtype,
        **table.facts,
    }


def by_name(warning: str, table: Table | StreamedTable) -> str:
    """A warning with a column called as in the table: the library saw rows without names."""
    return re.sub(
        r"^column (\d+)(?= of X )", lambda found: f"column {table.names[int(found[1])]!r}", warning
    )


def check_folder(folder: pathlib.Path | None) -> None:
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; name a folder")


def make_folder(folder: pathlib.Path | None) -> None:
    """Made before the work, so that no result is lost to a folder that cannot be."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--out {folder} cannot be written to; name another folder")


def width() -> int:
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
