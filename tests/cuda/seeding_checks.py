"""What must hold of seeding on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from conftest import make_backend
from engine import opened, problem_of

from kmeans_xp import _exact as exact
from kmeans_xp import _init
from kmeans_xp import _primitives as p
from kmeans_xp._kernels.cuda import _seed
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._plusplus import plusplus
from kmeans_xp._stats import weigh


def seeding_case(kind: str, n: int, d: int, weighted: bool, seed: int) -> tuple[Any, Any]:
    """Rows among which draws, ties and ranges are hard; weights of which some are 0."""
    random = np.random.default_rng([n, d, seed])
    x = random.normal(size=(n, d))
    if kind == "lattice":
        x = random.integers(-2, 3, size=(n, d)) * 1.0
    if kind == "repeated":
        x = x[random.integers(0, n // 8 + 1, n)].astype(np.float32)
    if kind == "blobs":
        x = (x + 20 * random.normal(size=(5, d))[random.integers(0, 5, n)]).astype(np.float32)
    if kind in ("huge", "tiny"):
        x *= 1e200 if kind == "huge" else 1e-170
    if kind == "far row":
        x[n // 2] *= 1e9
    if kind == "mixed":
        x *= 10.0 ** random.integers(-150, 3, size=(n, 1))
    if not weighted:
        return x, None
    weight = random.exponential(size=n) * 10.0 ** random.integers(-9, 3, size=n)
    weight[random.random(n) < 0.2] = 0.0
    weight[0] = 1.0
    return x, weight


def check_seeding(kernel: CudaKernel, x: Any, weight: Any, k: int, seed: int, trials: int) -> None:
    """Rows of k-means++: those that NumPy's kernel picks."""
    numpy = make_backend("numpy")
    with opened(numpy):
        problem = problem_of(numpy, x, weight, k=k, first="float64", kernel="numpy")
        expected = plusplus(problem, k, seed, trials)
        problem.kernel = kernel
        assert plusplus(problem, k, seed, trials) == expected
        assert "accept_best" in kernel.launcher.launches


def check_steps(kernel: CudaKernel, x: Any, weight: Any, k: int, seed: int, trials: int) -> None:
    """What each step of k-means++ leaves on the device, every bit."""
    numpy = make_backend("numpy")
    with opened(numpy):
        problem = problem_of(numpy, x, weight, k=k, first="float64", kernel="numpy")
        weight = problem.source.spans(len(x))[0].weight
        seeding = _seed.Seeding(kernel.calls, problem, seed, k, trials)
        seeding.begin()
        closest, seeds = np.full(len(x), np.inf), np.zeros(len(x), np.int32)
        whole, up = np.zeros(len(x), np.int64), 1.0
        for step in range(k):
            if step:
                seeding.step(step)
            row = int(seeding.chosen[step])
            found = p.cross_distances(x, x[row : row + 1], problem.frame.scale, xp=np)[0]
            nearer = found < closest
            closest, seeds = np.where(nearer, found, closest), np.where(nearer, step, seeds)
            assert seeding._closest.tobytes() == closest.tobytes()
            assert seeding.seeds.tolist() == seeds.tolist()
            mass = weigh(closest, weight, xp=np)
            if step:
                # on the grid of the largest before
                gain = int((whole - np.rint(mass * up)).sum())
                assert int(seeding._gains[step].max()) == gain
            up = 2.0 ** (exact.LIMB_BITS - exact.exponent_above(float(mass.max())))
            whole = np.rint(mass * up).astype(np.int64)
            assert seeding._tops[step + 1] == mass.max()
            # as the next step begins
            seeding._count(step + 1, anew=step == 0)
            pieces = np.add.reduceat(whole, np.arange(0, len(x), seeding._size))
            assert seeding._totals.tolist() == pieces.tolist()


def check_oversampling(
    kernel: CudaKernel, x: Any, weight: Any, k: int, seed: int, block_rows: int
) -> None:
    """Rows of the rounds of k-means||, and the nearest of them where it is asked for."""
    numpy = make_backend("numpy")
    found = []
    with opened(numpy):
        for name in ("numpy", "cuda"):
            problem = problem_of(
                numpy, x, weight, k=k, first="float64", kernel="numpy", block_rows=block_rows
            )
            if name == "cuda":
                problem.kernel = kernel
                rows = kernel.oversample(problem, seed, 2.0 * k, _init.PARALLEL_ROUNDS)
            else:
                rows = _init._rounds(problem, 2.0 * k, seed)
            seeds = np.concatenate([block.state["seeds"] for block in problem.source.blocks])
            assert seeds.dtype == np.int32
            found.append((rows, seeds[slice(None) if weight is None else weight > 0.0].tolist()))
    assert found[0] == found[1]


def check_seeds(kernel: CudaKernel) -> None:
    """All of k-means++."""
    # squares that are powers of two, or below what float32 holds
    x = np.repeat(np.asarray([[0.0], [1.0], [1.0 + 2.0**-24], [3e-40]]), 75, axis=0)
    check_steps(kernel, np.concatenate([x, x[:1] + 8.0]), None, 5, 3, 2)
    for seed, (kind, d) in enumerate((("blobs", 3), ("lattice", 3), ("mixed", 33))):
        x, weight = seeding_case(kind, 520, d, seed != 1, seed)
        # of one dtype, which is compiled once
        check_steps(kernel, x.astype(np.float64), weight, 6, seed, 3)
    check_seeding(kernel, *seeding_case("lattice", 520, 1, False, 0), 5, 1, 4)
    # rows of no weight may lie anywhere
    x, weight = seeding_case("plain", 300, 3, True, 2)
    x[weight == 0.0] *= 1e250
    check_seeding(kernel, x, weight, 4, 1, 3)


def check_rounds(kernel: CudaKernel) -> None:
    """All of the rounds of k-means||."""
    for seed, (kind, d) in enumerate((("plain", 3), ("lattice", 3), ("mixed", 33))):
        x, weight = seeding_case(kind, 520, d, seed != 1, seed)
        check_oversampling(kernel, x, weight, 2, seed, 10_000)
