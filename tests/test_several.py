"""Rows split over several devices: the answer of rows in memory, and what is refused."""

from __future__ import annotations

import pathlib
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from conftest import make_backend
from sklearn.base import clone

from kmeans_xp import DBSCAN, FuzzyCMeans, KMeans, MiniBatchKMeans, kmeans_plusplus
from kmeans_xp._assign import label, relabel
from kmeans_xp._backend import context_of, numpy_context, to_host
from kmeans_xp._kernels import Shape
from kmeans_xp._kernels._reference import ReferenceKernel
from kmeans_xp._memory import needed_bytes
from kmeans_xp._problem import query_over
from kmeans_xp._several import SeveralSource, Share
from kmeans_xp._travel import HOST, Together, plan_there
from kmeans_xp._typing import Block
from kmeans_xp.estimators._several_rows import SeveralRows
from kmeans_xp.exceptions import DeviceError
from kmeans_xp.metrics import silhouette_score

strict = pytest.importorskip("array_api_strict")

STARTS = ("k-means++", "random", "random-partition", "k-means||")
N = 400
DEVICES = [strict.Device(name) for name in ("CPU_DEVICE", "device1", "device2")]
NAMES = [str(device) for device in DEVICES]


@pytest.fixture(scope="module")
def rows() -> Any:
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(size=(N, 3)) * 8) / 8 + 3 * rng.integers(0, 3, (N, 1))
    x[::9] = x[0]
    return x


def on_strict(x: Any) -> Any:
    return strict.asarray(x, device=DEVICES[1])


def check_same(here: KMeans, there: KMeans) -> None:
    for name in ("cluster_centers_", "labels_"):
        found = getattr(there, name)
        assert to_host(found).tobytes() == getattr(here, name).tobytes()
    assert here.inertia_ == there.inertia_
    assert here.history_ == there.history_
    assert here.status_ == there.status_


@pytest.mark.parametrize(
    ("start", "weighted"), [*((start, True) for start in STARTS), ("k-means++", False)]
)
def test_devices_change_no_bit(rows: Any, start: str, weighted: bool) -> None:
    weight = np.random.default_rng(4).integers(0, 4, N) * 0.3 if weighted else None
    model = KMeans(6, init=start, n_init=1, random_state=5, max_iter=6)
    here = clone(model).fit(rows, sample_weight=weight)
    x = on_strict(rows)
    there = model.set_params(device=NAMES).fit(x, sample_weight=weight)
    check_same(here, there)
    assert context_of(there.labels_) == context_of(there.cluster_centers_) == context_of(x)
    assert (there.device_, there.backend_) == (",".join(NAMES), "array_api_strict")
    assert there.kernel_ == "reference"
    assert there.reading_ == f"rows of one array, split over {','.join(NAMES)}"
    assert to_host(there.predict(x)).tobytes() == here.labels_.tobytes()
    assert there.score(x, sample_weight=weight) == here.score(rows, sample_weight=weight)
    np.testing.assert_allclose(to_host(there.transform(x)), here.transform(rows), atol=1e-12)


@pytest.mark.parametrize(("columns", "k"), [(1, 4), (3, 9)])
def test_a_search_has_the_same_bits(rows: Any, columns: int, k: int) -> None:
    """Of one feature it is the optimum."""
    x, weight = rows[:, :columns], np.random.default_rng(4).integers(0, 4, N) * 0.3
    model = KMeans(k, init="k-means||", random_state=5, search=30)
    here = clone(model).fit(x, sample_weight=weight)
    there = model.set_params(device=NAMES).fit(on_strict(x), sample_weight=weight)
    check_same(here, there)
    assert there.trials_ == here.trials_
    assert len(there.trials_) > 1
    assert ("the optimum" in there.status_) == (columns == 1)


def test_a_device_whose_rows_weigh_nothing_adds_nothing_to_a_line() -> None:
    x, weight = np.arange(9.0)[:, None] ** 2, np.asarray([0.0] * 3 + [1.0] * 6)
    model = KMeans(2, random_state=0)
    here = clone(model).fit(x, sample_weight=weight)
    there = model.set_params(device=NAMES).fit(on_strict(x), sample_weight=weight)
    check_same(here, there)
    assert "the optimum" in there.status_


def split(model: KMeans, x: Any, devices: list[Any], weight: Any = None) -> KMeans:
    """Fit over devices that one word could not name together."""
    there = clone(model)
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        found = SeveralRows(x, weight, devices, context_of(x))
        patched.setattr(there, "_rows_to_fit", lambda *_: found, raising=False)
        return there.fit(x)


@pytest.mark.parametrize("rule", ["farthest", "random"])
@pytest.mark.parametrize("weighted", [False, True])
def test_libraries_may_be_mixed(rows: Any, rule: str, weighted: bool) -> None:
    weight = np.random.default_rng(4).integers(0, 4, N) * 0.3 if weighted else None
    start = np.repeat(rows[:1], 7, axis=0)
    model = KMeans(7, init=start, empty_cluster=rule, random_state=0)
    here = clone(model).fit(rows, sample_weight=weight)
    devices = [context_of(on_strict(rows)), numpy_context()]
    there = split(model, rows, devices, weight)
    check_same(here, there)
    assert (there.device_, there.backend_) == (f"{NAMES[1]},cpu", "array_api_strict,numpy")
    assert there.kernel_ == "reference,numpy"


def test_more_devices_than_rows_and_rows_of_one_library() -> None:
    x = np.asarray([[0.0], [5.0]])
    model = KMeans(2, random_state=0, search=None)
    here = clone(model).fit(x)
    check_same(here, model.set_params(device=",".join(NAMES)).fit(on_strict(x)))
    alone = clone(model).set_params(device=["cpu"]).fit(x)
    assert (alone.device_, alone.reading_) == ("cpu", "rows of one array")


def test_a_list_of_one_word_is_that_word(rows: Any) -> None:
    stored, blocks = scipy.sparse.csr_array(rows), [rows[:99], rows[99:]]
    for device in (["cpu"], ("auto",)):
        model = KMeans(3, device=device, random_state=0, search=None).fit(rows)
        labels = model.labels_.tolist()
        assert model.device_ == "cpu"
        for given in (stored, blocks):
            assert model.predict(given).tolist() == labels
            assert clone(model).fit(given).labels_.tolist() == labels
        assert MiniBatchKMeans(3, device=device, random_state=0).fit(rows).device_ == "cpu"
        assert FuzzyCMeans(3, device=device, random_state=0).fit(rows).device_ == "cpu"
        assert DBSCAN(device=device).fit(rows).device_ == "cpu"
        assert kmeans_plusplus(rows, 3, device=device, random_state=0)[0].shape == (3, 3)
        assert silhouette_score(rows, labels, device=device) > 0.0


def test_too_little_memory_means_smaller_blocks() -> None:
    x = np.random.default_rng(0).normal(size=(1200, 3))
    model = KMeans(5, random_state=1, max_iter=4, init="random", n_init=1)
    here = clone(model).fit(x)
    honest, sizes = ReferenceKernel.look, []

    def look(self: Any, rows: Any, *rest: Any) -> Any:
        sizes.append(int(rows.shape[0]))
        if sizes[-1] > 300:
            raise MemoryError("too many rows")
        return honest(self, rows, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReferenceKernel, "look", look)
        check_same(here, model.set_params(device=NAMES).fit(on_strict(x)))
        assert max(sizes) == 400
        assert max(sizes[-9:]) <= 300
        patch.setattr(ReferenceKernel, "look", _no_room)
        said = r"device2.* has too little memory for 1200 rows .* needed, on each, its share of"
        with pytest.raises(DeviceError, match=said) as caught:
            clone(model).fit(on_strict(x))
    share = needed_bytes(Shape(400, 3, 5, "float64"), 256)
    assert f"about {share} bytes" in str(caught.value)


def _no_room(*rest: Any) -> Any:
    raise MemoryError("none at all")


_MEETING = threading.Barrier(3, timeout=20.0)


def _meet(block: Block) -> int:
    _MEETING.wait()
    return block.start


def _source(x: Any) -> SeveralSource:
    third = len(x) // 3
    parts = []
    for number, device in enumerate(DEVICES):
        there = strict.asarray(x[third * number : third * (number + 1)], device=device)
        parts.append(Share(context_of(there), there, None, third * number, {}))
    context = Together.of([part.context for part in parts])
    return SeveralSource(parts, None, context, block_rows=third, piece_rows=third)


def test_each_device_has_a_thread(rows: Any) -> None:
    source = _source(rows[:300])
    with source.working():
        assert source.map(_meet) == [0, 100, 200]


_DONE: list[int] = []


def _fail_first(block: Block) -> None:
    _MEETING.wait()
    if block.start == 0:
        raise ValueError("the first device fails")
    time.sleep(0.2)
    _DONE.append(block.start)


def test_a_pass_that_fails_is_over(rows: Any) -> None:
    source = _source(rows[:300])
    with source.working():
        with pytest.raises(ValueError, match="the first device fails"):
            source.map(_fail_first)
        # the others write to nothing any more
        assert sorted(_DONE) == [100, 200]


def test_what_a_task_holds_goes_where_its_rows_are(rows: Any) -> None:
    source = _source(rows[:300])
    xp, moved, missing = HOST.xp, np.arange(3.0), None

    def again(block: Block, count: int) -> Any:
        # of the device: the array, and the namespace; a function may name itself
        assert missing is None
        assert np.empty(0).shape == (0,)
        return again(block, count - 1) if count else xp.sum(block.x * moved, axis=1)

    found = np.concatenate(source.map(lambda block: again(block, 2)))
    assert found.tolist() == np.sum(rows[:300] * moved, axis=1).tolist()
    assert source.take([299, 3, 150]).tolist() == rows[[299, 3, 150]].tolist()


def test_what_a_kernel_notes_of_centers_stays_with_its_device(rows: Any) -> None:
    """Those of another would be arrays that lie elsewhere, or made for other arithmetic."""
    centers = np.concatenate([rows[:3], rows[1:3], rows[:1] + 9.0])  # some of them repeat
    source = _source(rows[:300])
    plan = plan_there(Shape(300, 3, 6, "float64"), ["array_api_strict"])
    problem = query_over(source, plan, 6, [0.0] * 3)
    nearest = replace(problem.nearest_to(centers), first="float32")  # which makes use of notes
    seen = source.map(lambda block: (label(problem, block, nearest), _used(nearest)))
    assert [used for _, used in seen] == [(True, str(device)) for device in DEVICES]
    assert not nearest.notes
    distances = ((rows[:300, None, :] - centers) ** 2).sum(axis=2)
    wanted = source.collect("labels")
    assert wanted.tolist() == distances.argmin(axis=1).tolist()
    # the host's own, which are wrong here: first they rule out a center, then they turn all round
    nearest.notes["repeats"] = np.arange(6) == 0, np.zeros(6, dtype=np.bool_)
    source.forget("labels")
    relabel(problem, nearest)
    assert source.collect("labels").tolist() == wanted.tolist()
    turned = replace(nearest, centers=centers[::-1], rungs={}, notes={})
    nearest.rungs["float32", 3] = turned.rung("float32", xp=np)
    source.forget("labels")
    relabel(problem, nearest)
    assert source.collect("labels").tolist() == wanted.tolist()


def _used(nearest: Any) -> tuple[bool, str]:
    """Whether a kernel left notes, and where those arrays lie."""
    found = nearest.notes["repeats"]
    return found is not None, str(found[0].device)


def test_a_fit_goes_on_over_other_devices(rows: Any, tmp_path: pathlib.Path) -> None:
    def stop(record: Any, centers: Any) -> None:
        if record.iteration == 3:
            raise KeyboardInterrupt

    options = {"random_state": 4, "search": None}
    model = KMeans(9, checkpoint=tmp_path / "fit", checkpoint_every=0.0, **options)
    # with a callback each record has its inertia
    here = clone(model).set_params(checkpoint=None, callback=lambda *_: None).fit(rows)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callback=stop).fit(rows)
    there = model.set_params(device=NAMES, callback=lambda *_: None).fit(on_strict(rows))
    check_same(here, there)


def test_a_bad_value_is_named(rows: Any) -> None:
    x = rows.copy()
    x[301, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN.*row 301, column 2"):
        KMeans(3, device=NAMES).fit(on_strict(x))


@pytest.mark.parametrize("library", ["jax", "torch", "strict"])
def test_an_unknown_device_of_any_library_is_named(rows: Any, library: str) -> None:
    backend = make_backend(library)
    with pytest.raises(DeviceError, match=r"'gpu' is not known.*or a device of .*\("):
        KMeans(3, device="cpu,gpu").fit(backend.array(rows))


def test_what_cannot_be_done_is_refused(rows: Any, tmp_path: pathlib.Path) -> None:
    x = on_strict(rows)
    for device in ("cpu,cuda:1;", ["cpu", "gpu"], "cuda:0,auto"):
        with pytest.raises(DeviceError, match=r"is not known|cannot be used"):
            KMeans(3, device=device).fit(rows)
    for device in ([], ["cpu", 1], "cpu,,cpu"):
        with pytest.raises(ValueError, match="several devices are their words"):
            KMeans(3, device=device).fit(rows)
    with pytest.raises(DeviceError, match="names a device twice"):
        KMeans(3, device=[NAMES[0], "cpu"]).fit(x)
    stored = scipy.sparse.csr_array(rows)
    for given in (rows, stored, [rows]):
        with pytest.raises(DeviceError, match=r"\['cpu', 'cpu'\] names a device twice: cpu"):
            KMeans(3, device=["cpu", "cpu"]).fit(given)
    with pytest.raises(DeviceError, match=r"neither streams nor sparse rows"):
        KMeans(3, device=["cpu", "cuda:1"]).fit(stored)
    for device in ("gpu", ["gpu"]):
        with pytest.raises(ValueError, match=r"'gpu'.* is not known"):
            KMeans(3, device=device).fit(stored)
    with pytest.raises(DeviceError, match="several devices, and this is done on one"):
        kmeans_plusplus(rows, 3, device=["cpu", "cuda:1"])
    with pytest.raises(DeviceError, match=r"a device of array_api_strict .*device2"):
        KMeans(3, device="cpu,device1").fit(x)
    for other in (MiniBatchKMeans, FuzzyCMeans):
        with pytest.raises(
            Exception, match=r"device.*several devices|must be an instance of 'str'"
        ):
            other(3, device="cpu,cuda:1").fit(rows)
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(DeviceError, match="names several devices, and this is done on one"):
        KMeans(3, device="cpu,cuda:1").fit(tmp_path / "rows.npy")
