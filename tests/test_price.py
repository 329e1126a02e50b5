"""When compiled loops are brought in: rent or buy."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any

import numpy as np
import pytest

from kmeans_xp._kernels import Kind, Shape, _price
from kmeans_xp._kernels._meter import Meter
from kmeans_xp._kernels._price import Account

LOOPS = "_no_loops.of_this_name"


WIDE, NARROW = Kind("float64", True), Kind("float32", True)


@pytest.fixture
def numba_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is installed and loaded, nothing is compiled, and nobody asked for it by hand."""
    monkeypatch.delenv("KMEANS_XP_NUMBA", raising=False)
    monkeypatch.setattr(_price, "is_compiled", lambda loops: False)
    monkeypatch.setitem(sys.modules, "numba", sys)


@pytest.mark.usefixtures("numba_at_hand")
def test_compiling_waits_until_it_would_have_paid() -> None:
    account = Account(LOOPS, 3.0)
    assert [account.pays(WIDE, 1.0) for _ in range(4)] == [False, False, True, True]
    assert account.pays(WIDE, 0.0)


@pytest.mark.usefixtures("numba_at_hand")
def test_each_kind_of_rows_pays_for_itself() -> None:
    """Else a fit would wait for a compiler that another dtype has paid for."""
    account = Account(LOOPS, 3.0)
    assert account.pays(WIDE, 3.0)
    for kind in (NARROW, Kind("float64", False)):
        assert [account.pays(kind, cost) for cost in (2.9, 0.2)] == [False, True]


@pytest.mark.usefixtures("numba_at_hand")
def test_loops_on_disk_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_price, "is_compiled", LOOPS.__eq__)
    monkeypatch.setattr(_price, "lies_ready", lambda loops, kind: kind == NARROW)
    account = Account(LOOPS, 3.0)
    assert [account.pays(NARROW, 0.03) for _ in range(3)] == [False, True, True]
    assert not account.pays(WIDE, 1.0)
    assert not Account("_other.loops", 3.0).pays(NARROW, 1.0)


def test_what_lies_ready_is_told_by_its_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    from kmeans_xp._kernels import _loops

    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    first = _loops.jit(_first)
    monkeypatch.setattr(_loops, "first", first, raising=False)
    assert not _price.lies_ready("_loops.first", WIDE)
    first(1, np.zeros((3, 2)))
    assert _price.lies_ready("_loops.first", WIDE)
    assert not _price.lies_ready("_loops.first", NARROW)
    assert not _price.lies_ready("_loops.first", Kind("float64", False))
    for rows in (np.zeros((2, 3)).T, np.zeros((4, 4), np.float32)[:, ::2]):
        assert not _price.lies_ready("_loops.first", Kind.of(rows))
        first(1, rows)
        assert _price.lies_ready("_loops.first", Kind.of(rows))


def _first(place: int, x: Any) -> Any:
    return x[0, place]


@pytest.mark.parametrize(
    "loops",
    [
        "_loops.score_rows",
        "_few_loops.label_rows",
        "_head_loops.score_heads",
        "_group_loops.score_groups",
        "_gain_loops.appraise_rows",
    ],
)
def test_the_loops_of_the_accounts_are_there(loops: str) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    # whatever lies on disk, the question has an answer
    assert _price.lies_ready(loops, WIDE) in (False, True)


def test_loops_of_earlier_sources_do_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not _price.is_compiled(LOOPS)
    (tmp_path / "folder").mkdir()
    index = tmp_path / "folder" / f"{LOOPS}-12.py311.nbi"
    index.touch()
    assert _price.is_compiled(LOOPS)
    os.utime(index, (1e9, 1e9))
    assert not _price.is_compiled(LOOPS)


@pytest.mark.usefixtures("numba_at_hand")
def test_fits_add_up() -> None:
    meter = Meter()
    assert not meter.wants(Shape(10_000, 32, 100, "float32"), 1, NARROW)
    assert meter.wants(Shape(1_000_000, 32, 1000, "float32"), 1, NARROW)
    # what is known to be ahead counts at once
    some = Shape(100_000, 16, 20, "float64")
    assert not Meter().wants(some, 1, NARROW)
    assert Meter().wants(some, 1, NARROW, fits=200)
    # few rows have loops of their own, which nothing has paid for yet
    few = Shape(1_000, 2, 10, "float32")
    fits = next(count for count in range(100_000) if meter.wants(few, 1, NARROW))
    assert fits > 1_000


@pytest.mark.parametrize("wish", ["0", "1"])
def test_a_wish_decides(monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    monkeypatch.setitem(sys.modules, "numba", sys)
    monkeypatch.setenv("KMEANS_XP_NUMBA", wish)
    account = Account(LOOPS, 3.0)
    assert [account.pays(NARROW, cost) for cost in (0.0, 100.0)] == [wish == "1"] * 2


def test_without_numba_there_are_no_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_price, "has_numba", lambda: False)
    for wish in ("", "1"):
        monkeypatch.setenv("KMEANS_XP_NUMBA", wish)
        assert not Account(LOOPS, 3.0).pays(NARROW, 100.0)
