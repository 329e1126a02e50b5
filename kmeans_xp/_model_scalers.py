"""Scalers of saved models: what they are asked for and what they measured, as JSON and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import is_array_api_obj
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.utils.validation import check_is_fitted

from ._backend import to_host
from .prepare import FeatureScaler

THEIRS = {
    kind.__name__: kind for kind in (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)
}
KINDS = (FeatureScaler, *THEIRS.values())
OURS_SINCE, THEIRS_SINCE = 2, 3
"""The first formats that know of them."""

_PREFIX = "scaler_"
_BY_NAME = {kind.__name__: kind for kind in KINDS}
_OF_ALL = ("n_features_in_", "feature_names_in_")


def since(scaler: Any, /) -> int:
    """The format that a file with this scaler needs: older versions refuse the number."""
    return OURS_SINCE if isinstance(scaler, FeatureScaler) else THEIRS_SINCE


def written(scaler: Any, /) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plain facts of a fitted scaler, and its arrays by their names in the file."""
    check_is_fitted(scaler)
    names = getattr(scaler, "feature_names_in_", None)
    facts: dict[str, Any] = {
        "n_features_in": int(scaler.n_features_in_),
        "feature_names": None if names is None else [str(name) for name in names],
        # the clustering may have seen the names of a frame
        "output": getattr(scaler, "_sklearn_output_config", {}),
    }
    if isinstance(scaler, FeatureScaler):
        facts |= {"method": scaler.method, "n_quantiles": int(scaler.n_quantiles)}
        found = {name: getattr(scaler, name) for name in _measures_of(scaler)}
    else:
        facts |= {"class": type(scaler).__name__, "parameters": scaler.get_params(deep=False)}
        found = {
            name: value
            for name, value in vars(scaler).items()
            if name.endswith("_") and not name.startswith("_") and name not in _OF_ALL
        }
        facts["values"] = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in found.items()
            if not is_array_api_obj(value) or isinstance(value, np.generic)
        }
        found = {name: value for name, value in found.items() if name not in facts["values"]}
    return facts, {_PREFIX + name: to_host(value) for name, value in found.items()}


def read(facts: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], /) -> Any:
    """The way back of `written`."""
    if "class" in facts:
        scaler = _theirs(facts, arrays)
    else:
        scaler = FeatureScaler(facts["method"], n_quantiles=facts["n_quantiles"])
        for name in _measures_of(scaler):
            setattr(scaler, name, arrays[_PREFIX + name])
    scaler.n_features_in_ = facts["n_features_in"]
    if facts["feature_names"] is not None:
        scaler.feature_names_in_ = np.asarray(facts["feature_names"], dtype=object)
    # files of format 2 may know of none
    return scaler.set_output(**facts["output"]) if facts.get("output") else scaler


def _theirs(facts: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Any:
    # JSON has no tuples
    asked = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in facts["parameters"].items()
    }
    scaler = _BY_NAME[facts["class"]](**asked)
    for name, value in facts["values"].items():
        # partial_fit goes on from NumPy's numbers alone
        setattr(scaler, name, np.asarray(value)[()] if isinstance(value, (int, float)) else value)
    for name, array in arrays.items():
        if name.startswith(_PREFIX):
            setattr(scaler, name.removeprefix(_PREFIX), array)
    return scaler


def _measures_of(scaler: FeatureScaler) -> tuple[str, ...]:
    return ("quantiles_",) if scaler.method == "quantile" else ("center_", "scale_")
