"""check_features: every rule on both sides of its threshold, on every library and data frame."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import Backend
from scipy import stats
from sklearn import datasets

from kmeans_xp import check_features
from kmeans_xp._backend import context_of
from kmeans_xp.prepare import FeatureReport
from kmeans_xp.prepare._facts import _compare, column_facts

N = 400
RNG = np.random.default_rng(0)
PLAIN = RNG.normal(size=N)


def table(**columns: Any) -> dict[str, Any]:
    return {"plain": PLAIN, **columns}


def kinds(report: FeatureReport) -> dict[Any, list[str]]:
    return {feature.name: [found.kind for found in feature.findings] for feature in report.features}


def of(column: Any, n: int = N) -> list[str]:
    """The kinds of findings of one column, beside an unremarkable one of its size."""
    column = np.asarray(column, dtype=float)
    good = column[np.isfinite(column)]
    beside = PLAIN[:n] * (np.std(good) or 1.0 if len(good) else 1.0)
    return kinds(check_features(np.stack([beside, column], axis=1)))[1]


def everything() -> tuple[Any, dict[int, list[str]]]:
    """A table with something of everything."""
    rng = np.random.default_rng(3)
    missing = PLAIN[::-1] * 1.5
    missing[:7] = np.nan
    missing[9] = np.inf
    columns = [
        PLAIN,
        np.full(N, 0.1),
        PLAIN.copy(),
        32.0 - 1.8 * PLAIN,
        rng.permutation(N) + 1000.0,
        (PLAIN > 0.3).astype(float),
        rng.integers(0, 5, N).astype(float),
        np.exp(1.2 * rng.normal(size=N)),
        missing,
    ]
    wanted = {
        0: [],
        1: ["constant"],
        2: ["duplicate"],
        3: ["duplicate"],
        4: ["identifier"],
        5: ["boolean"],
        6: ["categorical"],
        7: ["heavy tail"],
        8: ["missing", "infinite"],
    }
    return np.stack(columns, axis=1), wanted


def test_every_rule_on_every_library(xp: Backend) -> None:
    host, wanted = everything()
    x = xp.array(host)
    report = check_features(x)
    assert kinds(report) == wanted
    assert report.keep == [0, 5, 6, 7, 8]
    assert report.drop == [1, 2, 3, 4]
    assert str(report) == str(check_features(host))
    assert xp.host(x).tobytes() == host.tobytes()


def test_the_strict_library_is_worked_on_where_it_is(xp: Backend) -> None:
    """The facts themselves, not by way of NumPy."""
    if xp.id == "jax":
        pytest.skip("JAX compiles it for ten seconds, and rows in host memory go to NumPy")
    host, _ = everything()
    x = xp.array(host)
    context = context_of(x)
    with context.scope():
        facts = column_facts(x, context)
    for at in range(host.shape[1]):
        column = host[:, at]
        values = column[np.isfinite(column)]
        assert facts.values[at] == len(values)
        assert facts.missing[at] == np.isnan(column).sum()
        assert facts.infinite[at] == np.isinf(column).sum()
        assert (facts.low[at], facts.high[at]) == (values.min(), values.max())
        assert facts.distinct[at] == len(np.unique(values))
        assert facts.whole[at] == (values == np.round(values)).all()
        spread = facts.span[at] * np.sqrt(facts.variance[at])
        assert spread == pytest.approx(values.std(), rel=1e-12, abs=1e-15)
        if values.std() > 1e-12:
            wanted = stats.kurtosis(values)
            assert facts.excess_kurtosis[at] == pytest.approx(wanted, rel=1e-9, abs=1e-9)
            unit = (np.sort(values) - values.min()) / (values.max() - values.min())
            even = np.arange(len(unit)) / (len(unit) - 1)
            assert facts.unevenness[at] == pytest.approx(abs(unit - even).max(), abs=1e-12)


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (np.full(N, 3.0), ["constant"]),
        (np.full(N, np.nan), ["missing", "constant"]),
        (np.where(np.arange(N) < 200, np.nan, PLAIN[::-1]), ["missing"]),
        (PLAIN + 1e-2 * RNG.normal(size=N), []),
        (np.round(PLAIN, 3), ["duplicate"]),
        (PLAIN * -3.0, ["duplicate"]),
        (np.arange(N) ** 2, ["identifier"]),  # rises
        (RNG.permutation(2 * N)[:N], ["identifier"]),  # hardly a gap
        (RNG.permutation(1_000_003 * np.arange(1, N + 1)), ["identifier"]),  # evenly
        (RNG.permutation(np.round(1e9 * np.exp(0.5 * PLAIN))), []),  # incomes
        (RNG.permutation(N) + 0.5, []),  # not whole
        (np.arange(N)[::-1] // 2, []),  # not all different
        (np.where(PLAIN > 0, 7.5, -1.0), ["boolean"]),
        (RNG.integers(0, 10, N), ["categorical"]),
        (RNG.integers(0, 11, N), []),
        (RNG.integers(0, 10, N) / 2, []),
        (RNG.exponential(size=N), []),
        (np.where(np.arange(N) == 17, 99.0, PLAIN[::-1]), ["heavy tail"]),
    ],
)
def test_a_rule(column: Any, wanted: list[str]) -> None:
    column = np.asarray(column, dtype=float)
    assert of(column) == wanted


def test_few_rows_agree_by_chance_after_scaling() -> None:
    x = np.asarray([[0.0, 3.0], [1.0, 8.0]])
    assert not check_features(x).findings
    assert kinds(check_features(np.stack([x[:, 0], x[:, 0]], axis=1)))[1] == ["duplicate"]
    assert check_features(x[:1]).drop == [0, 1]  # one row: both are constant


def test_columns_of_one_distribution_are_told_apart_by_few_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = np.random.default_rng(1).random((5000, 60))
    x[:, 58], x[:, 59] = 3.0 - x[:, 7], x[:, 8]
    x[::7, [8, 59]] = np.nan
    compared = []

    def compare(rows: Any, known: Any, first: int, column: int, context: Any) -> Any:
        compared.append((first, column))
        return _compare(rows, known, first, column, context)

    monkeypatch.setattr("kmeans_xp.prepare._facts._compare", compare)
    report = check_features(x)
    assert report.drop == [58, 59]
    assert compared == [(7, 58), (8, 59)]


def test_columns_with_equal_counts_are_no_copies() -> None:
    """Truth values with as many ones each: the sums with the marks tell them apart."""
    codes = np.zeros((90, 6))
    codes[np.arange(90), np.arange(90) % 6] = 1.0
    assert "duplicate" not in [found.kind for _, found in check_features(codes).findings]


def test_a_copy_with_gaps_elsewhere_is_no_copy() -> None:
    one, two = PLAIN.copy(), PLAIN.copy()
    one[3], two[4] = np.nan, np.nan
    assert kinds(check_features(np.stack([one, two], axis=1)))[1] == ["missing"]
    two = one.copy()
    assert kinds(check_features(np.stack([one, two], axis=1)))[1] == ["missing", "duplicate"]


def test_scales() -> None:
    x = RNG.normal(size=(N, 3))
    assert not check_features(x).findings
    x[:, 1] *= 12.0
    assert not check_features(x).findings
    x[:, 1] *= 2.0
    assert kinds(check_features(x)) == {0: [], 1: ["outweighs"], 2: []}
    x[:, 1] *= 100.0
    assert kinds(check_features(x)) == {0: ["outweighed"], 1: ["outweighs"], 2: ["outweighed"]}
    # columns to drop do not count
    x[:, 1] = np.arange(N) * 1000.0
    assert kinds(check_features(x)) == {0: [], 1: ["identifier"], 2: []}


def test_extreme_values() -> None:
    x = np.stack([PLAIN * 1e-300, PLAIN[::-1] * 1e-300], axis=1)
    assert not check_features(x).findings
    wide = PLAIN[::-1] / np.abs(PLAIN).max() * 1.7e308
    report = check_features(np.stack([PLAIN, wide], axis=1))
    assert kinds(report) == {0: ["outweighed"], 1: ["outweighs"]}


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_real_data_are_worth_keeping(name: str) -> None:
    x = getattr(datasets, f"load_{name}")().data
    report = check_features(x)
    assert report.keep == list(range(x.shape[1]))
    found = {found.kind for _, found in report.findings}
    assert found <= {"outweighs", "outweighed", "heavy tail"}
    assert ("outweighs" in found) == (name == "wine")
    assert ("outweighed" in found) == (name != "iris")


@pytest.mark.parametrize("name", ["s1", "s2", "a1", "unbalance", "birch1"])
def test_benchmark_sets_are_unremarkable(battery: Any, name: str) -> None:
    """Coordinates that are whole numbers are not taken for identifiers."""
    assert not check_features(battery(name)[0]).findings


def frame_of(library: str, columns: dict[str, Any]) -> Any:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    return module.table(columns) if library == "pyarrow" else module.DataFrame(columns)


FRAMES = ("pandas", "polars", "pyarrow")


@pytest.mark.parametrize("library", FRAMES)
def test_data_frames_use_names_and_dtypes(library: str) -> None:
    whole: list[Any] = RNG.permutation(50)[np.arange(N) % 50].tolist()
    whole[3] = None
    frame = frame_of(
        library,
        table(
            flag=[bool(value) for value in PLAIN > 0],
            whole=whole,
            nothing=[None] * N,
            single=PLAIN[::-1].astype(np.float32) * 5,
        ),
    )
    report = check_features(frame)
    assert kinds(report) == {
        "plain": [],
        "flag": ["boolean"],
        "whole": ["missing"],
        "nothing": ["missing", "constant"],
        "single": [],
    }
    assert report.keep == ["plain", "flag", "whole", "single"]
    missing = dict(report.findings)["whole"]
    assert missing.fact == f"1 of {N} values are missing (0.25 %)"


@pytest.mark.parametrize("library", FRAMES)
def test_text_columns_are_named(library: str) -> None:
    frame = frame_of(library, table(city=["x"] * N, code=["1.5"] * N))
    with pytest.raises(ValueError, match=r"'city' \(String\), 'code' \(String\)\. Leave .*OneHot"):
        check_features(frame)
    report = check_features(frame, text="report")
    assert kinds(report) == {"plain": [], "city": ["text"], "code": ["text"]}
    assert report.keep == ["plain"]
    assert json.loads(json.dumps(report.to_dict()))["drop"] == ["city", "code"]


def test_pandas_dtypes_of_its_own() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "nullable": pandas.array([*np.arange(N - 1) % 13, None], dtype="Int64"),
            "category": pandas.Categorical(RNG.integers(0, 3, N)),
            "object": pandas.Series(PLAIN.tolist(), dtype=object),
            7: PLAIN[::-1],
        }
    )
    report = check_features(frame)
    assert kinds(report) == {
        "nullable": ["missing"],
        "category": ["categorical"],
        "object": [],
        7: [],
    }
    assert report.keep == ["nullable", "object", 7]
    assert list(frame[report.keep].columns) == report.keep
    with pytest.raises(ValueError, match=r"'when' \(Datetime\)"):
        check_features(frame.assign(when=pandas.Timestamp("2026-01-01")))
    with pytest.raises(ValueError, match=r"'words' \(Categorical\)"):
        check_features(frame.assign(words=pandas.Categorical(["a"] * N)))


def test_frames_that_cannot_be_checked() -> None:
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"X is lazy .*X\.collect\(\)"):
        check_features(polars.LazyFrame({"a": [1.0]}))
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="unique"):
        check_features(pandas.DataFrame([[1.0, 2.0]], columns=["a", "a"]))


def test_names_for_arrays() -> None:
    report = check_features([[1.0, 5.0], [2.5, 5.0], [4.0, 5.0]], names=["a", "b"])
    assert (report.keep, report.drop) == (["a"], ["b"])
    with pytest.raises(ValueError, match="names has 1 entries and X has 2 columns"):
        check_features([[1.0, 5.0]], names=["a"])
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="names was given, but X is a data frame"):
        check_features(pandas.DataFrame({"a": [1.0]}), names=["a"])


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="text='no' is not known"):
        check_features([[1.0]], text="no")
    with pytest.raises(ValueError, match="Expected 2D array"):
        check_features([1.0, 2.0])


def test_the_report_as_text() -> None:
    x, _ = everything()
    lines = str(check_features(x)).splitlines()
    assert lines[0] == "400 rows, 9 columns: 5 worth keeping, 4 to drop, 1 unremarkable"
    assert "3       drop  duplicate    it is -1.8 times column 0 plus 32" in lines
    assert lines.count("constant: drop it: it changes no distance") == 1
    many = np.tile(np.arange(3.0)[:, None] * 0, (1, 130))
    assert "... and 30 more findings, which to_dict() has" in str(check_features(many))
    assert str(check_features(PLAIN[:, None])) == "400 rows, 1 columns: nothing to report"
