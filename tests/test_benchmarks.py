"""The benchmarks' script starts, and the grid is what its names say.  Nothing is timed."""

from __future__ import annotations

import importlib
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("_data")


def test_the_list_names_every_cell_and_library(data: Any) -> None:
    command = [sys.executable, str(FOLDER / "versus.py"), "--list"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(cell.name in shown for cell in data.GRID)
    for name in ("kmeans_xp", "sklearn lloyd", "sklearn elkan", "sklearnex", "faiss"):
        assert f"\n{name}: " in shown


def test_names_of_cells_are_distinct(data: Any) -> None:
    assert len({cell.name for cell in data.GRID}) == len(data.GRID)


def test_small_cells_are_what_they_say(data: Any) -> None:
    for cell in data.GRID:
        if cell.missing or cell.n * cell.d > 500_000:
            continue
        X = cell.build()
        assert X.shape == (cell.n, cell.d)
        assert X.dtype == cell.dtype
        start = data.start_rows(X, cell.k, cell.start)
        assert len(np.unique(X[start], axis=0)) == cell.k


def test_generators_and_starts_are_reproducible(data: Any) -> None:
    for make in (data.blobs, data.uniform, data.spectrum, data.colours, data.student):
        X = make(500, 5, 4, "float32")
        np.testing.assert_array_equal(X, make(500, 5, 4, "float32"))
        for how in ("rows", "k-means++"):
            np.testing.assert_array_equal(
                data.start_rows(X, 4, how), data.start_rows(X, 4, how), err_msg=make.__name__
            )


@pytest.mark.usefixtures("data")
def test_the_yardstick_counts_labels_that_are_not_nearest() -> None:
    quality = importlib.import_module("_quality")
    X = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [2.5, 0.0]])
    centers = np.array([[1.0, 0.0], [4.0, 0.0]])
    labels = np.array([0, 1, 1, 1])  # the second is wrong, the last is as near to both
    assert quality.differing(X, labels, centers) == (0.25, 4)
    assert quality.inertia(X, labels, centers) == 1 + 9 + 0 + 2.25


@pytest.mark.usefixtures("data")
def test_a_command_in_a_report_names_no_folder_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    report = importlib.import_module("_report")
    stored = FOLDER / "results" / "some.json"
    words = ["--part", "time", "--out", str(tmp_path / "a=b.json"), f"--plot={stored}", str(stored)]
    monkeypatch.setattr(sys, "argv", ["/anywhere/choosing.py", *words])
    assert report.header("choosing.py")["command"] == (
        "python benchmarks/choosing.py --part time --out a=b.json "
        "--plot=benchmarks/results/some.json benchmarks/results/some.json"
    )
    for path in FOLDER.glob("results/*.json"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        for run in stored.get("runs", [stored]):
            assert not re.search(r"(^|[\s=])[/~]", run.get("command", "")), path.name


@pytest.mark.usefixtures("data")
def test_relatives_end_as_low_as_their_peers_from_the_same_start() -> None:
    relatives = importlib.import_module("_relatives")
    x = np.random.default_rng(0).normal(size=(60, 2)) + np.repeat([[0, 0], [9, 0], [0, 9]], 20, 0)
    dense = relatives.Case(x, 3, 2.0, 4)
    sparse = relatives.Case(csr_array(np.kron(np.eye(3), 9.0 + x[:20, :1])), 3)
    assert (len(relatives.CONTESTS), len(relatives.SPARSE)) == (8, 2)
    for name, contest in (relatives.CONTESTS | relatives.SPARSE).items():
        found = contest(sparse if name in relatives.SPARSE else dense)
        losses = {who: found.loss(fit(0)) for who, fit in found.fits.items()}
        assert losses
        losses.pop("pyclustering, compiled", None)  # which takes other numbers for medians
        # means of other batches are others
        slack = 0.5 if name.startswith("MiniBatch") else 1e-9
        assert max(losses.values()) <= min(losses.values()) * (1 + slack), (name, losses)
        assert all(found.missing.values())


@pytest.mark.usefixtures("data")
def test_a_run_replaces_what_it_repeats_and_keeps_the_rest(tmp_path: pathlib.Path) -> None:
    joined, path = importlib.import_module("relatives").joined, tmp_path / "stored.json"
    for run in ({"date": 1, "fits": {"a": 1}}, {"date": 2, "fits": {"b": 2, "c": 3}}):
        path.write_text(json.dumps(joined(run, path)), encoding="utf-8")
    kept = {"date": 2, "fits": {"c": 3}}
    new = {"date": 3, "fits": {"a": 4, "b": 5}}
    assert joined(new, path) == {"runs": [kept, new]}
    assert joined(new, None) == {"runs": [new]}
