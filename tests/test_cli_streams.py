"""The command line: --memory-limit reads files in passes, to the same result."""

from __future__ import annotations

import json
import pathlib
import signal
from typing import Any

import numpy as np
import pytest
from cli_tools import IRIS, error_of, fill, report_of

from kmeans_xp import load_model
from kmeans_xp._files import _streamed
from kmeans_xp._readers import ArrayFile
from kmeans_xp.cli import main

NAMES = ["a", "b", "c, d", "e"]
ROWS = np.random.default_rng(0).normal(size=(1500, 4)).round(3)
FIT = ["--n-clusters", "7", "--seed", "0", "--init", "k-means||", "--quiet"]
LIMIT = ["--memory-limit", "20KB"]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder to work in, with iris.csv and iris.npy; reports read their rows in many blocks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_streamed, "_BLOCK_CELLS", 1000)
    fill(tmp_path)
    return tmp_path


def written(name: str, rows: np.ndarray[Any, Any] = ROWS) -> str:
    """The rows in a file of this ending."""
    if name.endswith(".npy"):
        np.save(name, rows)
    elif name.endswith((".csv", ".tsv")):
        separator = "\t" if name.endswith(".tsv") else ","
        lines = [NAMES if separator == "\t" else [f'"{word}"' for word in NAMES]]
        lines += [list(map(str, row)) for row in rows.tolist()]
        pathlib.Path(name).write_text("".join(separator.join(line) + "\n" for line in lines))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import feather, parquet

        table = pyarrow.table(dict(zip(NAMES, rows.astype("float32").T, strict=True)))
        if name.endswith(".parquet"):
            parquet.write_table(table, name, row_group_size=350)
        else:
            feather.write_feather(table, name, compression="uncompressed")
    return name


def report_in(out: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(pathlib.Path(out, "report.json").read_text())
    return report


@pytest.mark.parametrize("ending", ["npy", "csv", "tsv", "parquet", "feather"])
def test_a_stream_gets_what_the_whole_table_gets(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    if ending != "npy":
        pytest.importorskip("pyarrow")
    rows = written(f"rows.{ending}")
    assert main(["fit", rows, *FIT, "--out", "whole"]) == 0
    assert main(["fit", rows, *FIT, *LIMIT, "--out", "passes"]) == 0
    for name in ("labels.csv", "centers.csv"):
        assert (folder / "passes" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    whole, passes = report_in("whole"), report_in("passes")
    assert whole.pop("n_passes") is None
    assert passes.pop("reading") == f"a stream of rows, read {passes['n_passes']} times"
    assert whole.pop("reading") == "rows of one array"
    assert passes.pop("n_passes") > passes["iterations"]
    assert passes["parameters"].pop("memory_limit") == 20_000
    assert whole["parameters"].pop("memory_limit") is None
    for key in whole.keys() - {"seconds", "kernel", "history"}:
        assert passes[key] == whole[key], key
    shifts = [item["shift"] for item in whole["history"]]
    assert [item["shift"] for item in passes["history"]] == shifts
    # both models, both ways
    for model, more in (("whole", LIMIT), ("passes", [])):
        words = ["predict", "--model", f"{model}/model.npz", rows, *more, "--quiet"]
        assert main([*words, "--out", "new"]) == 0
        assert (folder / "new" / "labels.csv").read_bytes() == (
            folder / "whole" / "labels.csv"
        ).read_bytes()
        assert report_in("new")["parameters"]["memory_limit"] == (20_000 if more else None)
    assert capsys.readouterr() == ("", "")


def test_files_one_after_another_are_one_table(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    (folder / "parts").mkdir()
    names = [written(f"parts/{i}.parquet", ROWS[500 * i :][:500]) for i in range(3)]
    whole = report_of(capsys, "fit", written("all.parquet"), *FIT)
    for given in (names, ["parts"]):
        report = report_of(capsys, "fit", *given, *FIT, *LIMIT)
        assert report["centers"] == whole["centers"]
        assert report["mean_distances"] == whole["mean_distances"]
        assert (report["input"]["name"], report["input"]["rows"]) == (", ".join(given), 1500)
    message = error_of(capsys, 2, "fit", *names, *FIT)
    assert "3 files are given" in message
    assert "--memory-limit SIZE" in message


def test_the_printed_report_tells_of_the_passes(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "iris.npy", "--n-clusters", "3", "--seed", "0", *LIMIT]) == 0
    out = capsys.readouterr().out
    passes = report_of(capsys, "fit", "iris.npy", "--n-clusters", "3", "--seed", "0", *LIMIT)
    assert f"passes      {passes['n_passes']}\nlimit       20,000 bytes of memory\n" in out


@pytest.mark.parametrize(
    "words",
    [
        ["--columns", "0,1"],
        ["--exclude", "species"],
        ["--weights", "3"],
        ["--scale", "standard"],
        ["--header", "no"],
        ["--array", "x"],
    ],
    ids=lambda words: words[0],
)
def test_what_needs_the_whole_table_is_refused(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    message = error_of(capsys, 2, "fit", "iris.csv", *words, *LIMIT, "--out", "out")
    assert f"{' '.join(words)} cannot be combined with --memory-limit 20000: " in message
    assert "leave --memory-limit out" in message
    assert not (folder / "out").exists()


def test_what_cannot_be_streamed_is_refused(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Leave --memory-limit out" in error_of(capsys, 2, "fit", "-", *LIMIT)
    assert "rows.txt cannot be read in passes" in error_of(capsys, 2, "fit", "rows.txt", *LIMIT)
    assert "--example iris" in error_of(capsys, 2, "fit", "--example", "iris", *LIMIT)
    assert "give INPUT" in error_of(capsys, 2, "fit", *LIMIT)
    message = error_of(capsys, 3, "fit", "iris.npy", "iris.csv", *LIMIT)
    assert "can be read a piece at a time" in message
    assert "there is no file" in error_of(capsys, 3, "fit", "rows.npy", *LIMIT)
    assert "'1 apple' is no size" in error_of(
        capsys, 2, "fit", "iris.npy", "--memory-limit", "1 apple"
    )
    assert "fewer than --n-clusters 151" in error_of(
        capsys, 3, "fit", "iris.npy", "--n-clusters", "151", *LIMIT
    )
    np.save("gap.npy", np.where(np.arange(8).reshape(4, 2) == 5, np.nan, 1.0))
    message = error_of(capsys, 3, "fit", "gap.npy", "--n-clusters", "2", *LIMIT)
    assert "row 2 of gap.npy" in message


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("text.csv", "a,b\n1,x\n2,y\n", ["'b' (string)", "without --memory-limit", "--exclude"]),
        ("points.csv", "a;b\n1;2\n3;4\n", ["'a;b' (string)", "may be of more forms"]),
        # a row of the whole table too
        ("gaps.csv", "1,,3\n4,5,6\n7,8,9\n", ["NaN", "row 0 of gaps.csv, column 1"]),
    ],
)
def test_text_that_a_stream_would_take_for_something_else(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], name: str, text: str, told: list[str]
) -> None:
    pytest.importorskip("pyarrow")
    pathlib.Path(name).write_text(text)
    message = error_of(capsys, 3, "fit", name, "--n-clusters", "2", *LIMIT)
    assert all(part in message for part in told)


def test_predict_refuses_other_columns_and_other_models(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    rows = written("rows.csv")
    assert main(["fit", rows, *FIT, "--out", "fit"]) == 0
    words = ["predict", "--model", "fit/model.npz"]
    pathlib.Path("turned.csv").write_text('b,a,"c, d",e\n1,2,3,4\n')
    message = error_of(capsys, 3, *words, "turned.csv", *LIMIT)
    assert "the columns b, a, c, d, e, and the model was fitted on a, b, c, d, e" in message
    np.save("narrow.npy", ROWS[:, :2])
    assert "fitted on a, b" in error_of(capsys, 3, *words, "narrow.npy", *LIMIT)
    assert main(["fit", rows, *FIT, "--scale", "standard", "--out", "scaled"]) == 0
    message = error_of(capsys, 2, "predict", "--model", "scaled/model.npz", rows, *LIMIT)
    assert "--memory-limit 20000: the model of scaled/model.npz is a Pipeline" in message


def test_a_large_file_is_told_of_and_read_whole(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = written("rows.csv")
    room = 2 * pathlib.Path(rows).stat().st_size
    for available, told in ((room, False), (room - 1, True)):
        monkeypatch.setattr("kmeans_xp._opening.available_memory", lambda n=available: n)
        assert main(["fit", rows, *FIT, "--out", f"{told}"]) == 0
        _, err = capsys.readouterr()
        assert err.startswith("kmeans-xp: note: rows.csv has ") == told
        assert err.count("\n") == told
        assert f"--memory-limit {(room - 1) // 4} would read it in passes" in err or not told
        assert report_in(f"{told}")["n_passes"] is None
    # where it would be refused, it is no advice
    assert main(["fit", rows, *FIT, "--exclude", "e", "--out", "out"]) == 0
    assert capsys.readouterr().err == ""


def test_ctrl_c_keeps_the_results_so_far(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    check = ArrayFile.check

    def interrupted(reader: ArrayFile) -> None:
        nonlocal looks
        looks += 1
        if looks == 30:
            signal.raise_signal(signal.SIGINT)
        check(reader)

    monkeypatch.setattr(ArrayFile, "check", interrupted)
    words = ["--tol", "0", "--max-iter", "none", "--init", "random", "--n-clusters", "9"]
    rows = written("rows.npy")
    assert main(["fit", rows, *words, "--seed", "0", *LIMIT, "--quiet", "--out", "out"]) == 130
    assert "the results so far are in out" in capsys.readouterr().err
    report = report_in("out")
    assert report["status"].startswith("interrupted")
    assert sum(report["cluster_sizes"]) == len(ROWS) > len(IRIS.data)
    labels = np.loadtxt(folder / "out" / "labels.csv", skiprows=1, dtype=int)
    np.testing.assert_array_equal(load_model("out/model.npz").predict(ROWS), labels)
