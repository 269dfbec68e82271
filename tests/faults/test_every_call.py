"""Every verb with every fault at every call it makes: an error with the old state intact, or success; then a retry.

`QUANTSTORE_FAULTS=all` runs all cases instead of a seeded sample; `QUANTSTORE_FAULTS_SEED` chooses another one.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter

import pytest
from verbs import VERBS, WRITES, World, files_beyond_record, open_faulty, quiet, rows_of

import quantstore as qs
from quantstore.errors import QuantStoreError
from quantstore.testing.faults import Fault, Script, kinds_of

SEED = int(os.environ.get("QUANTSTORE_FAULTS_SEED", "20260105"))
RUNS_ALL = os.environ.get("QUANTSTORE_FAULTS") == "all"
SAMPLE = 3
"""Cases of each verb in a sample; the ambiguous replies of its first commits are always among them."""
_COMES_OUT_EITHER_WAY = {"stream", "migrate", "migrate split", "promote", "maintain"}
"""Verbs of several commits: what is done when one fails stands."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("faults"))


def prepare_of(name):
    return VERBS["pin"] if name == "release" else None


def cases_of(world, name):
    calls, after, result = world.calls(VERBS[name], prepare=prepare_of(name))
    numbers: Counter[str] = Counter()
    found = []
    for call in calls:
        numbers[call] += 1
        found += [(call, numbers[call], kind) for kind in kinds_of(call)]
    return found, after, result


def chosen(name, cases):
    if RUNS_ALL:
        return cases
    always = [case for case in cases if case[0] == "catalog.commit" and case[2] == "after"][:2]
    rest = [case for case in cases if case not in always]
    return [*always, *random.Random(f"{SEED} {name}").sample(rest, min(SAMPLE, len(rest)))]


def run_case(world, name, case, after, result):
    """Run one case; return what happened at the first try."""
    call, number, kind = case
    verb, prepare = VERBS[name], prepare_of(name)
    root = world.copy()
    script = Script()
    outcome = "success"
    with open_faulty(root, script) as store, quiet():
        if prepare is not None:
            prepare(store)
        done = Counter(script.calls)
        script._faults = {(call, done[call] + number): Fault(kind)}
        try:
            got = verb(store)
        except QuantStoreError as error:
            outcome = type(error).__name__
        assert script.fired, f"{case} never came"
        script.stop()
        now = rows_of(store)
        if outcome != "success":
            expected = [world.before, after] if name in _COMES_OUT_EITHER_WAY else [world.before]
            assert now in expected, f"{name}, {case}: {outcome} and other rows than before"
        elif name in {"read", "long read"}:
            assert got == result, f"{name}, {case}: a wrong answer"
        else:
            assert now == after, f"{name}, {case}: success and other rows than expected"
        if name != "stream" or now != after:  # what a stream is given twice is there twice
            verb(store)
        assert rows_of(store) == after, f"{name}, {case}: a retry ends with other rows"
    with qs.open(root) as store, quiet():
        assert rows_of(store) == after, f"{name}, {case}: other rows once reopened"
        for version in (2, 3):
            if name != "expire":
                assert sum(map(len, rows_of(store, version).values())) == 4 * version
        store.sweep(grace=0)
        report = store.audit()
        assert report.ok, f"{name}, {case}: {report}"
        assert "open" not in store.metadata_catalog.attempts.states().values()
        assert rows_of(store) == after
    assert files_beyond_record(root) == [], f"{name}, {case}"
    shutil.rmtree(root)
    return outcome


@pytest.mark.parametrize("name", VERBS)
def test_a_fault_at_any_call_loses_and_doubles_nothing(world, name, capsys):
    cases, after, result = cases_of(world, name)
    some = chosen(name, cases)
    found = Counter(f"{case[2]}: {run_case(world, name, case, after, result)}" for case in some)
    with capsys.disabled():
        if RUNS_ALL:
            print(f"\n{name}: {len(some)} of {len(cases)} cases, seed {SEED}: {dict(sorted(found.items()))}")
    assert (after != world.before) is (name in WRITES)
