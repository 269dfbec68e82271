"""A lazy scan gives what Polars makes of the eager table, whatever is asked of it and wherever the rows are."""

from __future__ import annotations

import random

import polars as pl
import pytest
from scan_tables import ENGINES, RESOLVES, Predicates, assert_same, c, spread

import quantstore as qs

SHAPES = [
    {"unit": "ns", "zone": "UTC"},
    {"unit": "ns", "zone": "America/New_York"},
    {"unit": "us", "zone": None},
    {"unit": "ms", "zone": "UTC"},
]
PREDICATES = 52
FROM_END = -20 if RESOLVES else 0  # Polars 1.44 errs in slices from the end that fall between batches
COLUMNS = ["ts", "symbol", "price", "size", "venue", "grade", "fee", "asset_class", "trade_date", "_seq"]


def asked(chance, names):
    """Return something to do after a filter."""
    some = chance.sample(names, chance.randint(1, 4))
    start, length = chance.randint(FROM_END, 20), chance.randint(0, 30)
    return chance.choice(
        [
            lambda frame: frame,
            lambda frame: frame.select(some),
            lambda frame: frame.select(some).head(length),
            lambda frame: frame.slice(start, length),
            lambda frame: frame.tail(length).select(some),
            lambda frame: frame.select(pl.len(), c("size").sum()),
            lambda frame: frame.select(c("ts").max(), n=c("symbol").n_unique()),
            lambda frame: frame.sort("_seq", descending=True).head(length),
            lambda frame: frame.with_row_index().filter(c("index") % 2 == 0),
        ]
    )


def answer(question, engine):
    """Return what Polars makes of a question on frames of its own, None where it cannot."""
    try:
        return question.collect(engine=engine)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None


@pytest.mark.parametrize("seed", range(len(SHAPES)), ids=lambda seed: "-".join(map(str, SHAPES[seed].values())))
def test_every_question_has_the_same_answer_lazy_and_eager(seed, tmp_path):
    chance = random.Random(seed)
    with qs.open(tmp_path / "store") as store:
        spread(store, seed, **SHAPES[seed])
        whole = store.read("t", columns=COLUMNS, to="polars")
        total = store.table("t").placement().shape[0]
        scanned = store.scan("t", columns=COLUMNS)
        make = Predicates(seed, whole)
        compared = pruned = 0
        while compared < PREDICATES:
            predicate, then = make.one(), asked(chance, COLUMNS)
            wanted = answer(then(whole.lazy().filter(predicate)), "in-memory")
            if wanted is None:
                continue  # types that Polars compares in no frame
            for engine in ENGINES:
                eager = answer(then(whole.lazy().filter(predicate)), engine)
                if RESOLVES or (eager is not None and eager.equals(wanted)):  # earlier streaming engines err at times
                    assert_same(then(scanned.filter(predicate)).collect(engine=engine), wanted)
            pruned += len(store.last.plan.scans[0].choices) < total
            compared += 1
        assert pruned > 5


@pytest.mark.parametrize("engine", ENGINES)
def test_limits_without_a_filter_keep_the_order_of_ties(engine, tmp_path):
    with qs.open(tmp_path / "store") as store:
        spread(store, 11)
        whole = store.read("t", to="polars")
        scanned = store.scan("t")
        for first in (0, 1, 2, 3, 5, 17, 40, 80, 200, 1000):
            assert_same(scanned.head(first).collect(engine=engine), whole.head(first))
            assert_same(scanned.slice(first, 7).collect(engine=engine), whole.slice(first, 7))
            if FROM_END:
                assert_same(scanned.slice(-first - 1, 7).collect(engine=engine), whole.slice(-first - 1, 7))
