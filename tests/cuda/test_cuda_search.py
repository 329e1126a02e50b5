"""The search on an emulated device: the CPU's bits."""

from __future__ import annotations

import pytest
import test_exchange
from conftest import make_backend
from search_cases import answer, standard
from test_cuda_memory import Tight, X, bits, routed

from kmeans_xp import KMeans


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_a_search_on_the_device_finds_the_same(weighted: bool) -> None:
    plan = {"first": "float32", "kernel": "cuda", "block_rows": 64}
    assert answer(make_backend("numpy"), "few", weighted, **plan) == standard("few", weighted)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_device_finds_the_same_rows_that_pay_elsewhere(weighted: bool) -> None:
    numpy, plan = make_backend("numpy"), {"first": "float32", "kernel": "cuda", "block_rows": 97}
    found = test_exchange.looked(numpy, "few_pay", weighted, **plan)[3:]
    expected = test_exchange.looked(numpy, "few_pay", weighted)[3:]
    assert expected[0] is not None
    assert test_exchange.bits(numpy, *found) == test_exchange.bits(numpy, *expected)


def test_a_search_begins_anew_where_memory_becomes_short(monkeypatch: pytest.MonkeyPatch) -> None:
    x = X[:300]
    plain = KMeans(7, random_state=4, search=None).fit(x)
    model = KMeans(7, random_state=4, search=12).fit(x)
    launcher = Tight()
    routed(monkeypatch, launcher)
    launcher.failing = most = 1 << 20
    assert bits(KMeans(7, random_state=4, search=None).fit(x)) == bits(plain)
    before = most - launcher.failing
    launcher.failing = most
    assert bits(KMeans(7, random_state=4, search=12).fit(x)) == bits(model)
    whole = most - launcher.failing
    for part in (0.1, 0.25, 0.5, 0.8):
        launcher.failing, launcher.refused = before + int(part * (whole - before)), 0
        again = KMeans(7, random_state=4, search=12).fit(x)
        assert launcher.refused == 1
        assert (bits(again), again.trials_) == (bits(model), model.trials_)
