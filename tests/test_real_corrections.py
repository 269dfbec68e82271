"""Real ticks that come late, twice, wrong and are put right again give the vendor's own bars."""

from __future__ import annotations

import random
import warnings
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import quantstore as qs
from quantstore.errors import RepeatedWriteWarning

TIERS = ("hot", "warm", "cold")
BARS = """
    SELECT date_trunc('minute', ts) AS ts,
           first(bid ORDER BY ts, _seq) AS bid_open, max(bid) AS bid_high, min(bid) AS bid_low,
           last(bid ORDER BY ts, _seq) AS bid_close,
           first(ask ORDER BY ts, _seq) AS ask_open, max(ask) AS ask_high, min(ask) AS ask_low,
           last(ask ORDER BY ts, _seq) AS ask_close
    FROM eurusd GROUP BY 1 ORDER BY 1
"""


def batches(ticks: pa.Table, count: int, chance: random.Random) -> list[pa.Table]:
    """Cut ticks where the stamp changes, so that ticks of one instant stay in their order."""
    stamps = ticks.column("ts").cast(pa.int64()).to_numpy()
    changes = (np.flatnonzero(np.diff(stamps)) + 1).tolist()
    cuts = [0, *sorted(chance.sample(changes, count - 1)), len(ticks)]
    return [ticks.slice(start, end - start) for start, end in pairwise(cuts)]


class Desk:
    """What a desk does to its ticks on a bad week; all of it comes to nothing in the end."""

    def __init__(self, store: qs.HybridStorageManager, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.tagged: dict[str, pa.Table] = {}

    def whole(self, **options: object) -> pa.Table:
        return self.store.read("eurusd", columns=["ts", "bid", "ask", "_seq"], to="arrow", **options)

    def send(self, batch: pa.Table) -> None:
        """Write a batch, now and then twice."""
        tier = self.chance.choice(TIERS)
        self.store.write(batch, "eurusd", tier)
        if self.chance.random() < 0.3:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", RepeatedWriteWarning)
                assert self.store.write(batch, "eurusd", tier).replayed
            assert len(caught) == 1

    def correct_and_revert(self, batch: pa.Table) -> None:
        """Replace a batch by wrong prices, and put the right ones back in one of three ways."""
        low, high = (pc.min_max(batch.column("ts")).as_py()[name].isoformat() for name in ("min", "max"))
        where = f"ts BETWEEN '{low}' AND '{high}'"
        wrong = batch.set_column(batch.column_names.index("bid"), "bid", pc.multiply(batch.column("bid"), 2.0))
        before = self.store.metadata_catalog.snapshot().version
        result = self.store.write(wrong, "eurusd", self.chance.choice(TIERS), mode="replace", where=where)
        assert result.deleted == result.rows == len(batch)
        self.upkeep()
        way = self.chance.choice(["replace", "delete", "restore"])
        if way == "replace":
            self.store.write(batch, "eurusd", self.chance.choice(TIERS), mode="replace", where=where)
        elif way == "delete":
            with self.store.transaction() as tx:
                tx.delete("eurusd", where)
                tx.write(batch, "eurusd", self.chance.choice(TIERS), on_repeat="append")
        else:
            self.store.table("eurusd").restore(before)

    def bust(self) -> None:
        """Add prints that never were and take them away again."""
        busted = self.whole().slice(0, 5).drop_columns(["_seq"])
        busted = busted.set_column(1, "bid", pa.array([0.0] * 5)).select(["ts", "bid", "ask"])
        self.store.write(busted, "eurusd", self.chance.choice(TIERS))
        assert self.store.delete("eurusd", "bid = 0").deleted == 5

    def upkeep(self) -> None:
        """Move, compact and sweep as it comes."""
        if self.chance.random() < 0.5:
            source, destination = self.chance.sample(TIERS, 2)
            self.store.migrate("eurusd", source, destination)
        if self.chance.random() < 0.4:
            self.store.compact("eurusd")
        if self.chance.random() < 0.3:
            self.store.sweep(grace=0)

    def tag(self) -> None:
        name = f"week-{len(self.tagged)}"
        self.store.tag(name)
        self.tagged[name] = self.whole()


def test_late_doubled_and_corrected_ticks_give_the_vendors_minute_bars(tmp_path, real_data):
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    ticks = pq.read_table(real_data / "eurusd_oanda_tick.parquet").select(["ts", "bid", "ask"])
    pieces = batches(ticks, 25, chance)
    late = chance.sample(pieces, len(pieces))
    with qs.open(tmp_path / "s") as store:
        desk = Desk(store, chance)
        for number, batch in enumerate(late):
            desk.send(batch)
            if number % 3 == 2:
                desk.correct_and_revert(chance.choice(late[: number + 1]))
            if number % 7 == 6:
                desk.bust()
                desk.tag()
            desk.upkeep()
        store.compact("eurusd")
        store.expire(older_than=0)
        store.sweep(grace=0)
        assert store.audit().ok
        for name, rows in desk.tagged.items():
            assert desk.whole(as_of=name).equals(rows), name
        found = store.read(BARS, to="arrow")
        assert store.read("SELECT count(*) AS n FROM eurusd")["n"].item() == len(ticks)
    vendor = pq.read_table(real_data / "eurusd_oanda_minute.parquet").sort_by("ts")
    assert found.num_rows == vendor.num_rows == 6730
    assert (
        found.column("ts").cast(pa.int64()).to_pylist()
        == pc.cast(vendor["ts"], found["ts"].type).cast(pa.int64()).to_pylist()
    )
    for name in found.column_names[1:]:
        assert found.column(name).to_pylist() == vendor.column(name).to_pylist(), name
