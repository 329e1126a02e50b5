"""From facts to findings: each rule with its threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._stats import outweighing
from ._facts import Copy, Facts
from ._report import Finding

MOST_MISSING = 0.5
LEAST_ROWS = 10  # below it columns agree, or have two values, by chance
LEAST_ROWS_OF_IDENTIFIERS = 20
DENSE = 2.0
EVEN = 1.5
MOST_CODES, ROWS_A_CODE = 10, 20
EXCESS_KURTOSIS = 10.0
OUTWEIGHED = 1e-4
NOT_KEPT = ("text", "constant", "duplicate", "identifier")

_SCALE = "bring the columns to one scale: FeatureScaler('standard'), or fit --scale standard"


def findings(
    facts: Facts, copies: dict[int, Copy], names: Sequence[str], declared: Sequence[str | None], /
) -> tuple[list[list[Finding]], list[bool]]:
    """All findings of each column, and which columns are worth keeping."""
    found = [
        [
            *_gaps(facts, at),
            *(_constant(facts, at) or _copy(copies.get(at), names) or _meaning(facts, at, kind)),
            *_tail(facts, at),
        ]
        for at, kind in enumerate(declared)
    ]
    keep = [
        not any(item.kind in NOT_KEPT for item in items)
        and declared[at] != "categorical"
        and facts.values[at] >= (1.0 - MOST_MISSING) * facts.n_rows
        for at, items in enumerate(found)
    ]
    for at, finding in _weights(facts, keep, names):
        found[at].append(finding)
    return found, keep


def _gaps(facts: Facts, at: int) -> list[Finding]:
    found = []
    for kind, counts, what in (
        ("missing", facts.missing, "are missing"),
        ("infinite", facts.infinite, "are infinite"),
    ):
        number = int(counts[at])
        if number:
            share = 100.0 * number / facts.n_rows
            most = number > MOST_MISSING * facts.n_rows
            remedy = "drop the column" if most else "fill them (SimpleImputer) or drop these rows"
            found.append(
                Finding(
                    kind, f"{number:,} of {facts.n_rows:,} values {what} ({share:.3g} %)", remedy
                )
            )
    return found


def _constant(facts: Facts, at: int) -> list[Finding]:
    if facts.values[at] == 0.0:
        return [Finding("constant", "it has no finite value", "drop it")]
    if facts.low[at] < facts.high[at]:
        return []
    fact = f"all values are {_number(facts.low[at])}"
    return [Finding("constant", fact, "drop it: it changes no distance")]


def _copy(copy: Copy | None, names: Sequence[str]) -> list[Finding]:
    if copy is None:
        return []
    name = names[copy.of]
    if copy.exact:
        fact = f"it equals {name}"
    else:
        sign, plus = "minus" if copy.plus < 0.0 else "plus", _number(abs(copy.plus))
        fact = f"it is {_number(copy.times)} times {name} {sign} {plus}"
    return [Finding("duplicate", fact, "drop it: what it says would count twice")]


def _meaning(facts: Facts, at: int, declared: str | None) -> list[Finding]:
    """Numbers that are names: identifiers, codes of categories, truth values."""
    distinct, n_rows = int(facts.distinct[at]), facts.n_rows
    if declared == "categorical":
        fact = f"its dtype is categorical, with {distinct} different values"
        return [Finding("categorical", fact, "drop it, or encode it with OneHotEncoder")]
    if declared == "boolean" or (distinct == 2 and n_rows >= LEAST_ROWS):
        return [_boolean(facts, at)]
    if not facts.whole[at]:
        return []
    if distinct == n_rows and n_rows >= LEAST_ROWS_OF_IDENTIFIERS:
        how = _as_identifier(facts, at)
        if how is not None:
            fact = f"{distinct:,} different whole numbers that {how}"
            return [Finding("identifier", fact, "drop it: its distances mean nothing")]
    if distinct <= MOST_CODES and ROWS_A_CODE * distinct <= n_rows:
        fact = f"only {distinct} different whole numbers in {n_rows:,} rows"
        return [Finding("categorical", fact, "if they are codes, use OneHotEncoder; keep counts")]
    return []


def _boolean(facts: Facts, at: int) -> Finding:
    share = 100.0 * float(facts.mean[at])
    low, high = _number(facts.low[at]), _number(facts.high[at])
    return Finding(
        "boolean",
        f"two values, {low} and {high} ({share:.3g} % are {high})",
        "drop it unless a difference of 1 is as much as one in the other columns",
    )


def _as_identifier(facts: Facts, at: int) -> str | None:
    """How all-different whole numbers look like names of rows; None if they do not."""
    if facts.rising[at]:
        return "rise from row to row"
    if facts.span[at] + 1.0 <= DENSE * facts.n_rows:
        return "fill their range without wide gaps"
    if facts.unevenness[at] <= EVEN / math.sqrt(facts.n_rows):
        return "spread evenly over their range"
    return None


def _tail(facts: Facts, at: int) -> list[Finding]:
    kurtosis = float(facts.excess_kurtosis[at])
    if not kurtosis > EXCESS_KURTOSIS or facts.distinct[at] <= MOST_CODES:
        return []
    logs = "take logarithms (log1p), or " if facts.low[at] >= 0.0 else ""
    fact = (
        f"excess kurtosis {kurtosis:.3g} (normal 0, exponential 6): values from "
        f"{_number(facts.low[at])} to {_number(facts.high[at])}, few of them far out"
    )
    return [
        Finding(
            "heavy tail", fact, f"{logs}use FeatureScaler('quantile') or FeatureScaler('robust')"
        )
    ]


def _weights(facts: Facts, keep: Sequence[bool], names: Sequence[str]) -> list[tuple[int, Finding]]:
    """Columns that decide the distances, and those that count for nothing beside another."""
    at = np.flatnonzero(np.asarray(keep))
    if len(at) < 2:
        return []
    spread = facts.deviation[at]
    largest = int(spread.argmax())
    # never 0: all of these columns vary
    shares = np.maximum((spread / spread[largest]) ** 2, 1e-300)
    found = []
    outweighs = outweighing(shares)
    if outweighs is not None:
        fact = f"its variance is {outweighs[1]:.3g} times the sum of the others'"
        found.append((int(at[outweighs[0]]), Finding("outweighs", fact, _SCALE)))
    for column, share in zip(at.tolist(), shares.tolist(), strict=True):
        if share < OUTWEIGHED:
            fact = f"its variance is {share:.1g} of that of {names[at[largest]]}"
            found.append((column, Finding("outweighed", fact, _SCALE)))
    return found


def label(name: Any, /) -> str:
    """A column in a sentence."""
    return repr(name) if isinstance(name, str) else f"column {name}"


def _number(value: float) -> str:
    return f"{float(value):.6g}"
