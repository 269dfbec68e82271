"""Pairs of operations in every order of their steps; `campaign.py --all` runs all of them to the end."""

from __future__ import annotations

import os
import random
import sys

import pytest
from campaign import PAIRS
from worlds import Worlds

from quantstore.testing.interleavings import Step, explore, replay

SEED = int(os.environ.get("QUANTSTORE_INTERLEAVINGS_SEED", "20260105"))
DANGEROUS = [
    ("hot to warm", "delete"),
    ("hot to warm", "hot to warm"),
    ("compact", "upsert"),
    ("sweep", "reader"),
    ("named append", "named append"),
    ("delete", "delete"),
    ("append", "late sweep"),
    ("delete", "overwrite"),
]
SAMPLE, LIMIT = 20, 3
MOST = 30
"""Orders of a dangerous pair; only two deletes have more, which the campaign runs."""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return Worlds(tmp_path_factory.mktemp("interleavings"))


@pytest.mark.parametrize("pair", DANGEROUS, ids=" x ".join)
def test_dangerous_pairs_in_their_orders(worlds, pair):
    assert sum(1 for _ in worlds.run(pair, limit=MOST)) > 1


@pytest.mark.parametrize("pair", random.Random(SEED).sample(PAIRS, SAMPLE), ids=" x ".join)
def test_a_sample_of_pairs_in_some_orders(worlds, pair):
    assert sum(1 for _ in worlds.run(pair, limit=LIMIT)) > 0


def toy(pause, programs, state):
    """Return tasks that read and write named variables of `state`, one at a time."""

    def task(program):
        def act():
            seen = 0
            for kind, name in program:
                touched = frozenset({name})
                pause(Step(f"{kind} {name}", *((touched, frozenset()) if kind == "read" else (frozenset(), touched))))
                if kind == "read":
                    seen = state.get(name, 0)
                else:
                    state[name] = seen + 1
            return seen

        return act

    return [task(program) for program in programs]


def executions(*programs):
    found = []

    def make(pause):
        state = {}
        found.append(state)
        return toy(pause, programs, state)

    return [(execution, dict(found[-1])) for execution in explore(make)]


def test_steps_that_touch_different_things_run_in_one_order():
    assert len(executions([("write", "a")] * 5, [("write", "b")] * 5)) == 1


def test_looks_at_the_same_thing_run_in_one_order():
    assert len(executions([("read", "a")] * 4, [("read", "a")] * 4)) == 1


def test_steps_that_all_depend_on_each_other_run_in_every_order():
    assert len(executions([("write", "a")] * 3, [("write", "a")] * 3)) == 20
    assert len(executions([("write", "a")], [("write", "a")], [("write", "a")])) == 6


def test_a_lost_update_is_found():
    update = [("read", "n"), ("write", "n")]
    ends = sorted(state["n"] for _, state in executions(update, update))
    assert ends == [1, 1, 2, 2]


@pytest.mark.parametrize("seed", range(12))
def test_each_class_of_orders_is_run_once_and_none_is_left_out(seed):
    """Compared with all orders of random programs, told apart by the order of the steps that depend on each other."""
    chance = random.Random(seed)
    programs = [
        [(chance.choice(["read", "write"]), chance.choice("ab")) for _ in range(chance.randint(1, 4))]
        for _ in range(chance.choice([2, 2, 3]))
    ]
    numbers = [task for task, program in enumerate(programs) for _ in program]
    orders = {()}
    for _ in numbers:
        orders = {
            (*order, task) for order in orders for task in set(numbers) if order.count(task) < len(programs[task])
        }

    def kind_of(order):
        places, steps = [0] * len(programs), []
        for task in order:
            steps.append((task, places[task], *programs[task][places[task]]))
            places[task] += 1
        return frozenset(
            (one[:2], other[:2])
            for at, one in enumerate(steps)
            for other in steps[at + 1 :]
            if one[0] != other[0] and one[3] == other[3] and "write" in {one[2], other[2]}
        )

    found = [kind_of(execution.order) for execution, _ in executions(*programs)]
    assert len(found) == len(set(found)), "an order was run twice"
    assert set(found) == {kind_of(order) for order in orders}


def test_an_order_can_be_run_again():
    update = [("read", "n"), ("write", "n")]
    for execution, state in executions(update, update):
        again = {}
        assert replay(lambda pause, again=again: toy(pause, [update] * 2, again), execution.order) is not None
        assert again == state


def test_an_error_of_a_task_is_part_of_the_outcome():
    def make(pause):
        return [lambda: sys.intern(3), lambda: 4]

    (execution,) = explore(make)
    assert (type(execution.errors[0]), execution.results[1]) == (TypeError, 4)
