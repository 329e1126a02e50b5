"""dask partitions on an emulated GPU, or some of them: the answer of rows in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from card import Card, card_in_use, on_card
from cases import check_same_bits, clumped, few_weights
from sklearn.base import clone

from kmeans_xp import KMeans, MiniBatchKMeans
from kmeans_xp._dask_tasks import MEMORY
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp.exceptions import DeviceMemoryError

da = pytest.importorskip("dask.array", reason="dask is not installed")
dask = pytest.importorskip("dask", reason="dask is not installed")

N = 600  # so many that products score them, and bounds prove labels


@pytest.fixture(scope="module")
def rows() -> Any:
    return clumped(N, 3).astype(np.float32)


@pytest.fixture
def card() -> Iterator[Any]:
    # the emulated device works on one thing at a time
    with card_in_use() as context, dask.config.set(scheduler="synchronous"):
        yield context


def partitions(x: Any, kinds: str) -> Any:
    """One for each letter: c for the card, n for NumPy; dask takes all for the first kind."""

    def place(part: Any, block_id: Any = None) -> Any:
        return on_card(part) if kinds[block_id[0]] == "c" else part

    lazy = da.from_array(x, chunks=(-(-len(x) // len(kinds)), *x.shape[1:]))
    empty = np.empty((0,) * x.ndim, dtype=x.dtype)
    return lazy.map_blocks(place, meta=on_card(empty) if kinds[0] == "c" else empty)


@pytest.mark.parametrize(
    ("kinds", "start", "keeps"),
    [
        ("ccc", "k-means++", True),
        ("cnc", "k-means||", True),
        ("cnc", "random", False),
        ("ncn", "random-partition", True),
    ],
)
def test_partitions_on_a_gpu(
    rows: Any, card: Any, monkeypatch: pytest.MonkeyPatch, kinds: str, start: str, keeps: bool
) -> None:
    if not keeps:
        # what blocks knew is lost after each pass
        monkeypatch.setattr(MEMORY, "most_bytes", 0)
    model = KMeans(6, init=start, n_init=1, random_state=5, max_iter=5)
    here = clone(model).fit(rows, sample_weight=few_weights(N))
    weight = partitions(few_weights(N), "ncc")
    there = model.fit(partitions(rows, kinds), sample_weight=weight)
    labels = there.labels_
    assert isinstance(labels._meta, Card) == (kinds[0] == "c")
    assert labels._meta.dtype == np.int32
    parts = [labels.blocks[number].compute() for number in range(3)]
    assert [type(part) is Card for part in parts] == [kind == "c" for kind in kinds]
    there.labels_ = np.concatenate([part.view(np.ndarray) for part in parts])
    check_same_bits(here, there)
    mixed = "n" in kinds
    assert there.device_ == ("cuda:0,cpu" if mixed else "cuda:0")
    assert there.backend_ == ("cupy,numpy" if mixed else "cupy")
    assert there.kernel_ == ("cuda,numpy" if mixed else "cuda")


@pytest.mark.parametrize("weighted", [False, True])
def test_mini_batches_of_rows_on_a_gpu(rows: Any, card: Any, weighted: bool) -> None:
    model = MiniBatchKMeans(6, random_state=5, batch_size=100, max_iter=2)
    here = clone(model).fit(rows, sample_weight=few_weights(N) if weighted else None)
    there = model.fit(
        partitions(rows, "cnc"),
        sample_weight=partitions(few_weights(N), "ncc") if weighted else None,
    )
    assert there.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
    assert (there.inertia_, there.n_steps_) == (here.inertia_, here.n_steps_)
    parts = [there.labels_.blocks[number].compute() for number in range(3)]
    labels = np.concatenate([part.view(np.ndarray) for part in parts])
    assert labels.tobytes() == here.labels_.tobytes()
    here.partial_fit(rows[:200])
    there.partial_fit(partitions(rows[:200], "cn"))
    assert there.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()


@pytest.mark.parametrize("columns", [1, 3])
def test_a_search_over_partitions_on_a_gpu(rows: Any, card: Any, columns: int) -> None:
    """Of one feature it is the optimum."""
    x = np.ascontiguousarray(rows[:, :columns])
    model = KMeans(4, init="k-means||", random_state=5, search=8)
    here = clone(model).fit(x, sample_weight=few_weights(N))
    there = model.fit(partitions(x, "cn"), sample_weight=few_weights(N))
    assert there.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
    assert (there.inertia_, there.trials_) == (here.inertia_, here.trials_)
    assert (there.status_, there.device_) == (here.status_, "cuda:0,cpu")
    assert len(there.trials_) > 1


def test_too_little_memory_on_a_gpu_means_a_new_start(rows: Any, card: Any) -> None:
    model = KMeans(6, init=rows[:6], max_iter=5)
    here = clone(model).fit(rows)
    honest, kept = CudaKernel.launch_look, []

    def look(self: Any, x: Any, *rest: Any) -> Any:
        kept.append(len(MEMORY))
        if len(kept) == 2:
            raise MemoryError("no room for the labels of a second block")
        return honest(self, x, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CudaKernel, "launch_look", look)
        there = model.fit(partitions(rows, "cc"))
    # what was kept of the first block went before both were cut anew
    assert kept[:4] == [0, 1, 0, 1]
    there.labels_ = here.labels_  # those stay lazy
    check_same_bits(here, there)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CudaKernel, "launch_look", _no_room)
        said = r"cuda:0 has too little.* on all workers together, beside.* or more workers\."
        with pytest.raises(DeviceMemoryError, match=said):
            model.fit(partitions(rows, "cc"))


def _no_room(*rest: Any) -> Any:
    raise MemoryError("none at all")


def test_answers_stay_on_the_gpu(rows: Any, card: Any) -> None:
    model = KMeans(6, init=rows[:6], random_state=5, max_iter=5).fit(rows)
    lazy = partitions(rows, "ccc")
    found = model.predict(lazy), model.transform(lazy)
    for answer, dtype, wanted in zip(
        found, ("int32", "float32"), (model.labels_, model.transform(rows)), strict=True
    ):
        assert isinstance(answer._meta, Card)
        assert answer.dtype == answer._meta.dtype == dtype
        values = answer.compute()
        assert isinstance(values, Card)
        np.testing.assert_allclose(values.view(np.ndarray), wanted, rtol=1e-5)
    assert found[0].compute().tobytes() == model.labels_.tobytes()
    assert model.score(lazy, sample_weight=2.0) == model.score(rows, sample_weight=2.0)


def test_a_bad_value_on_a_gpu_is_named(rows: Any, card: Any) -> None:
    x = rows.copy()
    x[301, 2] = np.inf
    with pytest.raises(ValueError, match=r"row 301, column 2"):
        KMeans(3, random_state=0).fit(partitions(x, "ncc"))
    with pytest.raises(ValueError, match=r"row 301, column 2"):
        KMeans(3, random_state=0).fit(rows).predict(partitions(x, "ncc")).compute()
