"""Every broken build fails the test that is named for it, for the reason it should; unbroken, these tests pass."""

from __future__ import annotations

import os
import re

import defects
import pytest
from runner import HERE, run_all

DEFECTS = defects.load()
UNBROKEN = "unbroken"


IS_WHOLE = os.environ.get("QUANTSTORE_BROKEN_BUILDS") == "all"
"""Whether to run the named tests unbroken, too; a run of all tests does that by itself."""


def job(name, tests, folder, **environment):
    options = [
        "-q",
        "--tb=short",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "-p",
        "broken_build",
        "--timeout=120",
        "-o",
        f"cache_dir={folder / name}",
    ]
    return {
        "name": name,
        "environment": environment,
        "arguments": [*options, f"--basetemp={folder / name}-files", *(f"tests/{one}" for one in tests)],
    }


@pytest.fixture(scope="module")
def reports(request, tmp_path_factory):
    """What the runs reported that this session asks for."""
    folder = tmp_path_factory.mktemp("broken")
    asked = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    wanted = [DEFECTS[name] for name in DEFECTS if name in asked]
    jobs = [job(one.name, [one.test], folder, QUANTSTORE_BROKEN=one.name) for one in wanted]
    tests = sorted({one.test for one in wanted})
    halves = [tests[half::2] for half in range(2) if tests[half::2]]
    if IS_WHOLE:
        jobs = [job(f"{UNBROKEN}-{number}", half, folder) for number, half in enumerate(halves)] + jobs
    return run_all(jobs, folder)


@pytest.mark.parametrize("name", DEFECTS)
def test_the_defect_is_found_by_its_test_for_its_reason(name, reports):
    code, report = reports[name]
    assert code == 1, (
        f"{DEFECTS[name].says}\nIts test {DEFECTS[name].test} did not fail but ended with {code}:\n{report}"
    )
    failures = report.partition("= FAILURES =")[2] + report.partition("= ERRORS =")[2]
    assert re.search(DEFECTS[name].reason, failures), f"not found: {DEFECTS[name].reason!r} in\n{report}"


@pytest.mark.skipif(
    not IS_WHOLE, reason="the run that this is part of shows it; QUANTSTORE_BROKEN_BUILDS=all repeats it"
)
def test_without_a_defect_the_same_tests_pass(reports):
    for name, (code, report) in reports.items():
        if name.startswith(UNBROKEN):
            assert code == 0, report


def test_the_package_knows_nothing_of_broken_builds():
    package = HERE.parents[1] / "quantstore"
    assert not [path for path in package.rglob("*.py") if "QUANTSTORE_BROKEN" in path.read_text()]
