"""From the values of a criterion to a number of clusters, and whether it stands."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Values = Sequence[float | None]

_LEAST_KS = 3  # that a range may be cut down to
_LOWER_IS_BETTER = ("davies_bouldin",)
_FROM_ONE = ("elbow", "gap", "bic")  # defined for a single cluster


@dataclass(frozen=True)
class Suggestion:
    """What a criterion suggests, and the least and largest suggestion of shorter ranges."""

    k: int | None
    is_stable: bool
    band: tuple[int, int] | None


def suggest(name: str, ks: Sequence[int], values: Values, errors: Values | None) -> Suggestion:
    """Suggest a k by one criterion, and again with the ends of the range dropped.

    Up to a third of the range is dropped at each end, but never the suggestion itself, nor for the
    elbow the k beside it: a knee has one on each side.  It is stable if all these ranges suggest
    it and it does not stand at an end where the criterion might go on rising.  The gap's rule looks
    no further than the first k that will do, so there the k that the highest gap leads to must
    agree as well.
    """
    k = _pick(name, ks, values, errors)
    others = [
        _pick(name, ks[part], values[part], None if errors is None else errors[part])
        for part in _shorter(ks, k, edge=name == "elbow")
    ]
    if name == "gap" and errors is not None:
        others.append(_standing_to_the_top(ks, values, errors))
    found = [other for other in (k, *others) if other is not None]
    band = (min(found), max(found)) if found else None
    is_inside = k is not None and k != ks[-1] and (k != ks[0] or k == _least(name))
    return Suggestion(k, is_inside and all(other == k for other in others), band)


def _least(name: str) -> int:
    return 1 if name in _FROM_ONE else 2


def _shorter(ks: Sequence[int], k: int | None, *, edge: bool) -> Iterator[slice]:
    """The range without some of its ends, with ``k`` inside, and with ``edge`` not at an end."""
    n = len(ks)
    most = max(1, n // 3)
    place = None if k is None else ks.index(k)
    for low, high in itertools.product(range(most + 1), repeat=2):
        holds = place is None or low + edge <= place < n - high - edge
        if low + high > 0 and n - low - high >= _LEAST_KS and holds:
            yield slice(low, n - high)


def _pick(name: str, ks: Sequence[int], values: Values, errors: Values | None) -> int | None:
    if name == "elbow":
        return _knee(ks, [value for value in values if value is not None])
    if name == "gap":
        return _first_standing(ks, values, errors)
    known = [(value, -k) for k, value in zip(ks, values, strict=True) if value is not None]
    if not known:
        return None
    if name in _LOWER_IS_BETTER:
        return -max((-value, k) for value, k in known)[1]
    return -max(known)[1]


def _knee(ks: Sequence[int], explained: Sequence[float]) -> int | None:
    """The knee of the curve of explained variance (Satopaa et al., 2011), by `kneed`."""
    from kneed import KneeLocator

    if len(ks) < _LEAST_KS or max(explained) == min(explained):
        return None
    with warnings.catch_warnings():
        # a curve without a knee is an answer here, and not a warning
        warnings.simplefilter("ignore")
        knee = KneeLocator(ks, explained, curve="concave", direction="increasing").knee
    return None if knee is None else int(knee)


def _first_standing(ks: Sequence[int], gaps: Values, errors: Values | None) -> int | None:
    """The least k whose gap is within a standard error of the next one's, or above it."""
    if errors is None:
        return None
    for place, k in enumerate(ks[:-1]):
        gap, after, error = gaps[place], gaps[place + 1], errors[place + 1]
        if gap is not None and after is not None and error is not None and gap >= after - error:
            return k
    return None


def _standing_to_the_top(ks: Sequence[int], gaps: Values, errors: Values) -> int | None:
    """The least k whose gap is within a standard error of the highest one (Dudoit, 2002)."""
    known = [
        (gap, error, k)
        for k, gap, error in zip(ks, gaps, errors, strict=True)
        if gap is not None and error is not None
    ]
    if not known:
        return None
    top, error, _ = max(known, key=lambda one: one[0])
    return next(k for gap, _, k in known if gap >= top - error)
