"""Pictures of numbers: silhouettes, convergence, centers, sizes, the elbow; and pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Backend
from pictures import blobs, fitted, result
from sklearn.cluster import KMeans as TheirKMeans
from sklearn.datasets import load_iris
from sklearn.metrics import silhouette_samples
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from kmeans_xp import FeatureScaler, KMeans, choose_k, plot

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytestmark = pytest.mark.usefixtures("pyplot")


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
    model = fitted(blobs(), search=None, callback=lambda record, _: seen.append(record))
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


def test_centers_go_back_where_the_scaler_was_fitted(xp: Backend) -> None:
    iris = load_iris().data
    there, here = (
        make_pipeline(FeatureScaler(), KMeans(3, random_state=0)).fit(x)
        for x in (xp.array(iris), iris)
    )
    found = plot.CentersDisplay.from_estimator(there).centers
    np.testing.assert_array_equal(found, plot.CentersDisplay.from_estimator(here).centers)
    means = [iris[here[-1].labels_ == number].mean(axis=0) for number in range(3)]
    np.testing.assert_allclose(found, means)


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
