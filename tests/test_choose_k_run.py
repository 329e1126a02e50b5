"""choose_k: what it suggests, how a run is watched and broken off, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from kmeans_xp import ChooseKInterrupted, choose_k
from kmeans_xp.selection._suggest import suggest


def blobs(n: int = 300, k: int = 5, seed: int = 3) -> Any:
    return make_blobs(n, centers=k, cluster_std=0.5, random_state=seed)[0]


# ---------------------------------------------------------------- suggestions


def test_a_knee_is_sought_in_ranges_that_can_have_it() -> None:
    ks = list(range(1, 9))
    sharp = suggest("elbow", ks, [0.0, 40.0, 80.0, 81.0, 82.0, 83.0, 84.0, 85.0], None)
    # a range that begins at 3 has no knee there
    assert (sharp.k, sharp.is_stable, sharp.band) == (3, True, (3, 3))
    # where the end of the range decides
    round_ = suggest("elbow", ks, [100.0 * (1.0 - 1.0 / k) for k in ks], None)
    assert round_.k is not None
    assert not round_.is_stable


def test_suggestions_at_an_end_are_not_stable() -> None:
    ks = tuple(range(1, 9))
    rising = [None, *map(float, range(7))]
    found = suggest("calinski_harabasz", ks, rising, None)
    assert (found.k, found.is_stable) == (8, False)
    falling = [None, *map(float, range(7, 0, -1))]
    first = suggest("calinski_harabasz", ks, falling, None)
    # no smaller k has this criterion
    assert (first.k, first.is_stable) == (2, True)
    assert suggest("davies_bouldin", ks, falling, None).k == 8
    assert suggest("calinski_harabasz", ks[4:], falling[4:], None).is_stable is False
    nothing = suggest("silhouette", ks, [None] * 8, None)
    assert (nothing.k, nothing.is_stable, nothing.band) == (None, False, None)


def test_the_gap_takes_the_first_that_stands_and_tells_of_a_higher_one() -> None:
    ks = (1, 2, 3, 4, 5, 6)
    errors = [0.1] * 6
    found = suggest("gap", ks, [0.0, 1.0, 1.05, 1.0, 0.9, 0.8], errors)
    assert (found.k, found.is_stable, found.band) == (2, True, (2, 2))
    later = suggest("gap", ks, [0.0, 0.05, 1.0, 3.0, 2.9, 2.0], errors)
    assert (later.k, later.is_stable, later.band) == (1, False, (1, 4))
    assert suggest("gap", ks, [float(k) for k in ks], errors).k is None


def test_a_straight_line_has_no_knee() -> None:
    ks = tuple(range(1, 9))
    assert suggest("elbow", ks, [10.0 * k for k in ks], None).k is None
    assert suggest("elbow", ks, [5.0] * 8, None).k is None
    assert suggest("elbow", ks[:2], [0.0, 50.0], None).k is None


# ---------------------------------------------------------------- the run


def test_the_callback_sees_each_k_and_may_stop(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def stop(step: Any) -> bool:
        seen.append(step)
        return step.k == 3

    found = choose_k(blobs(), 9, callback=stop, verbose=1, random_state=0)
    assert [step.k for step in seen] == [1, 2, 3] == list(found.k)
    assert found.status == "stopped by the callback"
    assert not found.interrupted
    assert seen[-1].scores["bic"] == found.criteria["bic"][-1]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert printed[-1].startswith("k=3: inertia ")
    assert printed[-1].endswith("(3 of 9)")


def test_the_table_shows_every_k_and_criterion() -> None:
    found = choose_k(blobs(), 6, random_state=0)
    text = str(found)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:7]] == ["k", *map(str, range(1, 7))]
    for name in found.criteria:
        assert any(line.startswith(name) for line in lines), name
    assert lines[-1] == found.structure
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.k = ()  # type: ignore[misc]
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["suggestions"] == found.suggestions
    assert plain["k"] == list(found.k)


INTERRUPTED = """
    import os, signal
    import numpy as np
    from kmeans_xp import ChooseKInterrupted, choose_k

    def press(step):
        if step.k == 4:
            os.kill(os.getpid(), signal.SIGINT)
            while True:  # the handler raises here or in the next call
                sum(range(1000))

    X = np.random.default_rng(0).random((2000, 4))
    try:
        choose_k(X, 30, criteria=["elbow", "gap"], callback=press, random_state=0)
    except KeyboardInterrupt as stop:
        found = stop.result
        assert isinstance(stop, ChooseKInterrupted)
        assert found.interrupted and found.k == (1, 2, 3, 4), found.k
        assert len(found.centers) == 4 and found.criteria["gap"] == (None,) * 4
        assert found.has_structure is None
        print(found.status)
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_ctrl_c_keeps_what_is_done() -> None:
    done = run_python(INTERRUPTED)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "interrupted: 4 of 30 k are done, the last is k=4\n"


def test_ctrl_c_before_the_first_k_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from kmeans_xp.selection import _choose

    def press(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_choose, "judge", press)
    with pytest.raises(ChooseKInterrupted) as late:
        choose_k(blobs(), 3, random_state=0)
    assert late.value.result.k == (1, 2, 3)
    monkeypatch.setattr(_choose, "climb", press)
    with pytest.raises(KeyboardInterrupt) as early:
        choose_k(blobs(), 3, random_state=0)
    assert type(early.value) is KeyboardInterrupt


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("k", "error", "words"),
    [
        (0, ValueError, "k=0 must be at least 1"),
        (True, TypeError, "k=True is neither a whole number"),
        (2.5, TypeError, "k=2.5 is neither a whole number"),
        ("12", TypeError, "k='12' is neither"),
        ([], ValueError, r"k=\[\] is empty"),
        (range(5, 5), ValueError, "is empty"),
        ([2, 3.0], TypeError, "k has 3.0, which is not a whole number"),
        ([2, 0], ValueError, "k has 0; each k must be at least 1"),
        ([4, 2, 3, 2], ValueError, "k has 2 more than once"),
        ([2, 31], ValueError, r"k=31 asks for more clusters than X has rows \(30\)"),
    ],
)
def test_a_bad_range_is_refused(k: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        choose_k(blobs(30), k)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"criteria": "dunn"}, ValueError, "criteria has 'dunn', which is not known"),
        ({"criteria": []}, ValueError, "criteria is empty"),
        ({"criteria": 5}, TypeError, "criteria=5 is no name"),
        ({"device": "gpu"}, ValueError, "device='gpu' is not known"),
        ({"n_init": -1}, ValueError, "n_init=-1 must be a whole number of at least 0"),
        ({"sample_size": 1}, ValueError, "sample_size=1 must be"),
        ({"n_references": 1}, ValueError, "n_references=1 must be"),
        ({"tol": float("nan")}, ValueError, "tol=nan must be a number of at least 0"),
        ({"tol": None}, ValueError, "tol=None must be a number of at least 0"),
        ({"callback": 5}, TypeError, "callback=5 cannot be called"),
        (
            {"criteria": "silhouette", "sample_weight": np.ones(30)},
            ValueError,
            "criteria has 'silhouette', which knows no sample_weight",
        ),
        ({"sample_weight": np.ones(3)}, ValueError, r"expected \(30,\)"),
    ],
)
def test_bad_parameters_are_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        choose_k(blobs(30), 4, **options)


@pytest.mark.parametrize("k", [10**15, range(2, 10**15)])
def test_a_huge_range_is_refused_before_it_is_written_out(k: Any) -> None:
    with pytest.raises(ValueError, match=r"asks for more clusters than X has rows \(30\)"):
        choose_k(blobs(30), k)


def test_missing_values_are_named() -> None:
    X = blobs(30)
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN: the first is at row 7, column 1. choose_k needs"):
        choose_k(X, 4)


@pytest.mark.parametrize(
    ("factor", "weight", "words"),
    [
        (1e300, None, "is inf, too large for .* Multiply X by a power of two"),
        (1e-300, None, "is 0, too small for .* Multiply X by a power of two"),
        (1.0, 1e300, "too large for .* Multiply X, or sample_weight, by"),
    ],
)
def test_squares_beyond_float64_are_refused(
    factor: float, weight: float | None, words: str
) -> None:
    weights = None if weight is None else np.full(60, weight)
    with pytest.raises(ValueError, match=words):
        choose_k(blobs(60) * factor, 4, sample_weight=weights, random_state=0)


@pytest.mark.parametrize("factor", [2.0**-400, 2.0**400])
def test_small_and_large_values_change_no_suggestion(factor: float) -> None:
    x, names = blobs(60), ("elbow", "calinski_harabasz", "davies_bouldin", "bic")
    found = choose_k(x * factor, 7, criteria=names, random_state=0)
    wanted = choose_k(x, 7, criteria=names, random_state=0)
    assert found.suggestions == wanted.suggestions
    assert found.structure == wanted.structure


def test_as_many_clusters_as_rows_are_not_praised() -> None:
    x = np.array([[0.0], [1.0], [10.0], [12.0]])
    found = choose_k(x, 4, criteria="all", random_state=0)
    told = {name: values[-1] for name, values in found.criteria.items() if values[-1] is not None}
    assert told == {"elbow": 100.0}
    assert all(k != 4 for k in found.suggestions.values())
    names = ("davies_bouldin", "silhouette_simplified")
    twice = choose_k(np.tile(x, (2, 1)), 4, criteria=names, random_state=0)
    weighted = choose_k(x, 4, criteria=names, sample_weight=np.full(4, 2.0), random_state=0)
    assert twice.criteria["davies_bouldin"][-1] == weighted.criteria["davies_bouldin"][-1] == 0.0


@pytest.mark.parametrize("weighted", [False, True])
def test_more_clusters_than_different_rows_are_refused(weighted: bool) -> None:
    X = np.tile(np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 1.0], [2.0, 3.0]]), (40, 1))
    weight = np.tile([1.0, 1.0, 1.0, 0.0], 40) if weighted else None
    number = 2 if weighted else 3
    with pytest.raises(ValueError, match=rf"k={number + 1} asks .* different rows \({number}"):
        choose_k(X, number + 1, sample_weight=weight)
    assert choose_k(X, number, sample_weight=weight, random_state=0).inertia[-1] == 0.0


def test_rare_rows_are_counted_too() -> None:
    X = np.zeros((3000, 1))
    X[[5, 1700, 2999], 0] = [1.0, 2.0, 3.0]
    assert choose_k(X, 4, random_state=0).inertia[-1] == 0.0
