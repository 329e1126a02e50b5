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
    count = len(model.trials_)
    fall = 1.0 - model.inertia_ / model.trials_[0].inertia
    told = f"{count - 1} more runs lowered the inertia by {100 * fall:.2f} %; "
    assert report["search"] == told + f"{model.n_best_} of {count} in all ended as low"
    assert f"\nsearch      {report['search']}\n" in capsys.readouterr().out
    assert main([*words[:-1], "2"]) == 0
    assert "\nsearch      1 more run " in capsys.readouterr().out


def test_it_is_on_unless_it_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", "--example", "iris", "--n-clusters", "6", "--seed", "2")
    report = report_of(capsys, *words)
    assert report["parameters"]["search"] == "auto"
    assert report["inertia"] == KMeans(6, random_state=2).fit(IRIS.data).inertia_
    plain = KMeans(6, random_state=2, search=None).fit(IRIS.data)
    for off in ("off", "none"):
        report = report_of(capsys, *words, "--search", off)
        assert (report["parameters"]["search"], report["search"]) == (None, None)
        assert report["inertia"] == plain.inertia_
    for more, told in (("--n-init", "number of runs is given"), ("--max-iter", "not converge")):
        assert told in report_of(capsys, *words, more, "1")["search"]


def test_seconds_of_a_search_and_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", "--example", "iris", "--seed", "2", "--n-clusters", "3")
    report = report_of(capsys, *words, "--search", "0.2s")
    assert report["parameters"]["search"] == "0.2s"
    assert "another fit may end elsewhere" in report["status"]
    assert 0.0 < report["lower_bound"] <= report["inertia"]
    assert 1 <= report["n_best"] <= len(report["trials"])
    assert main([*words, "--search", "auto"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^search .* of \d+ in all ended as low$", text, re.MULTILINE)
    assert re.search(r"^at least +\d+\.\d+ for any clustering$", text, re.MULTILINE)
    assert report_of(capsys, *words, "--search", "off")["lower_bound"] is None
    for wrong in ("0s", "s", "1 min"):
        with pytest.raises(SystemExit, match="2"):
            main([*words, "--search", wrong])
        assert 'nor seconds such as "10s"' in capsys.readouterr().err
