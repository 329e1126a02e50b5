"""The texts are true: examples run, commands are those that CI runs, links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import kmeans_xp
from kmeans_xp.cli import main

ROOT = pathlib.Path(__file__).parents[1]
TEXTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
OPTIONAL = ("torch", "jax", "cupy", "matplotlib")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(path: pathlib.Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [body for found, body in FENCE.findall(text) if found == language]


def needs(code: str) -> list[str]:
    """Optional libraries that an example imports."""
    return [name for name in OPTIONAL if re.search(rf"import {name}\b", code)]


def run_doctest(text: str, name: str, path: str) -> None:
    test = doctest.DocTestParser().get_doctest(text, {}, name, path, 0)
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert results.attempted > 0, f"no example in {name}"
    assert results.failed == 0, "".join(report)


BLOCKS = [(path, index) for path in TEXTS for index in range(len(fences(path, "python")))]


@pytest.mark.parametrize(
    ("path", "index"), BLOCKS, ids=[f"{path.name}-{index}" for path, index in BLOCKS]
)
def test_code_in_the_texts_runs(path: pathlib.Path, index: int) -> None:
    """A block may use the names of those before it that need no optional library."""
    blocks = fences(path, "python")
    for library in needs(blocks[index]):
        pytest.importorskip(library, reason=f"{library} is not installed")
    before = [block for block in blocks[:index] if not needs(block)]
    run_doctest("\n".join([*before, blocks[index]]), f"{path.name}[{index}]", str(path))


def modules() -> list[str]:
    found = pkgutil.walk_packages(kmeans_xp.__path__, "kmeans_xp.")
    return ["kmeans_xp", *(item.name for item in found if not item.name.endswith("__main__"))]


@pytest.mark.parametrize("name", modules())
def test_docstrings_run(name: str) -> None:
    if name.startswith("kmeans_xp.plot"):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # compiled loops, which nothing imports until they are wanted
        if error.name not in ("numba", "llvmlite") or "._kernels." not in name:
            raise
        pytest.skip("numba is not installed")
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs={}):
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_every_public_thing_has_an_example() -> None:
    without = []
    for name in set(kmeans_xp.__all__) - {"__version__"}:
        thing = getattr(kmeans_xp, name)
        is_plain = isinstance(thing, type) and thing.__module__.endswith(("_outcome", "exceptions"))
        if not is_plain and ">>>" not in (thing.__doc__ or ""):
            without.append(name)
    assert not sorted(without)


@pytest.mark.parametrize("venv", [".venv", ".venv-test"])
def test_ci_runs_the_commands_of_the_readme(venv: str) -> None:
    [command] = [
        block.strip() for block in fences(ROOT / "README.md", "sh") if f"-m venv {venv} " in block
    ]
    assert "\n" not in command
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()]
    assert command in lines


def test_ci_builds_the_pages_as_the_readme_does() -> None:
    [command] = [block for block in fences(ROOT / "README.md", "sh") if "sphinx-build" in block]
    script = (ROOT / "ci" / "docs.sh").read_text(encoding="utf-8")
    [options] = re.findall(r"bin/sphinx-build (.*) docs docs/_build/html", command)
    assert "-W" in options.split()
    assert f'"$venv/bin/sphinx-build" {options} "$venv/docs"' in script
    assert "--group docs ." in command
    assert "--group docs ." in script
    assert "bash ci/docs.sh" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_public_name_has_a_page() -> None:
    """The api page lists them, under the module that ``currentmodule`` names."""
    listed: list[str] = []
    module = ""
    for line in (ROOT / "docs" / "api.rst").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"   (\w+)$", line):
            listed.append(f"{module}.{found[1]}")
    modules = {name: getattr(kmeans_xp, name) for name in ("metrics", "plot", "prepare")}
    names = set(kmeans_xp.__all__) - {"__version__", *modules}
    public = {f"kmeans_xp.{name}" for name in names}
    for module, there in modules.items():
        public |= {f"kmeans_xp.{module}.{name}" for name in {*there.__all__} - names}
    assert sorted(listed) == sorted(public)


def test_the_report_in_the_readme_is_what_the_command_prints(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [command] = [block for block in fences(ROOT / "README.md", "sh") if "bin/kmeans-xp" in block]
    monkeypatch.chdir(tmp_path)
    # a process that has fitted so much else may have compiled loops at hand
    monkeypatch.setenv("KMEANS_XP_NUMBA", "0")
    assert main(command.split("bin/kmeans-xp ")[1].split()) == 0
    [shown] = fences(ROOT / "README.md", "text")
    assert without_time(capsys.readouterr().out) == without_time(shown)
    labels = (tmp_path / "iris-clusters" / "labels.csv").read_text(encoding="utf-8").split()
    assert len(labels) == 151


def without_time(report: str) -> list[str]:
    return [line for line in report.splitlines() if not line.startswith("time ")]


@pytest.mark.parametrize("path", [*TEXTS, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_links_lead_to_files(path: pathlib.Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    missing = [
        link
        for link in links
        if not link.startswith("https://") and not (path.parent / link).exists()
    ]
    assert not missing


@pytest.mark.parametrize(
    ("command", "option"), [("fit", "--n-clusters"), ("elbow", "--seed"), ("plot", "--kind")]
)
def test_every_option_of_the_page_exists(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    [table] = re.findall(rf"^\| option of `{command}` \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
    options = set(re.findall(r"`(--[a-z-]+)", table))
    assert option in options
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert options - set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) == set()
