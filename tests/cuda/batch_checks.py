"""What must hold of problems that thread blocks fit, and bugs that must not pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmeans_xp._backend import numpy_context
from kmeans_xp._distances import Scale
from kmeans_xp._kernels.cuda import _batch as blocks
from kmeans_xp._kernels.cuda._source import Launcher
from kmeans_xp._outcome import Rules, Status
from kmeans_xp._problem import training_problem
from kmeans_xp.estimators._batch_run import Batch, solve_alone

BUGS = [
    ("batch.cu", "if (found < best)", "if (found <= best)"),
    (
        "batch.cu",
        "terms[i] = __dadd_rn(terms[i], terms[HALF + i]);",
        "terms[i] = __dadd_rn(terms[i], terms[WIDTH - 1 - i]);",
    ),
    ("batch.cu", "lanes > 1 ? __shfl_sync(WHOLE_WARP, label, 0) : label", "label"),
    ("batch.cu", "old < 0 ? nullptr : sums + old * columns()", "nullptr"),
    ("batch.cu", "changed += !weight || weight[row] > 0.0;", "changed++;"),
    ("batch.cu", "empty = 1;", "empty = 0;"),
    (
        "batch.cu",
        "const i64 half = (width + 1) / 2;",
        "const i64 half = width / 2;",
    ),
    ("batch.cu", "if (trial == 0 || left < least)", "if (trial == 0 || left <= least)"),
    ("batch.cu", "if (lottery.total == 0) return false;\n    for (int trial", "for (int trial"),
    ("batch.cu", "mixed(mixed(state, step), trial)", "mixed(mixed(state, trial), step)"),
    ("batch.cu", "if (left < 0 || left >= own) return;", "if (left >= own) return;"),
    ("batch.cu", "if (other < warp) before", "if (other <= warp) before"),
    (
        "batch.cu",
        "    __syncthreads();\n    for (int trial = 0; trial < trials; trial++) fit.load",
        "    for (int trial = 0; trial < trials; trial++) fit.load",
    ),
    ("batch.cu", "if (fit.labels[picked[i]]) continue;", ""),
    ("batch.cu", "if (ending != CONVERGED) fit.assign(false);", ""),
    ("batch.cu", "if (changed == 0) return CONVERGED;", ""),
    ("batch.cu", "into[at] = rounded_to(Row(), ", "into[at] = ("),
    (
        "batch.cu",
        "row < fit.n; row += THREADS) fit.labels[row] = -1;",
        "row < fit.n; row += THREADS) fit.labels[row] = 0;",
    ),
    ("batch.cu", "value = over_warp(value, join);\n", ""),
    (
        "batch.cu",
        "__dmul_rn(__dmul_rn(value, power(taken >> 1)), power(taken - (taken >> 1)))",
        "value",
    ),
    ("batch_survey.cu", "rest != 0.0 && limbs <= most", "rest != 0.0 && limbs < most"),
    ("batch_survey.cu", "if (rows.weight && !(rows.weight[row] > 0.0)) continue;", ""),
    (
        "batch_survey.cu",
        "__dmul_rn(__dmul_rn(given[row], once), again)",
        "__dmul_rn(given[row], once)",
    ),
    (
        "batch_survey.cu",
        "total = __dadd_rn(__dmul_rn((double)high, ONE_LIMB), (double)low);",
        "total = __dmul_rn((double)high, ONE_LIMB);",
    ),
    ("batch_survey.cu", "__dmul_rn(feature.down, weight_up)", "feature.down"),
    ("batch_survey.cu", "left = fabs(add_exactly(total, rest))", "left = 0.0"),
    (
        "batch_survey.cu",
        "limbs <= most_limbs && weight_limbs <= most_limbs",
        "weight_limbs <= most_limbs",
    ),
    ("batch_survey.cu", "limbs <= most_limbs && weight_limbs <= most_limbs", "limbs <= most_limbs"),
    ("batch_survey.cu", "half == 0.0 || half >= LEAST_HALF", "true"),
    ("batch_survey.cu", "&& wide <= MOST_HALF", ""),
]
"""In batch.cu and batch_survey.cu."""


def check_batch(
    launcher: Launcher,
    x: Any,
    k: int,
    *,
    init: str = "k-means++",
    weight: Any = None,
    starts: Any = None,
    runs: int = 1,
    max_iter: int | None = 12,
    tol: float = 1e-4,
    left: Sequence[int] = (),
) -> None:
    """Problems that blocks fit, against fits alone: every bit; and which they leave."""
    size, n, d = x.shape
    seeds = np.random.default_rng(n).integers(1 << 62, size=size)
    init = init if starts is None else "given"
    rules = Rules(max_iter, tol)
    batch = Batch(x, weight, starts, numpy_context(), k, init, runs, rules, seeds.tolist())
    room = blocks.room_for(n, d, k, weighted=weight is not None, fits=99)
    assert room is not None
    ask = blocks.Ask(k, init, runs, max_iter, tol)
    found = blocks.fit_batch(x, weight, starts, seeds, ask, room=room, xp=np, launcher=launcher)
    assert np.flatnonzero(found.is_left).tolist() == list(left)
    endings = Status.CONVERGED, Status.TOLERANCE, Status.MAX_ITER
    for b in sorted({*range(size)} - {*left}):
        with numpy_context().scope():
            alone, _ = solve_alone(batch, b)
        assert found.centers[b].tobytes() == alone.centers.tobytes(), b
        assert found.labels[b].tolist() == alone.labels.tolist(), b
        numbers = (found.inertia[b], found.n_iter[b], endings[found.ending[b]], found.n_distinct[b])
        assert numbers == (alone.inertia, alone.n_iter, alone.status, alone.n_distinct), b


def problems(size: int, n: int, d: int, dtype: str = "float64", seed: int = 0) -> Any:
    """Blobs that overlap."""
    random = np.random.default_rng([n, d, seed])
    x = random.normal(size=(size, n, d)) + 3 * random.integers(0, 4, size=(size, n, 1))
    return x.astype(dtype)


def light(size: int, n: int) -> Any:
    """Weights of very different size, some of them 0."""
    random = np.random.default_rng(n)
    return random.exponential(size=(size, n)) * 7.0 * (random.random((size, n)) > 0.2)


def check_survey(
    launcher: Launcher, x: Any, weight: Any, starts: Any = None, left: Sequence[int] = ()
) -> None:
    """Grids, tolerance and weights of problems, against the statistics of each alone."""
    _, n, d = x.shape
    room = blocks.room_for(n, d, 2, weighted=weight is not None, fits=99)
    assert room is not None
    ask = blocks.Ask(2, "k-means++", 1, None, 0.7)
    found = blocks.survey(x, weight, starts, ask, room=room, xp=np, launcher=launcher)
    assert np.flatnonzero(found.notes[:, 0]).tolist() == list(left)
    for b in sorted({*range(len(x))} - {*left}):
        mine = None if weight is None else weight[b]
        with numpy_context().scope():
            problem = training_problem(x[b], mine, numpy_context(), 2, variance=True)
        ledger, summary = problem.ledger, problem.summary
        up, limbs, weight_up, weight_limbs = ledger.scales
        wanted = [*up, *ledger._down, weight_up, 0.7 * summary.variance_in(Scale())]
        assert found.numbers[b].tolist() == wanted, b
        assert found.notes[b, 1:].tolist() == [limbs, weight_limbs, problem.weight_exponent], b
        if mine is not None:
            assert found.unit_weight is not None
            assert found.unit_weight[b].tolist() == problem.source._weight.tolist()


def check_surveys(launcher: Launcher) -> None:
    """Values, weights and ranges of every size that a block takes, and of those that it leaves."""
    for n, d in ((70, 3), (300, 17), (5, 40)):
        x, weight = problems(6, n, d, seed=1), light(6, n)
        check_survey(launcher, x, None)
        check_survey(launcher, x.astype("f4"), weight)
        weight[4] *= 1e-300
        x[1] += 1e6
        x[2] *= 1e-50
        x[3] = x[3].round()
        x[5], weight[5] = x[5] * 1e50, weight[5].round() + (np.arange(n) == 0)
        x[:, 2] = 1e200
        weight[:, 2] = 0.0
        check_survey(launcher, x, weight)
    x, weight = problems(8, 40, 3), np.ones((8, 40))
    x[1] *= 1e-80
    x[2] *= 1e80
    x[4] = 7.0
    x[3, 5, 1] = 1e-30
    weight[6, 5], x[6, 5] = 1e-30, 0.0
    check_survey(launcher, x, None, left=[1, 2, 3])
    starts = x[:, :2].copy()
    starts[1], starts[5, 1] = 1.0, 1e80
    check_survey(launcher, x, None, starts, left=[1, 2, 3, 5])
    check_survey(launcher, x, weight, left=[1, 2, 3, 6])


def check_fits(launcher: Launcher) -> None:
    """Every start, with and without weights, for few and for many features."""
    for d in (3, 34):
        for dtype, weight in (("float32", None), ("float64", light(3, 70))):
            x = problems(3, 70, d, dtype)
            for init in blocks.STARTS[1:3]:
                check_batch(launcher, x, 4, init=init, weight=weight, runs=2)
            check_batch(launcher, x, 4, starts=x[:, 5:9], weight=weight, tol=0.0)
    # decimals: which center is nearer hangs on the order of additions
    check_batch(launcher, problems(12, 70, 7).round() * 0.1, 9)
    x = problems(2, 300, 2)
    check_batch(launcher, x, 2, init="random-partition", weight=light(2, 300))
    check_batch(launcher, x, 2, init="random-partition", tol=0.02)
    starts = np.asarray([[[0.5, 0.5], [1.5, 0.5]], [[50.0, 50.0], [1.0, 1.0]]])
    check_batch(launcher, x.round(), 2, starts=starts, left=[1])
    x[:, 3:] = x[:, :1]
    check_batch(launcher, x, 3)
    check_batch(launcher, x, 4, left=[0, 1])
    x[:] = 3.0
    check_batch(launcher, x, 1)
    check_batch(launcher, x, 2, left=[0, 1])
    # candidates that gain alike, and runs that a tolerance ends
    x = np.random.default_rng(1).integers(-1, 2, size=(30, 25, 2)).astype(float)
    check_batch(launcher, x, 3, max_iter=2)
    # only the last center moves
    places = 100.0 * np.arange(5)
    x = np.tile(np.concatenate([places - 1, places + 1])[:, None], (6, 1, 1))
    check_batch(launcher, x, 5, starts=np.tile((places + (places > 300))[:, None], (6, 1, 1)))
    for tol in (0.3, 0.1, 0.03):
        check_batch(launcher, problems(8, 90, 2, seed=4), 7, tol=tol)
