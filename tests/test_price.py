"""When compiled loops are brought in: rent or buy."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

from kmeans_xp._kernels import Shape, _price
from kmeans_xp._kernels._meter import Meter
from kmeans_xp._kernels._price import Account

LOOPS = "_no_loops.of_this_name"


@pytest.fixture
def numba_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is installed and loaded, nothing is compiled, and nobody asked for it by hand."""
    monkeypatch.delenv("KMEANS_XP_NUMBA", raising=False)
    monkeypatch.setattr(_price, "is_compiled", lambda loops: False)
    monkeypatch.setitem(sys.modules, "numba", sys)


@pytest.mark.usefixtures("numba_at_hand")
def test_compiling_waits_until_it_would_have_paid() -> None:
    account = Account(LOOPS, 3.0)
    assert [account.pays("float32", 1.0) for _ in range(4)] == [False, False, True, True]
    # then numba is there, and other dtypes wait no longer
    assert account.pays("float64", 0.0)


@pytest.mark.usefixtures("numba_at_hand")
def test_loops_on_disk_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_price, "is_compiled", LOOPS.__eq__)
    account = Account(LOOPS, 3.0)
    assert [account.pays("float32", 0.03) for _ in range(3)] == [False, True, True]
    assert not Account("_other.loops", 3.0).pays("float32", 1.0)


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
    assert not meter.wants(Shape(10_000, 32, 100, "float32"), 1)
    assert meter.wants(Shape(1_000_000, 32, 1000, "float32"), 1)


@pytest.mark.parametrize("wish", ["0", "1"])
def test_a_wish_decides(monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    monkeypatch.setitem(sys.modules, "numba", sys)
    monkeypatch.setenv("KMEANS_XP_NUMBA", wish)
    account = Account(LOOPS, 3.0)
    assert [account.pays("float32", cost) for cost in (0.0, 100.0)] == [wish == "1"] * 2


def test_without_numba_there_are_no_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_price, "has_numba", lambda: False)
    for wish in ("", "1"):
        monkeypatch.setenv("KMEANS_XP_NUMBA", wish)
        assert not Account(LOOPS, 3.0).pays("float32", 100.0)
