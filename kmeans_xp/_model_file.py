"""Fitted models as npz files without pickles: arrays, and one text of JSON."""

from __future__ import annotations

import json
import os
import zipfile
from numbers import Integral, Real
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from . import _model_scalers as scalers
from ._backend import to_host
from ._files import replacing
from ._minibatch import NUMBERS, State
from ._outcome import Iteration
from ._trials import Trial
from .estimators import KMeans, MiniBatchKMeans

_FORMAT = "kmeans-xp model"
_VERSION = _STREAMS_SINCE = 4
_BEFORE_SCALERS = 1  # written where there is none, for versions that know no other
_SCALARS = (
    "inertia_",
    "n_iter_",
    "status_",
    "device_",
    "backend_",
    "kernel_",
    "n_features_in_",
    "n_best_",
    "n_steps_",
    "n_passes_",
    "reading_",
    "lower_bound_",
)
Model = KMeans | MiniBatchKMeans


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to an npz file that holds no pickle.

    The file takes its name only when it is complete; an existing file is replaced.

    Parameters
    ----------
    model : KMeans or MiniBatchKMeans, or Pipeline of a scaler and one of them
        Fitted, on any device; ``partial_fit`` can go on from what is loaded.  The scaler is a
        `FeatureScaler`, or scikit-learn's StandardScaler, MinMaxScaler, MaxAbsScaler or
        RobustScaler.  Parameters of the model that are Python objects (a callable ``init``, a
        ``callback``, a ``RandomState``) and ``checkpoint`` are left out; `load_model` gives their
        defaults.
    path : path-like
        Where to write; nothing is added to the name.

    Raises
    ------
    TypeError
        For another kind of estimator.
    sklearn.exceptions.NotFittedError
        Before ``fit``.

    See Also
    --------
    load_model : The way back.

    Examples
    --------
    >>> import os, tempfile
    >>> from kmeans_xp import KMeans, load_model, save_model
    >>> model = KMeans(n_clusters=2, random_state=0).fit([[1.0], [2.0], [9.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, os.path.join(folder, "model.npz"))
    ...     again = load_model(os.path.join(folder, "model.npz"))
    >>> (again.predict([[3.0], [8.0]]) == model.predict([[3.0], [8.0]])).all()
    np.True_
    """
    scaler, model = _parts(model)
    check_is_fitted(model)
    header: dict[str, Any] = {"format": _FORMAT, "version": _BEFORE_SCALERS}
    header["parameters"] = _plain_parameters(model)
    header["state"] = {name: getattr(model, name) for name in _SCALARS if hasattr(model, name)}
    header["middle"] = list(model._middle)
    names = getattr(model, "feature_names_in_", None)
    header["feature_names"] = None if names is None else [str(name) for name in names]
    arrays: dict[str, Any] = {"cluster_centers": to_host(model.cluster_centers_)}
    if hasattr(model, "labels_"):
        arrays["labels"] = to_host(model.labels_)
    if isinstance(model, KMeans):
        header |= _runs_of(model)
    else:
        # older versions would take it for the other kind: they refuse the number
        header["version"] = _STREAMS_SINCE
        header["stream"] = {name: getattr(model._state, name) for name in NUMBERS}
        arrays |= {"means": model._state.means, "mass": model._state.mass}
    if scaler is not None:
        # older versions would label unscaled rows: they refuse the number
        header["version"] = max(header["version"], scalers.since(scaler))
        header["scaler"], measures = scalers.written(scaler)
        arrays |= measures
    if _is_array(model.init):
        arrays["init"] = np.asarray(_host(model.init), dtype=np.float64)
    arrays["header"] = np.asarray(json.dumps(header))
    with replacing(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_model(path: str | os.PathLike[str], *, device: str | None = None) -> Any:
    """Read a fitted model back.

    Parameters
    ----------
    path : path-like
        A file that `save_model` or ``kmeans-xp fit --out`` wrote.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where `KMeans.predict` is to work; None is where its input is.  A model that was fitted
        on a GPU loads on a machine without one.

    Returns
    -------
    model : KMeans, MiniBatchKMeans or Pipeline
        With NumPy arrays; it labels as the saved model did, bit for bit.  What was saved behind a
        scaler (by ``kmeans-xp fit --scale`` too) is a `sklearn.pipeline.Pipeline` of that scaler
        and the model, which takes rows in the units of the data; bits of rows that scikit-learn's
        scalers scaled on another library are not NumPy's.

    Raises
    ------
    OSError
        When the file cannot be opened.
    ValueError
        When it is not such a model, or of a newer format.

    See Also
    --------
    save_model : Writes such files.

    Examples
    --------
    >>> import os, tempfile
    >>> from kmeans_xp import KMeans, load_model, save_model
    >>> model = KMeans(n_clusters=2, random_state=0).fit([[1.0], [2.0], [9.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, os.path.join(folder, "model.npz"))
    ...     load_model(os.path.join(folder, "model.npz")).cluster_centers_
    array([[1.5],
           [9. ]])
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays["header"]))
        known = header["format"] == _FORMAT
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(_not_a_model(path)) from error
    if not known:
        raise ValueError(_not_a_model(path))
    if header["version"] > _VERSION:
        raise ValueError(
            f"{os.fspath(path)} has model format {header['version']}, and this version of "
            f"kmeans-xp reads formats up to {_VERSION}. Update kmeans-xp"
        )
    model = _fitted(header, arrays, device)
    return (
        make_pipeline(scalers.read(header["scaler"], arrays), model)
        if "scaler" in header
        else model
    )


def _runs_of(model: KMeans) -> dict[str, Any]:
    return {
        "history": [
            [item.iteration, item.changed, item.shift, item.inertia] for item in model.history_
        ],
        "trials": [
            [trial.swaps, trial.n_iter, trial.inertia, trial.kept, trial.exchanges]
            for trial in model.trials_
        ],
    }


def _fitted(
    header: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], device: str | None
) -> Model:
    model = _stream(header, arrays, device) if "stream" in header else _with_runs(header, device)
    if "init" in arrays:
        model.init = arrays["init"]
    for name, value in header["state"].items():
        setattr(model, name, value)
    model.cluster_centers_ = arrays["cluster_centers"]
    if "labels" in arrays:
        model.labels_ = arrays["labels"]
    model._middle = tuple(header["middle"])
    model._n_features_out = int(model.cluster_centers_.shape[0])
    if header["feature_names"] is not None:
        model.feature_names_in_ = np.asarray(header["feature_names"], dtype=object)
    return model


def _with_runs(header: dict[str, Any], device: str | None) -> KMeans:
    # files from before the search tell of none
    model = KMeans(**{"search": None, **header["parameters"], "device": device})
    # a file from before runs were kept knows of none
    model.n_best_, model.lower_bound_, model.n_passes_ = 0, None, None
    model.reading_ = ""
    model.history_ = tuple(Iteration(*item) for item in header["history"])
    model.trials_ = tuple(Trial(*item) for item in header.get("trials", ()))
    return model


def _stream(
    header: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], device: str | None
) -> MiniBatchKMeans:
    model = MiniBatchKMeans(**{**header["parameters"], "device": device})
    model._state = State(means=arrays["means"], mass=arrays["mass"], **header["stream"])
    return model


def _parts(model: Any) -> tuple[Any | None, Model]:
    """The scaler, if there is one, and the model."""
    steps = [step for _, step in model.steps] if type(model) is Pipeline else [model]
    if type(steps[-1]) in (KMeans, MiniBatchKMeans):
        if len(steps) == 1:
            return None, steps[0]
        if len(steps) == 2 and type(steps[0]) in scalers.KINDS:
            return steps[0], steps[1]
    known = ", ".join(kind.__name__ for kind in scalers.KINDS)
    raise TypeError(
        f"model={model!r} cannot be saved; pass a fitted KMeans or MiniBatchKMeans, or a "
        f"Pipeline of a scaler ({known}) and one of them. Other pipelines can be pickled"
    )


def _plain_parameters(model: Model) -> dict[str, Any]:
    """The parameters that JSON can hold, but for those of the fit's own checkpoint."""
    plain: dict[str, Any] = {}
    for name, value in model.get_params(deep=False).items():
        if name.startswith("checkpoint"):
            continue
        if value is None or isinstance(value, (bool, str)):
            plain[name] = value
        elif isinstance(value, Integral):
            plain[name] = int(value)
        elif isinstance(value, Real):
            plain[name] = float(value)
    return plain


def _is_array(init: Any) -> bool:
    return not isinstance(init, str) and not callable(init)


def _host(array: Any) -> Any:
    return to_host(array) if array_api_compat.is_array_api_obj(array) else array


def _not_a_model(path: str | os.PathLike[str]) -> str:
    return (
        f"{os.fspath(path)} is not a kmeans-xp model. Pass a file written by save_model() or "
        "the model.npz of kmeans-xp fit --out"
    )
