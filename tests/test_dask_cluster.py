"""Rows on a dask cluster, or with other processes: the same answer, whatever happens to workers."""

from __future__ import annotations

import os
import pathlib
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from cases import clumped
from dask_cases import N, check_same, check_same_search, in_parts

from kmeans_xp import KMeans, MiniBatchKMeans

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")


@pytest.fixture(scope="module")
def rows() -> Any:
    return clumped(N, 4)


@pytest.fixture(scope="module")
def client() -> Any:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_one_or_four_workers_change_no_bit(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads of this process: they start at once, and other tests have real processes."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    from kmeans_xp import _dask_tasks

    honest, passes = _dask_tasks.run, []

    def run(work: Any, *rest: Any) -> Any:
        passes[-1].setdefault(work.number, set()).add(distributed.get_worker().name)
        return honest(work, *rest)

    monkeypatch.setattr(_dask_tasks, "run", run)
    weight = np.random.default_rng(4).integers(0, 4, N) * 0.3
    model = KMeans(7, init="k-means||", random_state=5, search=None, max_iter=6)
    here = KMeans(**model.get_params()).fit(rows, sample_weight=weight)
    lazy = in_parts(rows, 9), da.from_array(weight, chunks=400)
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster) as client:
        for count in (1, 4):
            cluster.scale(count)
            client.wait_for_workers(count)
            passes.append({})
            check_same(here, model.fit(lazy[0], sample_weight=lazy[1]))
            # where rows come to lie is the scheduler's choice, but not all on one of four
            assert (max(map(len, passes[-1].values())) > 1) == (count > 1)


def test_a_scheduler_that_takes_its_time_loses_no_weights(
    rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What weights were made of is given up while the scheduler still reads what depends on it."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    from dask import order

    honest = order.order

    def slow(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.05)
        return honest(*args, **kwargs)

    model = KMeans(5, init=rows[:5], max_iter=2)
    weight = np.random.default_rng(4).random(N)
    here = KMeans(**model.get_params()).fit(rows, sample_weight=weight)
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster):
        monkeypatch.setattr(order, "order", slow)
        lazy = da.from_array(weight, chunks=400)
        check_same(here, model.fit(in_parts(rows, 3), sample_weight=lazy))
        assert "held in memory" in model.reading_


def test_processes(rows: Any) -> None:
    start = rows[:4] + 0.25
    here = KMeans(4, init=start, max_iter=2).fit(rows)
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        dask.config.set(scheduler="processes", pool=pool),
    ):
        there = KMeans(4, init=start, max_iter=2).fit(in_parts(rows, 3))
        check_same(here, there)
    assert "read anew in each of" in there.reading_


def flaky(block: Any, folder: str, block_id: Any) -> Any:
    """Fails the fifth time that it reads the first partition, and is slow on one worker."""
    from distributed import get_worker

    if get_worker().name == 0:
        time.sleep(0.02)
    times = pathlib.Path(folder, "times")
    if block_id[0] == 0:
        with times.open("a") as file:
            file.write("x")
        if times.stat().st_size == 5:
            raise OSError("the disk is away for a moment")
    return block


def test_cluster_with_a_slow_worker_and_a_task_that_fails_once(
    rows: Any, client: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp import _dask_input

    monkeypatch.setattr(_dask_input, "_SHARE", 0.0)  # rows that do not fit are read in each pass
    model = KMeans(6, init=rows[:6] + 0.1, max_iter=3)
    here = KMeans(**model.get_params()).fit(rows)
    lazy = in_parts(rows, 2).rechunk({1: -1})
    with dask.annotate(retries=2):
        lazy = lazy.map_blocks(flaky, str(tmp_path), dtype=rows.dtype, meta=rows[:0])
        there = model.fit(lazy)
    assert "read anew in each of" in there.reading_
    assert (tmp_path / "times").stat().st_size > 10
    check_same(here, there)


def test_few_workers_are_called_and_calls_that_fail_change_no_bit(
    rows: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that lie on workers take no task a pass, but where a call fails."""
    from distributed import wait

    from kmeans_xp import _dask, _dask_calls

    honest, compute = _dask_calls.Calls.make, _dask.DaskSource._compute
    called: list[bool] = []
    tasks: list[int] = []

    def make(self: Any, work: Any, shares: Any) -> Any:
        parts = honest(self, work, shares)
        called.append(parts is not None)
        if lost and work.number % 3 == 1:
            return None  # the workers did it, and their replies were lost
        if lost and work.number == 5:
            gone = {
                worker: [replace(one, rows=["gone"]) for one in shares[worker]] for worker in shares
            }
            return honest(self, work, gone)
        return parts

    def counted(self: Any, work: Any, spots: Any) -> Any:
        tasks.append(work.number)
        return compute(self, work, spots)

    monkeypatch.setattr(_dask_calls.Calls, "make", make)
    monkeypatch.setattr(_dask_calls, "_LONG", 60.0)  # a busy machine may compile in a call
    monkeypatch.setattr(_dask.DaskSource, "_compute", counted)
    options = {"init": rows[:9] + 0.1, "random_state": 5, "max_iter": 6}
    here = KMeans(9, **options).fit(rows, sample_weight=abs(rows[:, 0]) + 0.5)
    parts = [
        client.persist(da.from_array(part), workers=[worker])
        for part, worker in zip((rows[:700], rows[700:]), client.nthreads(), strict=True)
    ]
    lazy = client.persist(da.concatenate(parts))
    theirs = client.persist(abs(lazy[:, 0]) + 0.5)
    wait([lazy, theirs])
    lost = False
    check_same(here, KMeans(9, **options).fit(lazy, sample_weight=theirs))
    assert all(called)
    assert len(called) > 8
    # but for the first, when weights of unit size are on their way
    assert max(tasks, default=0) < 4
    lost = True
    check_same(here, KMeans(9, **options).fit(lazy, sample_weight=theirs))
    assert {1, 4, 5, 7} <= set(tasks)
    # passes that take long are tasks, which the scheduler knows of
    lost = False
    monkeypatch.setattr(_dask_calls, "_LONG", 0.0)
    called.clear()
    check_same(here, KMeans(9, **options).fit(lazy, sample_weight=theirs))
    assert 1 <= sum(called) <= 3


def test_a_fit_that_is_a_task_itself(rows: Any, client: Any) -> None:
    """It holds the thread that a call of its pass would wait for."""
    from distributed import get_client

    def fit() -> Any:
        inner = get_client()
        model = KMeans(9, init=rows[:9] + 0.1, max_iter=3)
        with inner.as_current():
            return model.fit(da.from_array(rows, chunks=(500, 4))).cluster_centers_

    here = KMeans(9, init=rows[:9] + 0.1, max_iter=3).fit(rows)
    there = client.submit(fit, pure=False).result(timeout=60)
    assert there.tobytes() == here.cluster_centers_.tobytes()


def test_a_worker_that_dies_when_it_is_told_to_forget(
    rows: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fit is done by then; what is called next goes to the other."""
    from kmeans_xp import _dask

    first, *_ = client.run(os.getpid).values()

    def die(fit: str) -> None:
        if os.getpid() == first:
            os.kill(first, 9)

    monkeypatch.setattr(_dask, "forget_there", die)
    model = KMeans(4, init=rows[:4] + 0.25, max_iter=2)
    here = KMeans(**model.get_params()).fit(rows)
    with dask.config.set({"distributed.comm.timeouts.connect": "3s"}):
        there = model.fit(in_parts(rows, 3))
    check_same(here, there)


def test_a_worker_killed_in_the_middle_of_a_search(rows: Any, client: Any) -> None:
    first, *_ = client.run(os.getpid).values()
    begun: list[int] = []

    def kill(record: Any, centers: Any) -> None:
        begun.extend([record.iteration] * (record.iteration == 1))
        if len(begun) == 2 and record.iteration == 2:
            os.kill(first, 9)

    model = KMeans(3, random_state=2, search=12, callback=lambda *_: False)
    here = KMeans(**model.get_params()).fit(rows)
    there = model.set_params(callback=kill).fit(in_parts(rows, 5))
    assert len(begun) == len(here.trials_) == 3
    assert here.trials_[1].n_iter > 2
    check_same(here, there)
    check_same_search(here, there)
    assert first not in client.run(os.getpid).values()


def test_the_graph_does_not_grow(rows: Any, client: Any) -> None:
    tasks: list[int] = []

    def count(record: Any, centers: Any) -> bool:
        if record.iteration in (5, 30):
            tasks.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
        return bool(record.iteration == 30)

    noise = np.random.default_rng(0).random((4000, 2))
    model = KMeans(20, init=noise[:20], tol=0, callback=count)
    model.fit(da.from_array(noise, chunks=(2000, 2)))
    assert model.n_iter_ == 30
    # but for two passes that the scheduler may not have forgotten yet
    assert len(tasks) == 2
    assert tasks[1] <= tasks[0] + 2 * (2 + 2)


def test_a_worker_that_retires_in_the_middle(rows: Any, client: Any) -> None:
    """Its partitions move to the one that is left, and so do the tasks."""
    options = {"init": rows[:9] + 0.1, "random_state": 5}
    here = KMeans(9, max_iter=6, callback=lambda *_: None, **options).fit(rows)
    batches = MiniBatchKMeans(9, batch_size=60, max_iter=2, **options).fit(rows)
    lazy = in_parts(rows, 7)

    def leave(record: Any, centers: Any) -> None:
        if record.iteration == 2:
            client.cluster.scale(1)
            while len(client.nthreads()) > 1:
                time.sleep(0.02)

    check_same(here, KMeans(9, max_iter=6, callback=leave, **options).fit(lazy))
    there = MiniBatchKMeans(9, batch_size=60, max_iter=2, **options).fit(lazy)
    assert there._state.means.tobytes() == batches._state.means.tobytes()
    assert there.labels_.compute().tobytes() == batches.labels_.tobytes()


def test_partitions_are_shared_out_where_they_are_and_evenly() -> None:
    from kmeans_xp._dask_groups import shared_out

    two = {"a": 1, "b": 1}
    # where they are, though one of the two has a little more
    assert shared_out([10, 10, 10, 11], ["a", "b", "a", "b"], two) == [[0, 2], [1, 3]]
    assert shared_out([10, 10, 10], ["a", "a", "b"], two) == [[0, 1], [2]]
    # moved where that makes the largest share smaller; a copy is as good as the first
    assert shared_out([10] * 4, ["a", "a", "a", "b"], two) == [[1, 2], [0, 3]]
    assert shared_out([10] * 4, ["a", "a", "ab", "b"], two) == [[0, 1], [2, 3]]
    # to the threads of a worker, and of partitions that nobody holds any more
    assert shared_out([4, 3, 2, 1, 0], ["a"] * 5, {"a": 2}) == [[0, 3, 4], [1, 2]]
    assert shared_out([5, 5], [(), ()], two) == [[0], [1]]
    assert shared_out([0, 0], ["a", "a"], two) == [[0, 1], []]
