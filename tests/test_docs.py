"""What the documentation says is so: its examples run, and nothing is left out."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path

import pytest

import quantstore
from quantstore import api, errors
from quantstore.cli.app import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(text, language):
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


PAGES = [
    page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if "```python" in page.read_text()
]


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "_default", None)
    names = {"__name__": "example"}
    examples = blocks((ROOT / page).read_text(), "python")
    assert examples
    for number, code in enumerate(examples):
        exec(compile(code, f"{page}, example {number + 1}", "exec"), names)


def test_the_notebook_example_runs(tmp_path, monkeypatch):
    """The cells of the README's notebook example, in the store of its tour."""
    ipython = pytest.importorskip("IPython.core.interactiveshell")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "_default", None)
    shell = ipython.InteractiveShell.instance()
    names = {}
    for code in blocks(README, "python")[:1]:
        exec(code, names)
    quantstore.use(names["store"])
    shell.user_ns["symbol"] = "AAPL"
    cells = re.split(r"\n\n(?=%)", blocks(README, "text")[0])
    assert [cell.split()[0] for cell in cells] == ["%load_ext", "%%tierquery", "%tier"]
    try:
        for cell in cells:
            shell.run_cell(cell.strip()).raise_error()
        assert len(shell.user_ns["bars"]) == 3000
    finally:
        names["store"].close()
        shell.run_cell("%unload_ext quantstore")
        ipython.InteractiveShell.clear_instance()


def test_the_readme_has_two_commands_and_ci_runs_the_test_command():
    commands = blocks(README, "(?:sh|bash|console|shell)")
    assert len(commands) == 2
    demo, tests = (command.strip() for command in commands)
    assert "\n" not in demo + tests
    assert demo.endswith("quantstore demo")
    assert tests.endswith("-m pytest")
    assert tests in (ROOT / ".ci" / "run").read_text()


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_the_readme_names_nothing_planned_as_present():
    present, planned = README.split("Planned, not there yet:")
    for word in ("Redis", "PostgreSQL", "Timescale", "S3", "Delta", "polic", "roll-up", "widget"):
        assert word not in present, word
        assert word in planned, word


def test_every_command_and_option_is_documented():
    page = (ROOT / "docs" / "cli.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    whole = parser()
    (commands,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    shared = {option for action in whole._actions for option in action.option_strings}
    for option in shared:
        assert f"`{option}" in page, option
    assert set(sections) - {"Manners"} == set(commands.choices)
    for name, command in commands.choices.items():
        assert f"`quantstore {name}" in sections[name], name
        for action in command._actions:
            words = set(action.option_strings) - shared
            metavar = f" {action.metavar}" if action.metavar and words else ""
            for word in words:
                assert f"| `{word}{metavar}" in sections[name], f"{name} {word}"
        documented = set(re.findall(r"^\| `(--[\w-]+)", sections[name], re.MULTILINE))
        known = {option for action in command._actions for option in action.option_strings}
        assert documented <= known, name
        assert f"`quantstore {name}" in README or f"`{name}" in README, name


def test_every_error_and_code_is_documented():
    page = (ROOT / "docs" / "errors.md").read_text()
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)]
    named = {one.__name__ for one in classes if one.__module__ == errors.__name__}
    assert len(named) >= 14
    for one in classes:
        if issubclass(one, errors.QuantStoreError):
            assert re.search(rf"^\| `{one.__name__}` \| `{one.code}` \|", page, re.MULTILINE), one
        elif one.__module__ == errors.__name__:
            assert f"| `{one.__name__}` |" in page
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == named


def test_the_architecture_page_shows_the_layers_of_the_contract():
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [set(layer.split(" | ")) for contract in contracts for layer in contract.get("layers", ())]
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == layers


def test_the_glossary_has_the_words_of_the_vocabulary():
    page = (ROOT / "docs" / "glossary.md").read_text()
    for word in (
        "table",
        "partition",
        "segment",
        "copy",
        "tier",
        "store",
        "catalog",
        "version",
        "migrate",
        "sweep",
        "heat",
    ):
        assert re.search(rf"^\| {word} \|", page, re.MULTILINE), word


def test_the_changelog_has_an_unreleased_section():
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()
