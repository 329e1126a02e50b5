"""Data frames of every library, seen through narwhals: names, dtypes, columns of text."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_SHOWN = 12


def as_frame(x: Any, /) -> Any | None:
    """Return x as a narwhals DataFrame; None when it is no data frame.

    Raises `narwhals.exceptions.DuplicateError` where columns share a name, which some libraries
    find out later.
    """
    if not _may_be_frame(x):
        return None
    import narwhals.stable.v2 as nw

    frame = nw.from_native(x, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(
            f"X is lazy ({type(x).__module__}.{type(x).__name__}), which is not supported. "
            "Compute it first, for example with X.collect(), and pass the result."
        )
    return frame if isinstance(frame, nw.DataFrame) else None


def _may_be_frame(x: Any) -> bool:
    # looked for on the class: some frames compute their columns when asked
    return not isinstance(x, np.ndarray) and hasattr(type(x), "columns")


def refuse_text(x: Any, name: str, /) -> None:
    """Raise the one error for a data frame with columns that hold no numbers; it names them."""
    if not _may_be_frame(x):
        return
    from narwhals.exceptions import DuplicateError

    try:
        frame = as_frame(x)
        found = {} if frame is None else without_numbers(frame)
    except DuplicateError:
        return  # names say nothing here; what cannot be converted is refused later
    if found:
        raise ValueError(no_numbers(found, name))


def no_numbers(found: dict[Any, str], name: str, /) -> str:
    """The sentence that names the columns and the remedy."""
    shown = ", ".join(f"{str(key)!r} ({kind})" for key, kind in list(found.items())[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (
        f"{name} must hold real numbers, and these columns do not: {shown}{more}. Leave them "
        "out, or encode them, for example with sklearn.preprocessing.OneHotEncoder."
    )


def without_numbers(frame: Any, /) -> dict[Any, str]:
    """The kinds of the columns that hold no numbers, by name.

    Columns of Python objects and of categories count as numbers when all their values do.
    """
    import narwhals.stable.v2 as nw

    found = {}
    for name, kind in frame.schema.items():
        if kind.is_numeric() or kind == nw.Boolean:
            continue
        column = frame.get_column(name)
        if not _is_mixed(column) or _as_floats(column) is None:
            found[name] = str(kind).partition("(")[0]
    return found


def numbers(frame: Any, /) -> npt.NDArray[np.float64]:
    """The columns, which all hold numbers, as one float64 array; nulls become NaN."""
    import narwhals.stable.v2 as nw

    table = np.empty(frame.shape, dtype=np.float64)
    for position, column in enumerate(frame.iter_columns()):
        if _is_mixed(column):
            table[:, position] = _as_floats(column)
        else:
            table[:, position] = column.cast(nw.Float64).to_numpy()
    return table


def declared(frame: Any, /) -> list[str | None]:
    """What each column's dtype says of its meaning: "boolean", "categorical" or nothing."""
    import narwhals.stable.v2 as nw

    return [
        "boolean"
        if kind == nw.Boolean
        else "categorical"
        if kind in (nw.Categorical, nw.Enum)
        else None
        for kind in frame.schema.values()
    ]


def _is_mixed(column: Any) -> bool:
    """Whether only the values of such a column tell what they are; none at all are no text."""
    import narwhals.stable.v2 as nw

    if column.dtype in (nw.Object, nw.Categorical, nw.Enum, nw.Unknown):
        return True
    return bool(column.dtype == nw.String and column.null_count() == len(column))


def _as_floats(column: Any) -> npt.NDArray[np.float64] | None:
    values = column.to_list()
    if any(isinstance(value, str) for value in values):
        return None
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
