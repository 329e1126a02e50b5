"""`MiniBatchKMeans.fit`: beside scikit-learn's, on every library, its ends and its options."""

from __future__ import annotations

import contextlib
import io
import math
import re
import signal
import warnings
from typing import Any

import numpy as np
import oracle
import pytest
import sklearn.cluster
from cases import CASES, K, N
from conftest import Backend, make_backend
from engine import problem_of
from sklearn.base import clone
from sklearn.datasets import make_blobs

from kmeans_xp import DataWarning, DeviceError, KMeans, MiniBatchKMeans, Status
from kmeans_xp._sampling import Sampler

BLOBS = make_blobs(4000, 4, centers=12, cluster_std=1.5, random_state=0)[0]
ROWS = np.random.default_rng(0).normal(size=(60, 3))


def test_the_inertia_is_near_that_of_scikit_learn_and_of_all_rows() -> None:
    options = {"n_clusters": 12, "batch_size": 256}
    ours, theirs, full = [], [], []
    for seed in range(5):
        model = MiniBatchKMeans(**options, random_state=seed).fit(BLOBS)
        ours.append(model.inertia_)
        theirs.append(
            sklearn.cluster.MiniBatchKMeans(**options, random_state=seed).fit(BLOBS).inertia_
        )
        full.append(KMeans(12, init=model.cluster_centers_, n_init=1).fit(BLOBS).inertia_)
    # medians: a start may hold two centers of one blob
    assert np.median(ours) < 1.05 * np.median(theirs)
    assert all(mini < 1.1 * lowest for mini, lowest in zip(ours, full, strict=True))


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_partial_fit_of_its_batches(weighted: bool) -> None:
    x, start = CASES["blobs"]()
    weight = np.resize([1.0, 0.0, 2.5], N) if weighted else None
    options = {
        "n_clusters": K,
        "init": start,
        "random_state": 5,
        "batch_size": 100,
        "max_iter": 1,
        "max_no_improvement": None,
        "reassignment_ratio": 0.3,
    }
    fitted, fed = MiniBatchKMeans(**options), MiniBatchKMeans(**options)
    fitted.fit(x, sample_weight=weight)
    sampler = Sampler(problem_of(make_backend("numpy"), x, weight, k=K))
    for batch in sampler.batches(100, N // 100, fitted._state.seed):
        fed.partial_fit(batch.x)
    assert fed.cluster_centers_.tobytes() == fitted.cluster_centers_.tobytes()
    assert fed._state.mass.tolist() == fitted._state.mass.tolist()
    assert fed.n_steps_ == fitted.n_steps_ == 15
    assert fitted.n_iter_ == 1
    assert fitted.status_ == Status.MAX_ITER.value
    # and partial_fit goes on from either
    for model in (fitted, fed):
        model.partial_fit(x[:50])
    assert fed.cluster_centers_.tobytes() == fitted.cluster_centers_.tobytes()
    assert fitted.status_ == Status.OPEN.value
    assert not hasattr(fitted, "n_iter_")


@pytest.mark.parametrize(
    ("init", "case"),
    [
        ("k-means++", "shifted32"),
        ("random", "blobs"),
        ("random-partition", "two_groups"),
        ("k-means||", "blobs32"),
    ],
)
def test_one_seed_gives_the_same_bits_everywhere(xp: Backend, init: str, case: str) -> None:
    x, _ = CASES[case]()
    weight = np.resize([1.0, 0.5, 0.0, 3.0], N)
    options = {"n_clusters": 4, "init": init, "batch_size": 256, "max_iter": 1, "init_size": 90}
    here = MiniBatchKMeans(**options, random_state=1, n_init=2).fit(x, sample_weight=weight)
    there = MiniBatchKMeans(**options, random_state=1, n_init=2)
    there.fit(xp.array(x), sample_weight=xp.array(weight))
    for name in ("cluster_centers_", "labels_"):
        assert xp.host(getattr(there, name)).tobytes() == getattr(here, name).tobytes(), name
    assert type(there.labels_) is type(xp.array(x))
    assert (there.inertia_, there.n_steps_) == (here.inertia_, here.n_steps_)
    assert here.labels_.tolist() == oracle.labels(x, here.cluster_centers_)
    assert here.inertia_ == oracle.inertia(x, here.cluster_centers_, here.labels_, weight)


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_are_drawn_by_weight(weighted: bool) -> None:
    weight = np.resize([1.0, 0.0, 2.5, 0.5], 40) * 1e-3 if weighted else None
    x = np.arange(40.0)[:, None]
    sampler = Sampler(problem_of(make_backend("numpy"), x, weight, k=2))
    counts = np.bincount(sampler.rows(0, 40_000, 7, 8), minlength=40)
    wanted = np.full(40, 1000.0) if weight is None else 40_000 * weight / weight.sum()
    assert (counts[wanted == 0.0] == 0).all()
    held = wanted > 0.0
    # chi squared of some 30 degrees of freedom
    assert float(((counts - wanted)[held] ** 2 / wanted[held]).sum()) < 80.0
    # a position has its own draw, in whichever batch
    assert sampler.rows(0, 50, 3)[20:].tolist() == sampler.rows(20, 30, 3).tolist()
    different = sampler.distinct(29, 4).x[:, 0].tolist()
    assert len(set(different)) == 29
    assert weight is None or all(weight[int(row)] > 0.0 for row in different)


def test_each_ticket_has_a_row() -> None:
    sampler = Sampler(problem_of(make_backend("numpy"), ROWS[:4], np.ones(4), k=2))
    sampler._running, sampler._total = np.cumsum([0, 1, 2, 1]), 4
    counts = np.bincount(sampler.rows(0, 4000, 1), minlength=4)
    np.testing.assert_allclose(counts, [0, 1000, 2000, 1000], rtol=0.1)


def test_a_heavy_row_is_in_most_batches_and_once_among_the_first() -> None:
    weight = np.ones(500)
    weight[77] = 1e9
    sampler = Sampler(problem_of(make_backend("numpy"), np.arange(500.0)[:, None], weight, k=2))
    assert (sampler.rows(0, 100, 1) == 77).mean() > 0.9
    first = sampler.distinct(50, 1).x[:, 0].tolist()
    assert first.count(77.0) == 1
    assert len(set(first)) == 50


def test_it_ends_when_the_inertia_falls_no_more() -> None:
    steps = {}
    for patience in (0, 3, 10, None):
        model = MiniBatchKMeans(
            12, batch_size=100, max_iter=3, max_no_improvement=patience, random_state=0
        ).fit(BLOBS)
        steps[patience] = model.n_steps_
        assert model.n_iter_ == math.ceil(model.n_steps_ * 100 / 4000)
        ended = Status.MAX_ITER if patience is None else Status.NO_IMPROVEMENT
        assert model.status_ == ended.value
    # the first batch is not judged
    assert steps[0] == 2
    assert steps[0] < steps[3] < steps[10] < steps[None] == 120


def test_the_ends_are_those_of_scikit_learn_on_the_same_numbers() -> None:
    """What it prints of each batch leads to the end that its loop comes to."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        model = MiniBatchKMeans(12, batch_size=100, verbose=1, random_state=3).fit(BLOBS)
    found = re.findall(
        r"step (\d+)/4000: mean batch inertia: (\S+?)(?:, ewa inertia: (\S+))?\n", said.getvalue()
    )
    theirs = sklearn.cluster.MiniBatchKMeans(12, batch_size=100)
    theirs._batch_size, theirs._tol = 100, 0.0
    theirs._ewa_inertia = theirs._ewa_inertia_min = None
    theirs._no_improvement = 0
    ends = []
    for number, value, smoothed in found:
        step = int(number) - 1
        ends.append(theirs._mini_batch_convergence(step, 4000, 4000, 0, float(value) * 100))
        if smoothed:
            assert float(smoothed) == pytest.approx(theirs._ewa_inertia, rel=1e-12)
    assert ends == [False] * (model.n_steps_ - 1) + [True]
    assert "Inertia for init 1/1: " in said.getvalue()
    last = f"Converged (lack of improvement in inertia) at step {model.n_steps_}/4000\n"
    assert said.getvalue().endswith(last)


def test_it_ends_when_the_centers_rest() -> None:
    options = {"n_clusters": 12, "batch_size": 100, "random_state": 0, "max_no_improvement": None}
    steps = []
    for factor in (1.0, 2.0**-600, 2.0**500):
        model = MiniBatchKMeans(**options, tol=1e-3).fit(BLOBS * factor)
        assert model.status_ == Status.TOLERANCE.value
        steps.append(model.n_steps_)
    assert steps[0] == steps[1] == steps[2] > 2
    assert MiniBatchKMeans(**options, tol=1e-1).fit(BLOBS).n_steps_ < steps[0]


def test_a_batch_larger_than_the_rows_and_as_many_centers_as_rows() -> None:
    model = MiniBatchKMeans(60, random_state=0, batch_size=10**6).fit(ROWS)
    assert model.n_steps_ <= 100
    assert model.n_iter_ == model.n_steps_
    start = MiniBatchKMeans(60, random_state=0, reassignment_ratio=0.0, max_iter=5).fit(ROWS)
    assert start.inertia_ == 0.0
    assert sorted(start.labels_.tolist()) == list(range(60))


def test_fewer_different_rows_than_centers() -> None:
    x = np.repeat(ROWS[:3], 20, axis=0)
    model = MiniBatchKMeans(8, random_state=0).fit(x)
    assert model.inertia_ == 0.0
    assert sorted(set(map(tuple, model.cluster_centers_.tolist()))) == sorted(
        map(tuple, ROWS[:3].tolist())
    )


def test_rows_without_weight_change_nothing() -> None:
    x = np.concatenate([BLOBS, np.full((300, 4), 1e5)])
    weight = np.repeat([1.0, 0.0], [4000, 300])
    model = MiniBatchKMeans(5, random_state=0).fit(x, sample_weight=weight)
    assert np.abs(model.cluster_centers_).max() < 100
    assert len(set(model.labels_[4000:].tolist())) == 1


def test_without_labels_the_inertia_is_an_estimate() -> None:
    weight = np.resize([0.5, 1.5, 1e-3], len(BLOBS))
    options = {"n_clusters": 12, "random_state": 0}
    for w in (None, weight):
        model = MiniBatchKMeans(**options).fit(BLOBS, sample_weight=w)
        exact, labels, centers = model.inertia_, model.labels_, model.cluster_centers_
        model.set_params(compute_labels=False).fit(BLOBS, sample_weight=w)
        assert model.cluster_centers_.tobytes() == centers.tobytes()
        assert not hasattr(model, "labels_")
        assert exact * 0.8 < model.inertia_ < exact * 1.25
        assert model.fit_predict(BLOBS, sample_weight=w).tolist() == labels.tolist()
        assert -model.score(BLOBS, sample_weight=w) == exact
    model.partial_fit(BLOBS[:100])
    assert not hasattr(model, "inertia_")


class Interrupting(io.StringIO):
    """Ctrl-C when something is said."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word

    def write(self, text: str) -> int:
        if self._word in text:
            signal.raise_signal(signal.SIGINT)
        return len(text)


def test_ctrl_c_sets_the_attributes_and_comes_again() -> None:
    model = MiniBatchKMeans(5, batch_size=100, random_state=0, verbose=1)
    with (
        pytest.raises(KeyboardInterrupt, match="so far"),
        contextlib.redirect_stdout(Interrupting("step 4/")),
    ):
        model.fit(BLOBS)
    assert model.n_steps_ == 4
    assert model.status_ == Status.INTERRUPTED.value
    assert model.labels_.tolist() == model.set_params(verbose=0).predict(BLOBS).tolist()
    assert model.inertia_ == -model.score(BLOBS)
    early = MiniBatchKMeans(5, random_state=0, verbose=1)
    with pytest.raises(KeyboardInterrupt), contextlib.redirect_stdout(Interrupting("init 1/")):
        early.fit(BLOBS)
    assert not hasattr(early, "cluster_centers_")


def test_where_the_centers_start() -> None:
    seen: list[tuple[Any, int]] = []

    def called(x: Any, n_clusters: int, random_state: Any) -> Any:
        seen.append((x.shape, n_clusters))
        return x[random_state.choice(len(x), n_clusters, replace=False)]

    model = MiniBatchKMeans(5, init=called, random_state=0, init_size=70).fit(BLOBS)
    assert seen == [((70, 4), 5)] * 3
    assert MiniBatchKMeans(5, init=called, random_state=0).fit(BLOBS).n_steps_ > 1
    assert seen[3:] == [((3072, 4), 5)] * 3
    with pytest.warns(RuntimeWarning, match="init_size=3 should be larger") as caught:
        MiniBatchKMeans(5, init=called, n_init=1, init_size=3).fit(ROWS)
    assert seen[6:] == [((15, 3), 5)]
    with pytest.warns(RuntimeWarning, match="performing only one init in MiniBatchKMeans") as two:
        MiniBatchKMeans(5, init=model.cluster_centers_, n_init=3).fit(BLOBS)
    assert {item.filename for item in [*caught, *two]} == {__file__}


def test_more_starts_are_judged_by_what_they_leave() -> None:
    values = []
    for n_init in (1, 12):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            MiniBatchKMeans(
                12, init="random", n_init=n_init, max_iter=1, verbose=1, random_state=0
            ).fit(BLOBS)
        values.append(
            [float(v) for v in re.findall(r"Inertia for init \d+/\d+: (\S+)", said.getvalue())]
        )
    assert [len(found) for found in values] == [1, 12]
    assert min(values[1]) < values[1][0] == values[0][0]


def test_the_best_start_is_taken() -> None:
    starts = iter([np.full((3, 4), 1e3), BLOBS[:3], BLOBS[:3] + 1e3])
    model = MiniBatchKMeans(
        3, init=lambda *_, **__: next(starts), reassignment_ratio=0.0, random_state=0
    ).fit(BLOBS)
    assert np.abs(model.cluster_centers_).max() < 100


def test_centers_that_stay_far_outside_the_rows() -> None:
    start = np.asarray([[3e170] * 4, [2e170] * 4, [0.0] * 4])
    model = MiniBatchKMeans(3, init=start, reassignment_ratio=0.0, random_state=0).fit(BLOBS)
    assert model.labels_.tolist() == [2] * len(BLOBS)
    assert model.inertia_ == -model.score(BLOBS)
    assert math.isfinite(model.inertia_)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("n_samples=60 should be >= n_clusters=61", {"n_clusters": 61}),
        ("The 'batch_size' parameter .* must be an int in the range", {"batch_size": 0}),
        ("The 'max_iter' parameter", {"max_iter": None}),
        ("The 'reassignment_ratio' parameter", {"reassignment_ratio": -0.1}),
        ("The 'max_no_improvement' parameter", {"max_no_improvement": -1}),
        ("does not match the number of features of the data 3", {"init": np.eye(8)}),
        ("The shape of the initial centers", {"init": ROWS[:3]}),
    ],
)
def test_parameters_that_cannot_be(message: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        MiniBatchKMeans(**options).fit(ROWS)


def test_bad_rows_weights_and_devices() -> None:
    bad = ROWS.copy()
    bad[31, 1] = np.nan
    with pytest.raises(ValueError, match=r"row 31, column 1\. MiniBatchKMeans needs finite"):
        MiniBatchKMeans(4).fit(bad)
    with pytest.raises(ValueError, match="sample_weight is zero for every row"):
        MiniBatchKMeans(4).fit(ROWS, sample_weight=np.zeros(60))
    with pytest.raises(DeviceError, match="cuda:77"):
        MiniBatchKMeans(4, device="cuda:77").fit(ROWS)


def test_it_warns_where_kmeans_does() -> None:
    x = ROWS * [1.0, 1e3, 1.0]
    for model in (KMeans(4, random_state=0), MiniBatchKMeans(4, random_state=0)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(x)
        assert [(item.category, item.filename) for item in caught] == [(DataWarning, __file__)]


@pytest.mark.parametrize("exponent", [-1018, -1030, -1074])
def test_the_least_weights_draw_as_others_do(exponent: int) -> None:
    x, weight = np.random.default_rng(0).normal(size=(90, 2)), np.tile([0.0, 1.0, 2.0], 30)
    model = MiniBatchKMeans(3, batch_size=20, random_state=0)
    plain = clone(model).fit(x, sample_weight=weight)
    model.fit(x, sample_weight=np.ldexp(weight, exponent))
    assert model.cluster_centers_.tobytes() == plain.cluster_centers_.tobytes()
