"""Problems that thread blocks fit, on the emulated device: the bits of fits alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from batch_checks import check_batch, check_fits, check_surveys, light, problems
from cases import CASES
from emulator import Emulator

from kmeans_xp import k_means_batched
from kmeans_xp._kernels.cuda import _batch as blocks
from kmeans_xp.estimators import _batch_run

LEFT = {"huge", "tiny"}
"""Cases in which canonical distances have a scale."""


@pytest.fixture(scope="module")
def launcher() -> Emulator:
    return Emulator()


def test_all_starts(launcher: Emulator) -> None:
    check_fits(launcher)


def test_statistics(launcher: Emulator) -> None:
    check_surveys(launcher)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_hard_numbers(case: str, weighted: bool, launcher: Emulator) -> None:
    rows, _ = CASES[case]()
    rows = rows[np.random.default_rng(0).permutation(len(rows))[:160]].reshape(2, 80, -1)
    weight = light(2, 80) if weighted else None
    left = [0, 1] if case in LEFT else []
    check_batch(launcher, rows, 4, weight=weight, left=left)
    starts = np.stack([rows[0, :4], rows[1, :4]])
    if case != "repeated_rows":
        check_batch(launcher, rows, 4, weight=weight, starts=starts, left=left)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "d", "k"),
    [(1, 1, 1), (2, 1, 2), (9, 2, 9), (257, 1, 3), (40, 31, 5), (40, 32, 5), (33, 65, 2)],
)
def test_shapes(n: int, d: int, k: int, dtype: str, launcher: Emulator) -> None:
    x = problems(2, n, d, dtype)
    check_batch(launcher, x, k)
    check_batch(launcher, x, k, init="random", max_iter=None, tol=0.0)
    check_batch(launcher, x, k, starts=x[:, :k].copy(), max_iter=1)


def test_rows_at_any_strides(launcher: Emulator) -> None:
    x, weight = problems(2, 90, 6)[:, ::3, ::-2], light(4, 30)[::2]
    check_batch(launcher, x, 3, weight=weight)
    check_batch(launcher, np.asfortranarray(x), 3, weight=weight, init="random")


def test_rows_without_weight_may_lie_anywhere(launcher: Emulator) -> None:
    x, weight = problems(2, 60, 3), np.ones((2, 60))
    x[:, 7:12], weight[:, 7:12] = 1e300, 0.0
    x[:, 13] = -1e155
    weight[:, 13] = 0.0
    for init in ("k-means++", "random"):
        check_batch(launcher, x, 4, weight=weight, init=init)
    # powers of two and of ten that weights may be
    for factor in (1e-300, 1e300, 3.0):
        check_batch(launcher, x, 4, weight=weight * factor)


def test_subnormal_numbers(launcher: Emulator) -> None:
    x = (np.random.default_rng(0).integers(-99, 99, size=(2, 50, 2)) * 2.0**-149).astype("f4")
    assert 0 < abs(x).max() < np.finfo("f4").tiny
    check_batch(launcher, x, 3)
    check_batch(launcher, x, 3, init="random", weight=light(2, 50))


def test_numbers_that_take_too_many_limbs_are_left(launcher: Emulator) -> None:
    x = problems(3, 50, 2)
    x[1, 3, 1] = 1e-30
    check_batch(launcher, x, 3, left=[1])
    weight = np.ones((3, 50))
    weight[2, 4] = 1e-30
    check_batch(launcher, problems(3, 50, 2), 3, weight=weight, left=[2])


def test_tolerances_are_those_of_exact_sums(launcher: Emulator) -> None:
    """Variances whose sum over the features lies half way between two float64."""
    random = np.random.default_rng(5)
    for d in (2, 3, 17):
        x = random.integers(-(2**20), 2**20, size=(4, 64, d)) / 2.0**7
        check_batch(launcher, x, 3, tol=1e-2)


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Route NumPy arrays as CuPy's, to an emulated device."""
    launcher = Emulator()
    monkeypatch.setattr(_batch_run, "load_launcher", lambda context: launcher)
    return launcher


@pytest.mark.parametrize("scratch", [1 << 30, 1])
def test_the_function(scratch: int, routed: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems that blocks solve and problems that they leave, in one group and in several."""
    monkeypatch.setattr(blocks, "_MOST_SCRATCH", scratch)
    x, weight = problems(4, 60, 3, "float32"), light(1, 60)[0]
    x[2] *= np.float32(1e-38)
    x[2] *= np.float32(1e-5)
    x[1, 5:] = x[1, :1]
    options: dict[str, Any] = {"sample_weight": weight, "n_init": 2, "random_state": 7}
    alone: list[int] = []
    solve_alone = _batch_run.solve_alone

    def watched(batch: Any, number: int) -> Any:
        alone.append(number)
        return solve_alone(batch, number)

    monkeypatch.setattr(_batch_run, "solve_alone", watched)
    with pytest.warns(Warning, match="the first is problem 1"):
        found = k_means_batched(x, 6, **options)
    left = list(alone)
    assert left[0] == 1
    assert 3 not in left
    assert routed.launches == ["survey_batch", "fit_batch"] * (1 if scratch > 1 else 4)
    monkeypatch.setattr(_batch_run, "load_launcher", lambda context: None)
    with pytest.warns(Warning, match="the first is problem 1"):
        wanted = k_means_batched(x, 6, **options)
    for mine, theirs in zip(found[:-1], wanted[:-1], strict=True):
        assert mine.tobytes() == theirs.tobytes() if hasattr(mine, "tobytes") else mine == theirs
    assert set(wanted.kernel) == {"numpy"}
    blocks_name = "cuda, a thread block a problem"
    assert found.kernel == tuple("numpy" if b in left else blocks_name for b in range(4))


def test_what_has_no_room_in_a_block_is_fitted_alone(routed: Emulator) -> None:
    k_means_batched(problems(2, 20, 3), 2, init="k-means||", random_state=0)
    k_means_batched(problems(1, 300, 100), 30, random_state=0)
    assert routed.launches == []


def test_which_problems_have_room() -> None:
    for n, d, k, fits, weighted, limbs in (
        (8192, 2, 8, 1, False, 3),
        (8193, 2, 8, 99, False, None),
        (1000, 16, 16, 1, True, 3),
        (1000, 16, 17, 1, True, None),
        (1000, 16, 17, 2, True, 3),
        (1000, 64, 18, 99, False, 3),
        (1000, 64, 20, 99, False, 2),
        (1000, 64, 24, 99, False, None),
        (8192, 64, 16, 99, False, 3),
        (8192, 128, 10, 99, False, None),
        (100, 1300, 1, 99, False, 2),
    ):
        room = blocks.room_for(n, d, k, weighted=weighted, fits=fits)
        assert (room.limbs if room else None) == limbs, (n, d, k, fits)
        if room:
            assert room.shared <= 48 << 10
            # tickets of a start lie where the sums will
            assert room.columns >= 2
            # the sums of so many numbers of 40 bits are exact in float64
            assert n << 40 <= 1 << 53


class Short(Emulator):
    """Memory for no more than so many problems in a launch."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.refused = most, 0

    def launch(self, unit: Any, name: str, grid: int, *rest: Any) -> None:
        if name == "fit_batch" and grid > self.most:
            self.refused += 1
            raise MemoryError(f"Out of memory for {grid} problems")
        super().launch(unit, name, grid, *rest)


@pytest.mark.parametrize(("most", "refused", "fits"), [(5, 0, 1), (2, 2, 3), (0, 4, 0)])
def test_fewer_problems_at_a_time_where_memory_is_short(
    most: int, refused: int, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = problems(5, 30, 3)
    plain = k_means_batched(x, 4, random_state=2)
    short = Short(most)
    monkeypatch.setattr(_batch_run, "load_launcher", lambda context: short)
    found = k_means_batched(x, 4, random_state=2)
    assert found.labels.tobytes() == plain.labels.tobytes()
    assert found.cluster_centers.tobytes() == plain.cluster_centers.tobytes()
    assert (short.refused, short.launches.count("fit_batch")) == (refused, fits)
