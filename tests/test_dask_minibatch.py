"""Mini-batches of rows in dask partitions: the batches, and the bits, of rows in memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cases import clumped, few_weights
from dask_cases import N

from kmeans_xp import MiniBatchKMeans

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")

pytestmark = pytest.mark.usefixtures("threads")

PARTS = ((N,), (700, 0, 799, 1), (*[83] * 18, 6))


@pytest.fixture(scope="module")
def rows() -> Any:
    return clumped(N, 4)


def check_same(here: MiniBatchKMeans, there: MiniBatchKMeans) -> None:
    for name in ("means", "mass"):
        assert getattr(here._state, name).tobytes() == getattr(there._state, name).tobytes()
    assert here.cluster_centers_.tobytes() == there.cluster_centers_.tobytes()
    assert (here.inertia_, here.n_steps_) == (there.inertia_, there.n_steps_)
    assert here.status_ == there.status_
    if here.compute_labels:
        assert isinstance(there.labels_, da.Array)
        assert there.labels_.compute().tobytes() == here.labels_.tobytes()
    assert hasattr(there, "labels_") == here.compute_labels


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 90, "reassignment_ratio": 0.3},
        {"init": "random", "n_init": 2, "tol": 1e-3, "batch_size": 200},
        {"init": "k-means||", "init_size": N, "compute_labels": False, "batch_size": 64},
        {"init": "random-partition", "n_init": 1, "batch_size": 5000, "max_iter": 3},
        {"init": lambda x, k, random_state: x[:k] + random_state.random(), "max_iter": 2},
    ],
    ids=["k-means++", "random", "parallel", "partition", "callable"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_partitions_change_no_bit(rows: Any, options: dict[str, Any], weighted: bool) -> None:
    weight = few_weights(N) if weighted else None
    model = MiniBatchKMeans(7, random_state=5, **options)
    here = MiniBatchKMeans(**model.get_params()).fit(rows, sample_weight=weight)
    for sizes in PARTS:
        lazy = None if weight is None else da.from_array(weight, chunks=400)
        there = MiniBatchKMeans(**model.get_params())
        there.fit(da.from_array(rows, chunks=(sizes, 3)), sample_weight=lazy)
        check_same(here, there)
    assert f"{N} rows in {len(sizes)} partitions, held in memory" in there.reading_


def test_a_collection_is_a_batch(rows: Any) -> None:
    weight = np.resize([1.0, 0.0, 2.5], N)
    here, there = (MiniBatchKMeans(7, random_state=5, batch_size=90) for _ in range(2))
    for number in range(3):
        x, w = rows[number::3], weight[number::3] * (number != 1)
        # the second carries no weight, and the first does not say how many rows it has
        here.partial_fit(x, sample_weight=w)
        lazy = da.from_array(x, chunks=(170, 4))
        lazy = lazy if number else lazy[da.ones(len(x), chunks=170, dtype=bool)]
        there.partial_fit(lazy, sample_weight=da.from_array(w, chunks=170))
        check_same(here, there)
        assert number or math.isnan(lazy.shape[0])
    assert not hasattr(there, "reading_")
    # and goes on from what fit left
    check_same(here.fit(rows), there.fit(da.from_array(rows, chunks=(400, 4))))
    check_same(here.partial_fit(rows[:99]), there.partial_fit(da.from_array(rows[:99], chunks=9)))


def test_rows_of_many_batches_come_in_one_pass(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the rows do not fit, and each pass reads them anew."""
    from kmeans_xp import _dask, _dask_input, _sampling

    monkeypatch.setattr(_dask_input, "_SHARE", 0.0)
    monkeypatch.setattr(_sampling, "_ROWS_AT_ONCE", 500)
    taken: list[int] = []
    honest = _dask.DaskSource.take

    def take(self: Any, wanted: Any) -> Any:
        taken.append(len(wanted))
        return honest(self, wanted)

    monkeypatch.setattr(_dask.DaskSource, "take", take)
    read: list[int] = []

    def noted(block: Any) -> Any:
        read.append(len(block))
        return block

    lazy = da.from_array(rows, chunks=(300, 4)).map_blocks(noted, dtype=rows.dtype, meta=rows[:0])
    options = {"init": rows[:7], "batch_size": 60, "max_iter": 1, "max_no_improvement": None}
    there = MiniBatchKMeans(7, random_state=5, **options).fit(lazy)
    assert there.n_steps_ == 25
    assert taken == [480, 480, 480, 60]
    # four for the batches; the statistics, labels and inertia; not one for each batch
    assert "read anew in each of" in there.reading_
    passes = int(there.reading_.split("read anew in each of ")[1].split()[0])
    assert passes <= 4 + 8
    assert sum(read) <= (passes + 1) * N
    check_same(MiniBatchKMeans(7, random_state=5, **options).fit(rows), there)


def test_workers_forget_and_weights_stay_with_them(rows: Any) -> None:
    from kmeans_xp import _dask_tasks

    weight = np.random.default_rng(0).random(N)
    replies: list[Any] = []
    honest = _dask_tasks.run_all

    def run(*arguments: Any) -> Any:
        part = honest(*arguments)
        replies.extend(part.replies.values())
        return part

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kmeans_xp._dask.run_all", run)
        model = MiniBatchKMeans(5, random_state=0, batch_size=20, max_iter=1, compute_labels=False)
        model.fit(da.from_array(rows, chunks=(750, 4)), sample_weight=weight)
    arrays = [reply for reply in replies if isinstance(reply, np.ndarray)]
    # numbers of rows, and rows
    assert any(reply.ndim == 1 for reply in arrays)
    assert any(reply.ndim == 2 for reply in arrays)
    assert not any(reply.ndim == 1 and reply.dtype.kind == "f" for reply in arrays)
    assert len(_dask_tasks.MEMORY) == 0


def test_what_cannot_be_done_is_refused(rows: Any) -> None:
    lazy = da.from_array(rows, chunks=(400, 4))
    bad = rows.copy()
    bad[1403, 2] = np.inf
    with pytest.raises(ValueError, match="infinity: the first is at row 1403, column 2"):
        MiniBatchKMeans(3).fit(da.from_array(bad, chunks=(400, 4)))
    with pytest.raises(ValueError, match="infinity: the first is at row 1403, column 2"):
        MiniBatchKMeans(3).partial_fit(da.from_array(bad, chunks=(400, 4)))
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3 in the first call"):
        MiniBatchKMeans(3).partial_fit(lazy[:2])
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        MiniBatchKMeans(3).fit(lazy[:2])
    with pytest.raises(Exception, match="device='cuda' does not go with dask"):
        MiniBatchKMeans(3, device="cuda").fit(lazy)
    model = MiniBatchKMeans(3, random_state=0).partial_fit(lazy)
    with pytest.raises(ValueError, match="X has dtype float32, but the centers"):
        model.partial_fit(lazy.astype(np.float32))
