"""The command line's search: asked for in passes or seconds, and told of."""

from __future__ import annotations

import re

import pytest
from cli_tools import IRIS, report_of

from kmeans_xp import KMeans
from kmeans_xp.cli import main


def test_a_search_is_asked_for_and_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", "--example", "iris", "--n-clusters", "6", "--seed", "2", "--search", "auto")
    model = KMeans(6, random_state=2, search="auto").fit(IRIS.data)
    report = report_of(capsys, *words)
    assert (report["parameters"]["search"], report["inertia"]) == ("auto", model.inertia_)
    assert [trial["inertia"] for trial in report["trials"]] == [t.inertia for t in model.trials_]
    assert main(list(words)) == 0
    told = f"k-means++, then {len(model.trials_) - 1} runs of a search"
    assert told in capsys.readouterr().out
    assert main([*words[:-1], "2"]) == 0
    assert "k-means++, then 1 run of a search" in capsys.readouterr().out


def test_seconds_of_a_search_and_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", "--example", "iris", "--seed", "2", "--n-clusters", "3")
    report = report_of(capsys, *words, "--search", "0.2s")
    assert report["parameters"]["search"] == "0.2s"
    assert "another fit may end elsewhere" in report["status"]
    assert 0.0 < report["lower_bound"] <= report["inertia"]
    assert 1 <= report["n_best"] <= len(report["trials"])
    assert main([*words, "--search", "auto"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^reached by +\d+ of \d+ runs$", text, re.MULTILINE)
    assert re.search(r"^at least +\d+\.\d+ for any clustering$", text, re.MULTILINE)
    assert report_of(capsys, *words)["lower_bound"] is None
    for wrong in ("0s", "s", "1 min"):
        with pytest.raises(SystemExit, match="2"):
            main([*words, "--search", wrong])
        assert 'nor seconds such as "10s"' in capsys.readouterr().err
