"""kmeans-xp check, and fit --scale, whose model takes rows in the units of the data."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from cli_tools import error_of, report_of
from sklearn.datasets import load_wine
from sklearn.pipeline import Pipeline, make_pipeline

from kmeans_xp import FeatureScaler, KMeans, load_model, save_model
from kmeans_xp.cli import main

WINE = load_wine().data
SCALES = ("standard", "minmax", "maxabs", "robust", "quantile")


@pytest.fixture
def table(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """people.csv: something of everything."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = ["id,height,inches,city,gap,same"]
    for number in range(60):
        height = rng.normal(1.7, 0.1)
        gap = "" if number in (3, 5) else f"{rng.normal():.3f}"
        rows.append(f"{number + 1},{height:.5f},{height / 0.0254:.3f},Rome,{gap},7")
    (tmp_path / "people.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_check_ends_with_the_options_for_a_fit(
    table: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = error_of(capsys, 3, "check", "people.csv")
    assert "text in column 'city' ('Rome')" in text
    assert "--exclude city" in text
    assert main(["check", "people.csv", "--exclude", "city"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "60 rows, 5 columns: 2 worth keeping, 3 to drop, 1 unremarkable"
    assert "gap           missing     2 of 60 values are missing (3.33 %)" in lines
    assert lines[-1] == "options for a fit: --exclude city,id,inches,same"
    assert "missing: fill them (SimpleImputer) or drop these rows" in lines


def test_a_check_as_json(table: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(capsys, "check", "people.csv", "--columns", "0-2,5")
    assert report["options"] == ["--columns", "0-2,5", "--exclude", "id,inches,same"]
    assert (report["keep"], report["drop"]) == (["height"], ["id", "inches", "same"])
    found = {item["name"]: [one["kind"] for one in item["findings"]] for item in report["features"]}
    assert found == {
        "id": ["identifier"],
        "height": [],
        "inches": ["duplicate"],
        "same": ["constant"],
    }
    words = ["fit", "people.csv", "--n-clusters", "2", *report["options"]]
    assert report_of(capsys, *words)["input"]["columns"] == ["height"]


def test_a_check_of_other_files(table: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_of(capsys, "check", "--example", "iris")["options"] == []
    assert report_of(capsys, "check", "--example", "wine")["options"] == ["--scale", "standard"]
    np.save("rows.npy", np.stack([WINE[:, 0], np.full(178, np.nan)], axis=1))
    assert report_of(capsys, "check", "rows.npy")["options"] == ["--exclude", "x1"]
    pathlib.Path("twice.csv").write_text("a,a\n1,2\n1,4\n1,7\n")
    assert report_of(capsys, "check", "twice.csv")["options"] == ["--exclude", "0"]
    text = error_of(capsys, 3, "check", "twice.csv", "--columns", "0,1")
    assert "share a name" in text


def test_gaps_in_text_are_read_and_words_are_not(
    table: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pathlib.Path("gaps.csv").write_text("a;b\n1,5;?\n2,5;NA\n3,5;4,5\n;5,5\n")
    report = report_of(capsys, "check", "gaps.csv")
    facts = {item["name"]: [one["fact"] for one in item["findings"]] for item in report["features"]}
    assert facts["a"] == ["1 of 4 values are missing (25 %)"]
    assert facts["b"] == ["2 of 4 values are missing (50 %)"]
    lines = ["a,b", *["1,2"] * 60, ",oops"]
    pathlib.Path("words.csv").write_text("\n".join(lines) + "\n")
    assert "words.csv, line 62: text in column 'b' ('oops')" in error_of(
        capsys, 3, "check", "words.csv"
    )
    # a fit takes no gaps
    assert "column 'b' has no value" in error_of(capsys, 3, "fit", "gaps.csv", "--columns", "b")


def test_gaps_in_parquet_are_read(table: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"a": [1.5, None, 2.5], "b": [1, 2, None], "c": [True, None, False]}
    parquet.write_table(pyarrow.table(columns), "gaps.parquet")
    report = report_of(capsys, "check", "gaps.parquet")
    assert [item["findings"][0]["kind"] for item in report["features"]] == ["missing"] * 3
    assert "lacks values" in error_of(capsys, 3, "fit", "gaps.parquet", "--n-clusters", "2")


@pytest.mark.parametrize("scale", SCALES)
def test_a_scaled_fit_reports_in_the_units_of_the_data(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], scale: str
) -> None:
    words = ["--example", "wine", "--n-clusters", "3", "--seed", "0"]
    report = report_of(capsys, "fit", *words, "--scale", scale, "--out", f"{tmp_path}")
    assert report["warnings"] == []
    assert report["scale"] == scale
    labels = np.loadtxt(tmp_path / "labels.csv", skiprows=1, dtype=int)
    wanted = make_pipeline(FeatureScaler(scale), KMeans(3, random_state=0)).fit(WINE)
    np.testing.assert_array_equal(labels, wanted[-1].labels_)
    centers = np.asarray(report["centers"])
    np.testing.assert_array_equal(
        np.loadtxt(tmp_path / "centers.csv", skiprows=1, delimiter=","), centers
    )
    assert (centers >= WINE.min(axis=0)).all()
    assert (centers <= WINE.max(axis=0)).all()
    if scale != "quantile":
        means = [WINE[labels == label].mean(axis=0) for label in range(3)]
        np.testing.assert_allclose(centers, means, rtol=1e-9)
    # the model takes rows as they are in the file
    assert main(["predict", "--example", "wine", "--model", f"{tmp_path / 'model.npz'}"]) == 0
    assert capsys.readouterr().out.split() == [f"{label}" for label in labels]


def test_a_scaled_model_in_python(tmp_path: pathlib.Path) -> None:
    frame = load_wine(as_frame=True).data
    model = make_pipeline(FeatureScaler("robust"), KMeans(3, random_state=0)).fit(frame)
    save_model(model, tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    assert isinstance(again, Pipeline)
    assert again.feature_names_in_.tolist() == list(frame.columns)
    np.testing.assert_array_equal(again.predict(frame), model[-1].labels_)
    assert again.transform(frame).tobytes() == model.transform(frame).tobytes()


def test_older_versions_refuse_a_model_with_a_scaler(tmp_path: pathlib.Path) -> None:
    """They would label rows that are not scaled; files without a scaler they go on reading."""
    import json

    for scale, version in (("none", 1), ("standard", 2)):
        words = ["fit", "--example", "iris", "--scale", scale, "--out", f"{tmp_path}", "--quiet"]
        assert main(words) == 0
        with np.load(tmp_path / "model.npz") as archive:
            assert json.loads(str(archive["header"]))["version"] == version


def test_rows_of_weight_0_do_not_change_the_scale(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.stack([WINE[:, 0], WINE[:, 12], np.ones(178)], axis=1)
    wild = np.asarray([[1e6, -1e6, 0.0]])
    np.save("plain.npy", rows)
    np.save("wild.npy", np.concatenate([rows, wild]))
    words = ["--weights", "x2", "--scale", "standard", "--n-clusters", "2", "--seed", "1"]
    plain, wild = (report_of(capsys, "fit", f"{name}.npy", *words) for name in ("plain", "wild"))
    assert plain["centers"] == wild["centers"]


def test_a_scaled_fit_names_a_bad_cell(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = WINE.copy()
    rows[4, 2] = np.inf
    np.save(tmp_path / "rows.npy", rows)
    text = error_of(capsys, 3, "fit", f"{tmp_path / 'rows.npy'}", "--scale", "minmax")
    assert "column 'x2' is inf in row 4" in text
