"""Saved models: npz files without pickles that come back whole."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from cli_tools import IRIS, NAMES
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

from kmeans_xp import FeatureScaler, KMeans, MiniBatchKMeans, load_model, save_model
from kmeans_xp.cli import main


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

    with pytest.raises(NotFittedError):
        save_model(KMeans(2), tmp_path / "m")
    with pytest.raises(TypeError, match="pass a fitted KMeans"):
        save_model(Other(2), tmp_path / "m")
    assert not list(tmp_path.iterdir())


SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False, with_std=False),
    MinMaxScaler(feature_range=(-1, 3), clip=True),
    MaxAbsScaler(),
    RobustScaler(quantile_range=(10.0, 80.0)),
]


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_a_pipeline_with_scikit_learns_scaler_comes_back_whole(
    tmp_path: pathlib.Path, scaler: Any
) -> None:
    model = make_pipeline(clone(scaler), KMeans(3, random_state=0)).fit(IRIS.data)
    save_model(model, tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    assert type(again[0]) is type(scaler)
    assert again[0].get_params() == scaler.get_params()
    assert vars(again[0]).keys() == vars(model[0]).keys()
    for dtype in (np.float32, np.float64):
        # beyond the rows of the fit as well
        x = (IRIS.data * 1.2 - 0.7).astype(dtype)
        assert again[0].transform(x).tobytes() == model[0].transform(x).tobytes()
        assert again.predict(x).tobytes() == model.predict(x).tobytes()
    back = [one[0].inverse_transform(one[-1].cluster_centers_) for one in (again, model)]
    assert back[0].tobytes() == back[1].tobytes()
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        # versions that know no such scaler refuse the file
        assert json.loads(str(archive["header"]))["version"] == 3


@pytest.mark.parametrize("scaler", [FeatureScaler("robust"), StandardScaler()], ids=str)
def test_a_pipeline_of_frames_comes_back_whole(tmp_path: pathlib.Path, scaler: Any) -> None:
    import pandas as pd

    frame = pd.DataFrame(IRIS.data, columns=NAMES)
    scaler = clone(scaler).set_output(transform="pandas")
    model = make_pipeline(scaler, KMeans(3, random_state=0)).fit(frame)
    save_model(model, tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    assert again[-1].feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))


def test_scikit_learns_scaler_does_on_the_command_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = load_wine(as_frame=True).data
    model = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(frame)
    save_model(model, tmp_path / "model.npz")
    assert main(["predict", "--model", str(tmp_path / "model.npz"), "--example", "wine"]) == 0
    found = capsys.readouterr().out.split()
    assert found == [str(label) for label in model.predict(frame)]


def test_saving_names_the_pipelines_that_it_knows(tmp_path: pathlib.Path) -> None:
    for steps in ((Normalizer(),), (StandardScaler(), MinMaxScaler())):
        model = make_pipeline(*steps, KMeans(2, random_state=0)).fit(IRIS.data)
        with pytest.raises(TypeError, match=r"MaxAbsScaler, RobustScaler.*can be pickled"):
            save_model(model, tmp_path / "m")
    with pytest.raises(NotFittedError):
        save_model(make_pipeline(StandardScaler(), model[-1]), tmp_path / "m")
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


@pytest.mark.parametrize("how", ["fit", "partial_fit", "no labels"])
def test_a_stream_goes_on_from_its_file(tmp_path: pathlib.Path, how: str) -> None:
    model = MiniBatchKMeans(3, random_state=0, batch_size=40, compute_labels=how != "no labels")
    (model.fit if how == "fit" else model.partial_fit)(IRIS.data)
    save_model(model, tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    assert type(again) is MiniBatchKMeans
    assert vars(again).keys() == vars(model).keys()
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.predict(IRIS.data), model.predict(IRIS.data))
    for one in (model, again):
        one.partial_fit(IRIS.data[::2])
    assert again.cluster_centers_.tobytes() == model.cluster_centers_.tobytes()
    assert again._state.mass.tolist() == model._state.mass.tolist()
    assert again.status_ == model.status_
    for scaler in (FeatureScaler("standard"), MinMaxScaler()):
        scaled = make_pipeline(scaler, clone(model)).fit(IRIS.data)
        save_model(scaled, tmp_path / "scaled.npz")
        loaded = load_model(tmp_path / "scaled.npz")
        np.testing.assert_array_equal(loaded.predict(IRIS.data), scaled.predict(IRIS.data))
