"""Pictures of clusters: rows, centers, regions, projections, and rows that are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pictures import blobs, fitted
from sklearn.datasets import load_iris

from kmeans_xp import KMeans, plot
from kmeans_xp.plot._canvas import cluster_colors
from kmeans_xp.plot._regions import voronoi
from kmeans_xp.plot._rows import drawn

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.mark.parametrize("k", [2, 8, 9, 60])
def test_clusters_have_colours_of_their_own(k: int) -> None:
    colors = {matplotlib.colors.to_hex(color) for color in cluster_colors(k)}
    assert len(colors) == k


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
