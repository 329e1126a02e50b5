"""Pictures: the contract of scikit-learn's displays, on every library, without pyplot too."""

from __future__ import annotations

import inspect
import itertools
import pathlib
import sys
from typing import Any

import numpy as np
import pytest
from conftest import Backend
from pictures import MAKERS, blobs, contents, fitted
from sklearn.cluster import KMeans as TheirKMeans
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from test_import import run

from kmeans_xp import KMeans, plot

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytestmark = pytest.mark.usefixtures("pyplot")
DISPLAYS = [getattr(plot, name) for name in plot.__all__ if name.endswith("Display")]


@pytest.mark.parametrize("kind", MAKERS)
def test_a_display_makes_one_figure_and_draws_again_from_its_data(kind: str, pyplot: Any) -> None:
    display = MAKERS[kind]()
    assert pyplot.get_fignums() == [display.figure_.number]
    first = contents(display.figure_)
    assert display.plot() is display
    assert len(pyplot.get_fignums()) == 2
    assert contents(display.figure_) == first


@pytest.mark.parametrize("kind", MAKERS)
def test_axes_that_are_given_are_drawn_in(kind: str, pyplot: Any) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5))
    display = MAKERS[kind](ax=left)
    assert pyplot.get_fignums() == [figure.number]
    assert display.figure_ is figure
    assert not right.has_data()
    inside = left.get_position()
    figure.canvas.draw()
    assert inside.x0 - 1e-6 <= display.ax_.get_position().x0 < right.get_position().x0
    assert display.ax_.has_data()


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda display: display.__name__)
def test_the_constructor_keeps_its_arguments(display: Any) -> None:
    names = list(inspect.signature(display).parameters)
    values = {name: object() for name in names}
    kept = display(**values)
    assert {name: getattr(kept, name) for name in names} == values
    assert inspect.signature(display.plot).parameters["ax"].default is None


def test_pictures_work_without_pyplot_and_without_a_grid() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    MAKERS["clusters"](ax=figure.add_axes((0.1, 0.1, 0.8, 0.8)))
    with pytest.raises(ValueError, match="outside of any grid"):
        MAKERS["convergence"](ax=Figure().add_axes((0.1, 0.1, 0.8, 0.8)))


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("clusters", "pdf"), ("clusters", "svg"), *((kind, "png") for kind in MAKERS)],
)
def test_a_display_is_saved_without_pyplot(
    kind: str, suffix: str, tmp_path: pathlib.Path, pyplot: Any
) -> None:
    display = MAKERS[kind]()
    pyplot.close("all")
    path, again = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    plot.save_picture(display, path)
    plot.save_picture(display, again)
    heads = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(heads[suffix])
    assert path.read_bytes() == again.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, again]
    assert pyplot.get_fignums() == []
    if kind == "elbow":
        assert display.criteria_axes_
    with pytest.raises(ValueError, match="does not end in a format"):
        plot.save_picture(display, tmp_path / "three.bmp")


def test_matplotlib_is_loaded_by_the_first_picture() -> None:
    found = run("import kmeans_xp\nkmeans_xp.plot.SizesDisplay\nimport kmeans_xp.plot\n")
    assert "kmeans_xp.plot" in found["loaded"]
    assert not any(name.partition(".")[0] == "matplotlib" for name in found["asked"])


def test_a_saved_picture_asks_for_no_pyplot(tmp_path: pathlib.Path) -> None:
    body = """
        import numpy as np
        from kmeans_xp.plot import SizesDisplay, save_picture
        save_picture(SizesDisplay(np.arange(3), names=list("abc")), PATH)
    """
    found = run(body.replace("PATH", repr(str(tmp_path / "a.png"))))
    assert "matplotlib.figure" in found["loaded"]
    assert "matplotlib.pyplot" not in found["asked"]


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "kmeans-xp\[plot\]"'):
        MAKERS["sizes"]()


@pytest.mark.parametrize(("k", "d"), [(1, 2), (2, 30), (8, 2), (60, 1), (60, 30)])
def test_no_label_is_clipped(k: int, d: int, pyplot: Any) -> None:
    x = blobs(240, d, min(k, 6))
    model = fitted(x, k)
    names = [f"a rather long name of a feature, number {number}" for number in range(d)]
    displays = [
        plot.ClustersDisplay.from_estimator(model, x, feature_names=names),
        plot.CentersDisplay.from_estimator(model, feature_names=names),
        plot.SizesDisplay.from_estimator(model),
        plot.ConvergenceDisplay.from_estimator(model),
    ]
    if k > 1:
        displays.append(plot.SilhouetteDisplay.from_estimator(model, x))
    for display in displays:
        figure = display.figure_
        figure.canvas.draw()
        within = figure.bbox.padded(1)
        for ax in figure.axes:
            box = ax.get_tightbbox()
            assert within.x0 <= box.x0
            assert box.x1 <= within.x1
            assert within.y0 <= box.y0
            assert box.y1 <= within.y1
        for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
            boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
            shown = [box for box in boxes if box.width > 0]
            pairs = itertools.pairwise(shown)
            assert not any(one.overlaps(two) for one, two in pairs), type(display)
        pyplot.close(figure)


def test_arrays_of_every_library_are_drawn(xp: Backend) -> None:
    x = blobs(300)
    rows = xp.array(x)
    ours, theirs = fitted(rows), fitted(x)
    options = {"max_rows": 100}
    for kind in (plot.ClustersDisplay, plot.SilhouetteDisplay):
        one = kind.from_estimator(ours, rows, **options)
        two = kind.from_estimator(theirs, x, **options)
        np.testing.assert_array_equal(one.labels, two.labels)
        assert contents(one.figure_) == contents(two.figure_)
        # labels need not be numbered from 0
        again = kind.from_predictions(rows, ours.labels_ * 10 - 5, **options)
        assert again.names == ["-5", "5", "15", "25"]
        np.testing.assert_array_equal(again.labels, two.labels)
    for source in (None, rows):
        sizes = plot.SizesDisplay.from_estimator(ours, source).sizes
        np.testing.assert_array_equal(sizes, np.bincount(theirs.labels_))
    centers = plot.CentersDisplay.from_estimator(ours).centers
    np.testing.assert_array_equal(centers, theirs.cluster_centers_)


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(NotFittedError):
        plot.ClustersDisplay.from_estimator(KMeans(2), blobs())
    with pytest.raises(TypeError, match="StandardScaler has no cluster_centers_"):
        plot.CentersDisplay.from_estimator(StandardScaler().fit(blobs()))
    bad = blobs()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        plot.ClustersDisplay.from_predictions(bad, np.zeros(len(bad)))
    with pytest.raises(ValueError, match="same rows"):
        plot.ClustersDisplay.from_predictions(blobs(), [0, 1])


def test_their_kmeans_is_drawn_too(tmp_path: pathlib.Path) -> None:
    x = blobs()
    model = TheirKMeans(3, n_init=1, random_state=0).fit(x)
    display = plot.ClustersDisplay.from_estimator(model, x)
    np.testing.assert_array_equal(display.labels, model.labels_)
