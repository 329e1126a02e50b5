"""Displays by name, and pictures as files."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from .._files import replacing
from ..selection import ChooseKResult
from . import _canvas as canvas
from ._centers import CentersDisplay
from ._clusters import ClustersDisplay
from ._convergence import ConvergenceDisplay
from ._elbow import ElbowDisplay
from ._silhouette import SilhouetteDisplay
from ._sizes import SizesDisplay

KINDS = ("clusters", "silhouette", "centers", "sizes", "convergence")
FORMATS = ("png", "svg", "pdf")
_NO_DATE = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_DPI = 150


def display_of(kind: str, model: Any, x: Any, feature_names: Sequence[str] | None, /) -> Any:
    """The display of a kind with its data, not yet drawn."""
    if kind == "clusters":
        return ClustersDisplay._read(model, x, feature_names=feature_names)
    if kind == "silhouette":
        return SilhouetteDisplay._read(model, x)
    if kind == "centers":
        return CentersDisplay._read(model, feature_names=feature_names)
    return SizesDisplay._read(model, x) if kind == "sizes" else ConvergenceDisplay._read(model)


def format_of(path: str | os.PathLike[str], /) -> str:
    """The format that the end of a name asks for."""
    found = pathlib.Path(path).suffix[1:].lower()
    if found not in FORMATS:
        raise ValueError(
            f"{os.fspath(path)!r} does not end in a format of pictures. Use .png, .svg or .pdf."
        )
    return found


def check_path(path: str | os.PathLike[str], /) -> None:
    """Raise what `save_picture` would, without a display."""
    canvas.load()
    format_of(path)


def save_elbow(result: ChooseKResult, path: str | os.PathLike[str], /) -> None:
    """Write the picture of what `choose_k` found."""
    save_picture(ElbowDisplay._read(result), path)


def save_picture(display: Any, path: str | os.PathLike[str], /) -> None:
    """Draw what a display keeps in a figure of its own, and write it to a file.

    Neither pyplot nor the user's choice of a backend is touched.

    Parameters
    ----------
    display : display of this module
    path : path-like
        Ends in .png, .svg or .pdf.  The file takes its name only when it is complete; an
        existing file is replaced.  The same display gives the same file, byte for byte, with the
        same version of matplotlib.

    Raises
    ------
    ValueError
        For a name that ends otherwise.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from kmeans_xp.plot import SizesDisplay, save_picture
    >>> display = SizesDisplay(np.array([3, 5]), names=["0", "1"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_picture(display, os.path.join(folder, "sizes.png"))
    ...     os.listdir(folder)
    ['sizes.png']
    """
    matplotlib, kind = canvas.load(), format_of(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=display._size(), layout="constrained")
    # ids of an svg file are random otherwise
    with matplotlib.rc_context({"svg.hashsalt": "kmeans-xp"}), replacing(path, "wb") as file:
        display.plot(ax=figure.add_subplot())
        figure.savefig(file, format=kind, dpi=_DPI, metadata=_NO_DATE[kind])
