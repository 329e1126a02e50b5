"""The command line: --algorithm minibatch fits a MiniBatchKMeans."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from cli_tools import IRIS, error_of, fill, report_of

from kmeans_xp import MiniBatchKMeans, _minibatch, load_model
from kmeans_xp.cli import main

BATCHES = ["--algorithm", "minibatch", "--n-clusters", "3", "--seed", "0"]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder to work in, with iris.csv and iris.npy."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (
            ["--batch-size", "40", "--max-iter", "7", "--tol", "0.01", "--n-init", "2"],
            {"batch_size": 40, "max_iter": 7, "tol": 0.01, "n_init": 2},
        ),
    ],
    ids=["defaults", "options"],
)
def test_files_and_report_are_those_of_the_estimator(
    folder: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    options: dict[str, Any],
) -> None:
    model = MiniBatchKMeans(3, random_state=0, **options).fit(IRIS.data)
    assert main(["fit", "iris.npy", *BATCHES, *words, "--out", "fit"]) == 0
    out, err = capsys.readouterr()
    rows = model.get_params()["batch_size"] if options else 150
    assert f"batches     {model.n_steps_} of {rows} rows\n" in out
    assert err == ""
    report = json.loads(pathlib.Path("fit/report.json").read_text())
    assert report["algorithm"] == "minibatch"
    assert report["centers"] == model.cluster_centers_.tolist()
    assert (report["inertia"], report["n_steps"]) == (model.inertia_, model.n_steps_)
    assert (report["status"], report["iterations"]) == (model.status_, model.n_iter_)
    asked = report["parameters"]
    assert asked.pop("seed") == 0
    assert asked == {name: model.get_params()[name] for name in asked}
    # what is saved labels rows as the fit did, and partial_fit goes on from it
    assert main(["predict", "--model", "fit/model.npz", "iris.npy"]) == 0
    printed = capsys.readouterr().out
    assert printed == "".join(f"{label}\n" for label in model.labels_)
    assert "label\n" + printed == pathlib.Path("fit/labels.csv").read_text()
    more = load_model("fit/model.npz").partial_fit(IRIS.data[:50])
    np.testing.assert_array_equal(
        more.cluster_centers_, model.partial_fit(IRIS.data[:50]).cluster_centers_
    )


def test_with_a_scale_and_weights(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*BATCHES, "--exclude", "species", "--scale", "standard", "--weights", "0"]
    report = report_of(capsys, "fit", "iris.csv", *words)
    scaled = IRIS.data[:, 1:]
    scaled = (scaled - scaled.mean(axis=0)) / scaled.std(axis=0)
    model = MiniBatchKMeans(3, random_state=0).fit(scaled, sample_weight=IRIS.data[:, 0])
    assert report["cluster_sizes"] == np.bincount(model.labels_).tolist()
    assert report["inertia"] == pytest.approx(model.inertia_, rel=1e-9)


def test_batches_of_a_file_that_stays_there(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("rows.npy", np.random.default_rng(0).normal(size=(3000, 4)))
    whole = report_of(capsys, "fit", "rows.npy", *BATCHES, "--out", "whole")
    limit = ["--memory-limit", "20KB"]
    report = report_of(capsys, "fit", "rows.npy", *BATCHES, *limit, "--out", "passes")
    for key in ("centers", "inertia", "n_steps", "mean_distances", "status"):
        assert report[key] == whole[key], key
    assert (report["parameters"]["memory_limit"], "n_passes" in report) == (20_000, False)
    words = ["predict", "--model", "passes/model.npz", "rows.npy", *limit, "--out", "new"]
    assert main(words) == 0
    labels = (folder / "whole" / "labels.csv").read_bytes()
    for name in ("passes", "new"):
        assert (folder / name / "labels.csv").read_bytes() == labels


@pytest.mark.parametrize(
    "words",
    [
        ["--search", "auto"],
        ["--empty-cluster", "random"],
        ["--max-iter", "none"],
    ],
    ids=lambda words: words[0],
)
def test_options_of_the_other_algorithm_are_refused(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    message = error_of(capsys, 2, "fit", "iris.npy", *BATCHES, *words, "--out", "out")
    assert " ".join(words) in message
    assert "minibatch" in message
    assert not (folder / "out").exists()


def test_a_fit_goes_on_from_its_checkpoint(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("fit", "iris.npy", *BATCHES, "--batch-size", "30")
    wanted = report_of(capsys, *words)
    words = (*words, "--checkpoint", "fit.ckpt")
    made, step = [], _minibatch.step

    def stopping(problem: Any, state: Any, ratio: float) -> Any:
        made.append(state.steps)
        if len(made) == 4:
            raise KeyboardInterrupt
        return step(problem, state, ratio)

    monkeypatch.setattr(_minibatch, "step", stopping)
    assert main([*words]) == 130
    capsys.readouterr()
    report = report_of(capsys, *words)
    assert made == [0, 1, 2, 3, *range(3, wanted["n_steps"])]
    for key in ("centers", "inertia", "n_steps", "iterations", "status", "parameters"):
        assert report[key] == wanted[key], key
    error = error_of(capsys, 3, *words, "--batch-size", "40")
    assert "belongs to another fit: batch_size was 30 and is 40" in error


def test_a_batch_size_is_for_batches_alone(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = error_of(capsys, 2, "fit", "iris.npy", "--batch-size", "9")
    assert "--batch-size 9 is an option of --algorithm minibatch, and this is lloyd" in message
