"""What importing and fitting load, seen from a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

OPTIONAL = {"torch", "jax", "jaxlib", "cupy", "numba", "dask", "pyarrow", "matplotlib", "polars"}

# Imports are noted by name as they are asked for, so that a library that is not installed
# here is noticed as well.
WATCH = """
    import json, sys

    class Watch:
        asked = set()

        def find_spec(self, name, path=None, target=None):
            self.asked.add(name)
            return None

    sys.meta_path.insert(0, Watch())
"""
TELL = """
    print(json.dumps({"asked": sorted(Watch.asked), "loaded": sorted(sys.modules)}))
"""


def run(body: str) -> dict[str, set[str]]:
    """Names that were asked for and loaded by code in an interpreter of its own."""
    code = "".join(map(textwrap.dedent, (WATCH, body, TELL)))
    # numba asked for by hand would be loaded by the first fit
    env = {name: value for name, value in os.environ.items() if name != "KMEANS_XP_NUMBA"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {key: set(names) for key, names in found.items()}


def roots(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_import_loads_nothing_beyond_what_sklearn_loads() -> None:
    theirs = run("import sklearn\n")
    ours = run("import kmeans_xp\n")
    assert "kmeans_xp" in ours["loaded"]
    assert "kmeans_xp.metrics" not in ours["loaded"]
    for key in ("asked", "loaded"):
        more = ours[key] - theirs[key]
        assert {name for name in more if name.partition(".")[0] != "kmeans_xp"} == set()


def test_a_fit_on_numpy_asks_for_no_other_array_library() -> None:
    fit = """
        import numpy as np
        rows = np.arange(4000.0).reshape(-1, 4) % 7
        model = KMeans(n_clusters=3, random_state=0).fit(rows, sample_weight=np.ones(1000))
        model.predict(rows), model.transform(rows), model.score(rows)
    """
    theirs = run(f"from sklearn.cluster import KMeans\n{textwrap.dedent(fit)}")
    ours = run(f"from kmeans_xp import KMeans\n{textwrap.dedent(fit)}")
    assert "sklearn" in ours["loaded"]
    for key in ("asked", "loaded"):
        assert (roots(ours[key]) - roots(theirs[key])) & OPTIONAL == set()


def test_the_watch_sees_a_library_that_is_asked_for() -> None:
    body = "try:\n    import cupy.no_such_part\nexcept ImportError:\n    pass\n"
    assert "cupy" in roots(run(body)["asked"])


def test_public_names_are_all_there_and_no_more() -> None:
    import kmeans_xp

    for name in kmeans_xp.__all__:
        assert getattr(kmeans_xp, name) is not None
    assert not hasattr(kmeans_xp, "no_such_name")
