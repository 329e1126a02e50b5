"""One batch after another: `partial_fit`, the update rule, and starved centers."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import signal
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import oracle
import pytest
import sklearn.cluster
from cases import CASES, K, N
from conftest import Backend, make_backend
from engine import problem_of

from kmeans_xp import DataWarning, MiniBatchKMeans
from kmeans_xp._minibatch import State, step

STAYS = {"reassignment_ratio": 0.0}
ROWS = np.random.default_rng(0).normal(size=(60, 3))


def parts(x: Any, *sizes: int) -> Iterator[Any]:
    """Neighbouring rows in batches of these sizes, which are gone through again and again."""
    start = number = 0
    while start < len(x):
        size = sizes[number % len(sizes)]
        yield x[start : start + size]
        start, number = start + size, number + 1


def streamed(batches: Any, weights: Any = None, **options: Any) -> MiniBatchKMeans:
    model = MiniBatchKMeans(**{"random_state": 0, **options})
    for number, batch in enumerate(batches):
        model.partial_fit(batch, sample_weight=None if weights is None else weights[number])
    return model


def mass_of(model: MiniBatchKMeans) -> Any:
    return model._state.mass * 2.0**model._state.exponent


class Oracle:
    """The running means in Python floats, one operation at a time; and of all rows, exactly."""

    def __init__(self, start: Any) -> None:
        self.dtype = start.dtype
        self.means = start.astype(np.float64).tolist()
        self.mass = [0.0] * len(start)
        self.given: list[list[tuple[Any, Fraction]]] = [[] for _ in start]

    @property
    def centers(self) -> Any:
        return np.asarray(self.means).astype(self.dtype)

    def take(self, batch: Any, weight: Any) -> None:
        found = oracle.labels(batch, self.centers)
        means = oracle.means(batch, found, len(self.means), weight)
        for j, mean in enumerate(means):
            mine = [i for i, label in enumerate(found) if label == j and weight[i] > 0]
            if mean is None:
                continue
            self.given[j] += [(batch[i], Fraction(float(weight[i]))) for i in mine]
            new = float(sum((Fraction(float(weight[i])) for i in mine), Fraction(0)))
            old, self.mass[j] = self.mass[j], self.mass[j] + new
            share = new / self.mass[j]
            for f, exact in enumerate(mean):
                half = (0.5 * float(exact) - 0.5 * self.means[j][f]) * share
                moved = self.means[j][f] + half + half
                self.means[j][f] = float(exact) if old == 0.0 else moved

    def mean_of_all(self, j: int) -> list[float]:
        total = sum(weight for _, weight in self.given[j])
        columns = zip(*((row.tolist(), weight) for row, weight in self.given[j]), strict=True)
        rows, weights = columns
        return [
            float(sum(Fraction(row[f]) * w for row, w in zip(rows, weights, strict=True)) / total)
            for f in range(len(rows[0]))
        ]


@pytest.mark.parametrize("case", ["blobs", "shifted32", "lattice"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_update_is_that_of_plain_loops(case: str, weighted: bool) -> None:
    x, start = (part[:600] for part in CASES[case]())
    weight = np.resize([1.0, 2.0, 0.0, 0.5, 3.0], len(x)) if weighted else np.ones(len(x))
    judge = Oracle(start)
    model = MiniBatchKMeans(len(start), init=start, **STAYS)
    for rows, w in zip(parts(x, 70, 3, 128), parts(weight, 70, 3, 128), strict=True):
        judge.take(rows, w)
        model.partial_fit(rows, sample_weight=w if weighted else None)
        assert model.cluster_centers_.tobytes() == judge.centers.tobytes()
        assert model.labels_.tolist() == oracle.labels(rows, judge.centers)
        assert model.inertia_ == oracle.inertia(rows, judge.centers, model.labels_, w)
    assert mass_of(model).tolist() == judge.mass
    for j in range(len(start)):
        np.testing.assert_allclose(model._state.means[j], judge.mean_of_all(j), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scikit_learn_moves_the_centers_alike(dtype: str) -> None:
    x, start = (part.astype(dtype) for part in CASES["blobs"]())
    weight = np.random.default_rng(0).integers(0, 4, size=len(x)).astype(dtype)
    options = {"n_clusters": K, "init": start, "n_init": 1, **STAYS}
    ours, theirs = MiniBatchKMeans(**options), sklearn.cluster.MiniBatchKMeans(**options)
    for rows, w in zip(parts(x, 200, 7), parts(weight, 200, 7), strict=True):
        for model in (ours, theirs):
            model.partial_fit(rows, sample_weight=w)
    near = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=near)
    assert mass_of(ours).tolist() == theirs._counts.tolist()
    assert ours.n_steps_ == theirs.n_steps_
    assert ours.labels_.tolist() == theirs.labels_.tolist()
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=near)


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_same_batches_give_the_same_bits(xp: Backend, case: str) -> None:
    x, start = CASES[case]()
    options = {"n_clusters": K, "init": start, "reassignment_ratio": 0.2, "random_state": 3}
    weight = np.resize([1.0, 0.5, 0.0, 3.0], N)
    sizes = 700, 5
    weights = list(parts(weight, *sizes))
    here = streamed(parts(x, *sizes), weights, **options)
    there = streamed(
        [xp.array(rows) for rows in parts(x, *sizes)],
        [xp.array(w) for w in weights],
        **{**options, "init": xp.array(start)},
    )
    for name in ("cluster_centers_", "labels_"):
        assert xp.host(getattr(there, name)).tobytes() == getattr(here, name).tobytes(), name
    assert there.inertia_ == here.inertia_
    assert there._state.means.tobytes() == here._state.means.tobytes()
    assert np.isfinite(here.cluster_centers_).all()
    assert type(there.cluster_centers_) is type(there.labels_) is type(xp.array(x))
    assert there.predict(xp.array(x[-200:])).shape == (200,)


def test_equal_rows_leave_the_center_where_they_are() -> None:
    x = np.full((64, 2), 0.1)
    model = streamed(parts(x, 3, 20), n_clusters=1)
    assert model.cluster_centers_.tolist() == [[0.1, 0.1]]
    assert model.inertia_ == 0.0


def test_rows_at_both_ends_of_the_range() -> None:
    x = np.asarray([[1.7e308], [-1.7e308]])
    model = streamed([x[:1], x[1:], x], n_clusters=1)
    assert abs(float(model.cluster_centers_[0, 0])) < 1e293
    for weight in (1e308, 1e-305):
        many = streamed(parts(x / 2.0, 1), [np.asarray([weight])] * 2, n_clusters=1)
        assert float(many.cluster_centers_[0, 0]) == 0.0


def test_weights_of_all_sizes_in_one_stream() -> None:
    x = np.asarray([[0.0], [4.0], [8.0]])
    for factor in (1e-300, 1.0, 1e300):
        weights = [np.asarray([1.0]) * factor, np.asarray([3.0]) * factor]
        model = streamed([x[:1], x[1:2]], weights, n_clusters=1)
        assert float(model.cluster_centers_[0, 0]) == pytest.approx(3.0, rel=1e-15)
    for weight in (1.0, 1e-300):
        model.partial_fit(x[2:], sample_weight=[weight])
        assert float(model.cluster_centers_[0, 0]) == pytest.approx(3.0, rel=1e-15)
    assert np.isfinite(model._state.mass).all()


def test_centers_far_outside_the_rows_are_told_apart() -> None:
    """Squares of such distances overflow in the scale of the rows."""
    start = np.asarray([[3e170] * 3, [2e170] * 3, [1e170] * 3])
    model = MiniBatchKMeans(3, init=start, **STAYS).partial_fit(ROWS)
    assert mass_of(model).tolist() == [0.0, 0.0, 60.0]
    assert model.labels_.tolist() == [2] * 60
    np.testing.assert_allclose(model.cluster_centers_[2], ROWS.mean(axis=0), rtol=1e-12)


STARVED = np.asarray([[0.0, 0.0], [1.0, 0.0], [1e3, 1e3]])


def starved_parts() -> tuple[Any, Any]:
    """Rows near two of the three centers."""
    random = np.random.default_rng(1)
    x = random.normal(scale=0.2, size=(40, 2)) + np.repeat([[0.0, 0.0], [1.0, 0.0]], 20, axis=0)
    return x, np.where((np.arange(40) % 3 == 0) | (np.arange(40) > 30), 0.0, 1.0)


def test_a_starved_center_is_put_on_a_row_that_has_weight() -> None:
    x, weight = starved_parts()
    places = set()
    for seed in range(12):
        options = {"n_clusters": 3, "init": STARVED, "random_state": seed}
        model = MiniBatchKMeans(**options).partial_fit(x, sample_weight=weight)
        (row,) = np.flatnonzero((x == model.cluster_centers_[2]).all(axis=1))
        assert weight[row] == 1.0
        assert mass_of(model).tolist() == [13.0, 7.0, 7.0]
        places.add(int(row))
    assert len(places) > 6
    # and on another one at another time
    places = set()
    for steps in range(12):
        model = MiniBatchKMeans(**options).partial_fit(x[:10])
        model._state = replace(model._state, means=STARVED, mass=np.zeros(3), steps=steps)
        places.add(tuple(model.partial_fit(x).cluster_centers_[2].tolist()))
    assert len(places) > 6
    stays = MiniBatchKMeans(3, init=STARVED, **STAYS).partial_fit(x)
    assert stays.cluster_centers_[2].tolist() == STARVED[2].tolist()


def test_no_more_than_half_of_the_rows_are_taken_and_the_heaviest_stays() -> None:
    start = np.concatenate([[[0.0, 0.0]], 1e3 + np.arange(14.0).reshape(7, 2)])
    x = np.random.default_rng(2).normal(size=(9, 2))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        options = {"init": start, "random_state": 0, "reassignment_ratio": 2.0, "verbose": 1}
        model = MiniBatchKMeans(8, **options).partial_fit(np.concatenate([x, start[1:] * 0 + 0.1]))
    assert "[MiniBatchKMeans] Reassigning 7 cluster centers." in said.getvalue()
    few = MiniBatchKMeans(8, **{**options, "verbose": 0}).partial_fit(x)
    assert int((few.cluster_centers_ > 500).all(axis=1).sum()) == 7 - 9 // 2
    np.testing.assert_allclose(few.cluster_centers_[0], x.mean(axis=0), rtol=1e-12)
    assert (model.cluster_centers_ < 500).all()


def test_starved_centers_are_looked_for_as_often_as_scikit_learn_does() -> None:
    """Every 10 rows a center, or at once while a center has no row; where, is drawn otherwise."""
    x, _ = starved_parts()
    first = np.concatenate([x, [[1e3, 1e3]]])
    options = {"n_clusters": 3, "init": STARVED, "n_init": 1, "reassignment_ratio": 0.1}
    ours = MiniBatchKMeans(random_state=0, batch_size=8, **options)
    theirs = sklearn.cluster.MiniBatchKMeans(random_state=0, batch_size=8, **options)
    moved: list[tuple[bool, bool]] = []
    for batch in [first[-8:], *parts(x[::-1][:32], 8)]:
        for model in (ours, theirs):
            model.partial_fit(batch)
        moved.append(tuple(bool((m.cluster_centers_ < 500).all()) for m in (ours, theirs)))
    assert moved == sorted(moved)
    assert moved[0] == (False, False)
    assert moved[-1] == (True, True)
    assert all(one == other for one, other in moved)


def test_a_batch_without_weight_changes_nothing() -> None:
    model = streamed(parts(ROWS, 20), n_clusters=4)
    before = pickle.dumps([model.cluster_centers_, model._state.mass])
    model.partial_fit(ROWS[:7], sample_weight=np.zeros(7))
    assert pickle.dumps([model.cluster_centers_, model._state.mass]) == before
    assert model.n_steps_ == 4
    assert model.inertia_ == 0.0
    assert model.labels_.tolist() == model.predict(ROWS[:7]).tolist()


@pytest.mark.parametrize("send", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_a_stream_goes_on_from_its_pickle(xp: Backend, send: Any) -> None:
    batches = [xp.array(rows) for rows in parts(ROWS, 20)]
    model = streamed(batches[:2], n_clusters=4)
    again = send(model)
    for one in (model, again):
        one.partial_fit(batches[2])
    assert xp.host(again.cluster_centers_).tobytes() == xp.host(model.cluster_centers_).tobytes()
    assert again._state.mass.tolist() == model._state.mass.tolist()


def test_ctrl_c_leaves_a_stream_as_it_was() -> None:
    class Interrupting(io.StringIO):
        def write(self, text: str) -> int:
            signal.raise_signal(signal.SIGINT)
            return 0

    x, _ = starved_parts()
    model = MiniBatchKMeans(3, init=STARVED, verbose=1, **STAYS).partial_fit(x)
    before = pickle.dumps(model)
    model.reassignment_ratio = 0.01
    with pytest.raises(KeyboardInterrupt), contextlib.redirect_stdout(Interrupting()):
        model.partial_fit(x)
    model.reassignment_ratio = 0.0
    assert pickle.dumps(model) == before
    assert model.partial_fit(x).n_steps_ == 2


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (
            r"n_samples=3 should be >= n_clusters=4 in the first call of partial_fit",
            {"X": ROWS[:3]},
        ),
        ("only 2 rows have a positive sample_weight", {"w": np.arange(60.0) < 2}),
        (
            "X contains NaN: the first is at row 1, column 2",
            {"X": np.where(ROWS[1, 2] == ROWS, np.nan, ROWS)},
        ),
        ("device='gpu' is not known", {"device": "gpu"}),
        ("Negative values in data passed to `sample_weight`", {"w": -np.ones(60)}),
    ],
)
def test_what_cannot_begin_a_stream(message: str, change: dict[str, Any]) -> None:
    change = dict(change)
    X, weight = change.pop("X", ROWS), change.pop("w", None)
    model = MiniBatchKMeans(4, **change)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, sample_weight=None if weight is None else np.asarray(weight, float))
    assert not hasattr(model, "cluster_centers_")


@pytest.mark.parametrize(
    ("message", "X", "weight"),
    [
        ("X has dtype float32, but the centers .* have float64", ROWS.astype(np.float32), None),
        ("X has 2 features", ROWS[:, :2], None),
        ("X contains infinity: the first is at row 0", np.full((5, 3), np.inf), None),
        ("X contains infinity: the first is at row 0", np.full((5, 3), np.inf), np.zeros(5)),
        (r"expected \(60,\)", ROWS, np.ones(3)),
    ],
)
def test_what_cannot_go_on_with_a_stream(message: str, X: Any, weight: Any) -> None:
    model = streamed([ROWS], n_clusters=4)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, sample_weight=weight)
    assert pickle.dumps(model) == before
    with pytest.raises(ValueError, match="n_clusters=5, but the model has 4 centers"):
        model.set_params(n_clusters=5).partial_fit(ROWS)


def test_rows_of_another_library_are_no_batch_of_the_stream() -> None:
    strict = pytest.importorskip("array_api_strict")
    model = streamed([ROWS], n_clusters=4)
    with pytest.raises(ValueError, match=r"Inputs passed to MiniBatchKMeans.partial_fit\(\)"):
        model.partial_fit(strict.asarray(ROWS))


def test_a_column_that_decides_is_told_at_the_first_rows_alone() -> None:
    x = ROWS * [1.0, 1.0, 1e3]
    model = MiniBatchKMeans(4, random_state=0)
    with pytest.warns(DataWarning, match="column 2 of X outweighs the others") as caught:
        model.partial_fit(x)
    assert [item.filename for item in caught] == [__file__]
    model.partial_fit(x)  # warnings are errors here


@pytest.mark.parametrize("kernel", ["numpy", "reference", "numba"])
def test_every_kernel_takes_the_same_steps(kernel: str) -> None:
    if kernel == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    x, start = CASES["lattice"]()
    options = {"n_clusters": K, "init": start, "random_state": 0, "reassignment_ratio": 0.9}
    model = streamed(parts(x, 300, 700), **options)
    state = State.begin(start, model._state.seed)
    for rows in parts(x, 300, 700):
        problem = problem_of(
            make_backend("numpy"), rows, k=K, first="float32", block_rows=256, kernel=kernel
        )
        made = step(problem, state, 0.9)
        state = made.state
    assert made.reassigned > 0
    assert state.means.tobytes() == model._state.means.tobytes()
    assert state.mass.tobytes() == model._state.mass.tobytes()
