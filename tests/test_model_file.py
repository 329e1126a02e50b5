"""Saved models: npz files without pickles that come back whole."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from cli_tools import IRIS, NAMES

from kmeans_xp import KMeans, load_model, save_model


@pytest.mark.parametrize("init", ["random", "array"])
def test_a_model_comes_back_whole(tmp_path: pathlib.Path, init: str) -> None:
    import pandas as pd

    frame = pd.DataFrame(IRIS.data, columns=NAMES)
    start = IRIS.data[[0, 50, 100]] if init == "array" else init
    model = KMeans(3, init=start, n_init=1, random_state=3, tol=1e-3).fit(frame)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert vars(again).keys() == vars(model).keys()
    for name, value in vars(model).items():
        other = getattr(again, name)
        if isinstance(value, np.ndarray):
            assert other.dtype == value.dtype
            np.testing.assert_array_equal(other, value)
        else:
            assert other == value, name
    fresh = frame + 0.05
    np.testing.assert_array_equal(again.predict(fresh), model.predict(fresh))
    np.testing.assert_array_equal(again.transform(fresh), model.transform(fresh))


def test_what_json_cannot_hold_is_left_out(tmp_path: pathlib.Path) -> None:
    def first(x: Any, n_clusters: int, random_state: Any) -> Any:
        return x[:n_clusters]

    generator = np.random.RandomState(0)
    model = KMeans(3, init=first, n_init=1, random_state=generator).fit(IRIS.data)
    save_model(model, tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    assert (again.init, again.random_state, again.n_init) == ("k-means++", None, 1)
    np.testing.assert_array_equal(again.predict(IRIS.data), model.labels_)


def test_a_model_holds_no_pickle(tmp_path: pathlib.Path) -> None:
    save_model(KMeans(2, random_state=0).fit(IRIS.data), tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        kinds = {name: archive[name].dtype.kind for name in archive.files}
    assert kinds == {"header": "U", "cluster_centers": "f", "labels": "i"}


def test_saving_refuses_what_is_not_a_fitted_kmeans(tmp_path: pathlib.Path) -> None:
    from sklearn.cluster import KMeans as Other
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        save_model(KMeans(2), tmp_path / "m")
    with pytest.raises(TypeError, match="pass a fitted KMeans"):
        save_model(Other(2), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_loading_refuses_other_files(tmp_path: pathlib.Path) -> None:
    save_model(KMeans(2, random_state=0).fit(IRIS.data), tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as archive:
        arrays = dict(archive)
    newer = str(arrays["header"]).replace('"version": 1', '"version": 99')
    np.savez(tmp_path / "newer.npz", **{**arrays, "header": np.asarray(newer)})
    with pytest.raises(ValueError, match="Update kmeans-xp"):
        load_model(tmp_path / "newer.npz")
    np.savez(tmp_path / "other.npz", x=IRIS.data)
    np.save(tmp_path / "array.npy", IRIS.data)
    (tmp_path / "text").write_text("hello")
    (tmp_path / "nothing").write_text("")
    whole = (tmp_path / "model.npz").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    for name in ("other.npz", "array.npy", "text", "nothing", "cut"):
        with pytest.raises(ValueError, match="is not a kmeans-xp model"):
            load_model(tmp_path / name)
