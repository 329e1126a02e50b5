"""The command line: files that it reads, and how it fails on others."""

from __future__ import annotations

import io
import pathlib
import sys

import numpy as np
import pytest
from cli_tools import IRIS, NAMES, error_of, fill, lines_of_iris, report_of

from kmeans_xp import KMeans
from kmeans_xp.cli import main


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder to work in, with iris.csv and iris.npy."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    return tmp_path


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
@pytest.mark.parametrize("header", [True, False])
def test_text_is_read_whatever_its_separator(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], separator: str, header: bool
) -> None:
    pathlib.Path("table.txt").write_text(lines_of_iris(separator, header=header))
    words = ["fit", "table.txt", "--exclude", "4", "--n-clusters", "3", "--seed", "0"]
    report = report_of(capsys, *words)
    assert report["centers"] == KMeans(3, random_state=0).fit(IRIS.data).cluster_centers_.tolist()
    assert report["input"]["header"] is header
    assert report["input"]["columns"] == (NAMES if header else ["x0", "x1", "x2", "x3"])


def test_text_on_stdin_separated_by_spaces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\ufeff# made by hand\n\n  1.5   2\n3 4e1\n\n5 -6\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    report = report_of(capsys, "fit", "-", "--n-clusters", "3", "--seed", "0")
    assert sorted(report["centers"]) == [[1.5, 2.0], [3.0, 40.0], [5.0, -6.0]]


def test_decimal_commas(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("eu.csv").write_text("a;b\n1,5;2\n2,25;-3,5\n")
    report = report_of(capsys, "fit", "eu.csv", "--n-clusters", "2")
    assert sorted(report["centers"]) == [[1.5, 2.0], [2.25, -3.5]]


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("a,b\n1,2\n3,4\n", True),
        ("1,2\n3,4\n", False),
        ("1,2,x\n3,4,y\n", False),
        ("name,2019,2020\n7,1,2\n8,3,4\n", True),
        (",a,b\n0,1,2\n1,3,4\n", True),
        ("1,NA\n3,4\n", False),
        ('"a ""b"", c",d\n1,2\n3,4\n', True),
    ],
)
def test_the_header_is_found(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], text: str, header: bool
) -> None:
    pathlib.Path("t.csv").write_text(text)
    report = report_of(capsys, "fit", "t.csv", "--columns", "0", "--n-clusters", "1")
    assert report["input"]["header"] is header
    assert report["input"]["rows"] == len(text.splitlines()) - header


def test_the_header_can_be_said(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("t.csv").write_text("2019,2020\n1,2\n3,4\n")
    report = report_of(capsys, "fit", "t.csv", "--header", "yes", "--n-clusters", "1")
    assert report["input"]["columns"] == ["2019", "2020"]
    assert report["input"]["rows"] == 2


@pytest.mark.parametrize(
    ("words", "columns"),
    [
        (["--exclude", "species"], [0, 1, 2, 3]),
        (["--columns", "3,petal length (cm)"], [3, 2]),
        (["--columns", "0-1,3"], [0, 1, 3]),
        (["--columns", "0-3", "--exclude", "1"], [0, 2, 3]),
    ],
)
def test_columns_by_name_number_and_range(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], words: list[str], columns: list[int]
) -> None:
    report = report_of(capsys, "fit", "iris.csv", "--n-clusters", "1", *words)
    assert report["input"]["columns"] == [NAMES[index] for index in columns]
    np.testing.assert_allclose(report["centers"][0], IRIS.data[:, columns].mean(axis=0))


def test_gzip(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    import gzip

    with gzip.open("iris.csv.gz", "wt") as file:
        file.write(lines_of_iris(text=False))
    report = report_of(capsys, "fit", "iris.csv.gz", "--n-clusters", "1")
    assert report["input"]["rows"] == 150


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", ">f8"])
def test_npy_keeps_float32_and_takes_other_numbers(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], dtype: str
) -> None:
    x = (IRIS.data * 10).round().astype(dtype)
    np.save("x.npy", x)
    report = report_of(capsys, "fit", "x.npy", "--n-clusters", "3", "--seed", "0")
    assert report["centers"] == KMeans(3, random_state=0).fit(x).cluster_centers_.tolist()
    assert report["input"]["dtype"] == np.dtype(dtype).name or dtype == ">f8"


def test_npy_is_memory_mapped(folder: pathlib.Path) -> None:
    from kmeans_xp._files import Selection, read_table

    whole = read_table("iris.npy", Selection())
    some = read_table("iris.npy", Selection(columns=["1-2"]))
    assert isinstance(whole.values, np.memmap)
    assert isinstance(some.values, np.memmap)
    np.testing.assert_array_equal(some.values, IRIS.data[:, 1:3])


def test_npz_by_name(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("one.npz", x=IRIS.data)
    np.savez("two.npz", x=IRIS.data, y=IRIS.target)
    one = report_of(capsys, "fit", "one.npz", "--n-clusters", "1")
    two = report_of(capsys, "fit", "two.npz", "--array", "x", "--n-clusters", "1")
    assert one["centers"] == two["centers"]
    assert "x, y" in error_of(capsys, 2, "fit", "two.npz")
    assert "x, y" in error_of(capsys, 2, "fit", "two.npz", "--array", "z")


@pytest.mark.parametrize("ending", ["parquet", "feather", "arrow"])
def test_arrow_files(folder: pathlib.Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import feather, parquet

    columns = {name: IRIS.data[:, index] for index, name in enumerate(NAMES)}
    columns["species"] = IRIS.target_names[IRIS.target]
    table = pyarrow.table(columns)
    if ending == "parquet":
        parquet.write_table(table, "iris.parquet", row_group_size=40)
    elif ending == "feather":
        feather.write_feather(table, "iris.feather", chunksize=40)
    else:
        with pyarrow.ipc.new_stream("iris.arrow", table.schema) as writer:
            writer.write_table(table)
    assert "--exclude species" in error_of(capsys, 3, "fit", f"iris.{ending}")
    words = ["--exclude", "species", "--n-clusters", "3", "--seed", "0"]
    report = report_of(capsys, "fit", f"iris.{ending}", *words)
    assert report["centers"] == KMeans(3, random_state=0).fit(IRIS.data).cluster_centers_.tolist()


def test_arrow_missing_values_and_float32(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": [1.0, None], "b": [1, 2]}), "holes.parquet")
    assert "'a' lacks values (1 of 2)" in error_of(capsys, 3, "fit", "holes.parquet")
    parquet.write_table(pyarrow.table({"a": np.ones(3, "f4"), "w": [1, 2, 3]}), "f4.parquet")
    report = report_of(capsys, "fit", "f4.parquet", "--weights", "w", "--n-clusters", "1")
    assert report["input"]["dtype"] == "float32"
    assert report["cluster_weights"] == [6.0]


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        ("fit", ["INPUT", "--example"]),
        ("fit iris.npy --example iris", ["either INPUT"]),
        ("fit iris.npy --n-clus 3", ["--n-clus"]),
        ("fit iris.npy --n-clusters 0", ["--n-clusters", "'0'", "at least 1"]),
        ("fit iris.npy --max-iter many", ["--max-iter", "'many'", "none"]),
        ("fit iris.npy --tol -1", ["--tol"]),
        ("fit iris.npy --seed 4294967296", ["--seed", "4294967295"]),
        ("fit iris.npy --init best", ["--init", "random-partition"]),
        ("fit iris.npy --device gpu", ["--device", "'gpu'", "cuda:1"]),
        ("fit iris.npy --columns 0-9", ["--columns 0-9", "0 to 3"]),
        ("fit iris.csv --exclude specie", ["--exclude", "'specie'", "species"]),
        ("fit iris.csv --columns species --weights species", ["no column is left"]),
        ("fit iris.npy --out iris.csv", ["--out iris.csv", "folder"]),
        ("predict iris.npy", ["--model"]),
    ],
)
def test_bad_usage_exits_2(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], words: str, pieces: list[str]
) -> None:
    message = error_of(capsys, 2, *words.split())
    assert all(piece in message for piece in pieces), message


BAD_FILES = {
    "empty.csv": "",
    "header.csv": "a,b\n",
    "ragged.csv": "a,b\n1,2\n3,4,5\n",
    "hole.csv": "a,b\n1,2\n3,\n",
    "late.csv": "a,b\n" + "1,2\n" * 100 + "3,four\n",
    "nan.csv": "a,b\n1,2\n3,nan\n",
    "few.csv": "a,b\n1,2\n",
    "negative.csv": "a,b\n1,2\n3,-4\n",
    "odd.xyz": "1,2\n",
    "broken.npy": "not an array",
    "broken.npz": "not an archive",
}


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        ("nowhere.csv", ["nowhere.csv", "No such file"]),
        ("empty.csv", ["empty.csv is empty"]),
        ("header.csv", ["no rows"]),
        ("ragged.csv", ["line 3", "3 cells", "2"]),
        ("hole.csv", ["line 3", "'b'", "no value", "--exclude b"]),
        ("late.csv", ["line 102", "'b'", "'four'", "--exclude b"]),
        ("nan.csv", ["'b'", "nan", "row 1"]),
        ("few.csv", ["1 rows", "--n-clusters 2"]),
        ("negative.csv --weights b", ["Negative", "row 1"]),
        ("iris.csv", ["'species'", "'setosa'", "--columns", "--exclude species"]),
        ("odd.xyz", ["'.xyz'", ".parquet"]),
        ("broken.npy", ["broken.npy"]),
        ("broken.npz", ["broken.npz", "numpy.savez"]),
        ("flat.npy", ["(150,)", "2 dimensions"]),
        ("objects.npy", ["objects.npy", "numpy.save"]),
        ("complex.npy", ["complex128"]),
        ("inf.npy", ["'x2'", "inf", "row 7"]),
    ],
)
def test_bad_data_exits_3(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], words: str, pieces: list[str]
) -> None:
    for name, text in BAD_FILES.items():
        (folder / name).write_text(text)
    np.save("flat.npy", np.arange(150.0))
    np.save("objects.npy", np.array([["a", 1]], dtype=object))
    np.save("complex.npy", np.ones((4, 2), complex))
    infinite = IRIS.data.copy()
    infinite[7, 2] = np.inf
    np.save("inf.npy", infinite)
    message = error_of(capsys, 3, "fit", *words.split(), "--n-clusters", "2", "--out", "out")
    assert all(piece in message for piece in pieces), message
    assert not (folder / "out" / "report.json").exists()


def test_broken_parquet_exits_3(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pathlib.Path("broken.parquet").write_text("not a table")
    assert "broken.parquet" in error_of(capsys, 3, "fit", "broken.parquet")


@pytest.mark.parametrize(
    ("model", "data", "pieces"),
    [
        ("nowhere.npz", "iris.npy", ["--model nowhere.npz", "No such file"]),
        ("iris.npy", "iris.npy", ["not a kmeans-xp model", "--out"]),
        ("fit/model.npz", "three.npy", ["3 columns", "4 features", "--columns"]),
        ("fit/model.npz", "nan.npy", ["'x0'", "nan"]),
    ],
)
def test_bad_data_for_predict_exits_3(
    folder: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    data: str,
    pieces: list[str],
) -> None:
    assert main(["fit", "iris.npy", "--out", "fit", "--quiet"]) == 0
    np.save("three.npy", IRIS.data[:, :3])
    np.save("nan.npy", np.full((2, 4), np.nan))
    message = error_of(capsys, 3, "predict", "--model", model, data)
    assert all(piece in message for piece in pieces), message


def test_a_missing_device_exits_4(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    # no machine has this one, with or without a GPU
    for words in (["fit", "iris.npy"], ["predict", "iris.npy", "--model", "fit/model.npz"]):
        assert main(["fit", "iris.npy", "--out", "fit", "--quiet"]) == 0
        assert "device='cuda:99'" in error_of(capsys, 4, *words, "--device", "cuda:99")
        assert "device='cuda:99'" in error_of(capsys, 4, *words, "--device", "cpu,cuda:99")
