"""Rows that a GPU has no room for: copied block by block while kernels run, with the same bits."""

from __future__ import annotations

import contextlib
import inspect
import pathlib
import re
import sys
import time
import types
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from late_copies import Clash, CUDARuntimeError, Gpu, on_gpu

from kmeans_xp import (
    DeviceMemoryError,
    KMeans,
    MiniBatchKMeans,
    _ahead,
    _device_rows,
    _feed,
    _streams,
    kmeans_plusplus,
)
from kmeans_xp._kernels import LEAST_ROWS, Shape
from kmeans_xp._memory import needed_bytes, passing_bytes
from kmeans_xp._readers import AtHand
from kmeans_xp._streams import StreamSource
from kmeans_xp._typing import Block
from kmeans_xp.cli import main

N, D, K = 700, 5, 6
BLOCK = 90
CUT = {"block_rows": BLOCK, "piece_rows": BLOCK, "threads": 1, "limit": 10**6}


def rows(dtype: str = "float32", n: int = N) -> Any:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, D)) + 4 * rng.integers(0, 3, size=(n, 1))).astype(dtype)


WEIGHT = np.random.default_rng(1).integers(0, 3, N).astype(np.float64)


def small_blocks(patch: pytest.MonkeyPatch, block: int = BLOCK, dtype: str = "float32") -> int:
    """Let a pass take so many rows at a time; the bytes of a row."""
    size = D * np.dtype(dtype).itemsize
    patch.setattr(_streams, "BLOCK_BYTES", block * size)
    return size


def gpu_for(held: int, block: int = BLOCK, dtype: str = "float32", n: int = N) -> Gpu:
    """A device with room for so many rows beside what a pass needs."""
    room = passing_bytes(Shape(n, D, K, dtype), block)
    size = D * np.dtype(dtype).itemsize
    return Gpu(room + (held + _device_rows.LANES * block) * size)


def fit(x: Any, weight: Any = None, **options: Any) -> KMeans:
    options = {"random_state": 3, "tol": 0.0} | options
    return KMeans(K, **options).fit(x, sample_weight=weight)


def bits(model: Any) -> tuple[Any, ...]:
    labels, centers = np.asarray(model.labels_), np.asarray(model.cluster_centers_)
    return labels.tobytes(), centers.tobytes(), model.inertia_, model.n_iter_


@pytest.mark.parametrize(("dtype", "weighted"), [("float32", False), ("float64", True)])
@pytest.mark.parametrize(("block", "held"), [(90, 0), (90, 180), (64, 512), (200, 200)])
def test_the_bits_of_rows_in_memory(
    block: int, held: int, weighted: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, weight = rows(dtype), WEIGHT if weighted else None
    plain = fit(x, weight)
    small_blocks(monkeypatch, block, dtype)
    gpu = gpu_for(held, block, dtype)
    with on_gpu(gpu):
        model = fit(x, weight, device="cuda")
        assert model.device_ == "cuda:0"
        assert bits(model) == bits(plain)
        assert (model.predict(x[::-1]) == plain.predict(x[::-1])).all()
        assert model.score(x, sample_weight=weight) == plain.score(x, sample_weight=weight)
        np.testing.assert_allclose(model.transform(x), plain.transform(x), rtol=1e-4)
    n_blocks = -(-N // block)
    part = f"{held // block} of {n_blocks} blocks held on cuda:0, the others"
    part = part if held else f"none of {n_blocks} blocks held on cuda:0, all"
    assert model.reading_ == f"rows of one array, {part} copied in each of {model.n_passes_} passes"
    assert model.n_passes_ > model.n_iter_
    assert (held in gpu.sizes) == (held > 0)


@pytest.mark.parametrize("columns", [1, D])
def test_a_search_has_the_same_bits(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one feature it is the optimum."""
    x = rows("float64")[:, :columns].copy()
    plain = fit(x, WEIGHT, search="auto")
    monkeypatch.setattr(_streams, "BLOCK_BYTES", BLOCK * x[0].nbytes)
    with on_gpu(Gpu(passing_bytes(Shape(N, columns, K, "float64"), BLOCK) + 4 * BLOCK)):
        model = fit(x, WEIGHT, search="auto", device="cuda")
        assert bits(model) == bits(plain)
    assert model.trials_ == plain.trials_
    assert len(model.trials_) > 1
    assert model.status_ == plain.status_
    assert ("the optimum" in model.status_) == (columns == 1)
    assert "copied in each of" in model.reading_


def test_emulated_kernels_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    x, options = rows(), {"init": "random", "max_iter": 5}
    plain = fit(x, WEIGHT, **options)
    small_blocks(monkeypatch, 180)
    gpu = gpu_for(180, 180)
    with on_gpu(gpu, emulated=True):
        model = fit(x, WEIGHT, device="cuda", **options)
        assert bits(model) == bits(plain)
        assert "1 of 4 blocks" in model.reading_
        gpu.failing = gpu.clock + 60
        model = fit(x, WEIGHT, device="cuda", **options)
        assert bits(model) == bits(plain)
        assert "none of 4 blocks" in model.reading_


def test_what_is_free() -> None:
    """What the pool keeps counts, and its limit."""
    gpu = Gpu(1000)
    with on_gpu(gpu):
        assert gpu.context.free_memory == 1000
        gpu.pool.update(free_bytes=50)
        assert gpu.context.free_memory == 1050
        gpu.pool.update(get_limit=600, used_bytes=100)
        assert gpu.context.free_memory == 500


def test_rows_that_fit_are_moved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, needed = rows(), needed_bytes(Shape(N, D, K, "float32"), LEAST_ROWS)
    small_blocks(monkeypatch)
    for spare, passes in ((0, None), (-1, 1)):
        with on_gpu(Gpu(needed + spare)):
            model = fit(x, device="cuda")
        assert model.n_passes_ is None if passes is None else model.n_passes_ >= passes
        assert bits(model) == bits(fit(x))


@pytest.mark.parametrize("held", [0, 600])
def test_a_run_begins_anew_where_memory_becomes_short(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any operation; then half of the rows are held, and blocks have half the rows."""
    x = rows(n=1500)
    plain = bits(fit(x, max_iter=4))
    small_blocks(monkeypatch, 300)
    with on_gpu(gpu := gpu_for(held, 300, n=1500)):
        model = fit(x, max_iter=4, device="cuda")
        assert f"{held // 300 or 'none'} of 5 blocks" in model.reading_
    for failing in np.linspace(gpu.clock // 9, gpu.clock - 1, 8).astype(int).tolist():
        gpu = gpu_for(held, 300, n=1500)
        gpu.failing = failing
        with on_gpu(gpu):
            model = fit(x, max_iter=4, device="cuda")
        assert bits(model) == plain
        assert f"{1 if held else 'none'} of 6 blocks" in model.reading_  # of 256 rows


def test_fewer_rows_are_held_where_less_is_free_than_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, size = rows(), small_blocks(monkeypatch, 64)
    gpu = gpu_for(448, 64)
    gpu.room = (112 + 2 * 64) * size
    with on_gpu(gpu):
        model = fit(x, device="cuda")
    assert bits(model) == bits(fit(x))
    # 448, then 224 and 112 rows, in blocks of as many rows as any GPU takes
    assert "of 11 blocks held" in model.reading_


def test_at_last_one_error_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    gpu = gpu_for(0)
    gpu.room = 0
    with on_gpu(gpu):
        with pytest.raises(DeviceMemoryError, match="needed, beside rows, which came block by"):
            fit(rows(), device="cuda")
        with pytest.raises(DeviceMemoryError, match="Out of memory allocating"):
            fit(rows()).set_params(device="cuda").predict(rows())


def test_too_little_memory_that_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(n=1500)
    small_blocks(monkeypatch, 300)
    gpu = gpu_for(0, 300, n=1500)
    gpu.trouble = [2]
    with on_gpu(gpu):
        model = fit(x, device="cuda")
        assert bits(model) == bits(fit(x))
        assert "none of 6 blocks" in model.reading_
        gpu.trouble = [719]
        with pytest.raises(CUDARuntimeError, match="719"):
            fit(x, device="cuda")


class Blocks:
    """An iterable that can be iterated again."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __iter__(self) -> Any:
        return (self.x[start : start + 77] for start in range(0, N, 77))


@pytest.mark.parametrize("held", [0, 180, N])
@pytest.mark.parametrize("kind", ["npy", "blocks"])
def test_files_and_blocks(
    kind: str, held: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = rows()
    np.save(tmp_path / "x.npy", x)
    stream = tmp_path / "x.npy" if kind == "npy" else Blocks(x)
    plain = fit(x)
    small_blocks(monkeypatch)
    with on_gpu(gpu_for(held)):
        model = fit(stream, device="cuda")
        assert bits(model) == bits(plain)
        assert (model.predict(stream) == plain.labels_).all()
        np.testing.assert_allclose(model.transform(stream), plain.transform(x), rtol=1e-4)
    part = {0: "none of 8", 180: "2 of 8", N: "held on cuda:0"}[held]
    assert f"a stream of rows, {part}" in model.reading_
    assert (model.n_passes_ == 1) == (held == N)


def test_rows_of_any_layout_library_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows()
    small_blocks(monkeypatch)
    plain = bits(fit(x))
    with on_gpu(gpu_for(90)):
        for other in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x.tolist()):
            wanted = plain if isinstance(other, np.ndarray) else bits(fit(other))
            assert bits(fit(other, device="cuda")) == wanted
    gpu = gpu_for(0)
    gpu.pin(x)
    with on_gpu(gpu):
        assert bits(fit(x, device="cuda")) == plain
    assert gpu.buffers == 0
    torch = make_backend("torch")
    with on_gpu(gpu_for(90)):
        model = fit(torch.array(x), device="cuda")
    assert isinstance(model.labels_, torch.xp.Tensor)
    assert bits(model) == plain


def test_other_estimators(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows()
    batches = MiniBatchKMeans(K, random_state=0, batch_size=100).fit(x)
    chosen = kmeans_plusplus(x, K, random_state=1)
    bad = x.copy()
    bad[421, 3] = np.nan
    small_blocks(monkeypatch)
    with on_gpu(gpu := gpu_for(90)):
        model = MiniBatchKMeans(K, random_state=0, batch_size=100, device="cuda").fit(x)
        assert bits(model) == bits(batches)
        found = kmeans_plusplus(x, K, random_state=1, device="cuda")
        with pytest.raises(ValueError, match=r"NaN.*row 421|row 421.*NaN"):
            fit(bad, device="cuda")
    assert 90 in gpu.sizes
    for mine, theirs in zip(found, chosen, strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_the_command_line_says_what_was_held(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", rows())
    small_blocks(monkeypatch)
    words = ["fit", str(tmp_path / "x.npy"), "--n-clusters", str(K), "--device", "cuda"]
    with on_gpu(gpu_for(180)):
        assert main(words) == 0
    out = capsys.readouterr().out
    said = r"\npasses +(\d+)\nreading +rows of one array, 2 of 8 .* each of \1 passes\n"
    assert re.search(said, out)


def test_blocks_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows()
    size = small_blocks(monkeypatch)
    gpu = Gpu(10**6)
    with on_gpu(gpu):
        context = gpu.context
        source = StreamSource(AtHand(x), None, None, context, **CUT)
        source.hold(10**6 - (180 + 200) * size)

        def some(block: Block) -> float:
            return float(np.sum(block.x[:, 0])) if block.number % 3 == 1 else 0.0

        def fails(block: Block) -> float:
            if block.number == 5:
                raise ZeroDivisionError
            return float(block.x[0, 0])

        for _ in range(2):
            with source.working():
                assert source.map(lambda block: float(block.x[-1, 0]))[-1] == x[-1, 0]
                with pytest.raises(ZeroDivisionError):
                    source.map(fails)
                found = source.map(some)
        assert source.map(fails, source.blocks[:3]) == x[:270:90, 0].tolist()
    assert found[1] == float(np.sum(x[90:180, 0]))
    assert found[2] == 0.0
    assert found[4] == float(np.sum(x[360:450, 0]))


FEED, AHEAD, HELD = (
    (_feed, _device_rows, "Feed"),
    (_ahead, _device_rows, "Staged"),
    (_device_rows, _streams, "DeviceRows"),
)
BUGS = {
    "none": (FEED, "A buffer is written again", "It is written again"),
    "kernels do not wait for the copy": (
        FEED,
        "feed.current.wait_event(self._landed)",
        "feed.event()",
    ),
    "a copy does not wait for kernels": (FEED, "self._copies.wait_event(after)", "pass"),
    "nobody says that kernels are done": (AHEAD, "lane.leave()", "pass"),
    "it is not said of the stream": (
        FEED,
        'all work on the rows."""\n        self._feed.current.record(self._left)',
        'all work on the rows."""',
    ),
    "memory of the pool is taken for free": (
        FEED,
        "at work\n        feed.current.record(self._left)",
        "at work",
    ),
    "a buffer is written too early": (FEED, "found.landed.synchronize()", "pass"),
    "nobody says that rows have landed": (FEED, "self._copies.record(landed)", "pass"),
    "nobody says that a buffer was copied": (FEED, "self._copies.record(buffer.landed)", "pass"),
    "memory goes while it is copied": (FEED, "self._copies.synchronize()", "pass"),
    "memory of blocks goes while it is copied": (HELD, "self.feed.close()", "pass"),
    "rows are held before they are there": (HELD, "self.feed.wait()", "pass"),
    "buffers are not pinned": (FEED, "if buffer is None and not", "if False and not"),
}


def give_up(x: Any) -> bool:
    """A pass that ends while the next block is copied, and with it the work."""
    gpu = gpu_for(0)
    with on_gpu(gpu):
        source = StreamSource(AtHand(x), None, None, gpu.context, **CUT)

        def fails(block: Block) -> None:
            assert float(block.x[0, 0]) == x[0, 0]
            end = time.monotonic() + 60.0
            while not gpu.is_copying and time.monotonic() < end:
                time.sleep(0.001)
            assert gpu.is_copying  # the next block, while this one is worked on
            raise ZeroDivisionError

        # a traceback that is kept would keep the memory
        with contextlib.suppress(ZeroDivisionError), source.working():
            source.map(fails)
    return True


@pytest.mark.parametrize("bug", BUGS)
def test_missing_waits_are_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line that makes an order between host, copies and kernels."""
    (module, user, name), before, after = BUGS[bug]
    text = inspect.getsource(module)
    assert text.count(before) == 1
    wrong = types.ModuleType(module.__name__)
    wrong.__package__ = "kmeans_xp"
    monkeypatch.setitem(sys.modules, module.__name__, wrong)
    exec(compile(text.replace(before, after), bug, "exec"), vars(wrong))
    monkeypatch.setattr(user, name, getattr(wrong, name))
    x = rows()
    plain = bits(fit(x, max_iter=3))
    small_blocks(monkeypatch)
    outcome = []
    for failing in (-1, 45):
        gpu = gpu_for(180)
        gpu.failing = failing
        try:
            with on_gpu(gpu):
                outcome.append(bits(fit(x, max_iter=3, device="cuda")) == plain)
        except (Clash, ValueError, AssertionError, RuntimeWarning):
            outcome.append(False)  # of rows that are not there yet
    try:
        outcome.append(give_up(x))
    except (Clash, AssertionError):
        outcome.append(False)
    assert all(outcome) == (bug == "none")
