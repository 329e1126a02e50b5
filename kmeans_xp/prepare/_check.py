"""check_features: what is wrong with the columns, before they are clustered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._backend import resolve
from .._frames import as_frame, declared, no_numbers, numbers, without_numbers
from .._problem import bring
from .._validation import check_device_word, check_float64, check_table
from ._facts import column_facts, find_copies
from ._report import Feature, FeatureReport, Finding
from ._rules import LEAST_ROWS, findings, label


def check_features(
    X: Any,
    *,
    names: Sequence[str] | None = None,
    text: str = "raise",
    device: str | None = None,
) -> FeatureReport:
    """Report what is wrong with columns before they are clustered, and which are worth keeping.

    Every value is looked at, where the array is; only a few numbers for each column come to the
    host.

    Parameters
    ----------
    X : array-like or data frame of shape (n_samples, n_features)
        An array of any array API library, or a data frame of pandas, polars, pyarrow or another
        library that narwhals knows, whose dtypes are used: booleans and categories are what they
        say, and nulls are missing values.
    names : sequence of str, default=None
        What to call the columns of an array; None is by position, from 0.  Data frames have
        names.
    text : {"raise", "report"}, default="raise"
        What happens to columns of a data frame that hold no numbers (text, dates): an error that
        names them, or a finding for each.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where X is.

    Returns
    -------
    report : FeatureReport
        Findings by column, ``keep`` and ``drop``; ``print`` shows a table.

    Raises
    ------
    ValueError
        For columns that hold no numbers, and for shapes that are no table.
    DeviceError
        When a device asked for by name cannot be used.

    Notes
    -----
    The kinds of findings.  Columns with those marked "out" are not among ``keep``:

    - "missing", "infinite": values that are NaN or null, or infinite; out when there are more than
      half of both.
    - "constant", out: the finite values are all the same.
    - "duplicate", out: equal to an earlier column; or, with 10 rows or more (fewer agree by
      chance), equal after a shift and a scaling, to a thousandth of its range: the same quantity in
      another unit, rounded on the way.
    - "identifier", out: whole numbers of which no two are the same, in 20 rows or more, that rise
      from row to row, or leave at most half of the numbers in their range unused, or spread
      evenly: the largest distance of their distribution from a uniform one is at most 1.5 /
      sqrt(n_samples), which one sample in 45 of a uniform one exceeds.
    - "boolean": two different values in 10 rows or more, or a boolean dtype.
    - "categorical": at most 10 different whole numbers (more are counts as a rule, such as grey
      levels), each 20 times or more on average.  Out only where the dtype says so: codes and counts
      look the same.
    - "heavy tail": an excess kurtosis above 10 with more than 10 different values.  A normal
      distribution has 0, an exponential one 6, a lognormal one of sigma 1 has 111.  Means and
      squared distances follow the few values far out.
    - "outweighs": among the columns worth keeping its variance is more than 100 times the sum of
      the others', so that these have less than 1 % of the squared distances (the rule by which
      `KMeans` warns).
    - "outweighed": its variance is below a ten thousandth of the largest: a hundredth in length.

    Figures are right to rounding, which may differ in the last digits between devices.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import check_features
    >>> size = np.array([1.5, 3.1, 2.2, 4.8, 2.9, 3.3, 1.1, 4.0, 2.6, 3.7])
    >>> X = np.stack([size, 1000 * size + 3, np.full(10, 7.0), size[::-1] ** 2], axis=1)
    >>> report = check_features(X)
    >>> report.keep
    [0, 3]
    >>> print(report)
    10 rows, 4 columns: 2 worth keeping, 2 to drop, 2 unremarkable
    <BLANKLINE>
    column        finding    what was found
    1       drop  duplicate  it is 1000 times column 0 plus 3
    2       drop  constant   all values are 7
    <BLANKLINE>
    duplicate: drop it: what it says would count twice
    constant: drop it: it changes no distance
    """
    if text not in ("raise", "report"):
        raise ValueError(f"text={text!r} is not known. Use 'raise' or 'report'.")
    device = check_device_word(device)
    frame = as_frame(X)
    if frame is None:
        rows = check_table(X, "X", "check_features")
        called = _names_of(names, int(rows.shape[1]))
        features = _features(rows, called, [None] * len(called), device)
        return FeatureReport(int(rows.shape[0]), features)
    if names is not None:
        raise ValueError("names was given, but X is a data frame, which has names. Leave it out.")
    worded = without_numbers(frame)
    if worded and text == "raise":
        raise ValueError(no_numbers(worded, "X") + " check_features(X, text='report') lists them.")
    numeric = frame.drop(list(worded))
    known: dict[Any, Feature] = {
        name: Feature(name, (_text(kind),), keep=False) for name, kind in worded.items()
    }
    if numeric.columns:
        rows = check_table(numbers(numeric), "X", "check_features")
        found = _features(rows, numeric.columns, declared(numeric), device)
        known.update({feature.name: feature for feature in found})
    return FeatureReport(len(frame), tuple(known[name] for name in frame.columns))


def _names_of(names: Sequence[str] | None, n_features: int) -> list[Any]:
    if names is None:
        return list(range(n_features))
    if len(names) != n_features:
        raise ValueError(
            f"names has {len(names)} entries and X has {n_features} columns. Give one for each."
        )
    return list(names)


def _features(
    rows: Any, names: list[Any], kinds: list[str | None], device: str | None
) -> tuple[Feature, ...]:
    work, _ = resolve(rows, device)
    check_float64(work)
    with work.scope():
        there = bring(rows, work, 1)
        facts = column_facts(there, work)
        copies = find_copies(there, facts, work, least_rows=LEAST_ROWS)
    found, keep = findings(facts, copies, [label(name) for name in names], kinds)
    return tuple(
        Feature(name, tuple(items), bool(kept))
        for name, items, kept in zip(names, found, keep, strict=True)
    )


def _text(kind: str) -> Finding:
    return Finding(
        "text", f"{kind} values, which are no numbers", "drop it, or encode it with OneHotEncoder"
    )
