"""Many problems of one shape: each gets what `k_means` gives it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._backend import Context
from .._init import seed_centers
from .._kernels import load_launcher
from .._outcome import Result, Rules, Status
from .._problem import training_problem
from .._random import Purpose, mix
from .._typing import Array
from ..exceptions import EmptyClusterError
from ._run import best_of, draw_seed

_ENDINGS = (Status.CONVERGED, Status.TOLERANCE, Status.MAX_ITER)  # numbers of `batch.cu`
_BLOCKS = "cuda, a thread block a problem"


@dataclass(frozen=True)
class Batch:
    """Checked problems and how they are to be solved."""

    x: Array  # (batch, n, d)
    weight: Array | None  # (batch, n)
    starts: Array | None  # (batch, k, d); None: by name
    context: Context
    n_clusters: int
    init: str
    runs: int
    rules: Rules
    seeds: Sequence[int]  # of 64 bits, one a problem

    @property
    def size(self) -> int:
        return int(self.x.shape[0])


@dataclass(frozen=True)
class Solved:
    """Arrays where the work happened, and plain numbers of each problem."""

    centers: Array  # (batch, k, d)
    labels: Array  # (batch, n)
    inertia: list[float]
    n_iter: list[int]
    status: list[Status | None]  # None: not yet solved
    n_distinct: list[int]
    kernel: list[str]

    def put(self, number: int, result: Result, kernel: str, /) -> None:
        """Write down what was found about a problem; the arrays can be written to."""
        self.centers[number, ...], self.labels[number, ...] = result.centers, result.labels
        self.inertia[number], self.n_iter[number] = result.inertia, result.n_iter
        self.status[number], self.n_distinct[number] = result.status, result.n_distinct
        self.kernel[number] = kernel


def random_states(seed: int, count: int, /) -> npt.NDArray[np.int64]:
    """The ``random_state`` of each problem: 32 bits, as `numpy.random.RandomState` takes them."""
    return np.asarray([mix(seed, Purpose.PROBLEM, b) >> 32 for b in range(count)], dtype=np.int64)


def seeds_of(states: npt.NDArray[np.int64], /) -> list[int]:
    """What `k_means` draws from each ``random_state``."""
    generator = np.random.RandomState(0)
    seeds = []
    for state in states.tolist():
        # the state of a new RandomState, in a hundredth of the time
        generator.seed(state)
        seeds.append(draw_seed(generator))
    return seeds


def solve(batch: Batch, /) -> Solved:
    """Solve every problem: on a GPU in a thread block each, what that leaves like a fit alone."""
    solved = _by_blocks(batch)
    if solved is not None:
        for number in [b for b, status in enumerate(solved.status) if status is None]:
            solved.put(number, *solve_alone(batch, number))
        return solved
    xp, alone = batch.context.xp, [solve_alone(batch, b) for b in range(batch.size)]
    results = [result for result, _ in alone]
    return Solved(
        xp.stack([result.centers for result in results]),
        xp.stack([result.labels for result in results]),
        [result.inertia for result in results],
        [result.n_iter for result in results],
        [result.status for result in results],
        [result.n_distinct for result in results],
        [kernel for _, kernel in alone],
    )


def _by_blocks(batch: Batch) -> Solved | None:
    """What thread blocks find, with no status where they leave it; None without them."""
    launcher = load_launcher(batch.context)
    if launcher is None:
        return None
    # as the kernels themselves: loaded where a GPU is
    from .._kernels.cuda import _batch as blocks

    _, n, d = (int(extent) for extent in batch.x.shape)
    room = blocks.room_for(
        n, d, batch.n_clusters, weighted=batch.weight is not None, fits=batch.size * batch.runs
    )
    if room is None or batch.init not in blocks.STARTS:
        return None
    rules = batch.rules
    ask = blocks.Ask(batch.n_clusters, batch.init, batch.runs, rules.max_iter, rules.tol)
    seeds = np.asarray(batch.seeds, dtype=np.int64)
    rows, xp = (batch.x, batch.weight, batch.starts), batch.context.xp
    try:
        found = blocks.fit_batch(*rows, seeds, ask, room=room, xp=xp, launcher=launcher)
    except MemoryError:
        return None  # not even for one problem; a fit alone says what it needs
    pairs = zip(found.ending.tolist(), found.is_left.tolist(), strict=True)
    return Solved(
        found.centers,
        found.labels,
        found.inertia.tolist(),
        found.n_iter.tolist(),
        [None if is_left else _ENDINGS[ending] for ending, is_left in pairs],
        found.n_distinct.tolist(),
        [_BLOCKS] * batch.size,
    )


def solve_alone(batch: Batch, number: int, /) -> tuple[Result, str]:
    """Solve one problem by the loop that every fit goes through; tell the kernel too."""
    weight = None if batch.weight is None else batch.weight[number, :]
    problem = training_problem(
        batch.x[number, :, :],
        weight,
        batch.context,
        batch.n_clusters,
        variance=batch.rules.tol > 0,
    )
    seed = batch.seeds[number]
    starts: Callable[[int], Array]
    if batch.starts is not None:
        given = batch.starts[number, :, :]

        def starts(run: int) -> Array:
            return given
    else:

        def starts(run: int) -> Array:
            run_seed = mix(seed, Purpose.RUN, run)
            return seed_centers(problem, batch.init, batch.n_clusters, run_seed)

    try:
        result = best_of(problem, starts, batch.runs, batch.rules, seed)
    except EmptyClusterError as error:
        raise EmptyClusterError(f"problem {number}: {error}") from error
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(f"interrupted at problem {number} of {batch.size}")
    return result, problem.plan.kernel
