"""Tools of the command line's tests: iris as files, runs that succeed and runs that fail."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from kmeans_xp.cli import main

IRIS = load_iris()
NAMES = list(IRIS.feature_names)


def lines_of_iris(separator: str = ",", *, header: bool = True, text: bool = True) -> str:
    """Iris as text, with its species as a text column."""
    lines = [separator.join([*NAMES, *(["species"] if text else [])])] if header else []
    for row, target in zip(IRIS.data, IRIS.target, strict=True):
        cells = [*map(str, row), *([str(IRIS.target_names[target])] if text else [])]
        lines.append(separator.join(cells))
    return "\n".join(lines) + "\n"


def report_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """Run with --json; the whole of stdout is the report."""
    assert main([*words, "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def error_of(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """Run what must fail with this exit code; stdout is empty and stderr is one line."""
    try:
        got = main(list(words))
    except SystemExit as stop:  # argparse leaves this way
        got = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert (got, out) == (code, "")
    assert err.startswith("kmeans-xp: error: ")
    assert err.count("\n") == 1
    return err


def fill(folder: pathlib.Path) -> None:
    """Put iris there, as iris.npy and as iris.csv with a header and a text column."""
    (folder / "iris.csv").write_text(lines_of_iris())
    np.save(folder / "iris.npy", IRIS.data)
