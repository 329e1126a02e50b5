"""Rows for a fit or a predict: read whole, or in passes with --memory-limit."""

from __future__ import annotations

import argparse

from .._files import Selection, StreamedTable, Table, UsageError, open_streamed, outgrown
from ._common import read
from ._console import Progress, say

_ALL_COLUMNS = (
    "streamed files are taken with all their columns, as features. Write a file of the features "
    "alone, or leave --memory-limit out"
)
_NEEDS_WHOLE = {
    "example": "an example is in memory as it is. Leave --memory-limit out",
    "columns": _ALL_COLUMNS,
    "exclude": _ALL_COLUMNS,
    "weights": _ALL_COLUMNS,
    "scale": "the scaler reads the whole table. Write a file of scaled rows, or leave "
    "--memory-limit out",
    "array": "an .npz file is read whole. Write the array as .npy, or leave --memory-limit out",
    "header": "of streamed text the first line names the columns unless it is numbers. Write it "
    "so, or leave --memory-limit out",
}
_UNSAID = (None, "none", "auto")


def rows_for(args: argparse.Namespace, selection: Selection) -> Table | StreamedTable:
    """The rows; with --memory-limit they stay in their files."""
    if args.memory_limit is None:
        if args.more:
            raise UsageError(
                f"{len(args.more) + 1} files are given, and several are read as one table in "
                "passes only. Add --memory-limit SIZE, such as 1GB, or join them"
            )
        _tell_of_streams(args)
        return read(args, selection)
    _refuse_what_needs_all(args)
    if args.input is None:
        raise UsageError("give INPUT, one or several files or a folder")
    with Progress(f"opening {args.input}", quiet=args.quiet):
        return open_streamed([args.input, *args.more], args.memory_limit)


def _refuse_what_needs_all(args: argparse.Namespace) -> None:
    for name, reason in _given(args):
        value = getattr(args, name)
        shown = ",".join(value) if isinstance(value, list) else value
        raise UsageError(
            f"--{name} {shown} cannot be combined with --memory-limit {args.memory_limit}: {reason}"
        )


def _given(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Options in use that need the whole table, each with why."""
    return [
        (name, reason)
        for name, reason in _NEEDS_WHOLE.items()
        if getattr(args, name, None) not in _UNSAID
    ]


def _tell_of_streams(args: argparse.Namespace) -> None:
    """Say that a large file can be read in passes, where the other options allow it."""
    found = None if args.input is None or _given(args) else outgrown(args.input)
    if found is None:
        return
    size, room = found
    say(
        "note",
        f"{args.input} has {size:,} bytes and is read whole, with {room:,} bytes of memory "
        f"available; --memory-limit {max(1, room // 4)} would read it in passes instead",
    )
