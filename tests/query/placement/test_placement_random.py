"""Where rows lie changes no answer: random tables, random placements, random statements.

A case is a statement with a join over tables that each lie in three tiers, with overlapping segments, stamps with rows
in several tiers, nulls, duplicate stamps and duplicate rows. `QUANTSTORE_PLACEMENT_WORLDS` asks about more worlds,
`QUANTSTORE_PLACEMENT_WORLD` about one.
"""

from __future__ import annotations

import json
import os
import random
from itertools import count
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from asked_worlds import COUNTED, AskedWorld, asked_world
from plain_answers import differs
from random_statements import make_statement
from random_worlds import SYMBOLS, make_world

CASES = 52
"""For each world."""
WORLDS = range(int(os.environ.get("QUANTSTORE_PLACEMENT_WORLDS", "20")))
SEEDS = [int(os.environ["QUANTSTORE_PLACEMENT_WORLD"])] if "QUANTSTORE_PLACEMENT_WORLD" in os.environ else WORLDS
DIGESTS = Path(__file__).parent / "digests.json"
FEATURES = {
    "join", "left join", "right join", "full join", "semi join", "anti join", "self join", "comma join", "using",
    "lateral", "three tables", "asof join", "asof left join", "asof semi join", "asof anti join", "bare as-of",
    "tolerance", "parameter", "list parameter", "time", "trade_date", "symbol",
    "asset_class", "clock", "subquery", "select", "ordered", "grouped", "windows", "qualified", "union", "chained",
    "recursive", "pivot", "unpivot", "lists", "lambda", "buckets", "gaps", "correlated", "newest", "whole", "star",
    "shadowed", "shadow", "unqualified",
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_do_not_depend_on_placement(seed, tmp_path, record_property):
    with asked_world(seed, tmp_path) as asked:
        for number in count():
            asked.ask(make_statement(asked.world, number), number)
            if asked.cases == CASES // 2 and number < CASES:
                asked.spread_again()
            if asked.cases >= CASES:
                break
        _compare_bare_reads(asked)
        _compare_digests(seed, asked.digests)
        assert asked.cases == CASES
        assert asked.pruned >= CASES // 5, "too few statements left segments out"
    record_property(COUNTED, asked.cases)


def test_there_are_enough_cases_and_kinds_of_them():
    """Whatever is drawn, a thousand cases and every kind of statement are among them."""
    assert CASES * len(WORLDS) >= 1_000
    worlds = [make_world(seed) for seed in range(4)]
    assert set().union(*(make_statement(world, at).features for world in worlds for at in range(200))) == FEATURES


def _compare_digests(seed: int, digests: list[str]) -> None:
    """Compare answers with those of another version of the engine, which were written down."""
    known = json.loads(DIGESTS.read_text())
    if os.environ.get("QUANTSTORE_WRITE_DIGESTS"):
        known[str(seed)] = "".join(digests)
        DIGESTS.write_text(json.dumps(dict(sorted(known.items(), key=lambda item: int(item[0]))), indent=0) + "\n")
    text = known.get(str(seed))
    if text is not None:
        wanted = [text[at : at + 8] for at in range(0, len(text), 8)]
        assert [at for at, pair in enumerate(zip(digests, wanted, strict=True)) if pair[0] != pair[1]] == []


def _compare_bare_reads(asked: AskedWorld) -> None:
    """Compare reads by table name, in their order, with the same rows picked from one Arrow table."""
    world, rng = asked.world, random.Random(f"bare {asked.world.seed}")
    for _ in range(8):
        table = rng.choice(list(world.tables.values()))
        rows = asked.rows[table.name]
        low, high = sorted(rng.sample(world.stamps, 2))
        days = rng.sample(world.days, 2) if rng.random() < 0.4 else None
        symbols = rng.sample(SYMBOLS, 2) if table.symbol and rng.random() < 0.6 else None
        columns = rng.sample(rows.column_names, 3)
        got = asked.store.read(
            table.name, start=pd.Timestamp(low), end=pd.Timestamp(high), dates=days, symbols=symbols, columns=columns,
            to="arrow",
        )  # fmt: skip
        stamps = rows.column(0).cast(pa.timestamp("ns", rows.schema.field(0).type.tz)).cast(pa.int64())
        keep = pc.and_(pc.greater_equal(stamps, low), pc.less(stamps, high))
        if days is not None:
            keep = pc.and_(keep, pc.is_in(rows.column("trade_date"), pa.array(days, pa.date32())))
        if symbols is not None:
            keep = pc.and_(keep, pc.is_in(rows.column("symbol"), pa.array(symbols)))
        assert differs(got, rows.filter(keep).select(columns), ordered=True) is None
