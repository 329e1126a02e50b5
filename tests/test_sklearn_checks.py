"""scikit-learn's own estimator checks, the array API ones included."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from kmeans_xp import (
    DBSCAN,
    BisectingKMeans,
    FeatureScaler,
    FuzzyCMeans,
    KMeans,
    KMedians,
    KMedoids,
    MiniBatchKMeans,
    SphericalKMeans,
    TrimmedKMeans,
)

try:
    from sklearn.utils import estimator_checks
except RuntimeError:
    # scikit-learn 1.6 asks for the variable as soon as array-api-compat is installed
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIPY_ARRAY_API", "1")
        from sklearn.utils import estimator_checks

ESTIMATORS = [
    KMeans(),
    KMeans(init="random", n_init=2, tol=0, max_iter=None),
    KMeans(init="random-partition", empty_cluster="random", n_init=1),
    KMeans(init="k-means||", algorithm="elkan", copy_x=False, device="cpu"),
    KMedians(),
    KMedoids(),
    KMedoids(metric="precomputed"),
    MiniBatchKMeans(),
    BisectingKMeans(),
    DBSCAN(),
    FuzzyCMeans(),
    FuzzyCMeans(m=1, init="random"),
    SphericalKMeans(),
    TrimmedKMeans(),
    FeatureScaler("standard"),
    FeatureScaler("quantile"),
    FeatureScaler("none"),
]

# scikit-learn expects the same of its own KMeans: the check shuffles the weighted rows, and a
# draw picks by position.  test_whole_weights_are_repeated_rows holds it for a given start.
EXPECTED_FAILURES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "starts are drawn by position, rows shuffled"
    for kind in ("dense", "sparse")
}


def expected_failures(estimator):
    # those two draw nothing
    if isinstance(estimator, DBSCAN):
        return {}
    # older versions run the check of sparse rows on those that refuse them, and it passes
    refuses = not getattr(estimator, "_takes_sparse", False)
    expected = {
        name: why for name, why in EXPECTED_FAILURES.items() if not (refuses and "sparse" in name)
    }
    if isinstance(estimator, SphericalKMeans):
        return expected | {"check_estimators_dtypes": "a row of its integers is all zeros"}
    if not isinstance(estimator, KMedoids):
        return expected
    rows = {"check_clustering", "check_estimators_nan_inf"}
    pairwise = estimator.metric == "precomputed"
    return dict.fromkeys(rows, "passes rows for distances") if pairwise else {}


def with_checks():
    """`parametrize_with_checks` without the array API checks, which need a process of their own.

    A list, since older versions pass a generator on, which pytest does not like.
    """
    made = estimator_checks.parametrize_with_checks(
        ESTIMATORS, expected_failed_checks=expected_failures
    )
    names, entries = made.args
    chosen = [entry for entry in entries if not _needs_dispatch(getattr(entry, "values", entry)[1])]
    return pytest.mark.parametrize(names, chosen, **made.kwargs)


def _needs_dispatch(check):
    return check.func.__name__.startswith("check_array_api")


# Runs where SCIPY_ARRAY_API is set before anything is imported; prints one line a check.
ARRAY_API_CHECKS = """
import unittest, warnings
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import _yield_array_api_checks
from kmeans_xp import (
    DBSCAN,
    BisectingKMeans,
    FeatureScaler,
    FuzzyCMeans,
    KMeans,
    KMedoids,
    MiniBatchKMeans,
    SphericalKMeans,
    TrimmedKMeans,
)

def lacks_gpu():
    import cupy
    return not cupy.is_available()

warnings.simplefilter("error")
for estimator in (
    KMeans(),
    KMeans(init="random", n_init=2),
    KMedoids(),
    MiniBatchKMeans(),
    BisectingKMeans(n_clusters=5),
    DBSCAN(),
    FuzzyCMeans(3),
    SphericalKMeans(),
    TrimmedKMeans(),
    FeatureScaler("robust"),
):
    for check in _yield_array_api_checks(
        estimator, only_numpy=not get_tags(estimator).array_api_support
    ):
        words = [check.func.__name__, *map(str, check.keywords.values())]
        try:
            check(type(estimator).__name__, estimator)
        except unittest.SkipTest as reason:
            print("skipped", *words, "|", reason, flush=True)
        except RuntimeError as reason:
            # scikit-learn asks whether CuPy is installed, not whether there is a GPU
            if "cupy" not in str(words) or not lacks_gpu():
                raise
            print("skipped", *words, "|", "CuPy sees no GPU", flush=True)
        else:
            print("passed", *words, flush=True)
"""


@pytest.mark.filterwarnings(
    # some checks hold fewer distinct rows, or a single cluster
    "ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning",
    "ignore:only . of the . centers are the nearest:sklearn.exceptions.ConvergenceWarning",
    "ignore:algorithm='elkan' doesn't make sense:RuntimeWarning",
)
@with_checks()
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_whole_weights_are_repeated_rows(kind):
    """The check that is expected to fail above, from a start that no draw decides."""
    start = np.random.RandomState(42).rand(15, 30)[:3]
    check = getattr(estimator_checks, f"check_sample_weight_equivalence_on_{kind}_data")
    check("KMeans", KMeans(3, init=start, tol=0))


def array_api_lines() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ARRAY_API_CHECKS],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-4000:]
    return done.stdout.splitlines()


@pytest.mark.skipif(
    not hasattr(estimator_checks, "check_array_api_same_namespace"),
    reason="this scikit-learn is older than its array API checks of any estimator",
)
def test_array_api_checks_pass_with_dispatch_enabled():
    """In a process of its own: SciPy reads SCIPY_ARRAY_API once, when it is imported."""
    lines = array_api_lines()
    needed = [
        "check_array_api_input numpy",
        "check_array_api_input array_api_strict CPU_DEVICE",
        "check_array_api_input array_api_strict device1",
        "check_array_api_same_namespace array_api_strict",
    ]
    if importlib.util.find_spec("torch"):
        needed += ["check_array_api_input torch cpu", "check_array_api_mixed_inputs"]
    for name in needed:
        assert sum(line.startswith(f"passed {name}") for line in lines) >= 2, "\n".join(lines)
