"""Compaction over real stores: every version reads as before, files become few, neighbours are not harmed."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.core import failpoints
from quantstore.core.tier import Tier
from quantstore.errors import AccessDeniedError, IntegrityError, NotFoundError
from quantstore.maintenance import compact as compacting
from quantstore.maintenance import merger
from quantstore.write import arrivals

START = pd.Timestamp("2026-01-05", tz="UTC").value
DAY = 86_400 * 10**9
CLASSES = np.array(["EQ", "FX", None], object)


@pytest.fixture
def hook():
    """Set the hook of failpoints; it is removed after the test."""
    yield failpoints.set_hook
    failpoints.set_hook(None)


def rows(seed, count=60, days=2, classes=CLASSES):
    """Return rows in no order, of every kind of type."""
    chance = np.random.default_rng(seed)
    price = chance.random(count)
    return pa.table(
        {
            "ts": pa.array(START + chance.integers(0, days * 86_400, count) * 10**9, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(chance.choice(["A", "B", "C"], count)),
            "id": pa.array(seed * 1_000 + np.arange(count)),
            "price": pa.array(price, mask=price < 0.1),
            "cost": pa.array([Decimal(int(one * 1e6)).scaleb(-4) for one in price], pa.decimal128(18, 4)),
            "venue": pa.array(chance.choice(["X", f"V{seed}"], count)).dictionary_encode(),
            "levels": pa.array([list(range(int(one * 4))) for one in price]),
            "depth": pa.array([{"bid": one, "lots": int(one * 9)} for one in price]),
            "big": pa.array(chance.integers(0, 2**63, count).astype(np.uint64) * 2),
            "asset_class": pa.array(chance.choice(classes, count), pa.string()),
        }
    )


def whole(store, **options):
    return store.read("t", to="arrow", columns=[*rows(0).column_names, "trade_date", "_seq"], **options)


def same(left, right):
    """Whether two tables are bit for bit the same, however their categories are numbered."""
    plain = pa.schema([("venue", pa.string()) if one.name == "venue" else one for one in left.schema])
    return left.cast(plain).equals(right.cast(plain))


def versions(store):
    newest = store.metadata_catalog.snapshot().version
    return {version: whole(store, as_of=version) for version in range(1, newest + 1)}


def check(store, before):
    assert all(same(table, whole(store, as_of=version)) for version, table in before.items())
    report = store.audit()
    assert report.ok, report


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
def test_every_version_reads_bit_for_bit_as_before_in_every_tier(store, tier):
    for seed in range(8):
        store.write(rows(seed), "t", tier)
    before, snapshot = versions(store), store.metadata_catalog.snapshot()
    report = store.compact("t")
    after = store.metadata_catalog.snapshot()
    assert (after.version, after.generation) == (snapshot.version, snapshot.generation + 1)
    assert sum(group.rows for group in report.groups) == 480
    assert len(store.table("t").placement()) == 6  # two days of three classes
    check(store, before)
    store.sweep(grace=0)
    check(store, before)
    counted = store.read("SELECT count(*) AS n, sum(id) AS ids FROM t", to="arrow").to_pylist()
    assert counted == [{"n": 480, "ids": int(before[8]["id"].to_numpy().sum())}]


def test_compacting_again_does_nothing_and_a_dry_run_only_tells(store):
    for seed in range(5):
        store.write(rows(seed), "t")
    generation = store.metadata_catalog.snapshot().generation
    told = store.compact("t", dry_run=True)
    assert told
    assert told.dry_run
    assert store.metadata_catalog.snapshot().generation == generation
    done = store.compact("t")
    assert done.groups == told.groups
    assert "30 segments merged into 2 files; 6 there now" in repr(done)
    assert "5 files of" in repr(done)
    again = store.compact("t")
    assert not again
    assert repr(again) == "compaction: 0 segments merged into 0 files; 6 there now"
    assert store.metadata_catalog.snapshot().generation == generation + 1


def test_classes_that_shared_files_share_the_new_one(store):
    for seed in range(4):
        store.write(rows(seed, days=1), "t")
    store.compact("t")
    placement = store.table("t").placement()
    assert placement["asset_class"].isna().sum() == 1
    assert placement["location"].nunique() == 1
    (size,) = [one.size_bytes for one in store.hot_store.list() if one.location == placement["location"][0]]
    assert placement["bytes"].sum() == size
    store.expire(before=4)
    store.sweep(grace=0)
    assert len(list(store.hot_store.list())) == 1
    with store.metadata_catalog.view() as view:
        placed = view.segments(view.table("t").table_id)
    assert {(one.primary.sharers, one.primary.file_bytes) for one in placed} == {(3, size)}


def test_some_classes_of_shared_files_may_be_elsewhere(store):
    for seed in range(4):
        store.write(rows(seed, days=1), "t")
    store.migrate("t", "hot", "cold", where="asset_class = 'FX'")
    store.delete("t", "asset_class IS NULL AND symbol = 'A'")
    before = versions(store)
    report = store.compact("t")
    assert {group.tier for group in report.groups} == {Tier.HOT, Tier.COLD}
    check(store, before)
    store.sweep(grace=0)
    check(store, before)


def test_only_the_tier_asked_for(store):
    for seed in range(3):
        store.write(rows(seed, days=1), "t")
        store.write(rows(10 + seed, days=1), "t", "cold")
    assert {group.tier for group in store.compact("t", tier="cold").groups} == {Tier.COLD}
    assert {group.tier for group in store.compact("t").groups} == {Tier.HOT}


def test_all_tables_at_once_and_none_that_does_not_exist(store):
    for seed in range(3):
        store.write(rows(seed), "t")
        store.write(rows(seed), "u")
    assert {group.table for group in store.compact().groups} == {"t", "u"}
    with pytest.raises(NotFoundError, match="tt"):
        store.compact("tt")


def test_a_store_open_read_only_only_tells(store, tmp_path):
    for seed in range(3):
        store.write(rows(seed), "t")
    with qs.open(tmp_path / "store", read_only=True) as other:
        assert other.compact("t", dry_run=True)
        with pytest.raises(AccessDeniedError, match="compact"):
            other.compact("t")


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:1]])
def test_large_overlapping_segments_become_a_row_of_sorted_ones(store, monkeypatch, classes):
    for seed in range(6):
        store.write(rows(seed, 500, 1, classes), "t")
    monkeypatch.setattr(arrivals, "SEGMENT_BYTES", 120 * 800)
    before = versions(store)
    report = store.compact("t")
    assert "overlap in time, 6 deep" in report.groups[0].why
    files = store.table("t").placement().groupby("location").agg({"min_ts": "min", "max_ts": "max", "rows": "sum"})
    files = files.sort_values("min_ts")
    assert len(files) == report.groups[0].files > 2
    assert files["rows"].max() < 2 * files["rows"].min()
    assert (files["min_ts"][1:].to_numpy() > files["max_ts"][:-1].to_numpy()).all()
    check(store, before)
    assert not store.compact("t")


def test_rows_of_one_instant_are_never_parted(store, monkeypatch):
    table = rows(0, 2_000, 1)
    table = table.set_column(0, "ts", pa.array(np.full(2_000, START), pa.timestamp("ns", "UTC")))
    for seed in range(2):
        store.write(table, "t", on_repeat="append")
        store.write(rows(seed, 500, 1), "t")
    before = versions(store)
    monkeypatch.setattr(arrivals, "SEGMENT_BYTES", 120 * 500)
    assert store.compact("t")
    check(store, before)


def test_categories_that_outgrow_their_codes_are_left_apart(store):
    def narrow(seed):
        names = [f"{seed}-{number}" for number in range(100)]
        codes = pa.array(np.arange(100), pa.int8())
        table = rows(seed, 100, 1)
        at = table.schema.get_field_index("venue")
        return table.set_column(at, "venue", pa.DictionaryArray.from_arrays(codes, names))

    for seed in range(3):
        store.write(narrow(seed), "t", "warm")
    before = versions(store)
    assert not store.compact("t")
    check(store, before)
    store.sweep(grace=0)
    assert store.audit().orphans == 0


@pytest.mark.parametrize("seed", range(4))
def test_any_history_reads_the_same_whatever_is_compacted_in_between(store, seed, monkeypatch):
    monkeypatch.setattr(arrivals, "SEGMENT_BYTES", 120 * 400)
    chance = np.random.default_rng(seed)
    before: dict[int, pa.Table] = {}
    for number in range(14):
        what = chance.choice(["append", "append", "append", "replace", "delete", "migrate", "compact", "sweep"])
        if number == 0 or what == "append":
            store.write(rows(number, int(chance.integers(1, 300))), "t", str(chance.choice(["hot", "warm", "cold"])))
        elif what == "replace":
            store.write(rows(number, 40, 1), "t", mode="replace")
        elif what == "delete":
            store.delete("t", f"symbol = 'A' AND id % 3 = {chance.integers(0, 3)}")
        elif what == "migrate":
            store.migrate("t", "any", str(chance.choice(["hot", "warm", "cold"])), where=f"id % 2 = {number % 2}")
        elif what == "compact":
            store.compact("t", tier=chance.choice([None, "hot", "cold"]))
        else:
            store.sweep(grace=0)
        newest = store.metadata_catalog.snapshot().version
        before.setdefault(newest, whole(store))
    store.compact("t")
    store.sweep(grace=0)
    check(store, before)
    assert not store.compact("t")


def test_a_correction_that_comes_first_makes_it_plan_again(store, hook):
    for seed in range(4):
        store.write(rows(seed, days=1), "t")
    before = versions(store)
    hook(once("compact.verified", lambda: store.delete("t", "id % 7 = 0")))
    report = store.compact("t")
    assert sum(group.rows for group in report.groups) == sum(number % 7 > 0 for number in ids(4))
    assert sorted(whole(store)["id"].to_pylist()) == [number for number in ids(4) if number % 7]
    check(store, before)
    store.sweep(grace=0)
    assert store.audit().orphans == 0


def test_a_correction_that_comes_second_makes_it_plan_again(store, hook):
    for seed in range(4):
        store.write(rows(seed, days=1), "t")
    before = versions(store)
    hook(once("write.copied", lambda: store.compact("t")))
    assert store.delete("t", "id % 7 = 0").deleted == sum(number % 7 == 0 for number in ids(4))
    assert sorted(whole(store)["id"].to_pylist()) == [number for number in ids(4) if number % 7]
    check(store, before)


@pytest.mark.parametrize("step", ["compact.registered", "compact.read", "compact.verified"])
def test_a_move_that_comes_first_makes_it_plan_again(store, hook, step):
    for seed in range(4):
        store.write(rows(seed, days=1), "t")
    before = versions(store)

    def moved():
        store.migrate("t", "hot", "warm", where="asset_class = 'EQ'")
        store.sweep(grace=0)

    hook(once(step, moved))
    store.compact("t")
    check(store, before)
    assert len(store.table("t").placement()) == 3


def test_an_append_meanwhile_is_neither_lost_nor_taken_in(store, hook):
    for seed in range(4):
        store.write(rows(seed, days=1), "t")
    hook(once("compact.verified", lambda: store.write(rows(4, days=1), "t")))
    store.compact("t")
    assert sorted(whole(store)["id"].to_pylist()) == ids(5)
    assert whole(store, as_of=4).num_rows == 240


def test_an_open_reader_keeps_the_files_it_reads(store):
    for seed in range(3):
        store.write(rows(seed, 60_000, 1, CLASSES[:1]), "t")
    reader = store.read("t", to="reader", columns=["id"])
    first = reader.read_next_batch().num_rows
    store.compact("t")
    store.expire(before=3)
    assert store.sweep(grace=0).copies == 0
    assert first + sum(batch.num_rows for batch in reader) == 180_000
    assert store.sweep(grace=0).copies == 3


def test_reads_beside_compactions_each_see_every_row_once(store, tmp_path):
    """Another handle reads all the while; files it is about to open may be swept at any moment."""
    failures: list[BaseException] = []
    over = threading.Event()

    def read():
        try:
            with qs.open(tmp_path / "store") as other:
                while not over.is_set():
                    frame = other.read("t", columns=["id"], to="arrow")["id"].to_numpy()
                    assert len(np.unique(frame)) == len(frame)
                    assert len(frame) % 60 == 0
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    store.write(rows(0), "t")
    thread = threading.Thread(target=read)
    thread.start()
    for seed in range(1, 13):
        store.write(rows(seed), "t")
        store.compact("t")
        store.expire(before=seed)
        store.sweep(grace=0)
    over.set()
    thread.join()
    assert failures == []
    assert sorted(whole(store)["id"].to_pylist()) == ids(13)


def test_a_damaged_source_is_named_and_nothing_is_changed(store):
    for seed in range(3):
        store.write(rows(seed, days=1), "t")
    victim = sorted(Path(store.hot_store.root).rglob("*.arrow"))[1]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(content)
    generation = store.metadata_catalog.snapshot().generation
    with pytest.raises(IntegrityError, match="trade_date=2026-01-05"):
        store.compact("t")
    assert store.metadata_catalog.snapshot().generation == generation
    assert len(list(store.hot_store.list())) == 3


def test_a_new_segment_that_reads_back_otherwise_is_refused(store, monkeypatch):
    for seed in range(3):
        store.write(rows(seed, days=1, classes=CLASSES[:1]), "t")
    before = versions(store)
    monkeypatch.setattr(merger, "in_store_order", lambda table, layout, order: table)
    with pytest.raises(IntegrityError, match=r"Compacting table 't', .*reads back with rows out of order"):
        store.compact("t")
    assert len(list(store.hot_store.list())) == 3
    check(store, before)


def test_moves_and_compactions_leave_receipts_that_the_audit_proves(store):
    for seed in range(4):
        store.write(rows(seed, days=1), "t")
    store.migrate("t", "hot", "warm")
    assert store.audit().receipts == 12
    store.compact("t")
    receipts = store.metadata_catalog.receipts()
    assert [(one.source, one.destination) for one in receipts[:3]] == [(Tier.WARM, Tier.WARM)] * 3
    assert sum(one.rows for one in receipts[:3]) == 240
    report = store.audit()
    assert report.ok
    assert report.receipts == 12  # nine moves that older versions reach, three compactions


def test_a_correction_after_a_compaction_ends_the_repeats_of_the_versions_whose_rows_go(store):
    for seed in range(4):
        store.write(rows(seed, days=1), "t")
    store.compact("t")
    with pytest.warns(qs.errors.RepeatedWriteWarning):
        assert store.write(rows(2, days=1), "t").replayed
    store.delete("t", "id BETWEEN 2000 AND 2010")
    assert not store.write(rows(2, days=1), "t").replayed
    with pytest.warns(qs.errors.RepeatedWriteWarning):
        assert store.write(rows(1, days=1), "t").replayed


def test_many_merges_go_in_several_commits(store, monkeypatch):
    monkeypatch.setattr(compacting, "BATCH_BYTES", 20_000)
    for seed in range(4):
        store.write(rows(seed, 100, 20), "t")
    before = versions(store)
    generation = store.metadata_catalog.snapshot().generation
    store.compact("t")
    assert store.metadata_catalog.snapshot().generation > generation + 2
    check(store, before)


def ids(writes):
    return [seed * 1_000 + number for seed in range(writes) for number in range(60)]


def once(step, action):
    """Return a hook that acts the first time a step is reached."""
    waiting = [True]

    def act(reached):
        if reached == step and waiting:
            waiting.clear()
            action()

    return act
