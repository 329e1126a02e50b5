"""Pictures of k-means' relatives: noise is grey, and regions only where they are true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pictures import blobs

from kmeans_xp import (
    DBSCAN,
    BisectingKMeans,
    FuzzyCMeans,
    KMeans,
    KMedians,
    KMedoids,
    TrimmedKMeans,
    plot,
)
from kmeans_xp.plot._canvas import FAINT

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytestmark = pytest.mark.usefixtures("pyplot")
RELATIVES = {
    "bisecting": BisectingKMeans(4, random_state=3),
    "kmedoids": KMedoids(4),
    "kmedians": KMedians(4, random_state=0),
    "fuzzy": FuzzyCMeans(4, random_state=0),
    "trimmed": TrimmedKMeans(4, trim=0.1, random_state=0),
}


@pytest.mark.parametrize("name", RELATIVES)
def test_regions_are_drawn_where_rows_are_in_them(name: str) -> None:
    x = blobs()
    # columns of two scales, where L1 and L2 differ
    x[:, 1] *= 0.3
    model = RELATIVES[name].fit(x)
    display = plot.ClustersDisplay.from_estimator(model, x)
    np.testing.assert_array_equal(display.labels, model.predict(x))
    centers = model.cluster_centers_
    nearest = ((x[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    assert (display.regions_ is not None) == np.array_equal(nearest, display.labels)
    assert (display.regions_ is not None) == (name in ("fuzzy", "trimmed"))
    sizes = plot.SizesDisplay.from_estimator(model).sizes
    kept = np.asarray(model.labels_)
    assert sizes.tolist() == np.bincount(kept[kept >= 0], minlength=4).tolist()


@pytest.mark.parametrize("kind", ["ClustersDisplay", "SilhouetteDisplay", "SizesDisplay"])
def test_noise_is_grey_and_no_cluster(kind: str) -> None:
    x = blobs()
    labels = DBSCAN(eps=0.9, min_samples=6).fit(x).labels_
    n_clusters = int(labels.max()) + 1
    assert (labels == -1).any()
    assert n_clusters > 1
    given = (labels,) if kind == "SizesDisplay" else (x, labels)
    display: Any = getattr(plot, kind).from_predictions(*given)
    from matplotlib.colors import to_rgba

    grey = to_rgba(FAINT)
    if kind == "ClustersDisplay":
        colors = display.scatter_.get_facecolors()[:, :3]
        np.testing.assert_array_equal((colors == grey[:3]).all(axis=1), labels == -1)
        assert [text.get_text() for text in display.texts_] == [
            str(number) for number in range(n_clusters)
        ]
        assert display.ax_.get_title(loc="left").startswith(f"{n_clusters} clusters")
    else:
        drawn = [
            tuple(bar.get_facecolor()[0] if kind == "SilhouetteDisplay" else bar.get_facecolor())
            for bar in display.bars_
        ]
        assert [color == grey for color in drawn] == [True, *[False] * n_clusters]
    if kind == "SizesDisplay":
        title = f"{(labels >= 0).sum()} rows in {n_clusters} clusters"
        assert display.ax_.get_title(loc="left").startswith(title)


def test_a_model_without_centers_is_sent_to_its_labels() -> None:
    with pytest.raises(TypeError, match=r"DBSCAN has no cluster_centers_.*labels_ to from_pred"):
        plot.ClustersDisplay.from_estimator(DBSCAN().fit(blobs()), blobs())


def test_a_dendrogram_is_as_high_as_its_linkage() -> None:
    model = BisectingKMeans(6, random_state=0).fit(blobs())
    display = plot.DendrogramDisplay.from_estimator(model)
    tops = [max(y for _, y in line) for lines in display.lines_ for line in lines.get_segments()]
    np.testing.assert_allclose(np.sort(tops), model.linkage_[:, 2])
    ward = plot.DendrogramDisplay.from_estimator(KMeans(6, random_state=0).fit(blobs()))
    assert (ward.linkage.shape, ward.height) == ((5, 4), "Ward's distance of the clusters")
    with pytest.raises(ValueError, match="one cluster has no tree"):
        plot.DendrogramDisplay.from_estimator(KMeans(1).fit(blobs()))
