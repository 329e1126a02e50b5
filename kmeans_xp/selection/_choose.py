"""choose_k: fits for a range of k, criteria, and what each of them suggests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import _get_feature_names

from .._exact import to_device
from .._outcome import Rules
from .._problem import Training
from .._random import Purpose, mix
from .._typing import Array
from .._validation import check_device_word, check_table
from ..estimators._place import Place, place_of
from ..estimators._run import draw_seed, prepare, warn_of_one_column
from ..exceptions import ChooseKInterrupted
from ._arguments import check_distinct, check_inertia, numbers_of_clusters, tolerance, whole_number
from ._criteria import UNWEIGHTED, Scorer, named
from ._ladder import climb
from ._null import Verdict, gap, judge, sample_rows
from ._result import ChooseKResult, Step
from ._suggest import suggest

_DONE = "done"
_STOPPED = "stopped by the callback"
_NOT_ASKED = "structure was not judged: structure=False"
_TOO_EARLY = "structure was not judged: the run ended before"


def choose_k(
    X: Any,
    k: Any = 10,
    *,
    criteria: Any = "default",
    sample_weight: Any = None,
    n_init: int = 0,
    max_iter: int | None = 300,
    tol: float = 1e-4,
    sample_size: int = 2000,
    n_references: int = 10,
    structure: bool = True,
    random_state: Any = None,
    device: str | None = None,
    callback: Callable[[Step], bool | None] | None = None,
    verbose: int = 0,
) -> ChooseKResult:
    """Fit a range of k with shared work, and tell what each criterion makes of it.

    Rows are checked, moved and surveyed once.  Each k starts from the centers of the k before
    it, to which rows are added that lower the inertia most, of ten drawn as k-means++ draws
    them; so the inertia does not rise with k, but for the rounding of centers to X's dtype.  There
    is no search for a better optimum, which would favour some k over others.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to cluster, of any array API library.
    k : int or collection of int, default=10
        The largest k, for 1 up to it, or the numbers themselves, such as ``range(2, 13)``.
    criteria : "default", "all", str or collection of str, default="default"
        What the fits are judged by; the default leaves out what takes long.

        - "elbow": percentage of the variance explained, and the knee of that curve [1]_.
        - "calinski_harabasz" [2]_, "davies_bouldin" [3]_ (lower is better): about the fitted
          centers.
        - "silhouette" [4]_: of all rows, in time that grows with ``n_samples**2``; not in the
          default.  "silhouette_sampled": of ``sample_size`` rows, the same for each k; not in
          the default.  "silhouette_simplified" [5]_: with distances to centers in place of rows;
          0 for a row alone in its cluster, as in the others.
        - "gap" [6]_: not in the default; on ``sample_size`` rows, with ``n_references`` sets
          of uniform rows along their principal axes.
        - "bic": of equal spherical Gaussians, as in X-means [7]_; too many clusters for others.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows; whole weights count as repeated rows.  The silhouettes of rows
        ("silhouette", "silhouette_sampled") have no weights, and are refused beside them.
    n_init : int, default=0
        Starts by k-means++ for each k beside the one from the centers before.
    max_iter : int or None, default=300
        Largest number of iterations of a fit; None for no limit.
    tol : float, default=1e-4
        Relative tolerance of the movement of the centers; see `KMeans`.
    sample_size : int, default=2000
        Rows that "silhouette_sampled" and "gap" look at, if there are more.
    n_references : int, default=10
        Sets of uniform rows for "gap".
    structure : bool, default=True
        Whether to judge if there is any structure: some of the rows (1,000 to 4,000; the
        sentence says how many) against 19 tables of uniform rows, of which one in 20 would
        stand out by chance.  One very skewed cloud, such as lognormal rows, may stand out as well:
        take logarithms first.  Fits of rows and tables alike are short here: of 2 iterations where
        these settle it, of 10 where the rows stand one to six standard deviations apart.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where X is.
    callback : callable or None, default=None
        Called with a `Step` after each k; a true result stops there.
    verbose : int, default=0
        Print a line after each k.

    Returns
    -------
    result : ChooseKResult
        Per k the inertia, the variance explained, seconds, criteria and centers; a suggestion
        per criterion, whether it is stable, and whether there is structure at all.  There is no
        single answer: criteria differ, and the knee moves with the range.

    Raises
    ------
    ValueError, TypeError
        For parameters, shapes or values that cannot be clustered, more clusters than different
        rows among them; the text names them.
    ChooseKInterrupted
        A `KeyboardInterrupt`, when Ctrl-C came after the first k was done: its ``result`` holds
        what was done.
    DeviceError
        When a device asked for by name cannot be used.

    Warns
    -----
    DataWarning
        Once a call, when the variance of one column is more than 100 times the sum of the others',
        as in `KMeans`.  Choose k on the rows that the clustering gets then: of a pipeline
        ``choose_k(pipeline[:-1].fit_transform(X))``.

    Notes
    -----
    One seed gives the same centers, inertia and iterations on every library and device, and so
    the same elbow, Calinski-Harabasz and BIC; the other criteria agree to rounding.

    References
    ----------
    .. [1] V. Satopaa et al., "Finding a kneedle in a haystack", ICDCS Workshops 2011.
    .. [2] T. Calinski, J. Harabasz, "A dendrite method for cluster analysis", 1974.
    .. [3] D. L. Davies, D. W. Bouldin, "A cluster separation measure", 1979.
    .. [4] P. J. Rousseeuw, "Silhouettes", J. Comput. Appl. Math. 20, 1987.
    .. [5] E. R. Hruschka, L. N. de Castro, R. J. G. B. Campello, "Evolutionary algorithms for
           clustering gene-expression data", ICDM 2004.
    .. [6] R. Tibshirani, G. Walther, T. Hastie, "Estimating the number of clusters in a data
           set via the gap statistic", J. R. Statist. Soc. B 63, 2001.
    .. [7] D. Pelleg, A. Moore, "X-means: extending k-means with efficient estimation of the
           number of clusters", ICML 2000.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from kmeans_xp import choose_k
    >>> X, _ = make_blobs(500, centers=5, cluster_std=0.5, random_state=3)
    >>> found = choose_k(X, 12, random_state=0)
    >>> found.suggestions["calinski_harabasz"], found.stable["calinski_harabasz"]
    (5, True)
    >>> found.has_structure
    True
    >>> found.model(5).fit(X).n_iter_
    1
    """
    check_device_word(device)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback={callback!r} cannot be called. Pass a function of a Step.")
    rows = check_table(X, "X", "choose_k")
    asked = _Asked(
        numbers_of_clusters(k, int(rows.shape[0])),
        named(criteria),
        whole_number(n_init, "n_init", 0),
        Rules(None if max_iter is None else whole_number(max_iter, "max_iter", 1), tolerance(tol)),
        whole_number(sample_size, "sample_size", 2),
        whole_number(n_references, "n_references", 2),
        bool(structure),
        callback,
        verbose,
    )
    unweighted = [name for name in asked.names if name in UNWEIGHTED]
    if sample_weight is not None and unweighted:
        raise ValueError(
            f"criteria has {unweighted[0]!r}, which knows no sample_weight. Leave it out; "
            "'silhouette_simplified' takes weights."
        )
    place = place_of(rows, device)
    with place.work.scope():
        problem = prepare(
            rows,
            sample_weight,
            place,
            asked.ks[-1],
            who="choose_k",
            # for the tolerance, and for the warning of a column that decides
            variance=tol > 0 or int(rows.shape[1]) > 1,
            fits=asked.fits,
        )
        warn_of_one_column(
            problem,
            _names_of(X),
            "choose_k(kmeans_xp.FeatureScaler('standard').fit_transform(X))",
        )
        seed = draw_seed(check_random_state(random_state))
        with problem.source.working():
            check_distinct(problem, asked.ks[-1], seed)
            run = _Run(asked, problem, place, seed)
            run.go()
        result = run.result(device)
    if result.interrupted:
        raise ChooseKInterrupted(result)
    return result


def _names_of(x: Any) -> Any:
    """Names of a data frame's columns; None without any."""
    try:
        return _get_feature_names(x)
    except TypeError:
        # some of them are no text
        return None


@dataclass(frozen=True)
class _Asked:
    """The checked parameters."""

    ks: tuple[int, ...]
    names: tuple[str, ...]
    n_init: int
    rules: Rules
    sample_size: int
    n_references: int
    structure: bool
    callback: Callable[[Step], bool | None] | None
    verbose: int

    @property
    def fits(self) -> float:
        """As many fits of the largest k as all of them amount to."""
        return (1 + self.n_init) * sum(self.ks) / self.ks[-1]


@dataclass
class _Run:
    """What is done so far."""

    asked: _Asked
    problem: Training
    place: Place
    seed: int
    steps: list[tuple[Step, Array]] = field(default_factory=list)
    gaps: tuple[Sequence[float | None], Sequence[float | None]] | None = None
    verdict: Verdict = field(default_factory=lambda: Verdict(None, _TOO_EARLY))
    status: str = _DONE
    interrupted: bool = False

    def go(self) -> None:
        """Do all of it; Ctrl-C ends it once a k is done."""
        try:
            self._climb()
            done = [step.k for step, _ in self.steps]
            if not self.asked.structure:
                self.verdict = Verdict(None, _NOT_ASKED)
            else:
                self.verdict = judge(self.problem, done[-1], self.seed)
            if "gap" in self.asked.names:
                size, sets = self.asked.sample_size, self.asked.n_references
                self.gaps = gap(self.problem, done, size, sets, self.seed)
        except KeyboardInterrupt:
            if not self.steps:
                raise
            self.interrupted = True
            self.status = (
                f"interrupted: {len(self.steps)} of {len(self.asked.ks)} k are done, the last is "
                f"k={self.steps[-1][0].k}"
            )

    def _climb(self) -> None:
        asked, problem = self.asked, self.problem
        whole = next(iter(climb(problem, [1], self.seed, asked.rules)))
        scorer = self._scorer(whole.result.inertia)
        begun = whole if asked.ks[0] == 1 and not asked.n_init else None
        rungs = climb(problem, asked.ks, self.seed, asked.rules, n_init=asked.n_init, begun=begun)
        for rung in rungs:
            result = rung.result
            step = Step(
                rung.k,
                result.inertia,
                scorer.explained(result.inertia),
                rung.seconds,
                result.n_iter,
                problem.within_memory(functools.partial(scorer.scores, result)),
            )
            self.steps.append((step, self.place.send_home(result.centers)))
            if asked.verbose:
                print(
                    f"k={step.k}: inertia {step.inertia:.6g}, {step.variance_explained:.2f} % "
                    f"explained, {step.seconds:.3f} s ({len(self.steps)} of {len(asked.ks)})"
                )
            if asked.callback is not None and asked.callback(step):
                self.status = _STOPPED
                return

    def _scorer(self, total: float) -> Scorer:
        problem, names = self.problem, self.asked.names
        check_inertia(total, problem)
        sample = None
        if "silhouette_sampled" in names:
            chosen = sample_rows(problem, self.asked.sample_size, mix(self.seed, Purpose.SAMPLE))
            host = np.asarray(chosen, dtype=np.int64)
            sample = to_device(host, problem.source.sample, xp=problem.context.xp)
        return Scorer(names, problem, total, sample)

    def result(self, device: str | None) -> ChooseKResult:
        """What is done, with a suggestion by each criterion."""
        steps = [step for step, _ in self.steps]
        ks = tuple(step.k for step in steps)
        nothing = (None,) * len(ks)
        gaps, errors = (nothing, nothing) if self.gaps is None else map(tuple, self.gaps)
        criteria = {
            name: gaps if name == "gap" else tuple(step.scores[name] for step in steps)
            for name in self.asked.names
        }
        found = {name: suggest(name, ks, values, errors) for name, values in criteria.items()}
        work = self.place.work
        return ChooseKResult(
            k=ks,
            inertia=tuple(step.inertia for step in steps),
            variance_explained=tuple(step.variance_explained for step in steps),
            seconds=tuple(step.seconds for step in steps),
            n_iter=tuple(step.n_iter for step in steps),
            criteria=criteria,
            gap_error=errors if "gap" in criteria else None,
            suggestions={name: one.k for name, one in found.items()},
            stable={name: one.is_stable for name, one in found.items()},
            bands={name: one.band for name, one in found.items()},
            structure=self.verdict.text,
            has_structure=self.verdict.has_structure,
            centers=tuple(centers for _, centers in self.steps),
            status=self.status,
            interrupted=self.interrupted,
            device=work.device_name,
            backend=work.backend,
            kernel=self.problem.plan.kernel,
            n_rows=self.problem.source.n_rows,
            n_features=self.problem.source.n_features,
            asked_device=device,
        )
