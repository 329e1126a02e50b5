"""The command ``plot``: pictures of rows under a saved model."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from cli_tools import error_of, fill, report_of
from sklearn.datasets import load_iris

from kmeans_xp import KMeans, save_model
from kmeans_xp.cli import main

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder with iris and a model of it, to work in."""
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    save_model(KMeans(3, random_state=0).fit(load_iris().data), "model.npz")
    return tmp_path


def test_every_picture_is_written(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plot", "iris.csv", "--exclude", "species", "--model", "model.npz", "--out", "drawn"]
    report = report_of(capsys, *words)
    assert report["files"] == [
        f"{kind}.png" for kind in ("clusters", "silhouette", "centers", "sizes", "convergence")
    ]
    assert sorted(path.name for path in (folder / "drawn").iterdir()) == sorted(report["files"])
    assert (folder / "drawn" / "sizes.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--kind", "sizes,centers", "--format", "svg"]) == 0
    assert capsys.readouterr().out == "written to drawn: sizes.svg, centers.svg\n"
    # the names of the columns are those of the features
    assert b"sepal length (cm)" in (folder / "drawn" / "centers.svg").read_bytes()


def test_what_does_not_apply_is_left_out(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(KMeans(1).fit(load_iris().data), "one.npz")
    words = ["plot", "iris.npy", "--model", "one.npz", "--out", "drawn"]
    report = report_of(capsys, *words)
    assert "silhouette.png" not in report["files"]
    assert "no picture of the silhouette: Number of labels is 1" in report["warnings"][0]
    error = error_of(capsys, 3, *words, "--kind", "silhouette")
    assert "--kind silhouette: Number of labels is 1" in error


def test_what_is_wrong_is_named(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["plot", "iris.npy", "--model", "model.npz", "--out", "drawn"]
    assert "--kind bars is not known" in error_of(capsys, 2, *words, "--kind", "bars")
    assert "--out" in error_of(capsys, 2, *words[:-2])
    assert "has 2 columns" in error_of(capsys, 3, *words, "--columns", "0,1")
    np.save("bad.npy", np.where(load_iris().data > 7, np.nan, load_iris().data))
    error_of(capsys, 3, "plot", "bad.npy", *words[2:])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "kmeans-xp[plot]"' in error_of(capsys, 2, *words)


def test_the_elbow_is_drawn(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["elbow", "iris.npy", "--k-max", "4", "--criteria", "elbow", "--seed", "0", "--plot"]
    report_of(capsys, *words, "elbow.png")
    picture = folder / "elbow.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.unlink()
    assert "does not end in a format" in error_of(capsys, 2, *words, "elbow.bmp")
    assert "there is no folder nowhere" in error_of(capsys, 2, *words, "nowhere/elbow.png")
    assert sorted(path.name for path in folder.iterdir()) == ["iris.csv", "iris.npy", "model.npz"]
