"""What tasks in dask partitions remember from pass to pass: it saves time, and decides nothing."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
import pytest
from cases import clumped
from dask_cases import N, check_same, check_same_search, in_parts

from kmeans_xp import KMeans

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")


@pytest.fixture(scope="module")
def rows() -> Any:
    return clumped(N, 4)


@pytest.fixture
def done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a worker is lost: its tasks, which have taken out what it knew, are done again."""
    from kmeans_xp import _dask

    honest = _dask.DaskSource._compute

    def again(self: Any, work: Any, spots: Any) -> Any:
        honest(self, work, dict(list(spots.items())[: work.number % 3 + 1]))
        return honest(self, work, spots)

    monkeypatch.setattr(_dask.DaskSource, "_compute", again)


@pytest.mark.usefixtures("done_twice")
@pytest.mark.parametrize(
    ("start", "options"),
    [("k-means++", {"max_iter": 8}), ("k-means||", {"max_iter": 8}), ("k-means||", {"search": 25})],
)
def test_passes_that_are_done_twice_in_part_change_no_bit(
    rows: Any, threads: Any, start: str, options: dict[str, Any]
) -> None:
    model = KMeans(12, init=start, random_state=5, **options)
    here = KMeans(**model.get_params()).fit(rows)
    check_same(here, model.fit(in_parts(rows, 5)))
    check_same_search(here, model)


@pytest.mark.usefixtures("done_twice")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kernel", ["numpy", "numba"])
def test_candidates_are_judged_by_products_and_none_twice(
    threads: Any, monkeypatch: pytest.MonkeyPatch, kernel: str, weighted: bool
) -> None:
    """Equal rows gain alike, which canonical distances must tell; what blocks left may be lost."""
    from kmeans_xp import _closest
    from kmeans_xp._kernels import _numpy

    kind: Any = _numpy.NumpyKernel
    if kernel == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
        from kmeans_xp._kernels import _numba, _numba_gains, _select

        kind = _numba.NumbaKernel
        monkeypatch.setattr(_select, "_FEW_WORK", 0)
        monkeypatch.setattr(_numba_gains, "pays", lambda *_: True)
    monkeypatch.setenv("KMEANS_XP_NUMBA", "01"[kernel == "numba"])
    monkeypatch.setattr(_closest, "_SMALL_WORK", 0)
    asked: list[str] = []
    for name in ("trials", "gained"):
        honest = getattr(kind, name)

        def noted(self: Any, *rest: Any, honest: Any = honest, name: str = name) -> Any:
            asked.append(name)
            return honest(self, *rest)

        monkeypatch.setattr(kind, name, functools.wraps(honest)(noted))
    random = np.random.default_rng(2)
    # the largest distance falls far, and with it what the drawn integers stand for
    points = random.normal(size=(90, 8)) * 2.0 ** random.integers(-30, 5, (90, 1))
    x = points[random.integers(90, size=4 * N)]
    weight = random.integers(0, 4, len(x)) / 8 if weighted else None
    model = KMeans(70, random_state=5, max_iter=1, search=None)
    here = KMeans(**model.get_params()).fit(x, sample_weight=weight)
    asked.clear()
    check_same(here, model.fit(in_parts(x, 5), sample_weight=weight))
    assert asked.count("trials") == 69
    assert "gained" in asked


def test_norms_are_made_once_and_seeds_stay_here(
    rows: Any, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows off the origin are moved by an array of which each pass brings a new copy."""
    from kmeans_xp import _closest, _dask
    from kmeans_xp._kernels import _numpy_scores

    made: list[Any] = []
    sizes: dict[str, int] = {}
    note, pack = _numpy_scores.note_half_norms, _dask.pack

    def noted(*args: Any) -> None:
        made.append(args)
        note(*args)

    def packed(task: Any, source: Any) -> bytes:
        found = pack(task, source)
        sizes[getattr(task, "__qualname__", "")] = len(found)
        return found

    monkeypatch.setattr(_numpy_scores, "note_half_norms", noted)
    monkeypatch.setattr(_dask, "pack", packed)
    monkeypatch.setenv("KMEANS_XP_NUMBA", "0")
    monkeypatch.setattr(_closest, "_SMALL_WORK", 0)
    x = np.repeat(rows + 300.0, 100, axis=1)[:200]
    model = KMeans(20, random_state=5, max_iter=1, search=None)
    here = KMeans(**model.get_params()).fit(x)
    made.clear()
    check_same(here, model.fit(da.from_array(x, chunks=(100, 400))))
    assert 0 < len(made) < 19
    assert sizes["Closest._improve_there.<locals>.task"] < here.cluster_centers_.nbytes


def test_workers_use_the_kernel_of_rows_in_memory_and_its_bounds(
    threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the statistics pass to the last labels."""
    pytest.importorskip("numba", reason="numba is not installed")
    from kmeans_xp import _solver
    from kmeans_xp._kernels import _survey

    surveyed: list[str] = []
    drifts: list[bool] = []
    relabel = _solver.relabel

    def noted(name: str) -> Any:
        honest = getattr(_survey.CompiledSurveyor, name)

        @functools.wraps(honest)  # a task names it
        def piece(self: Any, x: Any, *rest: Any) -> Any:
            surveyed.append(name)
            return honest(self, x, *rest)

        return piece

    def at_last(problem: Any, nearest: Any, drift: Any) -> Any:
        drifts.append(drift is not None)
        return relabel(problem, nearest, drift)

    monkeypatch.setenv("KMEANS_XP_NUMBA", "1")
    for name in ("ranges", "sums", "squares"):
        monkeypatch.setattr(_survey.CompiledSurveyor, name, noted(name))
    monkeypatch.setattr(_solver, "relabel", at_last)
    random = np.random.default_rng(1)
    x = random.normal(size=(20_000, 8)) + 4 * random.integers(0, 2, (20_000, 8))
    options = {"init": x[:40], "n_init": 1, "max_iter": 7, "search": None}
    here = KMeans(40, **options).fit(x)
    assert drifts == [True]
    surveyed.clear()
    check_same(here, KMeans(40, **options).fit(in_parts(x, 3)))
    assert set(surveyed) == {"ranges", "sums", "squares"}
    assert drifts == [True, True]


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


def test_blocks_of_a_start_are_forgotten_with_it(
    rows: Any, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp import _dask_tasks
    from kmeans_xp._backend import numpy_context
    from kmeans_xp._dask import DaskSource
    from kmeans_xp._dask_input import make_partitions

    def note(block: Any) -> bool:
        is_new = "seeds" not in block.state
        block.state["seeds"] = np.zeros(block.n_rows, dtype=np.int32)
        return is_new

    memory = _dask_tasks.MEMORY
    partitions = make_partitions(in_parts(rows, 3), None, None)
    source = DaskSource(partitions, numpy_context(), block_rows=100, piece_rows=64)
    wide = source.spans(400)
    with source.working():
        assert all(source.map(note, wide))
        assert not any(source.map(note, wide))
        assert len(memory) == len(wide)
        source.leave(wide)
        assert all(source.map(note))
        assert len(memory) == len(source.blocks) > len(wide)
        # a block of either size that is the same goes on
        source.leave(source.blocks)
        assert not any(source.map(note))
        assert all(source.map(note, wide))
        source.leave(wide)
        assert all(source.map(note, wide))
        assert not any(source.map(note, wide))
    assert len(memory) == 0
    left: list[int] = []
    monkeypatch.setattr(DaskSource, "leave", lambda _, blocks: left.append(len(blocks)))
    KMeans(3, n_init=2, random_state=0, max_iter=1).fit(in_parts(rows, 3))
    assert left == [3, 3]


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
