"""The optimum in one dimension as a rule of the search: of rows away, too, and after a break."""

from __future__ import annotations

import pathlib
import random
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import problem_of
from scipy import sparse
from search_cases import Keys
from test_sources import moved_away

from kmeans_xp import KMeans, _line, _line_sums, load_model, save_model
from kmeans_xp._line import best_on_a_line
from kmeans_xp._outcome import Status

OPTIMUM = Status.OPTIMUM.value


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("losses", [None, random.Random(3)], ids=["shared", "lost"])
def test_sums_of_rows_that_are_away_are_those_of_all(
    losses: random.Random | None, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = np.random.default_rng(15)
    x = np.round(draws.normal(size=(5000, 1)), 2)
    x[::11] = -0.0
    weight = None
    if weighted:
        # no row of the first block counts
        weight = np.where(np.arange(5000) < 1300, 2.0**-70, draws.integers(0, 3, 5000) / 3.0)
    problem = problem_of(make_backend("numpy"), x, weight, k=3)
    here = _line_sums.Sums.of(problem)
    monkeypatch.setattr(_line_sums, "_BLOCK_ROWS", 300)
    away = moved_away(problem, losses)
    there = _line_sums.Sums.of(away)
    assert here is not None
    assert there is not None
    assert there.grid == here.grid
    assert there.limbs.tobytes() == here.limbs.tobytes()
    one, other = (best_on_a_line(p, 3) for p in (problem, away))
    assert one is not None
    assert other is not None
    assert (one.bound, one.proven) == (other.bound, other.proven)
    assert one.centers.tobytes() == other.centers.tobytes()


def as_file(x: Any, folder: pathlib.Path) -> str:
    np.save(folder / "x.npy", x)
    return str(folder / "x.npy")


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("k", [6, 30])
def test_a_stream_and_a_sparse_column_have_the_same_optimum(
    k: int, weighted: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above so many clusters of so many values both are searched."""
    monkeypatch.setattr(_line, "_MOST_CUTS", 20)
    monkeypatch.setattr(_line, "_ALL", 1 << 10)
    draws = np.random.default_rng(16)
    x = np.where(draws.random((2500, 1)) < 0.06, np.round(draws.normal(size=(2500, 1)), 3), 0.0)
    weight = draws.integers(0, 3, len(x)) / 3.0 if weighted else None
    options: dict[str, Any] = {"random_state": 0, "search": 30, "memory_limit": "400KB"}
    here = KMeans(k, **options).fit(x, sample_weight=weight)
    assert (here.status_ == OPTIMUM) == (k == 6)
    for source in (as_file(x, tmp_path), [x[:7], x[7:2000], x[2000:]], sparse.csr_array(x)):
        there = KMeans(k, **options).fit(source, sample_weight=weight)
        assert there.n_passes_ is not None
        assert there.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
        assert there.labels_.tobytes() == here.labels_.tobytes()
        for name in ("inertia_", "trials_", "status_", "history_", "lower_bound_", "n_best_"):
            assert getattr(there, name) == getattr(here, name)


def test_too_many_values_for_the_memory_are_refused(tmp_path: pathlib.Path) -> None:
    x = np.random.default_rng(17).normal(size=(3000, 1))
    path = as_file(x, tmp_path)
    KMeans(3, random_state=0, search="auto", memory_limit=400_000).fit(path)
    made: list[Any] = []
    few = KMeans(3, random_state=0, search="auto", memory_limit=300_000)
    few.set_params(callback=lambda *run: made.append(run))
    with pytest.raises(ValueError, match=r"memory_limit \(300000 bytes\).*search=None"):
        few.fit(path)
    assert not made  # before any run
    assert few.set_params(search=None).fit(path).status_ != OPTIMUM
    # as many as are left to swaps need no room
    swaps = KMeans(520, random_state=0, search=3, memory_limit=300_000, max_iter=2).fit(path)
    assert swaps.status_ != OPTIMUM


def test_it_is_the_rule_of_the_search() -> None:
    x = np.random.default_rng(13).normal(size=(500, 1))
    best = KMeans(7, random_state=0, search="auto").fit(x)
    for options in ({"search": 3}, {"search": "auto", "init": "random"}, {"search": "auto"}):
        model = KMeans(7, random_state=4, **options).fit(x)
        assert model.inertia_ == pytest.approx(best.inertia_, rel=1e-9)
        assert model.inertia_ <= KMeans(7, random_state=4, search=None).fit(x).inertia_
        assert model.n_best_ >= 1
    plain = KMeans(7, random_state=4, search="auto", init=x[:7]).fit(x)
    assert len(plain.trials_) == 1
    assert plain.status_ != OPTIMUM
    cut = KMeans(7, random_state=4, search="auto", max_iter=1, tol=0).fit(x)
    assert cut.inertia_ <= best.inertia_ * (1 + 1e-9)
    assert cut.status_ == Status.MAX_ITER.value


def test_a_break_leaves_the_best_so_far(tmp_path: Any) -> None:
    x = np.random.default_rng(14).normal(size=(500, 1))
    plain = KMeans(7, random_state=0, search=None).fit(x)
    model = KMeans(7, random_state=0, search="auto", callback=Keys(1, raises=True))
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    assert model.status_ == Status.INTERRUPTED.value
    assert model.inertia_ <= plain.inertia_
    np.testing.assert_array_equal(model.predict(x), model.labels_)
    stopped = KMeans(7, random_state=0, search="auto", callback=Keys(1, raises=False)).fit(x)
    assert stopped.inertia_ <= plain.inertia_
    whole = KMeans(7, random_state=0, search="auto").fit(x)
    save_model(whole, tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").status_ == OPTIMUM
