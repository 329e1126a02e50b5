"""What `choose_k` returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .._typing import Array
from ..estimators import KMeans

_SHORT = {
    "elbow": "explained %",
    "calinski_harabasz": "Calinski-H.",
    "davies_bouldin": "Davies-B.",
    "silhouette": "silhouette",
    "silhouette_sampled": "sil. sampled",
    "silhouette_simplified": "sil. simplified",
    "gap": "gap",
    "bic": "BIC",
}


@dataclass(frozen=True)
class Step:
    """One k that is done, as `choose_k` hands it to its callback.

    Attributes
    ----------
    k : int
    inertia : float
    variance_explained : float
        In percent.
    seconds : float
        That the fits took.
    n_iter : int
        Iterations of the fit that was kept.
    scores : dict of str to float or None
        The criteria that look at one k at a time.
    """

    k: int
    inertia: float
    variance_explained: float
    seconds: float
    n_iter: int
    scores: dict[str, float | None]


@dataclass(frozen=True)
class ChooseKResult:
    """What `choose_k` found, for each k and by each criterion.

    Its attributes cannot be set.  Its dictionaries are plain ones, which pickle, copy and become
    JSON: leave them as they are, for printing, `to_dict` and pictures read them.

    Attributes
    ----------
    k : tuple of int
        The numbers of clusters, ascending.
    inertia : tuple of float
        Within-cluster sums of squares (WCSS); they do not rise with k, but for the rounding
        of centers to X's dtype.
    variance_explained : tuple of float
        Percentage of the variance that the clusters explain, 0 to 100.
    seconds : tuple of float
        That the fits for each k took, without criteria.
    n_iter : tuple of int
        Iterations of the fit that was kept for each k.
    criteria : dict of str to tuple of (float or None)
        The criteria that were asked for, by name; None where one is not defined, as most are
        not for k=1.
    gap_error : tuple of (float or None), or None
        Standard errors of the gap; None if it was not asked for.
    suggestions : dict of str to (int or None)
        The k that each criterion suggests; None where it suggests none.
    stable : dict of str to bool
        Whether the suggestion stays when up to a third of the range is dropped at either end
        (never the suggestion itself), and does not stand at an end beyond which the criterion
        might rise.  Elbow and gap depend on the range; the best value of another criterion stays
        the best without the ends, so for these it says no more than that k is not at an end.
    bands : dict of str to (tuple of two int, or None)
        Least and largest suggestion of these shorter ranges.
    structure : str
        A sentence: whether the rows have structure at all.
    has_structure : bool or None
        The same; None: not judged.
    centers : tuple of array of shape (k, n_features)
        The centers for each k, in X's library, dtype and device.
    status : str
        How it ended, as a sentence.
    interrupted : bool
        Whether Ctrl-C ended it.
    device, backend, kernel : str
        What ran, as in `KMeans`.
    n_rows, n_features : int
        Shape of X.
    asked_device : str or None
        The parameter ``device``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from kmeans_xp import choose_k
    >>> found = choose_k(load_iris().data, 6, random_state=0)
    >>> found.k
    (1, 2, 3, 4, 5, 6)
    >>> found.suggestions["davies_bouldin"], found.suggestions["bic"]
    (2, 6)
    >>> [round(percent, 1) for percent in found.variance_explained[:3]]
    [0.0, 77.6, 88.4]
    """

    k: tuple[int, ...]
    inertia: tuple[float, ...]
    variance_explained: tuple[float, ...]
    seconds: tuple[float, ...]
    n_iter: tuple[int, ...]
    criteria: dict[str, tuple[float | None, ...]]
    gap_error: tuple[float | None, ...] | None
    suggestions: dict[str, int | None]
    stable: dict[str, bool]
    bands: dict[str, tuple[int, int] | None]
    structure: str
    has_structure: bool | None
    centers: tuple[Array, ...]
    status: str
    interrupted: bool
    device: str
    backend: str
    kernel: str
    n_rows: int
    n_features: int
    asked_device: str | None = None

    def model(self, k: int) -> KMeans:
        """Return a `KMeans` that starts from the centers for this k.

        It is not fitted: ``fit`` on the same rows takes an iteration or two and gives labels.

        Parameters
        ----------
        k : int
            One of the numbers of clusters that were fitted.

        Returns
        -------
        model : KMeans
            With ``init`` the centers, and ``n_init=1``.
        """
        if k not in self.k:
            raise ValueError(f"k={k!r} was not fitted. Use one of {', '.join(map(str, self.k))}.")
        centers = self.centers[self.k.index(k)]
        return KMeans(n_clusters=k, init=centers, n_init=1, device=self.asked_device)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the centers as plain values for JSON."""
        return {
            "k": list(self.k),
            "inertia": list(self.inertia),
            "variance_explained": list(self.variance_explained),
            "seconds": list(self.seconds),
            "n_iter": list(self.n_iter),
            "criteria": {name: list(values) for name, values in self.criteria.items()},
            "gap_error": None if self.gap_error is None else list(self.gap_error),
            "suggestions": dict(self.suggestions),
            "stable": dict(self.stable),
            "bands": {
                name: None if band is None else list(band) for name, band in self.bands.items()
            },
            "structure": self.structure,
            "has_structure": self.has_structure,
            "status": self.status,
            "interrupted": self.interrupted,
            "device": self.device,
            "backend": self.backend,
            "kernel": self.kernel,
            "n_rows": self.n_rows,
            "n_features": self.n_features,
        }

    def __str__(self) -> str:
        # the elbow's values are those of the second column
        names = [name for name in self.criteria if name != "elbow"]
        columns = [
            ["k", *map(str, self.k)],
            ["inertia", *(f"{value:.6g}" for value in self.inertia)],
            [_SHORT["elbow"], *(f"{value:.2f}" for value in self.variance_explained)],
            *([_SHORT[name], *map(_cell, self.criteria[name])] for name in names),
            ["seconds", *(f"{value:.3f}" for value in self.seconds)],
        ]
        lines = [*_aligned(columns), "", *self._suggested(), "", self.structure]
        return "\n".join([*lines, *([self.status] if self.interrupted else [])])

    def _suggested(self) -> Iterator[str]:
        """One line a criterion."""
        bands = ((name, self.bands[name]) for name in self.suggestions)
        columns = [
            ["criterion", *self.suggestions],
            ["suggests", *("none" if k is None else f"{k}" for k in self.suggestions.values())],
            ["stable", *("yes" if is_stable else "no" for is_stable in self.stable.values())],
            ["shorter ranges", *("-" if b is None else _band(*b) for _, b in bands)],
        ]
        return _aligned(columns, first=str.ljust)


def _band(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _aligned(columns: Sequence[Sequence[str]], first: Any = str.rjust) -> Iterator[str]:
    widths = [max(map(len, column)) for column in columns]
    for head, *cells in zip(*columns, strict=True):
        rest = (cell.rjust(size) for cell, size in zip(cells, widths[1:], strict=True))
        yield "  ".join([first(head, widths[0]), *rest])
