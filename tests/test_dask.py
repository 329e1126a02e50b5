"""Rows in dask partitions: the answer of rows in memory, whatever happens to workers."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from kmeans_xp import KMeans, MiniBatchKMeans, k_means

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")

STARTS = ("k-means++", "random", "random-partition", "k-means||")
N = 1500


@pytest.fixture(scope="module")
def rows() -> Any:
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(size=(N, 4)) * 8) / 8 + 3 * rng.integers(0, 3, (N, 1))
    x[::9] = x[0]
    return x


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


@pytest.fixture
def threads() -> Any:
    """dask's own threads, whatever cluster another test left open."""
    with dask.config.set(scheduler="threads"):
        yield


def in_parts(x: Any, count: int) -> Any:
    """Rows in partitions of different sizes, an empty one and a split column among them."""
    rng = np.random.default_rng(count)
    edges = np.sort(rng.integers(0, len(x), count - 1)).tolist()
    sizes = np.diff([0, *edges, len(x)]).tolist()
    if count > 3:
        sizes[1:2] = [sizes[1], 0]
    return da.from_array(x, chunks=(tuple(sizes), *([3] if x.ndim == 2 else [])))


def unknown(x: Any) -> Any:
    """The same partitions, whose sizes dask does not know."""
    return x[da.ones(x.shape[0], chunks=x.chunks[0], dtype=bool)]


def check_same(here: KMeans, there: KMeans) -> None:
    assert here.cluster_centers_.tobytes() == there.cluster_centers_.tobytes()
    assert here.inertia_ == there.inertia_
    assert here.history_ == there.history_
    assert isinstance(there.labels_, da.Array)
    labels = there.labels_.compute()
    assert labels.dtype == np.int32
    assert labels.tobytes() == here.labels_.tobytes()


@pytest.mark.parametrize(
    ("start", "weighted"), [*((start, True) for start in STARTS), ("k-means++", False)]
)
def test_partitions_change_no_bit(rows: Any, threads: Any, start: str, weighted: bool) -> None:
    weight = np.random.default_rng(4).integers(0, 4, N) * 0.3 if weighted else None
    model = KMeans(7, init=start, n_init=1, random_state=5, max_iter=6)
    here = model.fit(rows, sample_weight=weight)
    for count in (1, 3, 17):
        lazy = None if weight is None else da.from_array(weight, chunks=400)
        there = KMeans(**model.get_params()).fit(in_parts(rows, count), sample_weight=lazy)
        check_same(here, there)


@pytest.mark.parametrize(
    ("search", "k", "count"),
    # more clusters than features have no lower bound
    [("auto", 3, 3), (60, 12, 17)],
)
def test_a_search_finds_the_same(rows: Any, threads: Any, search: Any, k: int, count: int) -> None:
    x, weight = rows[:, :3], None
    if k == 12:
        weight = np.random.default_rng(4).integers(0, 4, N) * 0.3
    model = KMeans(k, init="k-means||", random_state=5, search=search)
    here = KMeans(**model.get_params()).fit(x, sample_weight=weight)
    there = KMeans(**model.get_params()).fit(in_parts(x, count), sample_weight=weight)
    check_same(here, there)
    check_same_search(here, there)
    assert (here.lower_bound_ is None) == (k == 12)
    if k == 12:
        assert any(trial.swaps for trial in here.trials_)
        assert any(trial.exchanges for trial in here.trials_)


def test_the_function_takes_partitions(rows: Any, threads: Any) -> None:
    options: dict[str, Any] = {"init": "k-means||", "random_state": 1, "search": 6}
    centers, labels, inertia = k_means(rows, 3, **options)
    there, lazy, value = k_means(in_parts(rows, 3), 3, **options)
    assert there.tobytes() == centers.tobytes()
    assert (lazy.compute() == labels).all()
    assert value == inertia


def check_same_search(here: KMeans, there: KMeans) -> None:
    for name in ("trials_", "status_", "n_best_", "lower_bound_"):
        assert getattr(there, name) == getattr(here, name)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_of_one_feature_is_found(rows: Any, threads: Any, weighted: bool) -> None:
    weight = np.random.default_rng(4).integers(0, 4, N) * 0.3 if weighted else None
    model = KMeans(7, random_state=5, search="auto")
    here = KMeans(**model.get_params()).fit(rows[:, :1], sample_weight=weight)
    assert "the optimum" in here.status_
    for count in (1, 3, 17):
        lazy = da.from_array(rows[:, :1], chunks=(-(-N // count), 1))
        there = KMeans(**model.get_params()).fit(lazy, sample_weight=weight)
        check_same(here, there)
        check_same_search(here, there)
    with pytest.raises(ValueError, match=r"memory_limit \(5000 bytes\) is too little"):
        KMeans(7, search="auto", memory_limit=5000).fit(lazy)


@pytest.mark.parametrize("rule", ["farthest", "random"])
def test_empty_clusters_are_filled_alike(rows: Any, threads: Any, rule: str) -> None:
    start = np.repeat(rows[:1], 7, axis=0)
    model = KMeans(7, init=start, empty_cluster=rule, random_state=0)
    here = model.fit(rows)
    check_same(here, KMeans(**model.get_params()).fit(in_parts(rows, 5)))


def test_unknown_sizes_and_weights_of_all_kinds(rows: Any, threads: Any) -> None:
    weight = np.random.default_rng(8).random(N)
    lazy = in_parts(rows, 4)
    model = KMeans(5, init="k-means||", search=None, random_state=2)
    here = KMeans(**model.get_params()).fit(rows, sample_weight=weight)
    theirs = da.from_array(weight, chunks=lazy.chunks[0])
    for given in (weight, theirs, unknown(theirs)):
        check_same(here, KMeans(**model.get_params()).fit(unknown(lazy), sample_weight=given))
    here = KMeans(**model.get_params()).fit(rows, sample_weight=3.0)
    check_same(here, KMeans(**model.get_params()).fit(unknown(lazy), sample_weight=3.0))


def test_data_frames(threads: Any) -> None:
    frames = pytest.importorskip("dask.dataframe", reason="dask[dataframe] is not installed")
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    table = pandas.DataFrame(
        {"a": rng.random(300), "b": rng.integers(0, 9, 300), "c": rng.random(300) > 0.5}
    )
    weight = pandas.Series(rng.random(300))
    model = KMeans(4, search=None, random_state=0)
    here = KMeans(**model.get_params()).fit(table, sample_weight=weight)
    lazy = frames.from_pandas(table, npartitions=3)
    there = model.fit(lazy, sample_weight=frames.from_pandas(weight, npartitions=3))
    check_same(here, there)
    assert there.feature_names_in_.tolist() == ["a", "b", "c"]
    assert there.predict(lazy).compute().tolist() == here.predict(table).tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        there.predict(lazy.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match=r"do not: 'd'"):
        model.fit(lazy.assign(d="x"))


def test_answers_are_lazy_but_for_the_score(rows: Any, threads: Any) -> None:
    read: list[int] = []

    def noted(block: Any) -> Any:
        read.append(len(block))
        return block

    lazy = in_parts(rows.astype(np.float32), 3).map_blocks(noted, dtype=np.float32, meta=rows[:0])
    model = KMeans(6, random_state=0, search=None).fit(lazy)
    here = KMeans(6, random_state=0, search=None).fit(rows.astype(np.float32))
    read.clear()
    labels, distances = model.predict(lazy), model.transform(lazy)
    assert labels.chunks == model.labels_.chunks == lazy.chunks[:1]
    assert distances.chunks == (lazy.chunks[0], (6,))
    assert not read
    assert labels.compute().tolist() == here.labels_.tolist()
    assert distances.dtype == distances.compute().dtype == np.float32
    assert np.array_equal(distances.compute(), here.transform(rows.astype(np.float32)))
    assert sum(read) == 3 * 2 * N  # three times, in two blocks of columns
    score = model.score(lazy)
    assert isinstance(score, float)
    assert score == here.score(rows.astype(np.float32))
    # a model of rows in memory answers too
    assert here.predict(lazy).compute().tolist() == here.labels_.tolist()


def test_bad_values_are_named_by_row_and_column(rows: Any, threads: Any) -> None:
    bad = rows.copy()
    bad[1403, 2] = np.inf
    model = KMeans(3, random_state=0).fit(rows)
    where = "infinity: the first is at row 1403, column 2"
    with pytest.raises(ValueError, match=where):
        KMeans(3).fit(unknown(in_parts(bad, 17)))
    with pytest.raises(ValueError, match=where):
        model.score(in_parts(bad, 17))
    with pytest.raises(ValueError, match=where):
        model.predict(in_parts(bad, 17)).compute()
    with pytest.raises(ValueError, match="row 3 of partition 14, column 2"):
        model.predict(unknown(da.from_array(bad, chunks=(100, 4)))).compute()
    weight = np.ones(N)
    weight[[1200, 77]] = np.nan, -1.0
    with pytest.raises(ValueError, match="NaN or infinity: nan at row 1200"):
        KMeans(3).fit(in_parts(rows, 3), sample_weight=da.from_array(weight, chunks=500))


def test_what_cannot_be_done_is_refused(rows: Any, threads: Any) -> None:
    lazy = in_parts(rows, 3)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        KMeans(3).fit(lazy[lazy[:, 0] > np.sort(rows[:, 0])[-3]])
    with pytest.raises(ValueError, match=r"expected \(1500,\)"):
        KMeans(3).fit(lazy, sample_weight=da.ones(7))
    weight = da.ones(N - 1, chunks=((500, 500, 499),))
    with pytest.raises(ValueError, match=r"hold .* values, those of X"):
        KMeans(3).fit(da.from_array(rows, chunks=(500, 4)), sample_weight=unknown(weight))
    with pytest.raises(ValueError, match="Complex data not supported"):
        KMeans(3).fit(lazy.astype(np.complex128))
    with pytest.raises(TypeError, match="two-dimensional arrays and data frames"):
        KMeans(3).fit(lazy[:, 0])
    with pytest.raises(TypeError, match=r"list.*are worked on as NumPy or CuPy arrays"):
        KMeans(3).fit(lazy.rechunk({1: -1}).map_blocks(list, dtype=float, meta=rows[:0]))
    with pytest.raises(Exception, match="device='cuda' does not go with dask"):
        KMeans(3, device="cuda").fit(lazy)


def test_ctrl_c_leaves_the_best_state(rows: Any, threads: Any) -> None:
    def stop(record: Any, centers: Any) -> None:
        if record.iteration == 3:
            raise KeyboardInterrupt

    here, there = (KMeans(9, search=None, random_state=4, callback=stop) for _ in range(2))
    for model, x in ((here, rows), (there, in_parts(rows, 3))):
        with pytest.raises(KeyboardInterrupt):
            model.fit(x)
    check_same(here, there)
    assert there.status_.startswith("interrupted")


@pytest.mark.parametrize(
    ("start", "options"),
    [("k-means++", {"max_iter": 8}), ("k-means||", {"max_iter": 8}), ("k-means||", {"search": 25})],
)
def test_passes_that_are_done_twice_in_part_change_no_bit(
    rows: Any, threads: Any, start: str, options: dict[str, Any]
) -> None:
    """As where a worker is lost: its tasks, which have taken out what it knew, are done again."""
    from kmeans_xp import _dask

    honest = _dask.DaskSource._compute

    def again(self: Any, work: Any, spots: Any) -> Any:
        honest(self, work, dict(list(spots.items())[: work.number % 3 + 1]))
        return honest(self, work, spots)

    model = KMeans(12, init=start, random_state=5, **options)
    here = KMeans(**model.get_params()).fit(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_dask.DaskSource, "_compute", again)
        check_same(here, model.fit(in_parts(rows, 5)))
    check_same_search(here, model)


def test_what_workers_remember_is_used_and_forgotten(rows: Any, threads: Any) -> None:
    from kmeans_xp import _dask_tasks

    memory = _dask_tasks.MEMORY
    found: list[bool] = []
    honest = memory.take

    def take(fit: str, spot: Any) -> Any:
        state = honest(fit, spot)
        found.append(state is not None or spot.version is None)
        return state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "take", take)
        KMeans(9, search=None, random_state=5).fit(in_parts(rows, 5))
    assert len(found) > 100
    # the statistics pass is a problem of its own, after which workers forget
    assert found.count(False) == 5
    assert len(memory) == 0


def test_tasks_that_outlive_a_broken_fit_leave_nothing(
    rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp import _dask_tasks

    honest, is_over, left = _dask_tasks.run, threading.Event(), threading.Event()

    def run(work: Any, x: Any, weight: Any, spots: Any) -> Any:
        start = spots.spots[0].place[0]
        if work.number < 3:
            return honest(work, x, weight, spots)
        if start == 0:
            raise OSError("the rows are gone")
        is_over.wait(20.0)
        part = honest(work, x, weight, spots)
        left.set()
        return part

    monkeypatch.setattr(_dask_tasks, "run", run)
    x = da.from_array(rows, chunks=((1, len(rows) - 1), rows.shape[1]))
    with dask.config.set(scheduler="threads", num_workers=2):
        with pytest.raises(OSError, match="the rows are gone"):
            KMeans(3, random_state=0).fit(x)
        is_over.set()
        assert left.wait(20.0)
    assert len(_dask_tasks.MEMORY) == 0


def test_memory_is_bounded_and_knows_versions() -> None:
    from kmeans_xp._dask_tasks import Memory, Spot

    def state(size: int) -> dict[str, Any]:
        return {"labels": np.zeros(size, dtype=np.int8)}

    memory = Memory(100)
    memory.keep("old", (0, 40), 1, state(40))
    memory.keep("new", (0, 40), 1, state(40))
    memory.keep("new", (40, 40), 1, state(40))
    assert memory.take("old", Spot((0, 40), 0, 0, 1)) is None  # made room
    memory.keep("new", (80, 40), 1, state(40))
    assert memory.take("new", Spot((80, 40), 2, 80, 1)) is None  # found none
    assert memory.take("new", Spot((0, 40), 0, 0, 2)) is None  # of another pass
    assert memory.take("new", Spot((0, 40), 0, 0, 1)) is None  # taken out
    assert memory.take("new", Spot((40, 40), 1, 40, 1)) is not None
    memory.keep("new", (0, 40), 3, state(40))
    memory.drop("new")
    assert len(memory) == 0


def test_two_fits_at_once(rows: Any, threads: Any) -> None:
    here = KMeans(9, search=None, random_state=5).fit(rows)
    models = [KMeans(9, search=None, random_state=5) for _ in range(2)]
    lazy = in_parts(rows, 3)
    workers = [threading.Thread(target=model.fit, args=(lazy,)) for model in models]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for model in models:
        check_same(here, model)


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


def test_a_checkpoint_goes_on_from_memory_to_partitions(
    rows: Any, threads: Any, tmp_path: pathlib.Path
) -> None:
    def stop(record: Any, centers: Any) -> None:
        if record.iteration == 4:
            raise KeyboardInterrupt

    options = {"random_state": 5, "search": None, "tol": 0}
    whole = KMeans(9, **options).fit(rows)
    path = tmp_path / "fit.ckpt"
    with pytest.raises(KeyboardInterrupt):
        KMeans(9, checkpoint=path, callback=stop, **options).fit(rows)
    assert path.exists()
    read: list[int] = []
    there = KMeans(9, checkpoint=path, callback=lambda record, _: read.append(1), **options).fit(
        in_parts(rows, 3)
    )
    assert len(read) < whole.n_iter_
    assert there.cluster_centers_.tobytes() == whole.cluster_centers_.tobytes()
    assert there.labels_.compute().tobytes() == whole.labels_.tobytes()


def test_rows_are_held_or_read_in_each_pass(
    rows: Any, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp import _dask_input

    read: list[int] = []

    def noted(block: Any) -> Any:
        read.append(len(block))
        return block

    lazy = da.from_array(rows, chunks=(400, 4)).map_blocks(noted, dtype=rows.dtype, meta=rows[:0])
    model = KMeans(6, init=rows[:6] + 0.1, max_iter=5).fit(lazy)
    assert sum(read) == N
    assert (
        model.reading_ == f"{N} rows in 4 partitions, held in memory for {model.n_passes_} passes"
    )
    read.clear()
    monkeypatch.setattr(_dask_input, "_SHARE", 0.0)
    anew = KMeans(6, init=rows[:6] + 0.1, max_iter=5).fit(lazy)
    assert anew.n_iter_ < anew.n_passes_ < 3 * anew.n_iter_
    # and a look at the sizes; some passes, as that of the inertia, are over some blocks alone
    assert anew.n_iter_ * N < sum(read) <= (anew.n_passes_ + 1) * N
    assert f"read anew in each of {anew.n_passes_} passes" in anew.reading_
    check_same(KMeans(6, init=rows[:6] + 0.1, max_iter=5).fit(rows), anew)


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
