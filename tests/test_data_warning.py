"""KMeans says once when one column decides, and names columns that hold no numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from conftest import Backend
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline

import kmeans_xp
from kmeans_xp import (
    DataWarning,
    FeatureScaler,
    KMeans,
    choose_k,
    k_means,
    k_means_batched,
    kmeans_plusplus,
    relatives,
)
from kmeans_xp._frames import refuse_text

# all that have a number of clusters
RELATIVES = [name for name in relatives.__all__ if name[0].isupper() and name != "DBSCAN"]
BY_VARIANCE = ("function", "pipeline", "KMeans", "BisectingKMeans", "FuzzyCMeans")
WINE = load_wine().data


def heard(x: Any, **options: Any) -> list[str]:
    """Warnings of a fit."""
    weight = options.pop("sample_weight", None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        KMeans(2, random_state=0, **options).fit(x, sample_weight=weight)
    assert all(item.category is DataWarning for item in caught)
    return [f"{item.filename}: {item.message}" for item in caught]


def test_one_column_that_decides_is_named_once(xp: Backend) -> None:
    (text,) = heard(xp.array(WINE), n_init=3)
    assert text.startswith(f"{__file__}: column 12 of X outweighs the others: its variance is 441 ")
    others = np.delete(WINE.var(axis=0), 12).sum()
    assert f"{WINE[:, 12].var() / others:.3g}" == "441"


def test_the_name_of_a_column() -> None:
    pandas = pytest.importorskip("pandas")
    frame = load_wine(as_frame=True).data
    assert isinstance(frame, pandas.DataFrame)
    (text,) = heard(frame)
    assert "column 12 ('proline') of X outweighs" in text


def pair(ratio: float, *more: Any) -> Any:
    """Two columns whose variances have this ratio (exactly), and others."""
    sign = np.resize([1.0, -1.0], 64)
    other = np.resize([1.0, 1.0, -1.0, -1.0], 64)
    return np.stack([other, sign * np.sqrt(ratio), *more], axis=1)


@pytest.mark.parametrize(
    ("x", "warns"),
    [
        (pair(99.9), False),
        (pair(100.1), True),
        (pair(100.1, np.resize([1.0, -1.0, -1.0, 1.0], 64)), False),  # 50 times the sum
        (pair(1e6)[:, 1:], False),  # alone
        (pair(1e6, np.full(64, 3.0))[:, 1:], False),  # beside a constant
        (pair(1e6) + 1e9, True),
        (pair(99.9) * 1e-200, False),
        (pair(100.1) * 1e-200, True),
        (pair(100.1).astype(np.float32), True),
    ],
)
def test_the_factor_is_what_the_docstring_states(x: Any, warns: bool) -> None:
    assert "more than 100 times the sum of" in (KMeans.__doc__ or "")
    assert len(heard(x)) == warns


def test_weights_count_and_tol_does_not() -> None:
    x = pair(100.1)
    x[0, 0] = 60.0
    assert not heard(x)
    weight = np.ones(64)
    weight[0] = 0.0
    assert len(heard(x, sample_weight=weight)) == 1
    assert len(heard(pair(1e6), tol=0)) == 1


def test_it_can_be_silenced_and_a_scale_helps() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=kmeans_xp.DataWarning)
        KMeans(2, random_state=0).fit(WINE)
    make_pipeline(FeatureScaler(), KMeans(2, random_state=0)).fit(WINE)


def test_what_the_functions_do() -> None:
    with pytest.warns(DataWarning):
        k_means(WINE, 2, random_state=0)
    # no warnings for many problems, nor for starts
    k_means_batched(WINE[None], 2, random_state=0)
    kmeans_plusplus(WINE, 2, random_state=0)


@pytest.mark.parametrize("fit", ["function", "pipeline", "KMeans", *RELATIVES])
def test_warnings_name_the_line_that_called(fit: str) -> None:
    """However many calls lie between: also of too few different rows."""
    x = np.repeat([[1.0, 2e6], [2, 5]], 4, axis=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if fit == "function":
            k_means(x, 3)
        elif fit == "pipeline":
            make_pipeline(FeatureScaler("none"), KMeans(3)).fit(x)
        else:
            getattr(kmeans_xp, fit)(3).fit(x)
    told = {item.category for item in caught}
    assert told == {ConvergenceWarning} | ({DataWarning} if fit in BY_VARIANCE else set())
    assert {item.filename for item in caught} == {__file__}


def heard_by_choose_k(x: Any, *, structure: bool) -> str:
    """The one warning of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        choose_k(x, 2, tol=0, criteria="elbow", structure=structure, random_state=0)
    (item,) = caught
    assert item.category is DataWarning
    assert item.filename == __file__
    return str(item.message)


def test_choose_k_says_it_on_every_library(xp: Backend) -> None:
    text = heard_by_choose_k(xp.array(WINE), structure=False)
    assert text.startswith("column 12 of X outweighs the others: its variance is 441 times")
    assert "choose_k(kmeans_xp.FeatureScaler('standard').fit_transform(X))" in text


def test_choose_k_says_it_once_a_call_and_can_be_silenced() -> None:
    pandas = pytest.importorskip("pandas")
    text = heard_by_choose_k(load_wine(as_frame=True).data, structure=True)
    assert text.startswith("column 12 ('proline') of X outweighs the others: its variance")
    few = {"k": 2, "criteria": "elbow", "structure": False, "random_state": 0}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=kmeans_xp.DataWarning)
        # names of several kinds are no names
        choose_k(pandas.DataFrame(WINE, columns=["a", *range(12)]), **few)
    choose_k(FeatureScaler("standard").fit_transform(WINE), **few)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_text_columns_are_named(library: str) -> None:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    make = module.table if library == "pyarrow" else module.DataFrame
    columns = {"a": [1.0, 2.0, 9.0], "city": ["x", "y", "z"], "code": ["1", "2", "3"]}
    wanted = r"X must hold real numbers, and these columns do not: 'city' \(String\), 'code' \(St"
    with pytest.raises(ValueError, match=wanted + r".*Leave them out, or encode them"):
        KMeans(2).fit(make(columns))
    with pytest.raises(ValueError, match=wanted):
        kmeans_plusplus(make(columns), 2)
    with pytest.raises(ValueError, match=wanted):
        FeatureScaler().fit(make(columns))
    numbers = make({"a": columns["a"], "b": [True, False, True]})
    model = KMeans(2, random_state=0).fit(numbers)
    assert model.predict(numbers).tolist() == model.labels_.tolist()
    with pytest.raises(ValueError, match=r"these columns do not: 'b' \(String\)"):
        model.predict(make({"a": columns["a"], "b": columns["code"]}))


def test_many_text_columns() -> None:
    pandas = pytest.importorskip("pandas")
    many = pandas.DataFrame({f"c{index}": ["x"] for index in range(20)})
    with pytest.raises(ValueError, match=r"'c11' \(String\) and 8 more\. Leave"):
        KMeans(1).fit(many)
    # what happens to names used twice is scikit-learn's affair, which changed with 1.9
    refuse_text(pandas.DataFrame([[1.0, 2.0]], columns=["a", "a"]), "X")
