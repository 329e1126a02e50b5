"""The command ``check``: what is wrong with the columns, and the options that a fit would want."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from .._files import DataError, Selection, Table, quoted, write_json
from ._common import OK, input_facts, read
from ._console import Progress


def check(args: argparse.Namespace) -> int:
    from .. import check_features

    table = read(args, Selection(args.columns, args.exclude, gaps=True))
    words = _words(args, table)
    what = f"checking {len(table.values):,} x {len(table.names)}"
    with Progress(what, quiet=args.quiet):
        try:
            found = check_features(table.values, names=words, device=args.device)
        except ValueError as error:
            raise DataError(str(error)) from error
    options = _options(args, found)
    if args.json:
        report = {"command": "check", "input": input_facts(args, table), **found.to_dict()}
        write_json(sys.stdout, {**report, "options": options})
        return OK
    print(found)
    print(f"\noptions for a fit: {' '.join(options) or 'none'}")
    return OK


def _words(args: argparse.Namespace, table: Table) -> Sequence[str]:
    """What --exclude calls the columns: numbers where names do not tell them apart."""
    if len(set(table.names)) == len(table.names):
        return table.names
    if args.columns is not None or args.exclude is not None:
        raise DataError(
            "some of these columns share a name, so the report could not tell them apart. Check "
            "all columns, without --columns and --exclude, or rename them"
        )
    return [str(index) for index in range(len(table.names))]


def _options(args: argparse.Namespace, found: Any) -> list[str]:
    """Words of a command line, ready to use: what was left out here stays left out."""
    options = []
    if args.columns is not None:
        options += ["--columns", quoted(*args.columns)]
    left_out = [*(args.exclude or ()), *found.drop]
    if found.keep and left_out:
        options += ["--exclude", quoted(*left_out)]
    if any(item.kind in ("outweighs", "outweighed") for _, item in found.findings):
        options += ["--scale", "standard"]
    return options
