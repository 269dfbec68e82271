"""Pins: what shadows serve, what becomes of them while rows move and change; no answer ever depends on them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.catalog.catalog import Catalog
from quantstore.core.clock import ManualClock
from quantstore.core.segment import Copy, Partition, PlacedSegment, Role, Segment, SegmentStats, Subset
from quantstore.core.tier import ALL_TIERS, Tier
from quantstore.errors import (
    AccessDeniedError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    OtherCopyWarning,
    PartialResultWarning,
)
from quantstore.query.plan import _serving

SYMBOLS = ["A", "B", "C", "D"]


def ticks(rows=400, seed=0, days=4, nulls=True):
    rng = np.random.default_rng(seed)
    stamps = np.sort(rng.integers(0, days * 86_400, rows)) * 10**9 + pd.Timestamp("2026-01-05").value
    symbols = rng.choice([*SYMBOLS, None] if nulls else SYMBOLS, rows)
    return pa.table(
        {
            "ts": pa.array(stamps, pa.timestamp("ns", "UTC")),
            "symbol": pa.array(symbols.tolist(), pa.string()),
            "price": rng.integers(0, 10_000, rows),
            "asset_class": pa.array(rng.choice(["EQUITY", "FX"], rows).tolist()),
        }
    )


def shadows(store, table="t"):
    placement = store.table(table).placement()
    return placement[placement["role"] == "shadow"]


def tiers_read(store, query, **options):
    return {use.tier.value for use in store.explain(query, **options).uses()}


@pytest.fixture
def cold(store):
    store.write(ticks(), "t", tier="cold")
    return store


def test_a_pin_copies_whole_segments_which_then_answer_everything(cold):
    wanted = cold.read("t", to="arrow")
    before = cold.metadata_catalog.snapshot()
    pin = cold.pin("t")
    after = cold.metadata_catalog.snapshot()
    assert after.version == before.version
    assert after.generation == before.generation + 1
    assert (pin.id, pin.table, pin.tier, pin.rows, pin.symbols) == (1, "t", Tier.HOT, 400, None)
    assert pin.bytes == shadows(cold)["bytes"].sum() > 0
    assert pin.segments == len(shadows(cold)) == 8
    for query in ("t", "SELECT * FROM t", "SELECT count(*) FROM t WHERE symbol = 'A'"):
        assert tiers_read(cold, query) == {"hot"}
    assert cold.read("t", to="arrow").equals(wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cold.read("t", ["hot"], to="arrow").equals(wanted), "a hint that shadows satisfy leaves nothing out"
    assert cold.audit().ok
    assert "'t' in hot, 400 rows" in repr(pin)
    assert "8 shadow copies" in repr(pin)


@pytest.mark.parametrize("tier", ["hot", "warm"])
def test_shadows_of_some_symbols_serve_what_asks_for_these_alone(cold, tier):
    rows = cold.read("t", to="arrow").to_pandas()
    pin = cold.pin("t", tier, symbols=["A", "B"])
    assert pin.rows == rows["symbol"].isin(["A", "B"]).sum() == shadows(cold)["rows"].sum()
    inside = [
        ("SELECT count(*) AS n FROM t WHERE symbol = 'A'", {}, ["A"]),
        ("SELECT count(*) AS n FROM t WHERE symbol IN ('A', 'B') AND price > 10", {}, None),
        ("SELECT count(*) AS n FROM t WHERE symbol = $s", {"params": {"s": "B"}}, ["B"]),
        ("SELECT count(*) AS n FROM t WHERE symbol IN $s", {"params": {"s": ["A"]}}, ["A"]),
        ("SELECT count(*) AS n FROM (SELECT * FROM t) WHERE symbol = 'A'", {}, ["A"]),
    ]
    for query, options, only in inside[:2]:
        assert tiers_read(cold, query, **options) == {tier}, query
        found = cold.read(query, **options)["n"].item()
        if only:
            assert found == rows["symbol"].isin(only).sum()
    for query, options, only in inside[2:]:
        assert cold.read(query, **options)["n"].item() == rows["symbol"].isin(only).sum(), query
    assert tiers_read(cold, "t", symbols="A") == {tier}
    assert cold.read("t", symbols="A", to="arrow").num_rows == (rows["symbol"] == "A").sum()
    outside = [
        "SELECT count(*) AS n FROM t",
        "SELECT count(*) AS n FROM t WHERE symbol = 'C'",
        "SELECT count(*) AS n FROM t WHERE symbol IN ('A', 'C')",
        "SELECT count(*) AS n FROM t WHERE symbol = 'A' OR price > 10",
        "SELECT count(*) AS n FROM t WHERE symbol IS NULL",
        "SELECT count(*) AS n FROM t WHERE symbol <> 'C'",
        "SELECT count(*) AS n FROM t WHERE NOT (symbol = 'A')",
        "SELECT count(*) FILTER (WHERE symbol = 'A') AS n FROM t",
    ]
    for query in outside:
        assert tiers_read(cold, query) == {"cold"}, query
    assert tiers_read(cold, "t", symbols=["A", "C"]) == {"cold"}
    with pytest.warns(PartialResultWarning, match="are in cold"):
        cold.read("t", [tier])
    assert cold.audit().ok


def test_joins_and_scans_use_shadows_where_they_may(cold):
    rows = cold.read("t", to="polars")
    cold.pin("t", symbols="A")
    scan = cold.scan("t")
    for expression in (pl.col("symbol") == "A", pl.col("symbol").is_in(["A"]), pl.col("symbol") == "B", pl.lit(True)):
        assert scan.filter(expression).collect().equals(rows.filter(expression))
    scan.filter(pl.col("symbol") == "A").collect()
    assert {use.tier for use in cold.last.plan.uses()} == {Tier.HOT}
    assert cold.last.plan.uses()[0].rows == (rows["symbol"] == "A").sum()
    assert scan.head(7).collect().equals(rows.head(7))
    joined = "SELECT count(*) AS n FROM t a JOIN t b ON a.symbol = b.symbol AND a.ts = b.ts WHERE a.symbol = 'A'"
    left = "SELECT count(*) AS n FROM t a LEFT JOIN t b ON a.ts = b.ts AND b.symbol = 'A'"
    with_pin = [cold.read(query)["n"].item() for query in (joined, left)]
    for pin in cold.pins():
        pin.release()
    assert with_pin == [cold.read(query)["n"].item() for query in (joined, left)]


def test_the_hottest_copy_that_has_the_rows_answers():
    def copy(number, tier, role=Role.SHADOW, symbols=None, size=10):
        subset = None if symbols is None else Subset(tuple(symbols), 5)
        return Copy(number, 1, tier, tier.value, str(number), "", size, "", 0, role, pin_id=1, subset=subset)

    primary = copy(1, Tier.COLD, Role.PRIMARY, size=99)
    warm, part, small = copy(2, Tier.WARM), copy(3, Tier.HOT, symbols="AB"), copy(4, Tier.HOT, symbols="A", size=1)
    copies = (primary, warm, part, small)

    def chosen(tiers=ALL_TIERS, symbols=None, unreadable=frozenset(), among=copies):
        found = _serving(among, tiers, symbols, unreadable)
        return None if found is None else found.copy_id

    assert chosen() == 2
    assert chosen(symbols=("A",)) == 4
    assert chosen(symbols=("A", "B")) == 3
    assert chosen(symbols=("B",)) == 3
    assert chosen(symbols=("C",)) == 2
    assert chosen(symbols=()) == 4
    assert chosen(symbols=("A",), unreadable=frozenset({4})) == 3
    assert chosen(unreadable=frozenset({1, 2})) == 2, "where none can be read, what is wrong is told again"
    assert chosen(tiers=(Tier.HOT,)) is None
    assert chosen(tiers=(Tier.COLD,), symbols=("A",)) == 1
    assert chosen(among=(copy(5, Tier.COLD), primary)) == 1, "of two in one tier the primary"
    segment = Segment(1, 1, 1, Partition(pd.Timestamp("2026-01-05").date(), None), SegmentStats(9, 0, 1), 1)
    placed = PlacedSegment(segment, copies)
    assert (placed.rows_of(primary), placed.rows_of(part)) == (9, 5)


def test_time_and_conditions_choose_segments_and_symbols(cold):
    with cold.pin("t", start="2026-01-06", end="2026-01-07") as pin:
        assert set(shadows(cold)["trade_date"].map(str)) == {"2026-01-06"}
        assert tiers_read(cold, "t", start="2026-01-06", end="2026-01-07") == {"hot"}
        assert pin.segments == 2
    with cold.pin("t", where="trade_date = DATE '2026-01-05' AND symbol IN ('A', 'C') AND price > 5000") as pin:
        assert pin.symbols == ("A", "C")
        assert set(shadows(cold)["trade_date"].map(str)) == {"2026-01-05"}
        query = "SELECT count(*) FROM t WHERE symbol = 'C' AND trade_date = DATE '2026-01-05'"
        assert tiers_read(cold, query) == {"hot"}
    with cold.pin("t", where="price < 0") as pin:
        assert pin.segments == 8, "a condition chooses segments and symbols, never single rows"
    with cold.pin("t", symbols="nobody") as pin:
        assert (pin.segments, pin.rows, pin.bytes) == (0, 0, 0)
    assert cold.pins() == []
    assert shadows(cold).empty


def test_rows_that_are_in_the_tier_already_are_not_copied(store):
    store.write(ticks(), "t")
    pin = store.pin("t")
    assert pin.segments == 0
    wanted = store.read("t", to="arrow")
    store.migrate("t", "hot", "cold")
    assert set(shadows(store)["tier"]) == {"hot"}
    assert store.pins()[0].rows == 400
    assert tiers_read(store, "t") == {"hot"}
    store.sweep(grace=0)
    assert store.read("t", to="arrow").equals(wanted)
    assert store.audit().ok
    store.migrate("t", "cold", "hot")
    assert shadows(store).empty, "the primary is there now"
    store.sweep(grace=0)
    store.migrate("t", "hot", "warm")
    assert store.pins()[0].rows == 400
    assert store.read("t", to="arrow").equals(wanted)
    store.pins()[0].release()
    assert tiers_read(store, "t") == {"warm"}
    store.sweep(grace=0)
    assert not list(store.hot_store.list())
    assert store.audit().ok


def test_moves_between_other_tiers_keep_shadows_and_cuts_end_them(cold):
    wanted = cold.read("t", to="arrow")
    pin = cold.pin("t", symbols=["A"])
    kept = shadows(cold)["location"].tolist()
    cold.migrate("t", "cold", "warm")
    assert shadows(cold)["location"].tolist() == kept
    cold.migrate("t", "warm", "cold", before="2026-01-06 12:00")
    assert len(shadows(cold)) == len(kept) - 2
    refreshed = pin.refresh()
    assert refreshed.segments > len(shadows(cold)[lambda rows: rows["location"].isin(kept)])
    assert tiers_read(cold, "t", symbols="A") == {"hot"}
    assert cold.read("t", to="arrow").equals(wanted)
    cold.sweep(grace=0)
    assert cold.audit().ok


def test_new_rows_corrections_and_compaction_get_shadows_by_refresh(cold):
    pin = cold.pin("t")
    cold.write(ticks(50, seed=1), "t", tier="warm")
    cold.delete("t", where="symbol = 'A' AND ts < '2026-01-06'")
    assert "warm" in tiers_read(cold, "t") or "cold" in tiers_read(cold, "t")
    done = cold.refresh_pins()
    assert done.made > 0
    assert done.given_up > 0
    assert "shadow copies made" in repr(done)
    assert tiers_read(cold, "t") == {"hot"}
    assert cold.refresh_pins().made == 0
    cold.compact("t")
    cold.refresh_pins()
    assert tiers_read(cold, "t") == {"hot"}
    assert cold.pins()[0].rows == cold.read("SELECT count(*) AS n FROM t")["n"].item()
    assert pin.refresh().rows == cold.pins()[0].rows
    cold.sweep(grace=0)
    assert cold.audit().ok
    assert cold.maintain() is not None
    assert cold.audit().ok


def test_releasing_is_idempotent_and_bytes_go_with_a_sweep(cold):
    pin = cold.pin("t")
    files = len(list(cold.hot_store.list()))
    assert pin.release() == files == 8
    assert pin.release() == 0
    assert len(list(cold.hot_store.list())) == files
    cold.sweep(grace="1h")
    assert len(list(cold.hot_store.list())) == files
    assert cold.sweep(grace=0).copies == files
    assert not list(cold.hot_store.list())
    with pytest.raises(NotFoundError, match="no pin 1"):
        pin.refresh()


def test_a_shadow_that_another_pin_wants_goes_over_to_it(cold):
    whole = cold.pin("t")
    part = cold.pin("t", symbols="A")
    assert part.segments == 8
    same = cold.pin("t", start="2026-01-06", end="2026-01-07")
    assert same.segments == 2
    same.release()
    part.release()
    assert cold.pins()[0].segments == 8
    store = cold
    later = store.pin("t", until="1h")
    later_locations = set(shadows(store)["location"])
    whole.release()
    assert store.pins()[0].segments == 8
    assert set(shadows(store)["location"]) <= later_locations
    later.release()
    assert shadows(store).empty


def test_a_pin_ends_at_its_time(tmp_path):
    clock = ManualClock(pd.Timestamp("2026-11-20", tz="UTC").value)
    catalog = Catalog(tmp_path / "catalog.sqlite", clock=clock)
    with qs.HybridStorageManager(tmp_path / "h", tmp_path / "w", tmp_path / "c", catalog) as store:
        store.write(ticks(), "t", tier="cold")
        day = clock.now_ns() + 86_400 * 10**9
        for until in ("1d", 86_400, timedelta(days=1), "2026-11-21T00:00Z", pd.Timestamp("2026-11-21", tz="UTC")):
            pin = store.pin("t", symbols="A", until=until)
            assert pin.until_ns == day
            assert "2026-11-21" in repr(pin)
        assert "until released" in repr(store.pin("t", symbols="A"))
        clock.advance(86_399)
        assert store.refresh_pins().released == 0
        clock.advance(2)
        assert store.refresh_pins().released == 5
        assert len(store.pins()) == 1
        assert store.refresh_pins().released == 0
        assert tiers_read(store, "t", symbols="A") == {"hot"}
        store.migrate("t", "cold", "hot")
        store.pin("t", until="1s")
        clock.advance(5)
        store.migrate("t", "hot", "cold")
        assert store.audit().ok


def test_pins_that_make_no_sense_change_nothing(cold, tmp_path):
    for options, message in [
        ({"until": "soon"}, "until="),
        ({"until": "2026-11-20"}, "time of day"),
        ({"until": "2020-01-01T00:00Z"}, "over already"),
        ({"symbols": []}, "no symbol"),
        ({"tier": "luke"}, "not a tier"),
        ({"where": "price >"}, "ends too early"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            cold.pin("t", **options)
    with pytest.raises(NotFoundError, match="prize"):
        cold.pin("t", where="prize > 1")
    with pytest.raises(NotFoundError, match="'t'"):
        cold.pin("tt")
    cold.write(pa.table({"ts": ticks()["ts"], "x": ticks()["price"]}), "plain")
    with pytest.raises(InvalidInputError, match="no symbol column"):
        cold.pin("plain", symbols="A")
    assert cold.pins() == []
    with qs.open(tmp_path / "store", read_only=True) as closed:
        for action in (lambda: closed.pin("t"), closed.refresh_pins):
            with pytest.raises(AccessDeniedError):
                action()
        assert closed.pins() == []


@pytest.mark.parametrize("harm", ["gone", "changed"])
@pytest.mark.parametrize("to", ["arrow", "sql", "lazy", "reader"])
def test_where_a_shadow_cannot_be_read_the_primary_answers(tmp_path, harm, to):
    def answer(store):
        if to == "sql":
            return store.read("SELECT * FROM t ORDER BY ts, _seq", to="arrow")
        if to == "lazy":
            return store.scan("t").collect().to_arrow()
        found = store.read("t", to=to)
        return found.read_all() if to == "reader" else found

    with qs.open(tmp_path / "store") as store:
        store.write(ticks(), "t", tier="cold")
        wanted = answer(store)
        store.pin("t")
        for location in shadows(store)["location"][:2]:
            path = tmp_path / "store" / "hot" / location
            if harm == "gone":
                path.unlink()
            else:
                path.chmod(0o644)
                content = bytearray(path.read_bytes())
                content[len(content) // 2] ^= 0xFF
                path.write_bytes(content)
    with qs.open(tmp_path / "store") as store:
        with pytest.warns(OtherCopyWarning, match=r"hot.*Another copy answers"):
            found = answer(store)
        assert found.equals(wanted)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert answer(store).equals(wanted), "told once"
        assert not store.audit().ok
        done = store.refresh_pins()
        assert (done.made, done.given_up) == (2, 2)
        assert tiers_read(store, "t") == {"hot"}
        assert answer(store).equals(wanted)
        store.sweep(grace=0)
        assert store.audit().ok


def test_where_a_primary_cannot_be_read_a_whole_shadow_answers_and_nothing_less(tmp_path):
    with qs.open(tmp_path / "store") as store:
        store.write(ticks(), "t", tier="hot")
        wanted = store.read("t", to="arrow")
        store.pin("t", "cold", start="2026-01-05", end="2026-01-06")
        store.pin("t", "warm", symbols="A")
        for location in set(store.table("t").placement().query("tier == 'hot'")["location"]):
            (tmp_path / "store" / "hot" / location).unlink()
    with qs.open(tmp_path / "store") as store:
        day = {"start": "2026-01-05", "end": "2026-01-06"}
        with pytest.warns(OtherCopyWarning):
            found = store.read("t", to="arrow", **day)
        assert found.equals(wanted.slice(0, found.num_rows))
        with pytest.raises(IntegrityError, match="hot"):
            store.read("t", ["hot"], **day)
        with pytest.raises(IntegrityError, match="hot"):
            store.read("t")
        with pytest.raises(IntegrityError, match="hot"):
            store.read("SELECT count(*) FROM t")


def test_an_open_reader_keeps_the_shadows_it_reads(cold):
    wanted = cold.read("t", to="arrow")
    pin = cold.pin("t")
    reader = cold.read("t", to="reader")
    pin.release()
    cold.sweep(grace=0)
    assert list(cold.hot_store.list())
    assert reader.read_all().equals(wanted)
    cold.sweep(grace=0)
    assert not list(cold.hot_store.list())


def test_old_versions_and_dropped_tables_read_on(cold):
    first = cold.read("t", to="arrow")
    version = cold.metadata_catalog.snapshot().version
    cold.pin("t")
    cold.write(ticks(60, seed=5), "t", mode="overwrite")
    cold.refresh_pins()
    assert cold.read("t", as_of=version, to="arrow").equals(first)
    assert cold.read("t").shape[0] == 60
    cold.table("t").restore(version)
    cold.refresh_pins()
    assert cold.read("t", to="arrow").num_rows == 400
    assert tiers_read(cold, "t") == {"hot"}
    cold.table("t").rename("u")
    assert cold.pins()[0].table == "u"
    cold.table("u").drop()
    cold.refresh_pins()
    cold.undrop("u")
    assert cold.read("u", to="arrow").num_rows == 400
    cold.sweep(grace=0)
    assert cold.audit().ok


QUESTIONS = [
    ("t", {}),
    ("t", {"symbols": "A"}),
    ("t", {"symbols": ["A", "B"], "start": "2026-01-06"}),
    ("t", {"columns": ["price", "_seq"], "end": "2026-01-07"}),
    ("SELECT symbol, count(*) AS n, sum(price) AS p FROM t GROUP BY symbol ORDER BY symbol", {}),
    ("SELECT ts, _seq, price FROM t WHERE symbol = 'A' ORDER BY ts, _seq", {}),
    ("SELECT ts, _seq FROM t WHERE symbol IN ('B', 'C') AND ts >= '2026-01-06' ORDER BY ts, _seq", {}),
    ("SELECT a._seq AS x, b._seq AS y FROM t a JOIN t b USING (ts, symbol) WHERE a.symbol = 'A' ORDER BY x, y", {}),
    ("SELECT count(*) AS n FROM t WHERE symbol IS NULL OR symbol = 'A'", {}),
]


def change(store, action, tier, symbol, seed):
    if action == "write":
        store.write(ticks(20, seed=seed), "t", tier=tier)
    else:
        store.delete("t", where=f"symbol = '{symbol}' AND price % 4 = 0")


def upkeep(store, action, rng):
    if action == "pin":
        symbols = rng.choice([None, "A", ["A", "B"], ["B", "C"], ["nobody"]])
        start, end = rng.choice([(None, None), ("2026-01-06", None), (None, "2026-01-07")])
        store.pin("t", rng.choice(["hot", "hot", "warm", "cold"]), symbols=symbols, start=start, end=end)
    elif action == "release":
        for pin in rng.sample(store.pins(), min(len(store.pins()), rng.randrange(2))):
            pin.release()
    elif action == "migrate":
        store.migrate("t", "any", rng.choice(["hot", "warm", "cold", "cold"]))
    elif action == "cut":
        store.migrate("t", "any", rng.choice(["warm", "cold"]), where=f"price % 3 = {rng.randrange(3)}")
    elif action == "compact":
        store.compact("t")
    else:
        store.refresh_pins()
        store.sweep(grace=0)


def test_no_answer_depends_on_pins(tmp_path):
    """Random pins, releases, moves, writes, deletes, compactions and sweeps beside a store that has no pins."""
    by_shadow = [answers_that_shadows_gave(tmp_path / str(seed), seed) for seed in range(3)]
    assert sum(by_shadow) > 15, by_shadow


def answers_that_shadows_gave(tmp_path, seed):
    """Compare a store with pins to one without, and return how many answers came from shadows."""
    rng = random.Random(f"pins {seed}")
    by_shadow = 0
    with qs.open(tmp_path / "pinned") as pinned, qs.open(tmp_path / "plain") as plain:
        for store in (pinned, plain):
            store.write(ticks(300, seed=seed), "t", tier="cold")
        pinned.pin("t", symbols=["A", "B"])
        for step in range(18):
            action = rng.choice(["pin", "pin", "release", "migrate", "cut", "write", "delete", "compact", "tidy"])
            if action in {"write", "delete"}:
                tier, symbol = rng.choice(["hot", "warm", "cold"]), rng.choice(SYMBOLS)
                for store in (pinned, plain):
                    change(store, action, tier, symbol, 1000 * seed + step)
            else:
                upkeep(pinned, action, rng)
            for query, options in rng.sample(QUESTIONS, 4):
                found = pinned.read(query, to="arrow", **options)
                by_shadow += any(
                    choice.copy.role is Role.SHADOW for scan in pinned.last.plan.scans for choice in scan.choices
                )
                assert found.equals(plain.read(query, to="arrow", **options)), (step, action, query)
        pinned.refresh_pins()
        pinned.sweep(grace=0)
        assert pinned.audit().ok
        assert pinned.audit().orphans == 0
    return by_shadow


def run(code, folder, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_a_pin_made_by_another_process_serves_here_and_is_released_there(tmp_path):
    with qs.open(tmp_path / "store") as store:
        store.write(ticks(), "t", tier="cold")
        wanted = store.read("t", to="arrow")
        made = run("import sys, quantstore as q; q.open(sys.argv[1]).pin('t')", tmp_path / "store")
        assert made.returncode == 0, made.stderr
        assert tiers_read(store, "t") == {"hot"}
        assert store.read("SELECT count(*) AS n FROM t")["n"].item() == 400
        ended = run(
            "import sys, quantstore as q\ns = q.open(sys.argv[1])\n[p.release() for p in s.pins()]\ns.sweep(grace=0)",
            tmp_path / "store",
        )
        assert ended.returncode == 0, ended.stderr
        assert store.read("SELECT count(*) AS n FROM t")["n"].item() == 400
        assert store.read("t", to="arrow").equals(wanted)
        assert tiers_read(store, "t") == {"cold"}


@pytest.mark.parametrize(
    "step", ["pin.registered", "pin.copied:3", "pin.verified", "pin.commit.begun", "pin.commit.filled", "pin.committed"]
)
def test_a_process_killed_while_it_pins_leaves_a_whole_pin_or_none(tmp_path, step):
    with qs.open(tmp_path / "store") as store:
        store.write(ticks(), "t", tier="cold")
        wanted = store.read("t", to="arrow")
    code = "import sys, quantstore as q; q.open(sys.argv[1]).pin('t', symbols=['A', 'B'])"
    assert run(code, tmp_path / "store", QUANTSTORE_FAILPOINT=step).returncode == -signal.SIGKILL
    with qs.open(tmp_path / "store") as store:
        pins = store.pins()
        assert [pin.segments for pin in pins] == ([8] if step == "pin.committed" else [])
        assert store.read("t", to="arrow").equals(wanted)
        assert store.read("t", symbols="A", to="arrow").num_rows == wanted.to_pandas()["symbol"].eq("A").sum()
        store.sweep(grace=0)
        assert len([one for one in Path(tmp_path / "store" / "hot").rglob("*") if one.is_file()]) == 8 * len(pins)
        report = store.audit()
        assert report.ok
        assert report.orphans == 0


def test_two_hands_pin_move_and_release_at_once(tmp_path):
    import threading

    with qs.open(tmp_path / "store") as store:
        store.write(ticks(), "t", tier="cold")
        wanted = store.read("t", to="arrow")
        failures = []

        def work(number):
            rng = random.Random(number)
            try:
                with qs.open(tmp_path / "store") as mine:
                    for _ in range(8):
                        choice = rng.randrange(4)
                        if choice == 0:
                            with mine.pin("t", rng.choice(["hot", "warm"]), symbols=rng.choice([None, "A"])):
                                assert mine.read("t", to="arrow").equals(wanted)
                        elif choice == 1:
                            mine.migrate("t", "any", rng.choice(["hot", "warm", "cold"]))
                        elif choice == 2:
                            mine.refresh_pins()
                        assert mine.read("t", to="arrow").equals(wanted)
            except BaseException as error:  # noqa: BLE001 - told by the main thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert not failures
        assert store.pins() == []
        store.refresh_pins()
        store.sweep(grace=0)
        assert store.read("t", to="arrow").equals(wanted)
        assert shadows(store).empty
        assert store.audit().ok
