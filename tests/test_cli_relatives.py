"""The command line: --algorithm fits the relatives of k-means."""

from __future__ import annotations

import inspect
import json
import pathlib
from typing import Any

import numpy as np
import pytest
from cli_tools import IRIS, error_of, report_of
from sklearn.datasets import load_wine

import kmeans_xp
from kmeans_xp import FeatureScaler, save_model
from kmeans_xp._cli._algorithms import ALGORITHMS
from kmeans_xp.cli import main

THREE = ["--n-clusters", "3", "--seed", "0"]
FITS: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "bisecting": (
        [*THREE, "--strategy", "largest_cluster", "--n-init", "2"],
        {"n_clusters": 3, "bisecting_strategy": "largest_cluster", "n_init": 2},
        "start       random, best of 2 runs\n",
    ),
    "kmedoids": (
        [*THREE, "--metric", "cosine", "--init", "k-means++"],
        {"n_clusters": 3, "metric": "cosine", "init": "k-means++"},
        "distance    cosine\n",
    ),
    "kmedians": (THREE, {"n_clusters": 3}, "start       k-means++\n"),
    "fuzzy": (
        [*THREE, "--fuzzifier", "1.5", "--max-iter", "none"],
        {"n_clusters": 3, "m": 1.5, "max_iter": None},
        "\npartition coefficient  0.",
    ),
    "spherical": (THREE, {"n_clusters": 3}, "start       k-means++\n"),
    "trimmed": (
        [*THREE, "--trim", "0.1"],
        {"n_clusters": 3, "trim": 0.1},
        "\nleft out    15 rows (label -1)\n",
    ),
    "dbscan": (
        ["--eps", "0.6", "--min-samples", "4"],
        {"eps": 0.6, "min_samples": 4},
        "\nnoise     5 rows (label -1)\n",
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_relative_has_a_run_here() -> None:
    assert {"lloyd", "minibatch", *FITS} == set(ALGORITHMS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_table_tells_what_the_estimators_are(name: str) -> None:
    entry = ALGORITHMS[name]
    kind = getattr(kmeans_xp, entry.estimator)
    assert set(entry.parameters().values()) <= set(inspect.signature(kind).parameters)
    words = {"max_iter": None, "n_init": "auto"}
    for option in words.keys() & set(entry.takes):
        model = kind(**{option: words[option]})
        if option in entry.needs_number:
            with pytest.raises(ValueError, match=option):
                model.fit(IRIS.data)
        else:
            model.fit(IRIS.data)


@pytest.mark.parametrize("name", FITS)
def test_files_and_report_are_those_of_the_estimator(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, options, line = FITS[name]
    entry = ALGORITHMS[name]
    model = getattr(kmeans_xp, entry.estimator)(**options)
    if "seed" in entry.takes:
        model.set_params(random_state=0)
    model.fit(IRIS.data)
    assert main(["fit", "--example", "iris", "--algorithm", name, *words, "--out", "fit"]) == 0
    out, err = capsys.readouterr()
    assert (line in out, err) == (True, "")
    assert f"no model.npz: there is none of a {entry.estimator}, nor a predict by it\n" in out
    report = json.loads((folder / "fit" / "report.json").read_text())
    files = {path.name for path in (folder / "fit").iterdir()}
    assert files == set(report["files"])
    assert "model.npz" not in files
    with pytest.raises(TypeError):
        save_model(model, "model.npz")
    labels = np.loadtxt("fit/labels.csv", skiprows=1, dtype=np.int32)
    np.testing.assert_array_equal(labels, model.labels_)
    assert report["cluster_sizes"] == np.bincount(labels[labels >= 0]).tolist()
    if name == "dbscan":
        assert "centers.csv" not in files
        assert report["core_sample_indices"] == model.core_sample_indices_.tolist()
    else:
        centers = np.loadtxt("fit/centers.csv", skiprows=1, delimiter=",")
        np.testing.assert_array_equal(centers, model.cluster_centers_)
        assert (report["inertia"], report["iterations"]) == (model.inertia_, model.n_iter_)
    asked = report["parameters"]
    assert asked.pop("seed", None) == (0 if "seed" in entry.takes else None)
    assert asked == {parameter: model.get_params()[parameter] for parameter in asked}
    assert options.keys() <= asked.keys()


def test_mean_distances_are_those_of_the_metric(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--example", "iris", "--algorithm", "kmedoids", *THREE]
    report = report_of(capsys, "fit", *words)
    model = kmeans_xp.KMedoids(3).fit(IRIS.data)
    assert report["medoid_indices"] == model.medoid_indices_.tolist()
    assert np.dot(report["mean_distances"], report["cluster_sizes"]) == pytest.approx(
        model.inertia_, rel=1e-12
    )


def test_memberships_are_written_beside_the_labels(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--example", "iris", "--algorithm", "fuzzy", *THREE, "--scale", "standard"]
    assert main([*words, "--memberships", "--out", "fit", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    report = json.loads((folder / "fit" / "report.json").read_text())
    assert report["files"] == ["labels.csv", "centers.csv", "memberships.csv", "report.json"]
    head, *lines = (folder / "fit" / "memberships.csv").read_text().splitlines()
    assert head == "cluster 0,cluster 1,cluster 2"
    found = np.array([line.split(",") for line in lines], dtype=float)
    rows = FeatureScaler("standard").fit_transform(IRIS.data)
    model = kmeans_xp.FuzzyCMeans(3, random_state=0).fit(rows)
    np.testing.assert_array_equal(found, model.predict_proba(rows))
    labels = np.loadtxt("fit/labels.csv", skiprows=1, dtype=np.int32)
    np.testing.assert_array_equal(found.argmax(axis=1), labels)


@pytest.mark.parametrize("name", ["kmedoids", "dbscan"])
def test_a_table_of_distances(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    x = IRIS.data[::2]
    apart = np.abs(x[:, None, :] - x[None, :, :]).sum(axis=2)
    np.save("apart.npy", apart)
    words = THREE if name == "kmedoids" else ["--eps", "0.8"]
    words = ["--algorithm", name, *words]
    given = report_of(
        capsys, "fit", "apart.npy", *words, "--metric", "precomputed", "--out", "given"
    )
    np.save("rows.npy", x)
    named = report_of(capsys, "fit", "rows.npy", *words, "--metric", "manhattan", "--out", "named")
    labels = [np.loadtxt(f"{out}/labels.csv", skiprows=1) for out in ("given", "named")]
    np.testing.assert_array_equal(*labels)
    assert given["files"] == ["labels.csv", "report.json"]
    assert "centers" not in given
    for fact in ("medoid_indices", "core_sample_indices", "cluster_sizes"):
        assert given.get(fact) == named.get(fact)
    if name == "kmedoids":
        assert given["mean_distances"] == pytest.approx(named["mean_distances"], rel=1e-12)
    # for a person
    assert main(["fit", "apart.npy", *words, "--metric", "precomputed"]) == 0
    assert " precomputed\n" in capsys.readouterr().out
    whole = ["fit", "rows.npy", *words, "--metric", "precomputed"]
    assert "(75, 4)" in error_of(capsys, 3, *whole)


def test_rows_that_are_left_out_count_for_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--example", "wine", "--scale", "standard", "--algorithm", "trimmed", *THREE]
    report = report_of(capsys, "fit", *words, "--trim", "0.2", "--weights", "alcohol")
    x = load_wine().data
    scaled = FeatureScaler("standard").fit(x[:, 1:])
    model = kmeans_xp.TrimmedKMeans(3, trim=0.2, random_state=0)
    rows = scaled.transform(x[:, 1:])
    model.fit(rows, sample_weight=x[:, 0])
    kept = model.labels_ >= 0
    assert 0 < kept.sum() < len(x)
    assert report["cluster_sizes"] == np.bincount(model.labels_[kept]).tolist()
    weights = np.bincount(model.labels_[kept], x[kept, 0])
    assert report["cluster_weights"] == pytest.approx(weights, rel=1e-12)
    away = np.linalg.norm(rows - model.cluster_centers_[model.labels_], axis=1)
    means = np.bincount(model.labels_[kept], (x[:, 0] * away)[kept]) / weights
    assert report["mean_distances"] == pytest.approx(means, rel=1e-9)
    centers = scaled.inverse_transform(model.cluster_centers_)
    np.testing.assert_array_equal(report["centers"], centers)


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("dbscan", ["--n-clusters", "3"], "lloyd, minibatch, bisecting, kmedoids"),
        ("dbscan", ["--seed", "1"], "and this is dbscan. Leave it out, or take one of these"),
        ("dbscan", ["--memory-limit", "100000"], "--algorithm lloyd, minibatch, and this is"),
        ("kmedoids", ["--tol", "0.1"], "and this is kmedoids"),
        ("lloyd", ["--trim", "0.1"], "--algorithm trimmed, and this is lloyd. Leave it out, or"),
        ("trimmed", ["--memberships"], "--algorithm fuzzy, and this is trimmed. Leave it out"),
        ("dbscan", ["--metric", "precomputed", "--scale", "robust"], "distances are taken as they"),
        ("fuzzy", ["--metric", "cosine"], "--algorithm kmedoids, dbscan, and this is fuzzy"),
        ("trimmed", ["--search", "auto"], "--algorithm lloyd, and this is trimmed"),
        ("kmedians", ["--init", "build"], "which has k-means++, random"),
        ("kmedians", ["--max-iter", "none"], "--algorithm kmedians needs a number there"),
        ("bisecting", ["--n-init", "auto"], "--algorithm bisecting needs a number there"),
        ("trimmed", ["--trim", "1"], "'1' is not a number of at least 0 and less than 1"),
        ("fuzzy", ["--fuzzifier", "0.9"], "'0.9' is not a number of at least 1"),
        ("dbscan", ["--eps", "0"], "'0' is not above 0"),
    ],
)
def test_wrong_options_are_refused(
    folder: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    words: list[str],
    said: str,
) -> None:
    whole = ["fit", "--example", "iris", "--algorithm", name, *words, "--out", "out"]
    message = error_of(capsys, 2, *whole)
    assert words[0] in message
    assert said in message
    assert not (folder / "out").exists()


def test_memberships_need_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    message = error_of(
        capsys, 2, "fit", "--example", "iris", "--algorithm", "fuzzy", "--memberships"
    )
    assert "--memberships needs --out FOLDER" in message
