"""What is measured on a GPU.  Sections write to their record as results come, and keep to a time.

``gpu`` is a `Gpu`; whatever has the same methods will do, so that tests run these lines on a CPU.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from _data import Cell, blobs, uniform
from _gpu_kit import Gpu, Keeper, Record, rows_of, timed, waited
from _gpu_peers import GPU_PEERS, flash_pass
from _gpu_streams import streams
from _gpu_sums import WORKS, how_it_adds
from _turns import Options, run_mode, table

__all__ = ["Gpu", "Keeper", "streams"]
PRODUCTS = ("float32", "tf32", "3xtf32", "float16")
GROUPED = ("tf32 wgmma", "3xtf32 wgmma", "float16 wgmma")


def matmul_rate(dtype: str, gpu: Any, size: int = 8192) -> Record:
    """TFLOP/s of the library's product of square matrices."""
    square = gpu.xp.random.default_rng(0).standard_normal((size, size), dtype="float32")
    square = square.astype(dtype)  # numbers alike would be multiplied faster
    found = timed(lambda: gpu.xp.matmul(square, square), gpu)
    return found | {"size": size, "TFLOP/s": 2 * size**3 / found["ms"] / 1e9}


def limits(keeper: Keeper, gpu: Any, *, values: int = 1 << 28, size: int = 8192) -> None:
    """What the card can do: copies of memory, and products in half precision and TF32."""
    keeper.record["card"] = _card()
    source = gpu.xp.random.default_rng(0).random(values, dtype="float32")
    target = gpu.xp.empty_like(source)

    def copy() -> None:
        target[...] = source

    found = timed(copy, gpu)
    keeper.record["copy"] = found | {"GB/s": 2 * source.nbytes / found["ms"] / 1e6}
    keeper.save()
    keeper.record["float16"] = matmul_rate("float16", gpu, size)
    keeper.save()
    # read before the first product of this dtype in a process
    os.environ["CUPY_TF32"] = "1"
    keeper.record["tf32"] = matmul_rate("float32", gpu, size)
    keeper.save()


def _card() -> str | None:
    names = "name,driver_version,clocks.sm,clocks.max.sm,power.limit,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={names},utilization.gpu,memory.used", "--format=csv"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def sums(keeper: Keeper, gpu: Any) -> None:
    """How tensor cores add up, which the bound of their labels counts on."""
    for work in WORKS:
        keeper.record[work] = how_it_adds(work, gpu)
        keeper.save()


PASSES = (
    ("uniform", 1_000_000, 128, 1024),
    ("uniform", 1_000_000, 128, 4096),
    ("blobs", 1_000_000, 128, 1024),
    ("uniform", 8_000_000, 128, 64),
    ("uniform", 8_000_000, 128, 8),
    ("uniform", 16_000_000, 16, 16),
    ("uniform", 8_000_000, 128, 1024),
    ("uniform", 8_000_000, 128, 4096),
)


def passes(
    keeper: Keeper, gpu: Any, cases: Sequence[tuple[str, int, int, int]] = PASSES, size: int = 8192
) -> None:
    """One assignment of all rows: by each product alone, and with exact labels."""
    if keeper.has_time("matmul float32"):
        keeper.record["float32"] = matmul_rate("float32", gpu, size)
    for kind, n, d, k in cases:
        if keeper.has_time(f"{kind} {n} x {d}, k={k}"):
            gpu.release()
            keeper.add("cases", one_pass(rows_of(kind, n, d, k, gpu), k, gpu) | {"rows": kind})


def one_pass(x: Any, k: int, gpu: Any) -> Record:
    """Times of a pass over x with its first k rows as centers."""
    from kmeans_xp._assign import relabel
    from kmeans_xp._backend import context_of
    from kmeans_xp._problem import training_problem

    (n, d), context = x.shape, context_of(x)
    flops, size = 2 * n * k * d, x.nbytes + 5 * n  # labels and marks are written
    with context.scope():
        problem = training_problem(x, None, context, k)
        problem.cover(x[:k])
        nearest = problem.nearest_to(x[:k])
        found: Record = {"n": n, "d": d, "k": k, "products": {}}
        is_hopper = problem.kernel.launcher.capability == 90
        for work in (*PRODUCTS, *(GROUPED if is_hopper else ())):
            times = timed(lambda work=work: _by_product(problem, nearest, work), gpu)
            left = sum(int(count[0]) for count in _by_product(problem, nearest, work))
            rates = {"TFLOP/s": flops / times["ms"] / 1e9, "GB/s": size / times["ms"] / 1e6}
            found["products"][work] = times | rates | {"share of rows open": left / n}
        times = timed(lambda: relabel(problem, nearest), gpu)
        rates = {"TFLOP/s": flops / times["ms"] / 1e9, "GB/s": size / times["ms"] / 1e6}
        by = problem.kernel.products(nearest)
        more = times["ms"] - found["products"][by[0]]["ms"] if by[0] in found["products"] else None
        found["exact labels"] = times | rates | {"products": list(by), "ms over the first": more}
    found["flash-kmeans"] = flash_pass(x, k, gpu)
    return found | {"flops a byte": flops / size}


def _by_product(problem: Any, nearest: Any, work: str) -> list[Any]:
    """Launch a pass by one product; how many rows it leaves open, block by block."""
    from kmeans_xp._kernels.cuda._calls import Picked

    xp, counts = problem.context.xp, []
    for block in problem.source.blocks:
        labels = xp.empty(block.n_rows, dtype=xp.int32)
        is_open = xp.empty(block.n_rows, dtype=xp.bool)
        left = Picked.none(block.x, xp=xp)
        problem.kernel.calls.score(block.x, nearest, work, labels, is_open=is_open, left=left)
        counts.append(left.count)
    return counts


SMALL = (("blobs", 100_000, 16, 8, 5.0), ("blobs", 10_000, 16, 16, None))


def small(
    keeper: Keeper,
    gpu: Any,
    cases: Sequence[tuple[str, int, int, int, float | None]] = SMALL,
    rounds: int = 15,
) -> None:
    """Whole fits that last milliseconds, by the wall's clock, after warm-up."""
    from kmeans_xp import KMeans

    for kind, n, d, k, target in cases:
        if not keeper.has_time(f"{n} x {d}, k={k}"):
            continue
        x = rows_of(kind, n, d, k, gpu)
        starts = {"default": {"search": None}, "given rows": {"init": x[:k], "n_init": 1}}
        for name, options in starts.items():
            times = []
            for number in range(-3, rounds):
                model = KMeans(k, random_state=0, **options)
                gpu.wait()
                began = time.perf_counter()
                model.fit(x)
                gpu.wait()
                if number >= 0:  # before, kernels are compiled and the pool fills
                    times.append(1e3 * (time.perf_counter() - began))
            keeper.add(
                "fits",
                {
                    "n": n, "d": d, "k": k, "rows": kind, "start": name,
                    "ms": statistics.median(times), "ms by round": times, "target ms": target,
                    "iterations": model.n_iter_, "inertia": model.inertia_,
                    "kernel": model.kernel_,
                },
            )  # fmt: skip


BATCHES = ((1000, 512, 16, 8), (10_000, 100, 4, 4))
_ALONE = 10  # problems that are fitted one by one
_BLOCKS = "cuda, a thread block a problem"


def batches(
    keeper: Keeper,
    gpu: Any,
    cases: Sequence[tuple[int, int, int, int]] = BATCHES,
    rounds: int = 5,
) -> None:
    """Many small problems at once, beside a few of them one by one; by the wall's clock."""
    from kmeans_xp import k_means, k_means_batched

    for count, n, d, k in cases:
        if not keeper.has_time(f"{count} of {n} x {d}, k={k}"):
            continue
        x = rows_of("blobs", count * n, d, k, gpu).reshape(count, n, d)
        few = x[:_ALONE]

        def alone(few: Any = few, k: int = k) -> None:
            for rows in few:
                k_means(rows, k, random_state=0)

        def at_once(x: Any = x, k: int = k) -> Any:
            return k_means_batched(x, k, random_state=0)

        began = time.perf_counter()
        found = at_once()  # the first compiles kernels
        gpu.wait()
        first = 1e3 * (time.perf_counter() - began)
        keeper.add(
            "batches",
            {
                "batch": count, "n": n, "d": d, "k": k,
                "first ms": first,
                "left to fits alone": len(found.kernel) - found.kernel.count(_BLOCKS),
                "ms": waited(at_once, gpu, rounds),
                "ms a problem alone": waited(alone, gpu, rounds) / len(few),
                "iterations": float(found.n_iter.mean()), "inertia": float(found.inertia.sum()),
            },
        )  # fmt: skip


SEEDINGS = (
    ("uniform", 100_000, 32, 1000),
    ("blobs", 1_000_000, 128, 256),
    ("uniform", 1_000_000, 128, 256),
)


def seeding(
    keeper: Keeper, gpu: Any, cases: Sequence[tuple[str, int, int, int]] = SEEDINGS
) -> None:
    """Starts alone: k-means++ and k-means||."""
    from kmeans_xp._backend import context_of
    from kmeans_xp._init import seed_centers
    from kmeans_xp._problem import training_problem

    for kind, n, d, k in cases:
        if not keeper.has_time(f"{n} x {d}, k={k}"):
            continue
        x = rows_of(kind, n, d, k, gpu)
        context = context_of(x)
        for name in ("k-means++", "k-means||"):
            with context.scope():
                problem = training_problem(x, None, context, k)
                times = []
                for _ in range(3):
                    gpu.wait()
                    began = time.perf_counter()
                    seed_centers(problem, name, k, 0)
                    gpu.wait()
                    times.append(time.perf_counter() - began)
            facts = {"n": n, "d": d, "k": k, "rows": kind, "start": name}
            keeper.add("starts", facts | {"seconds": min(times[1:]), "first seconds": times[0]})


MEMORY = (("uniform", 1_000_000, 128, 1024), ("uniform", 8_000_000, 128, 1024))


def memory(keeper: Keeper, gpu: Any, cases: Sequence[tuple[str, int, int, int]] = MEMORY) -> None:
    """The most device memory of a fit, beside the target and what the library says it needs."""
    from kmeans_xp import KMeans
    from kmeans_xp._kernels import Shape, select
    from kmeans_xp._memory import needed_bytes

    for kind, n, d, k in cases:
        if not keeper.has_time(f"{n} x {d}, k={k}"):
            continue
        x = None  # goes before the next one comes
        gpu.release()
        x = rows_of(kind, n, d, k, gpu)
        gpu.release()
        KMeans(k, n_init=1, max_iter=3, init=x[:k], tol=0).fit(x)
        gpu.wait()
        shape = Shape(n, d, k, "float32")
        plan = select(shape, backend="cupy", threads=1)
        keeper.add(
            "fits",
            {
                "n": n, "d": d, "k": k, "data bytes": x.nbytes, "peak bytes": gpu.taken(),
                "target bytes": int(1.6 * x.nbytes) + (256 << 20),
                "said to be needed": needed_bytes(shape, plan.block_rows),
            },
        )  # fmt: skip


FITS = (
    Cell("blobs", blobs, 500_000, 64, 256, "float32", "rows", 10, max_iter=100),
    Cell("uniform", uniform, 300_000, 32, 512, "float32", "rows", 10, max_iter=60),
    Cell("blobs", blobs, 1_000_000, 128, 1024, "float32", "rows", 10, max_iter=50),
)


def fits(
    keeper: Keeper,
    gpu: Any,
    cells: Sequence[Cell] = FITS,
    peers: Sequence[Any] = GPU_PEERS,
) -> None:
    """To convergence, from the same rows, beside the libraries that are installed.

    Each has a process of its own, with a context of its own on the device.
    """
    gpu.release()
    for cell in cells:
        if not keeper.has_time(cell.name):
            continue
        options = Options(rounds=3, seconds=4.0, limit=min(30.0, keeper.left()))
        with table(cell, peers, options) as found:
            results = run_mode(found, "convergence", options)
        keeper.record.setdefault("cells", {})[cell.name] = results
        keeper.save()
