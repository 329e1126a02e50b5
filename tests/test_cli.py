"""The command line: what people type, and what they get."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from cli_tools import IRIS, NAMES, error_of, fill, lines_of_iris, report_of
from sklearn.datasets import load_breast_cancer, load_wine

import kmeans_xp
from kmeans_xp import KMeans, load_model
from kmeans_xp._cli import _console
from kmeans_xp.cli import main

FOLDER = pathlib.Path(kmeans_xp.__file__).parents[1]
OUTPUTS = {"labels.csv", "centers.csv", "model.npz", "report.json"}


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder to work in, with iris.csv and iris.npy."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    return tmp_path


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), env=environment(), text=True, check=False, **options)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "kmeans_xp", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(FOLDER)}


# fit


def test_fit_writes_every_file_and_prints_the_report(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--example", "iris", "--n-clusters", "3", "--seed", "0", "--out", "out"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    model = KMeans(3, random_state=0).fit(IRIS.data)
    assert {item.name for item in (folder / "out").iterdir()} == OUTPUTS
    text = (folder / "out" / "labels.csv").read_text().splitlines()
    assert text[0] == "label"
    assert [int(label) for label in text[1:]] == model.labels_.tolist()
    first, *rows = (folder / "out" / "centers.csv").read_text().splitlines()
    assert first.split(",") == NAMES
    assert [[float(cell) for cell in row.split(",")] for row in rows] == (
        model.cluster_centers_.tolist()
    )
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["inertia"] == model.inertia_
    assert report["iterations"] == model.n_iter_
    assert report["cluster_sizes"] == np.bincount(model.labels_).tolist()
    assert set(report["files"]) == OUTPUTS
    assert report["versions"]["numpy"] == np.__version__
    assert err == ""
    assert all(name in out for name in NAMES)
    assert "written to out" in out


def test_mean_distances_are_those_of_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(capsys, "fit", "--example", "iris", "--n-clusters", "4", "--seed", "1")
    model = KMeans(4, random_state=1).fit(IRIS.data)
    own = np.linalg.norm(IRIS.data - model.cluster_centers_[model.labels_], axis=1)
    expected = [own[model.labels_ == label].mean() for label in range(4)]
    np.testing.assert_allclose(report["mean_distances"], expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::kmeans_xp.exceptions.DataWarning")  # wine
def test_every_parameter_reaches_the_estimator(capsys: pytest.CaptureFixture[str]) -> None:
    words = "fit --example wine --n-clusters 4 --init random --n-init 2 --max-iter 3 --tol 0.5"
    report = report_of(capsys, *words.split(), "--seed", "7", "--empty-cluster", "error")
    asked = report["parameters"]
    seed = asked.pop("seed")
    model = KMeans(**asked, random_state=seed).fit(load_wine().data)
    assert asked == {
        "n_clusters": 4,
        "init": "random",
        "n_init": 2,
        "search": "auto",
        "max_iter": 3,
        "tol": 0.5,
        "empty_cluster": "error",
        "device": None,
        "memory_limit": None,
    }
    assert report["centers"] == model.cluster_centers_.tolist()


def test_no_limit_of_iterations(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(capsys, "fit", "--example", "iris", "--max-iter", "none", "--tol", "0")
    assert report["parameters"]["max_iter"] is None
    assert report["status"] == "converged: no row changed its cluster"


def test_a_drawn_seed_is_reported_and_repeats_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    first = report_of(capsys, "fit", "--example", "digits")
    assert not first["seed_given"]
    again = report_of(
        capsys, "fit", "--example", "digits", "--seed", f"{first['parameters']['seed']}"
    )
    assert again["centers"] == first["centers"]
    other = report_of(capsys, "fit", "--example", "digits")
    assert other["parameters"]["seed"] != first["parameters"]["seed"]


def test_weights_are_a_column_that_is_not_clustered(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = np.arange(150) % 3 + 1.0
    np.save("weighted.npy", np.column_stack([IRIS.data, weights]))
    words = ["fit", "weighted.npy", "--weights", "4", "--seed", "0", "--n-clusters", "3"]
    report = report_of(capsys, *words)
    model = KMeans(3, random_state=0).fit(IRIS.data, sample_weight=weights)
    assert report["centers"] == model.cluster_centers_.tolist()
    totals = np.bincount(model.labels_, weights)
    assert report["cluster_weights"] == totals.tolist()


def test_warnings_go_to_the_report_and_to_stderr_in_one_line(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("two.npy", np.array([[1.0], [1.0], [2.0]]))
    assert main(["fit", "two.npy", "--n-clusters", "3", "--json"]) == 0
    out, err = capsys.readouterr()
    (warning,) = json.loads(out)["warnings"]
    assert "distinct clusters (2)" in warning
    assert err == f"kmeans-xp: warning: {warning}\n"


def test_a_wide_table_counts_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--example", "digits", "--n-clusters", "50", "--seed", "0"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    (clusters, features) = map(int, re.findall(r"(\d+) more (?:clusters|features)", out))
    shown = re.findall(r"pixel_\d_\d", out)
    assert (clusters, features) == (10, 64 - len(shown))


def test_many_features_are_listed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--example", "breast_cancer", "--n-clusters", "2", "--seed", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    centers = KMeans(2, random_state=0).fit(load_breast_cancer().data).cluster_centers_
    (line,) = (line for line in lines if line.strip().startswith("mean area"))
    np.testing.assert_allclose([float(cell) for cell in line.split()[2:]], centers[:, 3], rtol=1e-4)


def test_quiet_with_files_prints_nothing(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "iris.npy", "--quiet", "--out", "deep/out"]) == 0
    assert capsys.readouterr() == ("", "")
    assert {item.name for item in (folder / "deep" / "out").iterdir()} == OUTPUTS


def test_other_files_in_the_folder_stay(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("mine")
    (folder / "out" / "labels.csv").write_text("old")
    assert main(["fit", "iris.npy", "--out", "out"]) == 0
    assert (folder / "out" / "notes.txt").read_text() == "mine"
    assert (folder / "out" / "labels.csv").read_text().startswith("label\n")


def test_a_file_that_cannot_be_replaced_leaves_no_half(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out" / "centers.csv").mkdir(parents=True)
    assert "centers.csv" in error_of(capsys, 1, "fit", "iris.npy", "--out", "out")
    assert {item.name for item in (folder / "out").iterdir()} == {"labels.csv", "centers.csv"}


# predict


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_repeats_the_labels_of_the_fit(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], dtype: str
) -> None:
    x = (np.random.default_rng(0).normal(size=(5000, 3)) + 1e4).astype(dtype)
    np.save("x.npy", x)
    assert main(["fit", "x.npy", "--seed", "0", "--n-clusters", "9", "--out", "fit"]) == 0
    capsys.readouterr()
    assert main(["predict", "--model", "fit/model.npz", "x.npy"]) == 0
    printed = capsys.readouterr().out
    assert "label\n" + printed == (folder / "fit" / "labels.csv").read_text()
    assert main(["predict", "--model", "fit/model.npz", "x.npy", "--out", "new", "--quiet"]) == 0
    assert (folder / "new" / "labels.csv").read_bytes() == (
        folder / "fit" / "labels.csv"
    ).read_bytes()
    report = report_of(capsys, "predict", "--model", "fit/model.npz", "x.npy")
    assert "".join(f"{label}\n" for label in report["labels"]) == printed
    assert sum(report["cluster_sizes"]) == 5000


def test_predict_finds_the_columns_by_name(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--exclude", "species", "--n-clusters", "3", "--seed", "0", "--out", "fit"]
    assert main(["fit", "iris.csv", *words, "--quiet"]) == 0
    order = [4, 2, 0, 3, 1]
    rows = [line.split(",") for line in lines_of_iris().splitlines()]
    text = "\n".join(",".join(row[index] for index in order) for row in rows)
    pathlib.Path("shuffled.csv").write_text(text)
    given = report_of(capsys, "predict", "--model", "fit/model.npz", "shuffled.csv")
    assert given["labels"] == KMeans(3, random_state=0).fit(IRIS.data).labels_.tolist()
    message = error_of(capsys, 3, "predict", "--model", "fit/model.npz", "--example", "wine")
    assert "sepal length (cm)" in message
    assert main(["predict", "--model", "fit/model.npz", "shuffled.csv", "--columns", "1-4"]) == 0
    assert "stand for the model's" in capsys.readouterr().err


def test_predict_does_not_overwrite_the_fit(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "iris.npy", "--out", "fit", "--quiet"]) == 0
    words = ["predict", "--model", "fit/model.npz", "iris.npy", "--out", "fit"]
    assert "model's own folder" in error_of(capsys, 2, *words)


# as a program


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["fit", "--help"], ["predict", "--help"], ["info", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
        assert "example: kmeans-xp" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"kmeans-xp {kmeans_xp.__version__}\n"


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from kmeans_xp.cli import main\n"
        "try: main(['fit', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(len({'sklearn', 'scipy', 'pyarrow', 'cupy'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code]
    assert (
        subprocess.run(words, env=environment(), check=False, capture_output=True).returncode == 0
    )


def test_data_and_messages_go_apart(folder: pathlib.Path) -> None:
    done = run("fit", "-", "--n-clusters", "2", "--json", input="1\n1\n", capture_output=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)["input"]["rows"] == 2
    assert done.stderr.startswith("kmeans-xp: warning: Number of distinct clusters (1)")
    assert "\r" not in done.stderr


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "words"), [(io.StringIO, []), (Terminal, ["--quiet"])], ids=["file", "quiet"]
)
def test_no_progress_into_files_or_when_quiet(
    folder: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    words: list[str],
) -> None:
    err = stream()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(_console, "_FIRST_SIGHT_SECONDS", 1e-4)
    assert main(["fit", "iris.npy", *words]) == 0
    assert err.getvalue() == ""


def test_a_bar_where_the_end_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(_console, "_FIRST_SIGHT_SECONDS", 1e-3)
    with _console.Progress("fitting", quiet=False) as line:
        while "fitting: 0 s" not in err.getvalue():
            time.sleep(1e-3)
        line.tell("k=3 of 12 done", 0.25)
        while "\r[#####---------------] k=3 of 12 done: 0 s" not in err.getvalue():
            time.sleep(1e-3)
    # nothing of it stays
    assert re.search(r"\r +\r$", err.getvalue())


def test_a_reader_that_leaves_is_no_error(folder: pathlib.Path) -> None:
    assert main(["fit", "iris.npy", "--n-clusters", "3", "--out", "fit", "--quiet"]) == 0
    np.save("many.npy", np.tile(IRIS.data, (1000, 1)))
    words = command("predict", "many.npy", "--model", "fit/model.npz")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=environment(), text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() in {"0\n", "1\n", "2\n"}
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal, which Windows lacks")
def test_ctrl_c_keeps_the_results_and_progress_is_for_terminals(folder: pathlib.Path) -> None:
    import pty

    np.save("long.npy", np.random.default_rng(0).random((300_000, 16)))
    words = (
        "fit long.npy --n-clusters 60 --tol 0 --max-iter none --init random --n-init 1 --out out"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*words.split()), env=environment(), stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    heard = ""
    while not re.search(r"fitting 300,000 x 16, k=60: [4-9] s", heard):
        heard += os.read(ours, 1000).decode()
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()
    heard += _rest(ours)
    assert process.returncode == 130, heard
    assert {item.name for item in (folder / "out").iterdir()} == OUTPUTS
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["status"].startswith("interrupted")
    assert f"interrupted: after {report['iterations']} iterations" in heard
    assert "the results so far are in out" in heard
    assert "status      interrupted" in printed
    assert "\r" not in printed
    labels = np.loadtxt(folder / "out" / "labels.csv", skiprows=1, dtype=int)
    np.testing.assert_array_equal(
        load_model(folder / "out" / "model.npz").predict(np.load("long.npy")), labels
    )


def _rest(terminal: int) -> str:
    """What is left on a terminal whose other end is closed; Linux then gives an error."""
    text = ""
    try:
        while part := os.read(terminal, 1000):
            text += part.decode()
    except OSError:
        pass
    os.close(terminal)
    return text
