"""Rows that are read in passes give the same bits as the same rows in memory."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import first_centers, opened, plan_of, solve
from stream_cases import SMALL, SOURCES, STARTS, WEIGHT, Blocks, K, as_npy, check_same, fit, rows

from kmeans_xp import KMeans, MiniBatchKMeans, _sampling, _shelf
from kmeans_xp._backend import context_of, numpy_context, to_host
from kmeans_xp._opening import open_stream
from kmeans_xp._problem import training_over
from kmeans_xp._streams import StreamSource
from kmeans_xp._typing import Block

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

NAMED = {"parquet", "files", "folder", "csv", "arrow", "batches"}


@pytest.fixture(autouse=True)
def all_state_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shelf, "_LEAST", 1)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("turn", [0, 1])
def test_a_stream_gives_the_bits_of_the_rows_in_memory(
    source: str, turn: int, tmp_path: pathlib.Path
) -> None:
    start = STARTS[(list(SOURCES).index(source) + 2 * turn) % 4]
    weight = WEIGHT if turn else None
    x = rows("float32" if turn and not source.startswith("csv") else "float64")
    here = fit(x, start, weight)
    given = SOURCES[source](tmp_path, x)
    model = fit(given, start, weight, memory_limit=SMALL)
    check_same(model, here)
    assert model.n_passes_ is not None
    assert here.n_passes_ is None
    assert hasattr(model, "feature_names_in_") == (source in NAMED)
    assert model.predict(given).tobytes() == here.labels_.tobytes()
    assert model.score(given, sample_weight=weight) == -here.inertia_


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("limit", [SMALL, "1GB"])
def test_every_start_with_state_in_memory_or_in_a_file(
    start: str, limit: Any, tmp_path: pathlib.Path
) -> None:
    x = rows()
    check_same(fit(as_npy(tmp_path, x), start, WEIGHT, memory_limit=limit), fit(x, start, WEIGHT))


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool", ">f8"])
def test_other_numbers_become_float64(dtype: str, tmp_path: pathlib.Path) -> None:
    x = np.round(rows()).astype(dtype)
    here = KMeans(2, random_state=0).fit(x)
    check_same(KMeans(2, random_state=0).fit(as_npy(tmp_path, x)), here)
    check_same(KMeans(2, random_state=0).fit([x[:5], x[5:]]), here)


def test_several_starts_a_search_and_a_callback_work_on_a_stream(tmp_path: pathlib.Path) -> None:
    x, seen = rows(), []
    path = as_npy(tmp_path, x)
    options: dict[str, Any] = {"random_state": 0, "max_iter": 50}
    for more in ({"n_init": 3, "init": "random"}, {"search": 60}, {}, {"empty_cluster": "random"}):
        here = KMeans(K, **options, **more).fit(x)
        check_same(KMeans(K, memory_limit=SMALL, **options, **more).fit(path), here)
    model = KMeans(K, callback=lambda record, _: seen.append(record), search=None, **options).fit(
        path
    )
    assert tuple(seen) == model.history_
    assert seen[0].inertia > seen[-1].inertia


def test_a_checkpoint_of_a_stream_goes_on_in_memory_and_back(tmp_path: pathlib.Path) -> None:
    x = rows()
    path, options = as_npy(tmp_path, x), {"init": "random", "n_init": 2, "random_state": 0}
    here = KMeans(K, **options).fit(x)

    def stop(record: Any, _: Any) -> None:
        if record.iteration == 4:
            raise KeyboardInterrupt

    for first, second in ((path, x), (x, path)):
        kept = tmp_path / f"{type(first).__name__}.ckpt"
        model = KMeans(K, **options, memory_limit=SMALL, checkpoint=kept, checkpoint_every=0)
        with pytest.raises(KeyboardInterrupt):
            model.set_params(callback=stop).fit(first)
        model.set_params(callback=None).fit(second)
        assert model.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
        assert model.labels_.tobytes() == here.labels_.tobytes()
        assert (model.inertia_, model.trials_) == (here.inertia_, here.trials_)
        # those before the stop were called back with their inertia
        assert [record.shift for record in model.history_] == [r.shift for r in here.history_]


@pytest.mark.parametrize("source", ["npy", "files", "csv"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_mini_batches_of_a_stream_are_those_of_the_rows_in_memory(
    source: str, weight: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sampling, "_ROWS_AT_ONCE", 200)
    x = rows()

    def fit(x: Any, **parameters: Any) -> MiniBatchKMeans:
        model = MiniBatchKMeans(K, batch_size=64, max_iter=9, random_state=1, **parameters)
        return model.fit(x, sample_weight=weight)

    here, stream = fit(x), fit(SOURCES[source](tmp_path, x), memory_limit=SMALL)
    assert stream.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
    assert stream.labels_.tobytes() == here.labels_.tobytes()
    assert stream.inertia_ == here.inertia_
    assert (stream.n_steps_, stream.n_iter_) == (here.n_steps_, here.n_iter_)
    assert here.n_steps_ > 6


@pytest.mark.parametrize("source", ["npy", "csv without names", "blocks"])
def test_a_stream_is_one_batch_of_partial_fit(source: str, tmp_path: pathlib.Path) -> None:
    x = rows()
    given = Blocks(x, 100) if source == "blocks" else SOURCES[source](tmp_path, x)
    here, stream = (MiniBatchKMeans(K, random_state=1, memory_limit=SMALL) for _ in range(2))
    for there, few, weight in ((given, x, WEIGHT), (x[:50], x[:50], None), (given, x, None)):
        here.partial_fit(few, sample_weight=weight)
        stream.partial_fit(there, sample_weight=weight)
        assert stream.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
        assert stream.labels_.tobytes() == here.labels_.tobytes()
        assert (stream.inertia_, stream.n_steps_) == (here.inertia_, here.n_steps_)


def test_distances_of_a_stream_fit_the_limit_or_are_refused(tmp_path: pathlib.Path) -> None:
    x = rows()
    model, path = fit(x, "random", None), as_npy(tmp_path, x)
    # products of blocks of other sizes may round in another way
    np.testing.assert_allclose(model.transform(path), model.transform(x), rtol=1e-12)
    model.memory_limit = SMALL
    with pytest.raises(MemoryError, match=r"memory_limit \(20000\)"):
        model.transform(path)


@pytest.mark.parametrize("start", ["k-means++", "k-means||"])
@pytest.mark.parametrize("source", ["npy", "csv"])
@pytest.mark.parametrize("place", ["strict-device1", "numpy"])
def test_blocks_go_where_the_work_is(
    start: str, source: str, place: str, tmp_path: pathlib.Path
) -> None:
    x, threads = rows(), 3 if place == "numpy" else 1
    here = KMeans(K, init=start, random_state=1, search=None, tol=0).fit(x)
    reader = open_stream(SOURCES[source](tmp_path, x), 10**6)
    assert reader is not None
    with opened(make_backend(place)) as context:
        kernel = "numpy" if place == "numpy" else "reference"
        plan = plan_of(kernel, "float32", block_rows=100, threads=threads)
        cut = {"block_rows": 100, "piece_rows": 70, "threads": threads, "limit": 10**6}
        source_there = StreamSource(reader, None, None, context, **cut)
        problem = training_over(source_there, plan, K)
        result = solve(problem, first_centers(problem, start, K, 1))
        assert context_of(result.labels) == context
        assert to_host(result.labels).tobytes() == here.labels_.tobytes()
        assert to_host(result.centers).tobytes() == here.cluster_centers_.tobytes()
    assert result.inertia == here.inertia_


@pytest.mark.parametrize("source", ["npy", "csv"])
def test_a_task_that_fails_ends_its_pass(source: str, tmp_path: pathlib.Path) -> None:
    reader = open_stream(SOURCES[source](tmp_path, rows()), 10**6)
    assert reader is not None
    cut = {"block_rows": 50, "piece_rows": 50, "threads": 3, "limit": 10**6}
    stream = StreamSource(reader, None, None, numpy_context(), **cut)

    def fails(block: Block) -> float:
        if block.number == 4:
            raise ZeroDivisionError
        return float(block.x.sum())

    def skips(block: Block) -> int:
        return block.x.shape[0] if block.number % 2 else 0

    with stream.working():
        with pytest.raises(ZeroDivisionError):
            stream.map(fails)
        assert sum(stream.map(skips)) == 12 * 50
        assert stream.map(lambda block: float(block.x[0, 0])) == rows()[::50, 0].tolist()
