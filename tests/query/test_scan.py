"""`store.scan` and `to="lazy"`: what is read, at which version, what holds it, and what goes wrong."""

from __future__ import annotations

import datetime as dt
import threading
import warnings

import polars as pl
import pyarrow as pa
import pytest
from scan_tables import ENGINES, FIRST, RESOLVES, TIERS, assert_same, c, raised, rows, spread

import quantstore as qs
from quantstore.errors import (
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    PartialResultWarning,
    UnavailableError,
    UnsupportedError,
)
from quantstore.query import scan as scan_module

DAYS = [FIRST + dt.timedelta(days=day) for day in range(7)]


@pytest.fixture
def daily(store):
    """Six days of one segment each: two cold, two warm, two hot."""
    frame = rows(1, 600).drop("asset_class")
    store.write(frame, "t", symbol="symbol")
    store.migrate("t", "hot", "warm", before="2026-01-09")
    store.migrate("t", "warm", "cold", before="2026-01-07")
    store.sweep(grace=0)
    return store.read("t", to="polars")


@pytest.fixture
def opened(store, monkeypatch):
    """The tiers of the segments that stores were asked to read, in order."""
    seen = []
    for tier in TIERS:
        inner = store._stores[qs.core.tier.Tier(tier)]
        read = inner.read
        monkeypatch.setattr(
            inner, "read", lambda *args, _tier=tier, _read=read, **more: (seen.append(_tier), _read(*args, **more))[1]
        )
    return seen


def used(store):
    """Return how many segments of each tier the last read planned."""
    return {use.tier.value: use.segments for use in store.last.plan.uses()}


def as_source(store, monkeypatch, *args, **more):
    """Return the scan that Polars would be given."""
    monkeypatch.setattr(scan_module.TableScan, "lazy", lambda self: self)
    return store.scan(*args, **more)


def test_a_scan_has_the_columns_that_read_gives_and_reads_nothing(store, daily, opened):
    scanned = store.scan("T")
    assert isinstance(scanned, pl.LazyFrame)
    assert scanned.collect_schema() == daily.schema
    assert opened == []
    assert repr(store.last).startswith("planned, no row read yet, in ")
    assert_same(scanned.collect(), daily)
    assert repr(store.last).startswith("600 rows in ")


def test_hidden_columns_are_there_only_if_named(store, daily):
    assert not {"trade_date", "asset_class", "_seq"} & set(store.scan("t").collect_schema())
    named = store.scan("t", columns=["PRICE", "_seq", "trade_date", "asset_class"])
    assert_same(named.collect(), store.read("t", columns=["price", "_seq", "trade_date", "asset_class"], to="polars"))
    found = named.filter(trade_date=DAYS[3].date()).collect()
    assert found["trade_date"].unique().to_list() == [DAYS[3].date()]
    assert used(store) == {"warm": 1}


@pytest.mark.parametrize("engine", ENGINES)
def test_filters_open_only_segments_that_may_hold_wanted_rows(store, daily, opened, engine):
    hot = c("ts") >= DAYS[4]
    assert_same(store.scan("t").filter(hot).collect(engine=engine), daily.filter(hot))
    assert (used(store), opened) == ({"hot": 2}, ["hot", "hot"])
    opened.clear()
    assert store.scan("t").filter(c("symbol") == "NONE").collect(engine=engine).is_empty()
    assert store.scan("t").filter(c("ts") > DAYS[6] + dt.timedelta(days=99)).collect(engine=engine).is_empty()
    assert opened == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_limit_stops_before_the_segments_it_does_not_need(store, daily, opened, engine):
    first = len(daily.filter(c("ts") < DAYS[1]))
    assert_same(store.scan("t").head(first).collect(engine=engine), daily.head(first))
    assert (used(store), opened) == ({"cold": 1}, ["cold"])
    opened.clear()
    assert_same(store.scan("t").head(first + 1).collect(engine=engine), daily.head(first + 1))
    assert (used(store), opened) == ({"cold": 2}, ["cold", "cold"])
    opened.clear()
    assert store.scan("t").head(0).collect(engine=engine).schema == daily.schema
    assert len(opened) <= 1


@pytest.mark.skipif(not RESOLVES, reason="this Polars does not tell a source of slices")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_slice_stops_before_the_segments_it_does_not_need(store, daily, opened, engine):
    assert_same(store.scan("t").slice(90, 5).collect(engine=engine), daily.slice(90, 5))
    assert opened == ["cold"]


@pytest.mark.parametrize("engine", ENGINES)
def test_only_columns_that_are_needed_are_read(store, daily, monkeypatch, engine):
    asked = []
    assemble = scan_module.assemble
    monkeypatch.setattr(scan_module, "assemble", lambda *args: (asked.append(set(args[-1])), assemble(*args))[1])
    found = store.scan("t").filter(c("size") > 20).select("price").collect(engine=engine)
    assert_same(found, daily.filter(c("size") > 20).select("price"))
    assert store.scan("t").select(pl.len()).collect(engine=engine).item() == 600
    assert asked[0] == {"price", "size"}
    assert len(asked[1]) == 1
    nothing = store.scan("t").drop(daily.columns).collect(engine=engine)
    assert nothing.columns == []


@pytest.mark.skipif(not RESOLVES, reason="this Polars names no source")
def test_polars_explains_what_the_tiers_give(store, daily):
    text = store.scan("t").filter(c("ts") >= DAYS[4]).select("price").explain()
    assert "PYTHON[quantstore t] SCAN" in text
    assert f"version 1; hot 2 segments, {len(daily.filter(c('ts') >= DAYS[4]))} rows" in text


def test_last_shows_what_a_collect_touched(store, daily):
    assert store.scan("t").filter(c("ts") < DAYS[1]).select("size").collect().height
    report = store.last
    assert report.rows == len(daily.filter(c("ts") < DAYS[1]))
    assert repr(report).split(" | ")[1].startswith("cold")
    assert "scan t: 1 of 1 segments" in str(report.plan)


def test_a_scan_keeps_its_version_whatever_is_written_later(store, daily):
    scanned = store.scan("t")
    store.write(rows(2, 50).drop("asset_class"), "t", mode="overwrite")
    assert_same(scanned.collect(), daily)
    store.write(rows(3, 50).drop("asset_class"), "t", "cold")
    assert_same(scanned.collect(), daily)
    assert store.scan("t").collect().height == 100
    assert_same(store.scan("t", as_of=1).collect(), daily)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_that_moved_and_were_swept_before_the_collect_are_found(store, daily, engine):
    scanned = store.scan("t").filter(c("size") < 40)
    assert_same(scanned.collect(engine=engine), daily.filter(c("size") < 40))
    for source, target in (("hot", "cold"), ("warm", "hot"), ("cold", "warm")):
        store.migrate("t", source, target)
        assert store.sweep(grace=0).copies
        assert_same(scanned.collect(engine=engine), daily.filter(c("size") < 40))


def test_a_scan_under_way_holds_its_segments_until_it_ends(store, daily, monkeypatch):
    batches = as_source(store, monkeypatch, "t").batches(None, None, None, None, None)
    found = [next(batches)]
    store.migrate("t", "any", "hot")
    assert store.sweep(grace=0).copies == 0
    found += batches
    assert_same(pl.concat(found), daily)
    assert store.sweep(grace=0).copies == 4


def test_a_scan_that_is_dropped_lets_go_and_leaves_no_thread(store, daily, monkeypatch):
    batches = as_source(store, monkeypatch, "t").batches(None, None, None, None, None)
    next(batches)
    beating = [thread for thread in threading.enumerate() if thread.name == "quantstore-heartbeat"]
    del batches
    for thread in beating:
        thread.join(5)
        assert not thread.is_alive()
    store.migrate("t", "any", "hot")
    assert store.sweep(grace=0).copies == 4


def test_a_scan_that_can_hold_nothing_goes_on_where_it_was(store, daily, monkeypatch):
    """A store opened read-only leaves no mark that a sweep in another kernel would see."""
    with qs.open(store.name, read_only=True) as other:
        source = as_source(other, monkeypatch, "t")
        for taken in range(6):
            batches = source.batches(None, None, c("size") > 5, None, None)
            found = [next(batches) for _ in range(taken)]
            store.migrate("t", "any", TIERS[taken % 3])
            store.sweep(grace=0)
            assert_same(pl.concat([*found, *batches]), daily.filter(c("size") > 5))
        limited = source.batches(None, ["size"], None, 333, 10)
        found = [next(limited)]
        store.migrate("t", "any", "warm")
        store.sweep(grace=0)
        assert_same(pl.concat([*found, *limited]), daily.select("size").head(333))


def test_segments_that_keep_moving_end_in_an_error(store, daily, monkeypatch):
    def gone(*_):
        raise IntegrityError("gone", copy_id=10**9)

    monkeypatch.setattr(scan_module, "assemble", gone)
    with pytest.raises(raised(UnavailableError), match="kept moving"):
        store.scan("t").collect()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tier", TIERS)
def test_damage_is_named_and_never_read(store, tmp_path, engine, tier):
    store.write(rows(1, 200).drop("asset_class"), "t", tier)
    location = store.table("t").placement()["location"].iloc[-1]
    (path,) = [path for path in tmp_path.rglob("*") if path.name == location.rpartition("/")[2]]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(raised(IntegrityError), match=f"Table 't', partition .*, tier {tier}"):
        store.scan("t").collect(engine=engine)
    path.unlink()
    with pytest.raises(raised(IntegrityError), match=f"tier {tier}"):
        store.scan("t").tail(1).collect(engine=engine)
    assert store.scan("t").head(1).collect(engine=engine).height == 1


def test_mistakes_are_named_when_the_scan_is_made(store, daily):
    with pytest.raises(NotFoundError, match=r"There is no table 'tt'.*'t'"):
        store.scan("tt")
    with pytest.raises(InvalidInputError, match=r"for SQL use read\(sql, to='lazy'\)"):
        store.scan("SELECT * FROM t")
    with pytest.raises(NotFoundError, match=r"no column 'prise'.*'price'"):
        store.scan("t", columns=["prise"])
    with pytest.raises(NotFoundError, match="no version 9"):
        store.scan("t", as_of=9)
    with pytest.raises(InvalidInputError, match="not a size"):
        store.read("t", to="lazy", max_bytes="much")
    store.create("bare")
    with pytest.raises(InvalidInputError, match="no columns yet"):
        store.scan("bare")


def test_ordered_categories_are_fixed_by_a_write_and_not_by_a_schema(store):
    kind = pa.dictionary(pa.int32(), pa.string(), ordered=True)
    with pytest.raises(UnsupportedError, match="'grade' of table 'o'"):
        store.create("o", pa.schema([("ts", pa.timestamp("ns")), ("grade", kind)]))
    assert store.tables() == []
    grades = pa.array(["b", "a"]).dictionary_encode().cast(kind)
    store.write(pa.table({"ts": pa.array([1, 2], pa.timestamp("ns")), "grade": grades}), "o")
    assert store.scan("o").collect()["grade"].to_list() == ["b", "a"]


def test_bare_tables_read_lazily_take_the_options_of_a_read(store, daily, opened):
    options = {"start": DAYS[1], "end": DAYS[4], "symbols": ["IBM", "ZM"], "columns": ["price", "symbol", "ts"]}
    lazy = store.read("t", to="lazy", **options)
    assert opened == []
    eager = store.read("t", to="polars", **options)
    assert_same(lazy.collect(), eager)
    assert_same(lazy.filter(c("ts") >= DAYS[3]).collect(), eager.filter(c("ts") >= DAYS[3]))
    assert used(store) == {"warm": 1}
    ends = [DAYS[0].date(), DAYS[5].date()]
    eager = store.read("t", to="polars", dates=ends)
    assert_same(store.read("t", to="lazy", dates=ends).collect(), eager)
    assert used(store) == {"cold": 1, "hot": 1}


def test_sql_read_lazily_is_run_at_once(store, daily, opened):
    lazy = store.read("SELECT symbol, count(*) AS n FROM t GROUP BY symbol ORDER BY symbol", to="lazy")
    assert isinstance(lazy, pl.LazyFrame)
    assert store.last.rows == 6
    assert lazy.collect()["n"].sum() == 600


def test_what_a_hint_leaves_out_is_told_when_the_scan_is_made(store, daily):
    with pytest.warns(PartialResultWarning, match="leaves out 4 segments"):
        scanned = store.scan("t", tiers="hot")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(scanned.collect(), daily.filter(c("ts") >= DAYS[4]))
    with pytest.raises(UnavailableError, match="leaves out 4 segments"):
        store.read("t", "hot", to="lazy", missing="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.read("t", "hot", to="lazy", missing="ignore").collect().height < 600


@pytest.mark.parametrize("engine", ENGINES)
def test_what_left_the_hinted_tiers_since_is_told_when_it_is_collected(store, daily, engine):
    scanned = store.read("t", ["cold", "warm", "hot"][:2], to="lazy", end=DAYS[4])
    strict = store.read("t", ["cold", "warm"], to="lazy", end=DAYS[4], missing="raise")
    store.migrate("t", "warm", "hot")
    with pytest.warns(PartialResultWarning, match="leaves out 2 segments"):
        assert_same(scanned.collect(engine=engine), daily.filter(c("ts") < DAYS[2]))
    with pytest.raises(raised(UnavailableError), match="leaves out 2 segments"):
        strict.collect(engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_joins_groups_and_windows_have_the_answers_of_the_eager_table(store, engine):
    spread(store, 5)
    store.write(rows(77, 90, days=6).select("ts", "symbol", bid="price"), "quotes", "warm", symbol="symbol")
    names = ("t", "quotes")
    lazy, eager = (
        [get(name) for name in names] for get in (store.scan, lambda name: store.read(name, to="polars").lazy())
    )
    questions = [
        lambda t, q: t.group_by("symbol").agg(c("size").sum(), n=pl.len()).sort("symbol"),
        lambda t, q: t.join_asof(q.drop_nulls(), on="ts", by="symbol"),
        lambda t, q: t.filter(c("size") > 30).join(q, on=["ts", "symbol"], how="left", maintain_order="left"),
        lambda t, q: t.join(t.filter(c("price") > 100), on="size", how="semi").select("size").sort("size"),
        lambda t, q: t.group_by_dynamic("ts", every="1d").agg(c("size").max()),
        lambda t, q: t.with_columns(total=c("size").cum_sum().over("symbol")),
        lambda t, q: t.filter(c("ts") == c("ts").max()),
        lambda t, q: pl.concat([t.head(3), t.tail(3)]),
        lambda t, q: t.sort("size", "ts", maintain_order=True).head(5),
    ]
    for question in questions:
        assert_same(question(*lazy).collect(engine=engine), question(*eager).collect(engine="in-memory"))
