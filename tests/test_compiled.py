"""Compiled code on disk: it is used again, and never beside sources that it was not made from."""

from __future__ import annotations

import pathlib

import pytest

pytest.importorskip("numba", reason="numba is not installed")

from kmeans_xp._kernels import _loops


def _twice(value: float) -> float:
    return 2.0 * value


def _hits(monkeypatch: pytest.MonkeyPatch, stamp: object) -> int:
    """How much of a function compiled anew comes from the disk."""
    monkeypatch.setattr(_loops, "_STAMP", stamp)
    compiled = _loops.jit(_twice)
    assert compiled(3.0) == 6.0
    return sum(compiled.stats.cache_hits.values())


def test_compiled_code_belongs_to_the_sources_of_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """An edit of a module that the function's own file only imports makes it compile anew."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    before, after = _loops._stamp(), (*_loops._stamp(), ("another file", 0, 0))
    assert any(name.endswith("_tile.py") for name, _, _ in before)
    assert _hits(monkeypatch, before) == 0
    assert _hits(monkeypatch, before) == 1
    assert _hits(monkeypatch, after) == 0
    assert _hits(monkeypatch, after) == 1
