"""choose_k: fits for a range of k, what criteria say of them, and how honest that is."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from conftest import Backend
from sklearn.datasets import make_blobs
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from kmeans_xp import ChooseKInterrupted, KMeans, choose_k
from kmeans_xp.selection._criteria import bic
from kmeans_xp.selection._null import Sample, sample_rows
from kmeans_xp.selection._suggest import suggest

NUMBERS = ("inertia", "variance_explained", "n_iter", "k")
EXACT = ("elbow", "calinski_harabasz", "bic")


def blobs(n: int = 300, k: int = 5, seed: int = 3) -> Any:
    return make_blobs(n, centers=k, cluster_std=0.5, random_state=seed)[0]


def same_scores(found: Any, wanted: Any) -> None:
    for name, values in wanted.criteria.items():
        assert [value is None for value in found.criteria[name]] == [v is None for v in values]
        pairs = [(a, b) for a, b in zip(found.criteria[name], values, strict=True) if b is not None]
        if name in EXACT:
            assert all(a == b for a, b in pairs), name
        else:
            np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-9, err_msg=name)


# ---------------------------------------------------------------- what it finds


def test_five_blobs_are_found_and_the_knee_is_told_apart() -> None:
    found = choose_k(blobs(), 12, random_state=0, criteria="all", n_references=5)
    assert found.has_structure is True
    for name in ("calinski_harabasz", "davies_bouldin", "silhouette", "silhouette_sampled"):
        assert (found.suggestions[name], found.stable[name]) == (5, True), name
    assert found.suggestions["bic"] == 5
    assert set(found.suggestions) == set(found.stable) == set(found.bands) == set(found.criteria)
    # exact and sampled silhouettes see the same rows where there are so few
    assert found.criteria["silhouette"] == found.criteria["silhouette_sampled"]
    assert found.criteria["elbow"] == found.variance_explained


def test_the_knee_that_moves_with_the_range_is_not_called_stable() -> None:
    X = make_blobs(500, centers=5, cluster_std=2.0, random_state=1)[0]
    knees = {choose_k(X, top, random_state=0).suggestions["elbow"] for top in (6, 10, 20)}
    assert len(knees) > 1
    found = choose_k(X, 20, random_state=0)
    assert not found.stable["elbow"]
    low, high = found.bands["elbow"] or (0, 0)
    assert low < high


@pytest.mark.parametrize("seed", range(3))
def test_uniform_rows_have_no_clear_structure(seed: int) -> None:
    X = np.random.default_rng(seed).random((400, 3))
    found = choose_k(X, 8, random_state=seed, criteria=["elbow", "gap"], n_references=5)
    assert found.has_structure is False
    assert found.structure.startswith("no clear structure")
    assert found.suggestions["gap"] == 1
    # the elbow always bends somewhere
    assert found.suggestions["elbow"] is not None


def test_one_slanted_cloud_has_no_clear_structure() -> None:
    x = np.random.default_rng(0).normal(size=(400, 1))
    X = np.hstack([x, x]) + 0.05 * np.random.default_rng(1).normal(size=(400, 2))
    assert choose_k(X, 8, random_state=0).has_structure is False


def test_rows_that_repeat_a_few_have_structure() -> None:
    X = np.repeat([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [9.0, 9.0]], 30, axis=0)
    found = choose_k(X, 4, random_state=0)
    assert found.has_structure is True
    assert found.inertia[-1] == 0.0
    assert found.variance_explained[-1] == 100.0
    assert found.criteria["calinski_harabasz"][-1] is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_structure_is_not_judged_where_it_cannot_be_or_is_not_wanted() -> None:
    assert choose_k([[0.0], [1.0], [5.0]], 2, random_state=0).has_structure is None
    found = choose_k(blobs(), 3, structure=False, random_state=0)
    assert found.has_structure is None
    assert "structure=False" in found.structure


# ---------------------------------------------------------------- fits


@pytest.mark.parametrize("name", ["s1", "a1", "unbalance"])
def test_inertia_never_rises_and_is_as_good_as_that_of_single_fits(name: str, battery: Any) -> None:
    X, top = battery(name)[0], 16
    found = choose_k(X, top, criteria="elbow", structure=False, random_state=0)
    assert all(a >= b for a, b in zip(found.inertia, found.inertia[1:], strict=False))
    single = [KMeans(k, random_state=0).fit(X).inertia_ for k in found.k]
    ratios = np.asarray(found.inertia) / np.asarray(single)
    assert ratios.mean() < 1.01


def test_more_starts_never_leave_more_at_the_first_k() -> None:
    X = np.random.default_rng(5).random((300, 4))
    one, more = (
        choose_k(X, [12, 13], criteria="elbow", structure=False, n_init=n, random_state=1)
        for n in (0, 8)
    )
    assert more.inertia[0] < one.inertia[0]
    assert more.inertia[1] <= more.inertia[0]


def test_centers_labels_and_inertia_belong_together() -> None:
    X = blobs()
    found = choose_k(X, [1, 2, 7], random_state=0)
    assert found.k == (1, 2, 7)
    for place, k in enumerate(found.k):
        model = found.model(k)
        assert model.n_clusters == k
        model.set_params(max_iter=1, tol=0).fit(X)
        assert math.isclose(model.inertia_, found.inertia[place], rel_tol=1e-3)
        assert model.inertia_ <= found.inertia[place]
    with pytest.raises(ValueError, match=r"k=3 was not fitted. Use one of 1, 2, 7"):
        found.model(3)


def test_criteria_are_those_of_scikit_learn() -> None:
    X = blobs(200, 4)
    found = choose_k(X, 6, tol=0, criteria="all", n_references=2, structure=False, random_state=0)
    for place, k in enumerate(found.k[1:], start=1):
        labels = found.model(k).fit_predict(X)
        for name, score in (
            ("calinski_harabasz", calinski_harabasz_score),
            ("davies_bouldin", davies_bouldin_score),
            ("silhouette", silhouette_score),
        ):
            assert math.isclose(found.criteria[name][place], score(X, labels), rel_tol=1e-9), name
        assert math.isclose(
            found.criteria["silhouette_simplified"][place],
            simplified(X, np.asarray(found.centers[place])),
            rel_tol=1e-9,
        )


def simplified(X: Any, centers: Any) -> float:
    distances = np.sort(np.sqrt(((X[:, None, :] - centers[None]) ** 2).sum(axis=2)), axis=1)
    return float(((distances[:, 1] - distances[:, 0]) / distances[:, 1]).mean())


def test_bic_is_the_likelihood_of_spherical_gaussians_less_its_price() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3)) + 7.0 * (np.arange(50)[:, None] < 20)
    parts = [x[:20], x[20:]]
    inertia = sum(float(((p - p.mean(axis=0)) ** 2).sum()) for p in parts)
    variance = inertia / (3 * 48)
    wanted = 0.0
    for part in parts:
        away = ((part - part.mean(axis=0)) ** 2).sum(axis=1)
        densities = math.log(len(part) / 50) - 1.5 * math.log(2 * math.pi * variance)
        wanted += len(part) * densities - float(away.sum()) / (2 * variance)
    wanted -= 0.5 * 2 * 4 * math.log(50)
    assert math.isclose(bic([20.0, 30.0], 3, inertia), wanted, rel_tol=1e-12)
    assert bic([1.0, 1.0], 3, 1.0) is None


# ---------------------------------------------------------------- one answer


def test_every_library_gives_the_same_answer(xp: Backend) -> None:
    X = blobs(72, 4).astype(np.float32)
    options = {"criteria": "all", "n_references": 2, "sample_size": 40, "random_state": 7}
    wanted = choose_k(X, 5, **options)
    found = choose_k(xp.array(X), 5, **options)
    for name in NUMBERS:
        assert getattr(found, name) == getattr(wanted, name)
    same_scores(found, wanted)
    assert found.suggestions == wanted.suggestions
    assert found.structure == wanted.structure
    for mine, theirs in zip(found.centers, wanted.centers, strict=True):
        assert type(mine) is type(xp.array(X))
        np.testing.assert_array_equal(xp.host(mine), theirs)


def test_threads_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(30_000, 8))
    options = {"structure": False, "random_state": 0}
    wanted = choose_k(X, [5, 6], **options)
    for module in ("_problem", "_backend"):
        monkeypatch.setattr(f"kmeans_xp.{module}.thread_count", lambda: 3)
    found = choose_k(np.asfortranarray(X), [5, 6], **options)
    for name in NUMBERS:
        assert getattr(found, name) == getattr(wanted, name)
    same_scores(found, wanted)


def test_whole_weights_count_as_repeated_rows() -> None:
    X = blobs(80, 3)
    weight = np.random.default_rng(0).integers(0, 4, 80).astype(float)
    options = {"structure": False, "tol": 0, "n_init": 3, "random_state": 0}
    weighted = choose_k(X, [3], sample_weight=weight, **options)
    repeated = choose_k(np.repeat(X, weight.astype(int), axis=0), [3], **options)
    np.testing.assert_allclose(weighted.inertia, repeated.inertia, rtol=1e-9)
    for name, values in repeated.criteria.items():
        np.testing.assert_allclose(weighted.criteria[name], values, rtol=1e-9, err_msg=name)
    # a power of two is taken out of the weights, and comes back
    heavy = choose_k(X, [3], sample_weight=weight * 1024.0, **options)
    assert heavy.criteria["davies_bouldin"] == weighted.criteria["davies_bouldin"]
    judged = choose_k(X, 5, sample_weight=weight, criteria=["gap"], random_state=0)
    assert judged.has_structure is True


def test_the_sample_is_drawn_by_keys_and_leaves_out_rows_without_weight() -> None:
    from kmeans_xp._backend import numpy_context
    from kmeans_xp._problem import training_problem

    X = np.random.default_rng(0).normal(size=(200, 2))
    weight = (np.arange(200) % 2).astype(float)
    problem = training_problem(X, weight, numpy_context(), 3)
    chosen = sample_rows(problem, 30, 5)
    assert chosen == sorted(set(chosen)) == sample_rows(problem, 30, 5)
    assert len(chosen) == 30
    assert all(row % 2 for row in chosen)
    assert chosen != sample_rows(problem, 30, 6)
    sample = Sample.of(problem, 30, 5)
    np.testing.assert_array_equal(sample.rows, X[chosen])
    for rows in sample._references(2, 1):
        assert rows.shape == (30, 2)
        # as wide as the rows along their own axes, and not in one place
        assert np.ptp(rows, axis=0).min() > 0.5 * np.ptp(sample.rows, axis=0).min()


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
