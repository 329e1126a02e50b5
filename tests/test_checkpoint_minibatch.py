"""Checkpoints of `MiniBatchKMeans.fit`: stopped at any batch, it comes to the same end."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from checkpoint_tools import damaged
from conftest import Backend
from sklearn.base import clone

from kmeans_xp import (
    CheckpointError,
    KMeans,
    MiniBatchKMeans,
    Status,
    _minibatch,
    load_model,
    save_model,
)
from kmeans_xp._checkpoint_file import read_checkpoint

ROWS = np.random.default_rng(0).normal(size=(900, 3))
WEIGHT = np.resize([1.0, 0.0, 2.5, 0.1], 900)
step = _minibatch.step


class Crash(Exception):
    """What no code of the library expects."""


class Steps:
    """Counts the batches that are worked on, and stops the fit in the midst of one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stop: type[BaseException] = Crash
        self.made, self._most = 0, 10**9
        monkeypatch.setattr(_minibatch, "step", self._step)

    def stopping(self, after: int, stop: type[BaseException] = Crash) -> None:
        self.made, self._most, self._stop = 0, after, stop

    def all(self) -> None:
        self.stopping(10**9)

    def _step(self, *arguments: Any) -> Any:
        made = step(*arguments)
        if self.made >= self._most:
            raise self._stop
        self.made += 1
        return made


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "fit.ckpt"


def model_of(path: Any, **options: Any) -> MiniBatchKMeans:
    common = {"n_clusters": 6, "batch_size": 50, "random_state": 0, "checkpoint_every": 0}
    return MiniBatchKMeans(**{**common, "checkpoint": path, **options})


def bits(model: MiniBatchKMeans) -> tuple[Any, ...]:
    state = model._state
    numbers = tuple(getattr(state, name) for name in _minibatch.NUMBERS)
    arrays = (model.cluster_centers_, model.labels_, state.means, state.mass)
    told = model.inertia_, model.n_iter_, model.n_steps_, model.status_
    return *(np.asarray(array).tobytes() for array in arrays), *numbers, *told


@pytest.mark.parametrize(
    ("options", "end"),
    [
        (
            {"init": "random", "reassignment_ratio": 0.5, "max_no_improvement": 4},
            Status.NO_IMPROVEMENT,
        ),
        ({"tol": 2e-2, "max_no_improvement": None, "init_size": 90}, Status.TOLERANCE),
        ({"max_iter": 1, "max_no_improvement": None, "batch_size": 77}, Status.MAX_ITER),
    ],
    ids=lambda value: value.name if isinstance(value, Status) else "",
)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_stopped_again_and_again(
    steps: Steps, path: pathlib.Path, options: dict[str, Any], end: Status, weight: Any
) -> None:
    whole = model_of(None, **options).fit(ROWS, sample_weight=weight)
    assert whole.status_ == end.value
    total = whole.n_steps_
    assert total > 4
    for number in range(total):
        # by a crash, which leaves what was written, and by Ctrl-C, which writes
        stop, every = (Crash, 0) if number % 2 else (KeyboardInterrupt, 60.0)
        steps.stopping(1 if number else 0, stop)
        model = model_of(path, checkpoint_every=every, **options)
        if number == total - 1:
            steps.stopping(2)
            model.fit(ROWS, sample_weight=weight)
            break
        with pytest.raises(stop):
            model.fit(ROWS, sample_weight=weight)
        if stop is KeyboardInterrupt:
            assert (model.n_steps_, model.status_) == (number, Status.INTERRUPTED.value)
    assert steps.made == 2
    assert bits(model) == bits(whole)
    steps.stopping(0)
    written = path.stat().st_mtime_ns
    again = model_of(path, **options).fit(ROWS, sample_weight=weight)
    assert bits(again) == bits(whole)
    assert path.stat().st_mtime_ns == written


def test_given_centers_are_known_by_their_values(steps: Steps, path: pathlib.Path) -> None:
    rows, start = ROWS.astype(np.float32), ROWS[:6].astype(np.float32)
    steps.stopping(2)
    with pytest.raises(Crash):
        model_of(path, init=start).fit(rows)
    steps.all()
    model = model_of(path, init=start.astype(np.float64).tolist()).fit(rows)
    assert model.cluster_centers_.dtype == np.float32
    assert bits(model) == bits(model_of(None, init=start).fit(rows))
    with pytest.raises(CheckpointError, match=r"init was 'an array .* and is 'an array"):
        model_of(path, init=start[::-1]).fit(rows)


def test_labels_are_no_part_of_it(
    steps: Steps, path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guess = model_of(None, compute_labels=False).fit(ROWS).inertia_
    whole = model_of(None).fit(ROWS)
    steps.stopping(4)
    with pytest.raises(Crash):
        model_of(path).fit(ROWS)
    steps.all()
    model = model_of(path, verbose=1, compute_labels=False).fit(ROWS)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"Resumed from {path}: after 4 of at most 1800 batches."
    assert second.startswith("Minibatch step 5/1800: ")
    assert model.inertia_ == guess
    assert not hasattr(model, "labels_")
    steps.stopping(0)
    assert bits(model_of(path, verbose=1).fit(ROWS)) == bits(whole)
    assert capsys.readouterr().out == f"Resumed from {path}: a finished fit.\n"
    # and partial_fit goes on from it, without a look at the file
    content = path.read_bytes()
    more = model_of(path).fit(ROWS)
    for one in (more, whole):
        one.partial_fit(ROWS[:70])
    assert more.cluster_centers_.tobytes() == whole.cluster_centers_.tobytes()
    assert path.read_bytes() == content
    assert not hasattr(MiniBatchKMeans(6, checkpoint=path).partial_fit(ROWS[:9]), "n_iter_")


def test_on_another_library(steps: Steps, xp: Backend, path: pathlib.Path) -> None:
    """Begun by array-api-strict, which works by itself, and gone on with by others."""
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    options = {"n_clusters": 4, "max_iter": 3}
    wanted = model_of(None, **options).fit(ROWS[:200])
    steps.stopping(3)
    with pytest.raises(Crash):
        model_of(path, **options).fit(strict.asarray(ROWS[:200]))
    steps.all()
    model = model_of(path, **options).fit(xp.array(ROWS[:200]))
    assert steps.made == wanted.n_steps_ - 3
    for name in ("labels_", "cluster_centers_"):
        assert xp.host(getattr(model, name)).tobytes() == getattr(wanted, name).tobytes()
    assert (model.inertia_, model.n_steps_) == (wanted.inertia_, wanted.n_steps_)


@pytest.mark.parametrize("source", ["npy", "dask"])
def test_a_stream_or_partitions_go_on_in_memory_and_back(
    steps: Steps, path: pathlib.Path, source: str, request: pytest.FixtureRequest
) -> None:
    options: dict[str, Any] = {"init": "random", "max_iter": 1}
    whole = model_of(None, **options).fit(ROWS, sample_weight=WEIGHT)
    if source == "npy":
        rows: Any = path.with_name("rows.npy")
        np.save(rows, ROWS)
        options["memory_limit"] = 8000
    else:
        array = pytest.importorskip("dask.array", reason="dask is not installed")
        request.getfixturevalue("threads")
        rows = array.from_array(ROWS, chunks=(400, 3))
    for first, second in ((rows, ROWS), (ROWS, rows)):
        steps.stopping(5)
        with pytest.raises(Crash):
            model_of(path, **options).fit(first, sample_weight=WEIGHT)
        steps.all()
        model = model_of(path, **options).fit(second, sample_weight=WEIGHT)
        assert steps.made == whole.n_steps_ - 5
        assert bits(model) == bits(whole)
        path.unlink()


def test_starts_that_were_killed_begin_anew_with_the_same_seed(
    steps: Steps, path: pathlib.Path
) -> None:
    calls: list[int] = []

    def drawn(X: Any, n_clusters: int, random_state: Any) -> Any:
        calls.append(len(calls))
        if calls[-1] == 1 and not whole:
            raise KeyboardInterrupt
        return X[random_state.choice(len(X), n_clusters, replace=False)]

    whole: tuple[Any, ...] = ()
    with pytest.raises(KeyboardInterrupt):
        model_of(path, init=drawn, random_state=np.random.RandomState(7)).fit(ROWS)
    whole = (None,)
    plain = model_of(None, init=drawn, random_state=np.random.RandomState(7)).fit(ROWS)
    steps.stopping(2)
    # another seed was drawn by everybody's generator, and is not taken
    with pytest.raises(Crash):
        model_of(path, init=drawn, random_state=None).fit(ROWS)
    steps.all()
    n_calls = len(calls)
    assert bits(model_of(path, init=drawn, random_state=None).fit(ROWS)) == bits(plain)
    assert len(calls) == n_calls == 2 + 3 + 3


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "n_clusters": ({"n_clusters": 5}, "n_clusters was 6 and is 5"),
    "init": ({"init": np.eye(6, 3)}, "init was 'k-means\\+\\+' and is 'an array"),
    "n_init": ({"n_init": 2}, "n_init was 1 and is 2"),
    "max_iter": ({"max_iter": 9}, "max_iter was 100 and is 9"),
    "tol": ({"tol": 1e-3}, "tol was 0.0 and is 0.001"),
    "batch_size": ({"batch_size": 60}, "batch_size was 50 and is 60"),
    "patience": ({"max_no_improvement": None}, "max_no_improvement was 10 and is None"),
    "init_size": ({"init_size": 99}, "init_size was None and is 99"),
    "ratio": ({"reassignment_ratio": 0}, "reassignment_ratio was 0.01 and is 0.0"),
    "seed": ({"random_state": 1}, "random_state=1 gives another seed"),
}


def test_other_fits_are_refused(steps: Steps, path: pathlib.Path) -> None:
    steps.stopping(3)
    with pytest.raises(Crash):
        model_of(path).fit(ROWS)
    content = path.read_bytes()
    for options, text in OTHERS.values():
        with pytest.raises(CheckpointError, match=f"fit.ckpt' belongs to another fit: {text}"):
            model_of(path, **options).fit(ROWS)
    for rows, weight, text in (
        (ROWS[:-1], None, "X was 900 x 3 float64 and is 899 x 3 float64"),
        (ROWS[::-1], None, "X holds other values, or the same in another order"),
        (ROWS, WEIGHT, "with sample weights or is now"),
    ):
        with pytest.raises(CheckpointError, match=text):
            model_of(path).fit(rows, sample_weight=weight)
    with pytest.raises(CheckpointError, match="it was of MiniBatchKMeans and this is KMeans"):
        KMeans(6, random_state=0, checkpoint=path).fit(ROWS)
    for part in damaged(content)[::4]:
        path.write_bytes(part)
        with pytest.raises(CheckpointError, match=r"fit.ckpt is damaged: .* delete it"):
            model_of(path).fit(ROWS)
        assert path.read_bytes() == part
    assert steps.made == 3
    path.unlink()
    KMeans(6, random_state=0, checkpoint=path, search=None).fit(ROWS)
    with pytest.raises(CheckpointError, match="it was of KMeans and this is MiniBatchKMeans"):
        model_of(path).fit(ROWS)


def test_a_write_that_fails_keeps_the_last_one(
    monkeypatch: pytest.MonkeyPatch, path: pathlib.Path
) -> None:
    whole, last = model_of(None).fit(ROWS), path.with_name("last")

    def lose(after: int) -> None:
        """Let a folder take the place of the file, so that none can be written."""

        def losing(problem: Any, state: Any, ratio: float) -> Any:
            if state.steps == after:
                path.rename(last)
                path.mkdir()
            return step(problem, state, ratio)

        monkeypatch.setattr(_minibatch, "step", losing)

    def fit(**options: Any) -> MiniBatchKMeans:
        model = model_of(path, **options)
        with pytest.raises(OSError, match=r"could not be written .* kept as it was"):
            model.fit(ROWS)
        assert sorted(item.name for item in path.parent.iterdir()) == ["fit.ckpt", "last"]
        path.rmdir()
        last.rename(path)
        return model

    lose(4)
    assert not hasattr(fit(), "cluster_centers_")
    header, _ = read_checkpoint(path) or ({}, {})
    assert header["progress"]["point"]["state"]["steps"] == 4
    # the last write of all: the model is in safety
    lose(whole.n_steps_ - 1)
    assert bits(fit(checkpoint_every=60.0)) == bits(whole)
    lose(-1)
    assert bits(model_of(path).fit(ROWS)) == bits(whole)


def test_parameters_as_of_any_estimator(path: pathlib.Path) -> None:
    model = clone(model_of(str(path))).fit(ROWS)
    assert model.get_params()["checkpoint"] == str(path)
    save_model(model, path.with_name("model.npz"))
    assert load_model(path.with_name("model.npz")).checkpoint is None
    for wrong in (model_of(3), model_of(path, checkpoint_every=-1.0)):
        with pytest.raises(ValueError, match=r"The 'checkpoint.* must be"):
            wrong.fit(ROWS)
