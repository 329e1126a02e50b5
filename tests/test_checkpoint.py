"""Checkpoints: a fit killed at any moment goes on to the end that it would have had."""

from __future__ import annotations

import os
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from checkpoint_tools import damaged
from cli_tools import error_of, fill, report_of
from conftest import Backend
from sklearn.base import clone

from kmeans_xp import CheckpointError, KMeans, _checkpoint_file, load_model, save_model
from kmeans_xp._checkpoint_file import read_checkpoint

# fits in child processes, each killed soon after some writes, until one comes to its end
KILLS = """
import os, pickle, signal, sys, time
import numpy as np
from kmeans_xp import KMeans, MiniBatchKMeans

path = sys.argv[1]
X = np.random.default_rng(0).normal(size=(700, 3))
X[:400] += 4 * np.random.default_rng(1).integers(0, 3, size=(400, 3))

def first_rows(X, n_clusters, random_state):
    return X[random_state.choice(len(X), n_clusters, replace=False)]

CASES = {
    "plain": {"init": X[:12], "n_init": 1},
    "weighted": {"empty_cluster": "random", "init": 30 * X[:12]},
    "runs": {"init": "random", "n_init": 3, "tol": 1e-2},
    "callable": {"init": first_rows, "n_init": 3, "tol": 1e-2},
    "search": {"search": "auto", "tol": 1e-3},
    "batches": {"batch_size": 50, "max_iter": 3, "max_no_improvement": None, "tol": 0},
}

def fit(case, **more):
    options = {"tol": 0, "max_iter": None, "random_state": 3, **CASES[case], **more}
    weight = np.random.default_rng(2).exponential(size=len(X)) if case == "weighted" else None
    kind = MiniBatchKMeans if case == "batches" else KMeans
    model = kind(12, **options).fit(X, sample_weight=weight)
    arrays = model.labels_.tobytes(), model.cluster_centers_.tobytes()
    told = model.inertia_, model.n_iter_, model.status_
    more = [getattr(model, name, None) for name in ("history_", "trials_", "n_steps_")]
    return pickle.dumps((arrays, told, more))

def version():
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0

random = np.random.default_rng()

def is_killed(child, left, by):
    last = version()
    while left:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, "a fit failed"
            return False
        now = version()
        left, last = left - (now != last), now
        time.sleep(0.0005)
    time.sleep(random.uniform(0, 0.003))
    os.kill(child, by)
    os.waitpid(child, 0)
    return True

def kills_until_the_end(case):
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            found = fit(case, checkpoint=path, checkpoint_every=0)
            with open(path + ".result", "wb") as file:
                file.write(found)
            os._exit(0)
        writes = int(random.integers(2, 25)) if kills else 2
        # now and then by Ctrl-C, wherever it comes
        if not is_killed(child, writes, signal.SIGINT if kills % 3 == 1 else signal.SIGKILL):
            return kills
        kills += 1

for case in CASES:
    kills = kills_until_the_end(case)
    assert kills, (case, kills)
    with open(path + ".result", "rb") as file:
        assert file.read() == fit(case), (case, "another result")
    os.remove(path)
print("the same")
"""

# a fit whose files may not grow beyond some bytes from its fifth iteration on, as on a full disk
FULL = """
import errno, resource, sys
import numpy as np
from kmeans_xp import KMeans

X = np.random.default_rng(0).normal(size=(1500, 3))
limits = resource.getrlimit(resource.RLIMIT_FSIZE)

def fill(record, centers):
    if record.iteration == 5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

model = KMeans(12, init=X[:12], checkpoint=sys.argv[1], checkpoint_every=0, callback=fill)
model.random_state = 0
try:
    model.fit(X)
except OSError as error:
    assert error.errno == errno.EFBIG and error.filename == sys.argv[1]
    print(error.strerror)
"""


def in_process(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "KMEANS_XP_NUMBA": "0"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fits_killed_again_and_again(tmp_path: pathlib.Path) -> None:
    assert in_process(KILLS, str(tmp_path / "fit.ckpt")) == "the same"
    assert [item.name for item in tmp_path.iterdir()] == ["fit.ckpt.result"]


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no limits of file sizes")
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "fit.ckpt"
    assert in_process(FULL, str(path)).startswith("a checkpoint could not be written (File too l")
    assert [item.name for item in tmp_path.iterdir()] == ["fit.ckpt"]
    header, _ = read_checkpoint(path) or ({}, {})
    assert len(header["progress"]["snapshot"]["history"]) == 4
    X = np.random.default_rng(0).normal(size=(1500, 3))
    options = {"init": X[:12], "n_clusters": 12, "tol": 1e-4, "max_iter": 300, "callback": watch}
    assert bits(model_of(path, **options).fit(X)) == bits(model_of(None, **options).fit(X))


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "fit.ckpt"


@pytest.fixture
def rows() -> Any:
    return np.random.default_rng(0).normal(size=(1000, 3))


def watch(record: Any, centers: Any) -> None:
    """With a callback each iteration tells its inertia."""


def model_of(path: Any, **options: Any) -> KMeans:
    common = {"n_clusters": 9, "random_state": 0, "tol": 0.0, "max_iter": None}
    return KMeans(**{**common, "checkpoint": path, "checkpoint_every": 0, **options})


def bits(model: KMeans) -> tuple[Any, ...]:
    arrays = np.asarray(model.labels_).tolist(), np.asarray(model.cluster_centers_).tobytes()
    return *arrays, model.inertia_, model.n_iter_, model.history_, model.status_, model.trials_


def interrupt(X: Any, path: Any, *, after: int = 5, **options: Any) -> KMeans:
    """A model that Ctrl-C came to, at this iteration of all runs together."""
    calls: list[int] = []

    def count(record: Any, centers: Any) -> None:
        calls.append(record.iteration)
        if len(calls) == after:
            raise KeyboardInterrupt

    model = model_of(path, **{**options, "callback": count})
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.status_.startswith("interrupted")
    return model


@pytest.mark.parametrize("after", [1, 5, 40])
@pytest.mark.parametrize("every", [0, 60.0])
def test_ctrl_c_and_on(rows: Any, path: pathlib.Path, after: int, every: float) -> None:
    options = {"init": "random", "n_init": 4, "tol": 1e-3}
    wanted = bits(model_of(None, callback=watch, **options).fit(rows))
    interrupt(rows, path, after=after, checkpoint_every=every, **options)
    seen: list[int] = []
    again = model_of(path, callback=lambda record, centers: seen.append(0), **options).fit(rows)
    assert bits(again) == wanted
    # no more than the iteration that was interrupted is made again
    assert len(seen) == sum(trial.n_iter for trial in again.trials_) - (after - 1)


def test_a_finished_fit_returns_at_once(rows: Any, path: pathlib.Path) -> None:
    wanted = bits(model_of(path, search="auto").fit(rows))
    before = path.read_bytes()

    def never(record: Any, centers: Any) -> None:
        raise AssertionError("an iteration was made")

    again = model_of(path, search="auto", callback=never).fit(rows)
    assert bits(again) == wanted
    assert again.predict(rows).tolist() == again.labels_.tolist()
    assert path.read_bytes() == before


def test_on_another_library(xp: Backend, path: pathlib.Path) -> None:
    """Begun by array-api-strict, which works by itself, and gone on with by others."""
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    X = np.random.default_rng(0).normal(size=(200, 3))
    interrupt(strict.asarray(X), path, n_clusters=4, after=3)
    model = model_of(path, n_clusters=4, callback=watch).fit(xp.array(X))
    wanted = model_of(None, n_clusters=4, callback=watch).fit(X)
    assert xp.host(model.labels_).tolist() == wanted.labels_.tolist()
    assert xp.host(model.cluster_centers_).tobytes() == wanted.cluster_centers_.tobytes()
    assert (model.inertia_, model.history_) == (wanted.inertia_, wanted.history_)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "n_clusters": ({"n_clusters": 8}, "n_clusters was 9 and is 8"),
    "init": ({"init": "random", "n_init": 1}, "init was 'k-means\\+\\+' and is 'random'"),
    "array": ({"init": np.eye(9, 3)}, "init was 'k-means\\+\\+' and is 'an array"),
    "n_init": ({"n_init": 2}, "n_init was 1 and is 2"),
    "max_iter": ({"max_iter": 30}, "max_iter was None and is 30"),
    "tol": ({"tol": 1e-3}, "tol was 0.0 and is 0.001"),
    "rule": ({"empty_cluster": "random"}, "empty_cluster was 'farthest' and is 'random'"),
    "search": ({"search": 9}, "search was 'auto' and is 9"),
    "no search": ({"search": None}, "search was 'auto' and is None"),
    "seed": ({"random_state": 1}, "random_state=1 gives another seed"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_parameters_are_refused(rows: Any, path: pathlib.Path, name: str) -> None:
    interrupt(rows, path)
    before = path.read_bytes()
    options, text = OTHERS[name]
    with pytest.raises(CheckpointError, match=f"fit.ckpt' belongs to another fit: {text}"):
        model_of(path, **options).fit(rows)
    assert path.read_bytes() == before


def _changed(X: Any) -> Any:
    X = X.copy()
    X[500, 1] = np.nextafter(X[500, 1], 9.0)
    return X


@pytest.mark.parametrize(
    ("change", "weight", "text"),
    [
        (lambda X: X[:-1], None, "X was 1000 x 3 float64 and is 999 x 3 float64"),
        (lambda X: X[:, :2], None, "and is 1000 x 2 float64"),
        (lambda X: X.astype(np.float32), None, "and is 1000 x 3 float32"),
        (_changed, None, "X holds other values"),
        (lambda X: X[::-1], None, "or the same in another order"),
        (lambda X: X, np.ones(1000), "with sample weights or is now"),
    ],
)
def test_other_rows_are_refused(
    rows: Any, path: pathlib.Path, change: Callable[[Any], Any], weight: Any, text: str
) -> None:
    interrupt(rows, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=text):
        model_of(path).fit(change(rows), sample_weight=weight)
    assert path.read_bytes() == before


def test_the_seed_is_taken_up_again(rows: Any, path: pathlib.Path) -> None:
    """Also by a callable start, which draws on, and without a change of anybody's generator."""

    def drawn(X: Any, n_clusters: int, random_state: Any) -> Any:
        return X[random_state.choice(len(X), n_clusters, replace=False)]

    options = {"init": drawn, "n_init": 3, "callback": watch, "tol": 1e-3}
    wanted = bits(model_of(None, random_state=np.random.RandomState(7), **options).fit(rows))
    interrupt(rows, path, after=20, random_state=np.random.RandomState(7), **options)
    np.random.seed(5)  # noqa: NPY002 - the one whose numbers nobody else draws
    assert bits(model_of(path, random_state=None, **options).fit(rows)) == wanted
    after = np.random.random()  # noqa: NPY002
    alone = np.random.RandomState(5)
    alone.randint(0, 2**63 - 1, dtype=np.int64)  # a fit draws one number
    assert after == alone.random_sample()


def test_a_damaged_file_is_refused_and_kept(rows: Any, path: pathlib.Path) -> None:
    interrupt(rows, path)
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"fit.ckpt is damaged: .* delete it"):
            model_of(path).fit(rows)
        assert path.read_bytes() == content


def test_another_file_is_not_written_over(rows: Any, path: pathlib.Path) -> None:
    path.write_text("label\n0\n1\n")
    with pytest.raises(CheckpointError, match=r"not a checkpoint .* not written over"):
        model_of(path).fit(rows)
    assert path.read_text() == "label\n0\n1\n"


def test_another_version_is_refused(
    rows: Any, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr(_checkpoint_file, "__version__", "9.1")
        interrupt(rows, path)
    with pytest.raises(CheckpointError, match=r"was written by kmeans-xp 9.1"):
        model_of(path).fit(rows)


def test_a_file_that_cannot_be_is_told_of_at_once(rows: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")

    def never(record: Any, centers: Any) -> None:
        raise AssertionError("an iteration was made")

    for where, error in [("none/fit.ckpt", FileNotFoundError), ("file/x", NotADirectoryError)]:
        with pytest.raises(error, match=r"(a checkpoint could not be written|Not a directory)"):
            model_of(tmp_path / where, callback=never).fit(rows)
    with pytest.raises(IsADirectoryError):
        model_of(tmp_path, callback=never).fit(rows)


def test_a_last_write_that_fails_leaves_the_model(rows: Any, path: pathlib.Path) -> None:
    def lose(record: Any, centers: Any) -> None:
        if record.iteration == 3:
            path.unlink()
            path.mkdir()

    model = model_of(path, callback=lose, checkpoint_every=60, search=None)
    with pytest.raises(OSError, match="a checkpoint could not be written"):
        model.fit(rows)
    wanted = model_of(None, callback=watch, search=None).fit(rows)
    assert bits(model) == bits(wanted)
    assert os.listdir(path.parent) == ["fit.ckpt"]


def test_what_a_killed_write_left_goes_away(rows: Any, path: pathlib.Path) -> None:
    left, other = path.with_name(".fit.ckpt.123.tmp"), path.with_name(".fit.ckpt2.123.tmp")
    for file in (left, other):
        file.write_bytes(b"half")
    model_of(path).fit(rows)
    assert sorted(os.listdir(path.parent)) == [".fit.ckpt2.123.tmp", "fit.ckpt"]


def test_a_resumed_fit_says_so(
    rows: Any, path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"verbose": 1, "search": None}
    interrupt(rows, path, after=3, **options)
    capsys.readouterr()
    model_of(path, **options).fit(rows)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"Resumed from {path}: run 1, after 2 iterations."
    assert second.startswith("Iteration 3, inertia ")
    model_of(path, **options).fit(rows)
    assert capsys.readouterr().out == f"Resumed from {path}: a finished fit.\n"


def test_a_fit_that_its_callback_stopped_is_finished_and_says_so(
    rows: Any, path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"search": None, "callback": lambda record, centers: record.iteration == 3}
    stopped = model_of(path, **options).fit(rows)
    capsys.readouterr()
    again = model_of(path, search=None, verbose=1).fit(rows)
    assert bits(again) == bits(stopped)
    assert again.n_iter_ == 3
    assert again.status_ == "stopped by the callback"
    assert "a finished fit, which its callback stopped (delete the file" in capsys.readouterr().out


def test_parameters_as_of_any_estimator(rows: Any, path: pathlib.Path) -> None:
    model = clone(model_of(path))
    assert model.get_params()["checkpoint"] == path
    wanted = bits(model.fit(rows))
    again = pickle.loads(pickle.dumps(model))
    assert bits(again) == wanted == bits(model_of(str(path)).fit(rows))
    save_model(model_of(str(path)).fit(rows), path.with_name("model.npz"))
    assert load_model(path.with_name("model.npz")).checkpoint is None
    for wrong in (model_of(3), model_of(path, checkpoint_every=-1.0)):
        with pytest.raises(ValueError, match=r"The 'checkpoint.* must be"):
            wrong.fit(rows)


def test_the_command_goes_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    words = ("fit", "iris.npy", "--n-clusters", "8", "--quiet")
    wanted = report_of(capsys, *words, "--seed", "3")
    words = (*words, "--checkpoint", "fit.ckpt")
    assert "--checkpoint needs --seed N" in error_of(capsys, 2, *words)
    X = np.load("iris.npy")
    options = {"n_clusters": 8, "random_state": 3, "tol": 1e-4, "max_iter": 300}
    interrupt(X, "fit.ckpt", after=3, **options)
    for _ in range(2):
        found = report_of(capsys, *words, "--seed", "3")
        assert [found[name] for name in ("inertia", "centers", "iterations")] == [
            wanted[name] for name in ("inertia", "centers", "iterations")
        ]
    error = error_of(capsys, 3, *words, "--seed", "4")
    assert "belongs to another fit: random_state=4 gives another seed" in error
    nowhere = error_of(capsys, 1, *words[:-1], "none/fit.ckpt", "--seed", "3")
    assert "cannot write none/fit.ckpt: a checkpoint could not be written (No such" in nowhere
