"""The command ``elbow``: a range of k, by its files, its JSON and its exit codes."""

from __future__ import annotations

import csv
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cli_tools import error_of, report_of
from sklearn.datasets import load_wine

from kmeans_xp import FeatureScaler, choose_k
from kmeans_xp._cli._words import CRITERIA
from kmeans_xp.cli import main
from kmeans_xp.selection._criteria import ALL


def test_the_report_is_the_result(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3)) + 9 * (np.arange(60)[:, None] % 3)
    np.save(tmp_path / "x.npy", X)
    out = tmp_path / "found"
    words = ["elbow", str(tmp_path / "x.npy"), "--k-max", "6", "--seed", "4", "--out", str(out)]
    report = report_of(capsys, *words, "--criteria", "elbow,bic,gap")
    found = choose_k(X, 6, criteria=["elbow", "bic", "gap"], random_state=4).to_dict()
    timed = ("seconds",)
    assert {name: report[name] for name in found if name not in timed} == {
        name: value for name, value in found.items() if name not in timed
    }
    assert report["suggestions"]["bic"] == 3
    assert set(report["stable"]) == {"elbow", "gap", "bic"}
    assert report["parameters"]["seed"] == 4
    assert report == json.loads((out / "report.json").read_text())
    with (out / "elbow.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["k"]) for line in lines] == list(range(1, 7))
    assert [float(line["inertia"]) for line in lines] == found["inertia"]
    assert [float(line["gap_error"]) for line in lines] == found["gap_error"]


def test_the_text_shows_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["elbow", "--example", "iris", "--k-min", "2", "--k-max", "4", "--seed", "0"]) == 0
    printed = capsys.readouterr().out
    assert "calinski_harabasz" in printed
    assert "clear structure" in printed
    assert "\n2 " in printed.replace("\n ", "\n")
    assert "\n1 " not in printed.replace("\n ", "\n")


def test_a_scale_is_that_of_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--example", "wine", "--k-max", "4", "--criteria", "elbow,bic", "--seed", "0"]
    report = report_of(capsys, "elbow", *words, "--scale", "robust")
    scaled = FeatureScaler("robust").fit_transform(load_wine().data)
    wanted = choose_k(scaled, 4, criteria=["elbow", "bic"], random_state=0)
    assert report["scale"] == "robust"
    assert report["inertia"] == list(wanted.inertia)
    assert report["criteria"]["bic"] == list(wanted.criteria["bic"])
    assert report["structure"] == wanted.structure


def test_the_command_knows_every_criterion() -> None:
    assert CRITERIA == ALL


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--k-min", "5", "--k-max", "3"], 2, "--k-min 5 is above --k-max 3"),
        (["--k-max", "0"], 2, "'0' is not a whole number of at least 1"),
        (["--k-max", "151"], 3, "has 150 rows, fewer than --k-max 151"),
        (["--criteria", "dunn"], 2, "'dunn' is not known; use default, all, elbow"),
    ],
)
def test_bad_words_are_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    assert told in error_of(capsys, code, "elbow", "--example", "iris", *words)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as POSIX has them")
def test_ctrl_c_writes_what_is_done(tmp_path: pathlib.Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((60_000, 16)))
    out = tmp_path / "found"
    words = [str(tmp_path / "x.npy"), "--k-max", "400", "--criteria", "elbow", "--out", str(out)]
    code = (
        "import sys, kmeans_xp, kmeans_xp.cli\n"
        "whole = kmeans_xp.choose_k\n"
        "def told(*args, callback, **more):\n"
        "    def both(step):\n"
        "        callback(step)\n"
        "        print('done', step.k, flush=True)\n"
        "    return whole(*args, callback=both, **more)\n"
        "kmeans_xp.choose_k = told\n"
        "sys.exit(kmeans_xp.cli.main(['elbow', *sys.argv[1:]]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "done 3\n":
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, heard = process.communicate(timeout=120)
    assert process.returncode == 130, heard
    report = json.loads((out / "report.json").read_text())
    assert report["interrupted"]
    assert report["k"][:3] == [1, 2, 3]
    assert report["k"][-1] < 400
    assert f"interrupted: {len(report['k'])} k are done; they are in {out}" in heard
