"""choose_k: fits for a range of k, what criteria say of them, and how honest that is."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from conftest import Backend
from scipy.spatial.distance import pdist
from sklearn.datasets import make_blobs
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from kmeans_xp import KMeans, choose_k
from kmeans_xp._backend import numpy_context
from kmeans_xp._problem import training_problem
from kmeans_xp.selection import _null
from kmeans_xp.selection._criteria import bic
from kmeans_xp.selection._ladder import climb
from kmeans_xp.selection._null import Sample, sample_rows

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


def test_quick_fits_settle_what_is_clear_and_leave_what_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    climbed: list[int] = []

    def watched(problem: Any, *rest: Any, **options: Any) -> Any:
        climbed.append(problem.source.n_rows)
        return climb(problem, *rest, **options)

    monkeypatch.setattr(_null, "climb", watched)
    rng = np.random.default_rng(0)
    flat = rng.random((200, 8))
    for X, wanted in ((blobs(200), True), (flat, False)):
        assert choose_k(X, [4], criteria="elbow", random_state=0).has_structure is wanted
        assert not climbed
    # five clouds that overlap stand three deviations apart, not six
    weak = 0.9 * rng.normal(size=(5, 8))[rng.integers(0, 5, 400)] + rng.normal(size=(400, 8))
    assert choose_k(weak, [4], criteria="elbow", random_state=0).has_structure is not None
    assert climbed == [400] * 20


@pytest.mark.parametrize(
    ("lead", "stands_out", "is_open"),
    [(0.9, False, False), (1.0, False, True), (5.9, True, True), (6.0, True, False)],
)
def test_what_quick_fits_leave_open(lead: float, stands_out: bool, is_open: bool) -> None:
    assert _null._Comparison(16, 4, lead, stands_out).is_open is is_open
    # far ahead for one k, and yet another table is ahead of it
    assert _null._Comparison(16, 4, 7.0, False).is_open


def test_reference_rows_along_many_axes_are_not_turned_and_lie_as_far_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = np.random.default_rng(0).normal(size=(30, 70)) + 1000.0
    problem = training_problem(X, None, numpy_context(), 2)
    sample = Sample.of(problem, 30, 0)
    turned = next(sample._references(1, 5))
    assert turned.shape == X.shape
    monkeypatch.setattr(_null, "_TURNED_AXES", 29)
    unturned = next(sample._references(1, 5))
    assert unturned.shape == (30, 30)
    assert unturned.min() > 900.0  # as coarse as the rows
    np.testing.assert_allclose(pdist(unturned), pdist(turned), rtol=1e-9)


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
    single = [KMeans(k, random_state=0, search=None).fit(X).inertia_ for k in found.k]
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
    for module in ("_problem", "_threads"):
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
