"""The walk of the README: its commands run, and what its text says of them is so."""

from __future__ import annotations

import json
import pathlib
import re
import shlex

import pytest

from kmeans_xp.cli import main

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WALK = README.split("<!-- walk -->")[1].split("<!-- end of the walk -->")[0]
# without line ends
TEXT = " ".join(WALK.split())
COMMANDS = re.findall(r"^kmeans-xp (.*)$", WALK, re.MULTILINE)
CRITERIA = ["elbow", "calinski_harabasz", "davies_bouldin", "silhouette_simplified", "bic"]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], command: str, warning: str = "") -> str:
    assert main(shlex.split(command)) == 0
    out, err = capsys.readouterr()
    assert warning in err if warning else err == ""
    return out


def test_four_commands_take_a_newcomer_from_table_to_pictures(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check, elbow, fit, plot = (said(capsys, command) for command in COMMANDS)
    assert [command.split()[0] for command in COMMANDS] == ["check", "elbow", "fit", "plot"]
    assert "proline outweighs its variance is 441 times" in " ".join(check.split())
    assert check.endswith("options for a fit: --scale standard\n")
    assert "\nclear structure: 8 clusters explain more" in elbow
    assert re.search(r"^scale +standard$", elbow, re.MULTILINE)
    assert "centers.csv, model.npz" in fit
    made = sorted(f"{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_file())
    kinds = ("centers", "clusters", "convergence", "silhouette", "sizes")
    files = [f"wine-clusters/{name}" for name in ("centers.csv", "labels.csv", "model.npz")]
    pictures = [f"pictures/{kind}.png" for kind in kinds]
    assert made == sorted(["elbow.png", *files, "wine-clusters/report.json", *pictures])
    assert all(f"{kind}.png" in plot for kind in kinds)
    assert "441 times the variance" in TEXT
    assert "Five pictures" in TEXT
    shown = re.findall(r"\(docs/images/(.*?)\)", WALK)
    assert shown == ["elbow.png", "clusters.png", "centers.png"]
    assert {path.name for path in (ROOT / "docs" / "images").iterdir()} == set(shown)


def test_what_the_walk_says_of_the_criteria(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scaled = json.loads(said(capsys, f"{COMMANDS[1]} --json"))
    assert scaled["scale"] == "standard"
    assert [scaled["suggestions"][name] for name in CRITERIA] == [3, 3, 6, 6, 8]
    assert "the knee and Calinski-Harabasz are at 3" in TEXT
    assert "Davies-Bouldin and the simplified silhouette at 6, and BIC at 8, the end" in TEXT
    assert [scaled["stable"][name] for name in CRITERIA] == [True] * 4 + [False]
    assert "All but BIC's are called stable" in TEXT
    warning = "warning: column 'proline' of X outweighs the others"
    unscaled = COMMANDS[1].replace("--scale standard", "--json")
    raw = json.loads(said(capsys, unscaled, warning))
    assert raw["scale"] == "none"
    assert raw["structure"].startswith("no clear structure")
    assert 'Without `--scale` there is "no clear structure"' in TEXT


def test_what_the_walk_says_of_the_clusters(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.datasets import load_wine

    from kmeans_xp import load_model
    from kmeans_xp.plot import ClustersDisplay, SilhouetteDisplay

    report = json.loads(said(capsys, f"{COMMANDS[2]} --json"))
    assert report["cluster_sizes"] == [51, 65, 62]
    assert "51, 65 and 62 wines" in TEXT
    centers = dict(
        zip(report["input"]["columns"], zip(*report["centers"], strict=True), strict=True)
    )
    for cluster, most in ((2, "proline alcohol flavanoids"), (0, "color_intensity malic_acid")):
        assert all(max(centers[name]) == centers[name][cluster] for name in most.split())
    assert min(centers["hue"]) == centers["hue"][0]
    for name in ("alcohol", "color_intensity", "ash", "malic_acid", "magnesium", "proline"):
        assert min(centers[name]) == centers[name][1]

    model, x = load_model("wine-clusters/model.npz"), load_wine(as_frame=True).data
    clusters = ClustersDisplay.from_estimator(model, x)
    assert clusters.explained is not None
    assert f"{100 * sum(clusters.explained):.1f} % of the variance" in TEXT
    assert "PCA after FeatureScaler" in clusters.ax_.texts[-1].get_text()
    bars = SilhouetteDisplay.from_estimator(model, x)
    assert f"{bars.silhouettes.mean():.2f} in the mean" in TEXT
    assert set(bars.labels[bars.silhouettes < 0].tolist()) == {1}
    assert "below 0 in cluster 1" in TEXT
    assert any("distances after FeatureScaler" in text.get_text() for text in bars.ax_.texts)


def test_a_warning_calls_a_column_as_the_table_does(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--example", "wine", "--n-clusters", "3", "--seed", "0"]) == 0
    assert "warning: column 'proline' of X outweighs the others" in capsys.readouterr().err


def test_centers_are_drawn_in_the_units_of_the_table(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kmeans_xp import load_model
    from kmeans_xp.plot import CentersDisplay

    report = json.loads(said(capsys, f"{COMMANDS[2]} --json"))
    display = CentersDisplay.from_estimator(load_model("wine-clusters/model.npz"))
    assert display.centers.tolist() == report["centers"]
    assert display.feature_names == report["input"]["columns"]
    assert display.text_ is not None
    assert display.text_[-1, 2].get_text() == "1,100"
