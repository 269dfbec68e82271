"""Migrate: whole segments, cuts, dry runs, receipts, repeats, concurrency with reads of old versions."""

from __future__ import annotations

import threading
from datetime import date

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from quantstore.core.segment import Copy, Partition, PlacedSegment, Segment, SegmentStats
from quantstore.core.tier import ALL_TIERS, Tier
from quantstore.core.timerange import TimeRange
from quantstore.errors import InvalidInputError
from quantstore.tiering.planner import batches, plan_moves


def ticks(days=4, per_day=50, seed=0):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2026-01-05", tz="UTC")
    offsets = np.sort(rng.integers(0, 24 * 3600, per_day)) * 10**9
    ts = np.concatenate([start.value + day * 86_400 * 10**9 + offsets for day in range(days)])
    n = len(ts)
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(ts, utc=True).as_unit("ns"),
            "symbol": rng.choice(["AAPL", "IBM", "MSFT"], n),
            "price": rng.random(n),
            "size": rng.integers(1, 100, n),
            "asset_class": rng.choice(["EQUITY", "FX"], n),
        }
    )


def tiers_of(store, table="t"):
    placement = store.table(table).placement()
    return placement.groupby("tier")["rows"].sum().to_dict()


def test_moving_changes_where_rows_are_and_nothing_else(store):
    frame = ticks()
    store.write(frame, "t")
    before = store.metadata_catalog.snapshot()
    receipts = store.migrate("t", "hot", "warm")
    assert sum(receipt.rows for receipt in receipts) == len(frame)
    assert {(one.source, one.destination) for one in receipts} == {(Tier.HOT, Tier.WARM)}
    assert tiers_of(store) == {"warm": len(frame)}
    assert store.metadata_catalog.snapshot().version == before.version
    assert_frame_equal(store.read("t"), frame)


def test_before_moves_whole_days_and_cuts_the_one_it_falls_into(store):
    frame = ticks()
    store.write(frame, "t")
    noon = pd.Timestamp("2026-01-06 12:00", tz="UTC")
    receipts = store.migrate("t", "hot", "cold", before=noon)
    wanted = int((frame["ts"] < noon).sum())
    assert sum(receipt.rows for receipt in receipts) == wanted
    assert tiers_of(store) == {"cold": wanted, "hot": len(frame) - wanted}
    assert_frame_equal(store.read("t"), frame)
    assert store.read("t", ["cold"], missing="ignore")["ts"].max() < noon


def test_where_moves_only_matching_rows(store):
    frame = ticks()
    store.write(frame, "t")
    receipts = store.migrate("t", "hot", "warm", where="symbol = 'IBM' AND size >= 50")
    matching = (frame["symbol"] == "IBM") & (frame["size"] >= 50)
    assert sum(receipt.rows for receipt in receipts) == matching.sum()
    assert_frame_equal(
        store.read("t", ["warm"], missing="ignore"), frame[matching].reset_index(drop=True), check_dtype=True
    )
    assert_frame_equal(store.read("t"), frame)
    assert store.migrate("t", "hot", "warm", where="symbol = 'IBM' AND size >= 50") == []
    store.migrate("t", "any", "cold")
    assert_frame_equal(store.read("t"), frame)
    assert tiers_of(store) == {"cold": len(frame)}


def test_where_and_before_go_together(store):
    frame = ticks()
    store.write(frame, "t", "cold")
    day = pd.Timestamp("2026-01-07", tz="UTC")
    store.migrate("t", "cold", "hot", where="ts >= '2026-01-06' AND asset_class = 'FX'", before=day)
    wanted = (frame["ts"] >= "2026-01-06") & (frame["ts"] < day) & (frame["asset_class"] == "FX")
    assert tiers_of(store)["hot"] == wanted.sum()
    assert_frame_equal(store.read("t"), frame)


@pytest.mark.parametrize(
    "where", ["size >", "nothing = 1", "1; DROP TABLE t", "ts IN (SELECT ts FROM u)", "1 = 1) OR (1 = 1"]
)
def test_a_condition_that_makes_no_sense_changes_nothing(store, where):
    from quantstore.errors import QuantStoreError

    store.write(ticks(), "t")
    store.write(ticks(1, 3), "u")
    placement = store.table("t").placement()["location"].tolist()
    with pytest.raises(QuantStoreError):
        store.migrate("t", "hot", "cold", where=where)
    assert store.table("t").placement()["location"].tolist() == placement


def test_a_dry_run_says_what_would_move(store):
    frame = ticks()
    store.write(frame, "t")
    proposed = store.migrate("t", "hot", "cold", where="symbol = 'AAPL'", before="2026-01-07", dry_run=True)
    wanted = (frame["symbol"] == "AAPL") & (frame["ts"] < "2026-01-07")
    assert sum(one.rows for one in proposed) == wanted.sum()
    assert all(one.of_rows >= one.rows and one.source is Tier.HOT for one in proposed)
    assert tiers_of(store) == {"hot": len(frame)}


def test_receipts_can_be_proven_again(store):
    store.write(ticks(), "t")
    store.migrate("t", "hot", "warm")
    store.migrate("t", "warm", "cold", before="2026-01-06")
    report = store.audit()
    assert report.ok
    assert report.receipts == len(store.table("t").placement())


def test_superseded_rows_follow_their_table_and_old_versions_read_on(store):
    first = store.write(ticks(seed=1), "t")
    store.write(ticks(seed=2), "t", mode="overwrite")
    store.migrate("t", "hot", "cold")
    store.sweep(grace=0)
    assert_frame_equal(store.read("t", as_of=first.version), ticks(seed=1))
    assert not list(store.hot_store.list())


def test_every_operation_run_again_changes_nothing(store):
    """F1: the second run of a lifecycle operation must not harm what the first one made."""
    frame = ticks()
    store.write(frame, "t")
    for _ in range(3):
        store.migrate("t", "hot", "warm", before="2026-01-07")
        store.migrate("t", "warm", "cold", before="2026-01-06")
        store.sweep(grace=0)
        assert_frame_equal(store.read("t"), frame)
        assert store.audit().ok
    assert store.sweep(grace=0).freed_bytes == 0


def test_sweep_waits_for_grace(store):
    store.write(ticks(), "t")
    files = len(list(store.hot_store.list()))
    segments = len(store.table("t").placement())
    store.migrate("t", "hot", "warm")
    assert store.sweep(grace="1h").copies == 0
    assert len(list(store.hot_store.list())) == files
    swept = store.sweep(grace=0)
    assert swept.copies == segments
    assert not list(store.hot_store.list())
    with pytest.raises(InvalidInputError, match="grace="):
        store.sweep(grace="soon")


def test_a_reader_keeps_what_it_reads_through_a_move_and_a_sweep(store):
    frame = ticks(days=6)
    store.write(frame, "t", "warm")
    reader = store.read("t", to="reader")
    first = reader.read_next_batch()
    store.migrate("t", "warm", "cold")
    assert store.sweep(grace=0).copies == 0
    rest = reader.read_all()
    assert first.num_rows + rest.num_rows == len(frame)
    assert store.sweep(grace=0).copies > 0


def test_movers_and_a_writer_at_once_lose_and_double_nothing(store):
    frames = [ticks(seed=seed, days=2) for seed in range(8)]
    failures = []

    def guarded(work):
        try:
            work()
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    def write():
        for frame in frames:
            store.write(frame, "t")

    def shuttle(source, destination):
        for _ in range(6):
            if "t" in store.tables():
                store.migrate("t", source, destination)
                store.sweep(grace=0)

    store.write(ticks(seed=99, days=2), "t")
    jobs = [write, lambda: shuttle("any", "cold"), lambda: shuttle("any", "hot")]
    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    wanted = pd.concat([*frames, ticks(seed=99, days=2)])
    found = store.read("t")
    columns = list(wanted.columns)
    assert_frame_equal(found.sort_values(columns, ignore_index=True), wanted.sort_values(columns, ignore_index=True))
    store.sweep(grace=0)
    assert store.audit().ok


def placed(low, high, tier=Tier.HOT, size=10, number=1):
    copy = Copy(number, number, tier, tier.value, "x", "c", size, "s", 0)
    segment = Segment(number, 1, 1, Partition(date(2026, 1, 1), None), SegmentStats(1, low, high), 1)
    return PlacedSegment(segment, (copy,))


def test_the_planner_takes_what_overlaps_and_knows_what_is_certain():
    segments = [placed(0, 9), placed(10, 19, number=2), placed(20, 29, number=3), placed(0, 9, Tier.COLD, number=4)]
    moves = plan_moves(segments, ALL_TIERS, Tier.COLD, time=TimeRange(None, 15))
    assert [(move.placed.segment.segment_id, move.is_certain) for move in moves] == [(1, True), (2, False)]
    moves = plan_moves(segments, ALL_TIERS, Tier.COLD, has_condition=True)
    assert [move.is_certain for move in moves] == [False] * 3


def test_batches_hold_a_bounded_number_of_bytes():
    moves = plan_moves([placed(0, 1, size=40, number=at) for at in range(5)], ALL_TIERS, Tier.COLD)
    assert [len(batch) for batch in batches(moves, 100)] == [2, 2, 1]
    assert [len(batch) for batch in batches(moves, 10)] == [1] * 5
