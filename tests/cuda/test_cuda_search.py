"""The search on an emulated device: the CPU's bits."""

from __future__ import annotations

import pytest
from conftest import make_backend
from test_search import answer, standard


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_search_on_the_device_finds_the_same(weighted: bool) -> None:
    plan = {"first": "float32", "kernel": "cuda", "block_rows": 64}
    assert answer(make_backend("numpy"), "few", weighted, **plan) == standard("few", weighted)
