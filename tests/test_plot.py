"""Pictures: what stands behind the artists, and the contract of scikit-learn's displays."""

from __future__ import annotations

import inspect
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Backend
from sklearn.cluster import KMeans as TheirKMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import silhouette_samples
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from test_import import run

from kmeans_xp import ChooseKResult, KMeans, choose_k, plot
from kmeans_xp.plot._canvas import cluster_colors
from kmeans_xp.plot._regions import voronoi
from kmeans_xp.plot._rows import drawn

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
DISPLAYS = [getattr(plot, name) for name in plot.__all__ if name.endswith("Display")]


@pytest.fixture(autouse=True)
def pyplot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Pyplot without a screen; a call of show fails, and no figure may be left by a helper."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def show(*_: Any, **__: Any) -> None:
        raise AssertionError("show was called")

    monkeypatch.setattr(plt, "show", show)
    monkeypatch.setattr(matplotlib.figure.Figure, "show", show)
    before = dict(matplotlib.rcParams)
    plt.close("all")
    yield plt
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def blobs(n: int = 200, d: int = 2, k: int = 4) -> Any:
    return make_blobs(n, d, centers=k, random_state=5, cluster_std=1.5)[0]


def fitted(x: Any, k: int = 4, **options: Any) -> KMeans:
    return KMeans(k, random_state=0, **options).fit(x)


def result() -> ChooseKResult:
    """A result with what a picture must cope with: criteria and errors that are not defined."""
    inertia = (100.0, 40.0, 12.0, 9.0, 8.0)
    nothing: tuple[None, ...] = (None,) * 5
    found = choose_k(blobs(), 5, criteria="elbow", structure=False, random_state=0)
    return replace(
        found,
        inertia=inertia,
        variance_explained=tuple(100 - value for value in inertia),
        seconds=(0.1, 0.2, 0.3, 0.4, 0.5),
        criteria={
            "elbow": tuple(100 - value for value in inertia),
            "silhouette": nothing,
            "calinski_harabasz": (None, 50.0, 90.0, 70.0, 60.0),
            "gap": (0.1, 0.2, 0.5, 0.4, 0.4),
        },
        gap_error=(0.01, 0.02, 0.03, 0.04, None),
        suggestions={"elbow": 3, "silhouette": None, "calinski_harabasz": 3, "gap": 3},
        stable={"elbow": True, "calinski_harabasz": True},
        bands={"elbow": (2, 4), "gap": None},
    )


MAKERS: dict[str, Callable[..., Any]] = {
    "elbow": lambda **ax: plot.ElbowDisplay.from_result(result(), **ax),
    "clusters": lambda **ax: plot.ClustersDisplay.from_estimator(fitted(blobs()), blobs(), **ax),
    "silhouette": lambda **ax: plot.SilhouetteDisplay.from_estimator(
        fitted(blobs()), blobs(), **ax
    ),
    "convergence": lambda **ax: plot.ConvergenceDisplay.from_estimator(fitted(blobs()), **ax),
    "centers": lambda **ax: plot.CentersDisplay.from_estimator(fitted(blobs()), **ax),
    "sizes": lambda **ax: plot.SizesDisplay.from_estimator(fitted(blobs()), **ax),
}


def contents(figure: Any) -> bytes:
    figure.canvas.draw()
    return bytes(figure.canvas.buffer_rgba())


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


@pytest.mark.parametrize("k", [2, 8, 9, 60])
def test_clusters_have_colours_of_their_own(k: int) -> None:
    colors = {matplotlib.colors.to_hex(color) for color in cluster_colors(k)}
    assert len(colors) == k


# --- clusters -------------------------------------------------------------------------------


def test_rows_stand_where_they_are_in_their_colour() -> None:
    x = blobs()
    model = fitted(x)
    display = plot.ClustersDisplay.from_estimator(model, x)
    np.testing.assert_array_equal(display.scatter_.get_offsets(), x)
    np.testing.assert_array_equal(display.centers_.get_offsets(), model.cluster_centers_)
    np.testing.assert_array_equal(display.labels, model.labels_)
    wanted = [matplotlib.colors.to_rgb(cluster_colors(4)[label]) for label in model.labels_]
    np.testing.assert_allclose(display.scatter_.get_facecolors()[:, :3], wanted)
    assert [text.get_text() for text in display.texts_] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("k", "d"), [(1, 2), (2, 2), (7, 2), (40, 2), (3, 1)])
def test_regions_hold_the_rows_labelled_so(k: int, d: int) -> None:
    x = blobs(400, d, 6)
    display = plot.ClustersDisplay.from_estimator(fitted(x, k), x)
    paths = display.regions_.get_paths()
    assert len(paths) == k
    for number, path in enumerate(paths):
        inside = path.contains_points(display.points)
        np.testing.assert_array_equal(inside, display.labels == number)
    display.figure_.canvas.draw()
    (left, right), (low, high) = display.ax_.get_xlim(), display.ax_.get_ylim()
    corners = [(left, low), (left, high), (right, low), (right, high)]
    assert all(any(path.contains_point(corner) for path in paths) for corner in corners)


def test_regions_fill_the_box_and_equal_centers_share_none() -> None:
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(30, 2))
    centers[7] = centers[3]
    low, high = np.array([-4.0, -3.0]), np.array([5.0, 3.5])
    regions = voronoi(centers, low, high)
    assert len(regions[7]) == 0
    areas = []
    for region in regions:
        (x, y), (u, v) = region.T, np.roll(region, 1, axis=0).T
        areas.append(abs(np.sum(x * v - y * u)) / 2)
    assert sum(areas) == pytest.approx(np.prod(high - low))
    points = rng.uniform(low, high, size=(500, 2))
    nearest = np.argmin(((points[:, None] - centers) ** 2).sum(axis=2), axis=1)
    from matplotlib.path import Path

    for number, region in enumerate(regions):
        if len(region):
            np.testing.assert_array_equal(Path(region).contains_points(points), nearest == number)


def test_lines_of_centers_have_strips() -> None:
    centers = np.array([[0.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    regions = voronoi(centers, np.array([-1.0, 0.0]), np.array([4.0, 2.0]))
    spans = [(region[:, 0].min(), region[:, 0].max()) for region in regions]
    assert spans == [(-1.0, 1.0), (1.0, 2.5), (2.5, 4.0)]


def test_many_features_go_through_a_pca() -> None:
    x = blobs(150, 6)
    model = fitted(x)
    display = plot.ClustersDisplay.from_estimator(model, x)
    assert display.regions_ is None
    spread = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(display.explained, spread[:2] / spread.sum())
    assert f"{100 * display.explained[0]:.1f} %" in display.ax_.get_xlabel()
    np.testing.assert_allclose(display.points.var(axis=0, ddof=1), spread[:2])
    means = [display.points[display.labels == number].mean(axis=0) for number in range(4)]
    np.testing.assert_allclose(display.centers, means, atol=1e-9)


@pytest.mark.parametrize("rows", [[[1.0, 2, 3]], [[1.0, 2, 3]] * 4])
def test_rows_without_variance_are_drawn(rows: Any) -> None:
    model = KMeans(1, random_state=0).fit(rows)
    display = plot.ClustersDisplay.from_estimator(model, rows)
    assert display.explained == (0.0, 0.0)
    display.figure_.canvas.draw()


def test_of_many_rows_some_are_drawn_and_the_picture_tells() -> None:
    x = blobs(3000)
    model = fitted(x)
    one = plot.ClustersDisplay.from_estimator(model, x, max_rows=500)
    two = plot.ClustersDisplay.from_estimator(model, x, max_rows=500)
    three = plot.ClustersDisplay.from_estimator(model, x, max_rows=500, random_state=1)
    assert len(one.points) == 500
    np.testing.assert_array_equal(one.points, two.points)
    assert (one.points != three.points).any()
    assert any("500 of 3,000 rows" in text.get_text() for text in one.ax_.texts)
    np.testing.assert_array_equal(one.labels, model.predict(one.points))


def test_each_row_is_drawn_equally_often() -> None:
    counts = np.zeros(20, dtype=int)
    for seed in range(600):
        positions = drawn(20, 5, seed)
        assert positions is not None
        assert len(set(positions.tolist())) == 5
        counts[positions] += 1
    # 150 expected; a standard deviation is 10.6
    assert counts.min() > 100
    assert counts.max() < 200
    assert drawn(5, 5, 0) is None
    with pytest.raises(ValueError, match="max_rows=0"):
        drawn(5, 0, 0)
    with pytest.raises(ValueError, match=r"max_rows=2\.5 must be a whole number"):
        drawn(5, 2.5, 0)  # type: ignore[arg-type]


def test_labels_with_names_are_drawn_without_a_model() -> None:
    iris = load_iris(as_frame=True)
    names = iris.target_names[iris.target]
    display = plot.ClustersDisplay.from_predictions(iris.data.iloc[:, :2], names)
    assert [text.get_text() for text in display.texts_] == ["setosa", "versicolor", "virginica"]
    assert display.ax_.get_xlabel() == "sepal length (cm)"
    assert display.regions_ is None
    np.testing.assert_allclose(display.centers[0], iris.data.iloc[:50, :2].mean())
    # a cluster of which no row is drawn
    few = plot.ClustersDisplay.from_predictions(iris.data, names, max_rows=1)
    assert len(few.texts_) == 1
    few.figure_.canvas.draw()


# --- the others -----------------------------------------------------------------------------


def test_silhouettes_are_bars_by_cluster() -> None:
    x = blobs(120)
    model = fitted(x)
    display = plot.SilhouetteDisplay.from_estimator(model, x)
    wanted = silhouette_samples(x, model.labels_)
    np.testing.assert_allclose(display.silhouettes, wanted, atol=1e-12)
    assert len(display.bars_) == 4
    for number, bar in enumerate(display.bars_):
        ends = bar.get_paths()[0].vertices[:, 0]
        mine = wanted[model.labels_ == number]
        assert ends.max() == pytest.approx(max(mine.max(), 0))
        heights = bar.get_paths()[0].vertices[:, 1]
        assert heights.max() - heights.min() == len(mine)
    assert display.line_.get_xdata()[0] == pytest.approx(wanted.mean())
    few = plot.SilhouetteDisplay.from_predictions(x, model.labels_, max_rows=60)
    assert any("60 of 120 rows" in text.get_text() for text in few.ax_.texts)


def test_convergence_is_the_history() -> None:
    seen: list[Any] = []
    model = fitted(blobs(), callback=lambda record, _: seen.append(record))
    display = plot.ConvergenceDisplay.from_estimator(model)
    assert len(display.axes_) == 3
    for name, line in display.lines_.items():
        assert line.get_xdata().tolist() == [record.iteration for record in seen]
        assert line.get_ydata().tolist() == [getattr(record, name) for record in seen]
    without = plot.ConvergenceDisplay.from_history(fitted(blobs()).history_)
    assert sorted(without.lines_) == ["changed", "shift"]
    with pytest.raises(ValueError, match="no iteration"):
        plot.ConvergenceDisplay.from_history([])
    with pytest.raises(TypeError, match="no history_"):
        plot.ConvergenceDisplay.from_estimator(TheirKMeans(2, n_init=1).fit(blobs()))


def test_centers_are_in_original_units() -> None:
    iris = load_iris(as_frame=True).data
    model = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(iris)
    display = plot.CentersDisplay.from_estimator(model)
    labels = model.predict(iris)
    means = np.array([iris[labels == number].mean() for number in range(3)])
    np.testing.assert_allclose(display.centers, means)
    shown = [[float(text.get_text()) for text in row] for row in display.text_]
    np.testing.assert_allclose(shown, means.T, rtol=5e-3)
    low, high = means.min(axis=0), means.max(axis=0)
    np.testing.assert_allclose(display.im_.get_array(), ((means - low) / (high - low)).T)
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == list(iris.columns)
    np.testing.assert_allclose(display.plot(scale="common").im_.get_array(), means.T)
    with pytest.raises(ValueError, match="scale='rows' is not known"):
        display.plot(scale="rows")
    with pytest.raises(ValueError, match="2 names for 4 features"):
        plot.CentersDisplay.from_estimator(model, feature_names=["a", "b"])


def test_where_cells_are_many_the_names_tell_the_units() -> None:
    x = blobs(300, 30, 5)
    display = plot.CentersDisplay.from_estimator(fitted(x, 60))
    assert display.text_ is None
    low, high = display.centers[:, 0].min(), display.centers[:, 0].max()
    assert display.ax_.get_yticklabels()[0].get_text() == f"x0  {low:.3g} to {high:.3g}"


def test_steps_without_a_way_back_are_named() -> None:
    model = make_pipeline(Normalizer(), KMeans(2, random_state=0)).fit(blobs())
    with pytest.raises(ValueError, match=r"step 'normalizer' \(Normalizer\)"):
        plot.CentersDisplay.from_estimator(model)


def test_a_pipeline_is_drawn_where_its_distances_are_taken() -> None:
    iris = load_iris(as_frame=True).data.iloc[:, 2:]
    model = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(iris)
    display = plot.ClustersDisplay.from_estimator(model, iris)
    np.testing.assert_allclose(display.points, model[:-1].transform(iris))
    assert display.ax_.get_xlabel() == "petal length (cm) (after StandardScaler)"
    scores = plot.SilhouetteDisplay.from_estimator(model, iris).silhouettes
    wanted = silhouette_samples(display.points, display.labels)
    np.testing.assert_allclose(scores, wanted, atol=1e-12)
    silent = make_pipeline(FunctionTransformer(np.log1p), KMeans(2, random_state=0))
    silent.fit(iris.to_numpy())
    display = plot.ClustersDisplay.from_estimator(silent, iris.to_numpy())
    assert display.ax_.get_ylabel() == "x1 (after FunctionTransformer)"


def test_sizes_are_counts() -> None:
    x = blobs()
    model = fitted(x)
    counts = np.bincount(model.labels_, minlength=4)
    display = plot.SizesDisplay.from_estimator(model)
    assert [bar.get_height() for bar in display.bars_] == counts.tolist()
    assert [text.get_text() for text in display.texts_] == [str(count) for count in counts]
    few = plot.SizesDisplay.from_estimator(model, x[model.labels_ == 2])
    assert few.sizes.tolist() == [0, 0, counts[2], 0]
    of_labels = plot.SizesDisplay.from_predictions(model.labels_)
    assert of_labels.sizes.tolist() == counts.tolist()
    named = plot.SizesDisplay.from_predictions(["b", "a", "b"])
    assert named.names == ["a", "b"]
    assert named.sizes.tolist() == [1, 2]


def test_the_elbow_shows_curve_knee_band_time_and_criteria() -> None:
    display = plot.ElbowDisplay.from_result(result())
    assert display.line_.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert display.line_.get_ydata().tolist() == list(result().inertia)
    assert display.knee_.get_xdata()[0] == 3
    edges = display.band_.get_path().vertices[:, 0]
    box = display.band_.get_extents().transformed(display.ax_.transData.inverted())
    assert len(edges)
    assert box.x0 < 2 < 4 < box.x1
    assert [bar.get_height() for bar in display.time_ax_.patches] == list(result().seconds)
    assert sorted(display.criteria_axes_) == ["calinski_harabasz", "gap"]
    assert display.criteria_axes_["gap"].get_title(loc="left") == "gap: 3"
    assert "stable" in display.ax_.get_title(loc="left")
    display.figure_.canvas.draw()
    low, high = display.ax_.get_ylim()
    ends = display.explained_ax_.get_ylim()
    np.testing.assert_allclose(sorted(ends), sorted([100 - low, 100 - high]))
    bare = display.plot(time=False, criteria=False)
    assert bare.time_ax_ is None
    assert bare.criteria_axes_ == {}


def test_an_estimator_lends_its_parameters_to_the_elbow() -> None:
    x = blobs(150, 3)
    options = {"random_state": 4, "max_iter": 3, "tol": 0.0}
    display = plot.ElbowDisplay.from_estimator(KMeans(**options), x, k=6, structure=False)
    found = choose_k(x, 6, structure=False, **options)
    assert display.line_.get_ydata().tolist() == list(found.inertia)
    assert display.suggestions == found.suggestions
    assert sorted(display.criteria_axes_) == sorted(set(found.criteria) - {"elbow"})
    model = make_pipeline(StandardScaler(), KMeans(2, **options)).fit(x)
    scaled = plot.ElbowDisplay.from_estimator(model, x, k=range(2, 5), criteria="elbow")
    wanted = choose_k(StandardScaler().fit_transform(x), range(2, 5), criteria="elbow", **options)
    assert scaled.inertia.tolist() == list(wanted.inertia)
    assert scaled.note == wanted.structure


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
