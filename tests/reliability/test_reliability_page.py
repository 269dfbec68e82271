"""docs/reliability.md says what is so: each test and each broken build that it names is there, and none is left out."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()
ROWS = {
    cells[0]: cells
    for line in re.findall(r"^\| ([FP]\d+ \|.*) \|$", PAGE, re.MULTILINE)
    if len(cells := [cell.strip() for cell in line.split(" | ")]) == 6
}
NAMED = sorted(
    {(row, test) for row, cells in ROWS.items() for test in re.findall(r"`([\w/]+\.py(?:::\w+)+)", cells[2])}
)


@pytest.fixture(scope="module")
def broken_builds():
    sys.path.insert(0, str(TESTS / "broken"))
    try:
        import defects

        return defects.load()
    finally:
        sys.path.remove(str(TESTS / "broken"))


def functions(path):
    """Return the names of the functions in a file; a contract's tests are in the package."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


CONTRACTS = set().union(*map(functions, (TESTS.parent / "quantstore" / "testing").glob("*_contract.py")))


def test_every_failure_of_peers_has_a_row():
    assert [row for row in ROWS if row.startswith("F")] == [f"F{number}" for number in range(1, 27)]


@pytest.mark.parametrize(("row", "test"), NAMED)
def test_every_test_that_is_named_is_there(row, test):
    path, *within, name = test.split("::")
    assert name in (CONTRACTS if within else functions(TESTS / path)), f"{row} names {test}"


def test_every_row_names_a_test_and_a_broken_build(broken_builds):
    for row, cells in ROWS.items():
        assert "::" in cells[2], row
        named = re.findall(r"`(\w+)`", cells[3])
        assert named, row
        assert set(named) == {one.name for one in broken_builds.values() if one.failure == row}, row


def test_every_broken_build_is_found_by_a_test_that_its_row_names(broken_builds):
    assert len(broken_builds) >= 26
    for one in broken_builds.values():
        assert one.failure in ROWS, one.name
        assert one.test.partition("[")[0] in ROWS[one.failure][2], f"{one.name}: {one.test}"
