"""Writes that change a table's columns: which are followed, which refused, and that nothing is lost on the way."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.errors import ConflictError, InvalidInputError, QuantStoreError, RepeatedWriteWarning, UnsupportedError
from quantstore.rows.evolution import is_wider, widened_type

TIERS = ["hot", "warm", "cold"]


def ticks(rows=4, day=5, **columns):
    """A small frame of trades in Arrow."""
    stamps = np.datetime64(f"2026-01-{day:02}T14:30", "us") + np.arange(rows) * np.timedelta64(1, "m")
    symbols = pa.array(["A", "B"] * (rows // 2))
    size = pa.array(np.arange(rows, dtype=np.int32))
    return pa.table({"ts": pa.array(stamps).cast(pa.timestamp("us", "UTC")), "symbol": symbols, "size": size} | columns)


def typed(values, kind, **options):
    return ticks(len(values), size=pa.array(values, kind), **options)


# Which types hold which


ORDERED = pa.dictionary(pa.int32(), pa.string(), ordered=True)
FLOATS = [pa.float32(), pa.float64()]
HOLDS = [
    (pa.int8(), [pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()]),
    (pa.int16(), [pa.int32(), pa.int64(), pa.float32(), pa.float64()]),
    (pa.int32(), [pa.int64(), pa.float64()]),
    (pa.int64(), []),
    (pa.uint8(), [pa.uint16(), pa.uint32(), pa.uint64(), pa.int16(), pa.int32(), pa.int64(), *FLOATS]),
    (pa.uint16(), [pa.uint32(), pa.uint64(), pa.int32(), pa.int64(), pa.float32(), pa.float64()]),
    (pa.uint32(), [pa.uint64(), pa.int64(), pa.float64()]),
    (pa.uint64(), []),
    (pa.float16(), [pa.float32(), pa.float64()]),
    (pa.float32(), [pa.float64()]),
    (pa.float64(), []),
    (pa.string(), [pa.large_string()]),
    (pa.large_string(), []),
    (pa.binary(), [pa.large_binary()]),
    (pa.date32(), []),
    (pa.bool_(), []),
    (pa.list_(pa.int32()), [pa.large_list(pa.int32())]),
]  # fmt: skip
KINDS = [kind for kind, _ in HOLDS] + [pa.large_binary(), pa.date64(), pa.time64("us"), pa.large_list(pa.int32())]


@pytest.mark.parametrize(("kind", "wider"), HOLDS, ids=str)
def test_a_column_takes_just_the_types_that_hold_its_every_value(kind, wider):
    found = [given for given in KINDS if widened_type(kind, given) != kind]
    assert sorted(map(str, found)) == sorted(map(str, wider))
    assert all(is_wider(given, kind) and not is_wider(kind, given) for given in wider)


def test_integers_of_extreme_values_survive_every_widening():
    for kind, wider in HOLDS[:8]:
        limits = np.iinfo(kind.to_pandas_dtype())
        values = pa.array([limits.min, 0, limits.max], kind)
        for given in wider:
            assert [int(one) for one in values.cast(given).to_pylist()] == values.to_pylist()


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("ms", "UTC"), pa.timestamp("us", "Asia/Tokyo"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("s"), pa.timestamp("us")),
        (pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.timestamp("s")),
        (pa.decimal128(10, 2), pa.decimal128(12, 4), pa.decimal128(12, 4)),
        (pa.decimal128(10, 2), pa.decimal128(12, 5), pa.decimal128(10, 2)),
        (pa.decimal128(10, 2), pa.decimal128(20, 1), pa.decimal128(10, 2)),
        (pa.decimal128(10, 2), pa.float64(), pa.decimal128(10, 2)),
        (pa.null(), pa.list_(pa.string()), pa.list_(pa.string())),
        (pa.int32(), pa.null(), pa.int32()),
        (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string()),
         pa.dictionary(pa.int32(), pa.large_string())),
        (pa.dictionary(pa.int32(), pa.int32()), pa.dictionary(pa.int8(), pa.int64()),
         pa.dictionary(pa.int32(), pa.int64())),
        (pa.dictionary(pa.int32(), pa.string()), ORDERED, pa.dictionary(pa.int32(), pa.string())),
        (ORDERED, pa.dictionary(pa.int32(), pa.string()), ORDERED),
        (pa.dictionary(pa.int8(), pa.string()), pa.large_string(), pa.dictionary(pa.int8(), pa.string())),
    ],
    ids=str,
)  # fmt: skip
def test_other_types_are_widened_where_no_value_can_change(kind, given, taken):
    assert widened_type(kind, given) == taken


def test_only_the_time_column_becomes_nanoseconds():
    assert widened_type(pa.timestamp("us"), pa.timestamp("ns"), is_time=True) == pa.timestamp("ns")


# What a write says and does


def test_a_write_says_what_it_added_and_widened(store):
    store.write(ticks(), "t")
    more = ticks(day=6, size=pa.array([1, 2, 3, 4]), venue=pa.array(["X"] * 4))
    proposed = store.write(more, "t", dry_run=True)
    assert (proposed.added_columns, proposed.widened) == (("venue",), {"size": ("int32", "int64")})
    assert store.table("t").schema.names == ["ts", "symbol", "size"]
    result = store.write(more, "t")
    assert (result.added_columns, result.widened) == (("venue",), {"size": ("int32", "int64")})
    assert repr(result).endswith("4 rows in 1 segment, adds 'venue', 'size' int32 -> int64")
    assert store.table("t").schema.names == ["ts", "symbol", "size", "venue"]
    again = store.write(more, "t", on_repeat="append")
    assert (again.added_columns, again.widened) == ((), {})
    assert hash(again) != hash(result)


def test_the_order_of_columns_is_no_change(store):
    store.write(ticks(), "t")
    result = store.write(ticks(day=6).select(["size", "ts", "symbol"]), "t")
    assert (result.added_columns, result.widened) == ((), {})
    assert store.read("t").columns.tolist() == ["ts", "symbol", "size"]
    assert len(store.metadata_catalog.changes()) == 2


def test_letter_case_of_a_known_column_is_no_change(store):
    store.write(ticks(), "t")
    result = store.write(ticks(day=6, size=pa.array([1, 2, 3, 4])).rename_columns(["TS", "Symbol", "SIZE"]), "t")
    assert result.widened == {"size": ("int32", "int64")}
    assert store.table("t").schema.names == ["ts", "symbol", "size"]


def test_new_columns_come_after_the_others_and_before_hidden_ones(store):
    store.write(ticks(), "t")
    store.write(ticks(day=6, b=pa.array([1] * 4), a=pa.array([2] * 4)), "t", asset_class="FX")
    assert store.read("t").columns.tolist() == ["ts", "symbol", "size", "b", "a"]
    found = store.read("SELECT trade_date, asset_class, _seq, a FROM t ORDER BY _seq")
    assert found["asset_class"].tolist() == ["UNKNOWN"] * 4 + ["FX"] * 4
    assert found["a"].isna().tolist() == [True] * 4 + [False] * 4


def test_a_partition_column_that_is_hidden_is_no_new_column(store):
    store.write(ticks(), "t")
    result = store.write(ticks(day=6, asset_class=pa.array(["FX"] * 4)), "t")
    assert result.added_columns == ()
    assert "asset_class" not in store.read("t")


@pytest.mark.parametrize("mode", ["append", "overwrite", "replace", "upsert"])
@pytest.mark.parametrize("tier", TIERS)
def test_every_mode_follows_a_frame(store, mode, tier):
    store.write(ticks(), "t", tier, key=["ts", "symbol"])
    rows = ticks(2, size=pa.array([2**40, 7]), venue=pa.array(["X", None]))
    result = store.write(rows, "t", tier, mode=mode)
    assert (result.added_columns, result.widened) == (("venue",), {"size": ("int32", "int64")})
    wanted = {
        "append": [(0, None), (2**40, "X"), (1, None), (7, None), (2, None), (3, None)],
        "overwrite": [(2**40, "X"), (7, None)],
        "replace": [(2**40, "X"), (7, None)],
        "upsert": [(2**40, "X"), (7, None), (2, None), (3, None)],
    }[mode]
    found = store.read("t", to="arrow")
    assert list(zip(found["size"].to_pylist(), found["venue"].to_pylist(), strict=True)) == wanted
    assert store.read("t", to="arrow", as_of=1).equals(ticks())
    assert store.audit()


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_rows_that_come_back_as_they_are_change_no_column(store, mode):
    store.write(ticks(), "t", key=["ts", "symbol"])
    same = ticks(size=pa.array([0, 1, 2, 3]), venue=pa.nulls(4, pa.string()))
    with pytest.warns(RepeatedWriteWarning):
        result = store.write(same, "t", mode=mode)
    assert (result.added_columns, result.widened) == ((), {})
    assert store.table("t").schema == ticks().schema


def test_corrections_compare_old_rows_in_the_new_form(store):
    store.write(ticks(), "t", "cold", key=["ts", "symbol"])
    store.write(ticks(day=6, size=pa.array([2**40] * 4), venue=pa.array(["X"] * 4)), "t", "hot")
    rows = ticks(size=pa.array([0, 1, 2, 9]), venue=pa.array([None, None, "Y", None], pa.string()))
    result = store.write(rows, "t", mode="upsert")
    assert (result.rows, result.deleted) == (2, 2)
    assert store.read("t", to="arrow")["venue"].to_pylist() == [None, None, "Y", None] + ["X"] * 4
    with pytest.warns(RepeatedWriteWarning):
        assert store.write(rows.slice(0, 2), "t", mode="replace", where="size < 2").replayed
    assert store.delete("t", "venue IS NULL AND size = 9").deleted == 1
    assert store.delete("t", "venue = 'X' AND symbol = 'A'").deleted == 2
    assert store.read("t", to="arrow")["size"].to_pylist() == [0, 1, 2, 2**40, 2**40]
    assert store.audit()


def test_a_key_may_be_a_column_that_came_later(store):
    store.write(ticks(), "t")
    store.write(ticks(day=6, id=pa.array([1, 2, 3, 4])), "t")
    result = store.write(
        ticks(2, day=6, id=pa.array([4, 5]), size=pa.array([7, 8], pa.int32())), "t", mode="upsert", key="id"
    )
    assert (result.rows, result.deleted) == (2, 1)
    assert sorted(store.read("t", to="arrow", start="2026-01-06")["id"].to_pylist()) == [1, 2, 3, 4, 5]


def test_an_empty_frame_changes_no_column(store):
    store.write(ticks(), "t")
    result = store.write(ticks(0, venue=pa.array([], pa.string())), "t")
    assert (result.rows, result.added_columns) == (0, ())
    assert store.table("t").schema == ticks().schema
    emptied = store.write(ticks(0, venue=pa.array([], pa.string())), "t", mode="overwrite")
    assert emptied.added_columns == ("venue",)
    assert len(store.read("t")) == 0
    assert "venue" in store.read("t")


def test_a_table_made_with_a_schema_follows_its_first_frame(store):
    store.create("t", ticks().schema, symbol="symbol")
    assert store.write(ticks(venue=pa.array(["X"] * 4)), "t", mode="error").added_columns == ("venue",)
    assert store.read("t")["venue"].tolist() == ["X"] * 4


@pytest.mark.parametrize(
    "make", [lambda table: table.to_reader(2), lambda table: iter([table.slice(0, 2), table.slice(2)])]
)
def test_streams_are_followed_by_the_columns_they_begin_with(store, make):
    store.write(ticks(), "t")
    rows = ticks(day=6, size=pa.array([2**40] * 4), venue=pa.array(["X", None, "Y", None]))
    result = store.write(make(rows), "t", "cold")
    assert (result.added_columns, result.widened) == (("venue",), {"size": ("int32", "int64")})
    assert store.read("t", to="arrow")["venue"].to_pylist() == [None] * 4 + ["X", None, "Y", None]


def test_polars_and_pandas_frames_are_followed(store):
    store.write(pl.DataFrame(ticks()), "t")
    kinds = pl.DataFrame(ticks(day=6)).with_columns(kind=pl.Series(["a", "b"] * 2, dtype=pl.Enum(["a", "b", "c"])))
    assert store.write(kinds, "t").added_columns == ("kind",)
    assert store.scan("t").collect()["kind"].dtype == pl.Enum(["a", "b", "c"])
    more = kinds.with_columns(kind=pl.Series(["d"] * 4, dtype=pl.Enum([*"abcd"])))
    assert store.write(more, "t").widened == {"kind": ("3 categories", "4 categories")}
    assert store.scan("t").collect()["kind"].to_list() == [None] * 4 + ["a", "d", "b", "d", "a", "d", "b", "d"]
    store.write(kinds, "t", on_repeat="append")
    assert store.read("t", to="polars")["kind"].dtype == pl.Enum([*"abcd"])
    with pytest.raises(InvalidInputError, match="new ones can only come after them"):
        store.write(kinds.with_columns(kind=pl.Series(["a"] * 4, dtype=pl.Enum([*"bacd"]))), "t")


# Writing again


def test_rows_written_before_a_change_are_still_a_repeat(store):
    store.write(ticks(), "t", write_id="first")
    store.write(ticks(day=6, size=pa.array([2**40] * 4), venue=pa.array(["X"] * 4)), "t")
    with pytest.warns(RepeatedWriteWarning, match="since version 1"):
        assert store.write(ticks(venue=pa.nulls(4)), "t").replayed
    wide = ticks(size=pa.array([0, 1, 2, 3]), venue=pa.nulls(4, pa.string()))
    with pytest.warns(RepeatedWriteWarning, match="since version 1"):
        assert store.write(wide.to_reader(1), "t", "cold").replayed
    assert len(store.read("t")) == 8
    assert store.write(ticks(venue=pa.array([None, None, None, "Y"])), "t").rows == 4


def test_a_repeat_in_wider_types_changes_nothing(store):
    store.write(ticks(), "t")
    with pytest.warns(RepeatedWriteWarning, match="since version 1"):
        assert store.write(ticks(size=pa.array([0, 1, 2, 3])), "t").replayed
    assert store.table("t").schema == ticks().schema
    floats = ticks(price=pa.array([0.1, 0.2, 0.3, 0.4], pa.float32()))
    store.write(floats, "f")
    other = ticks(price=pa.array([0.1, 0.2, 0.3, 0.4]))
    assert store.write(other, "f").widened == {"price": ("float", "double")}
    assert len(store.read("f")) == 8


@pytest.mark.parametrize("mode", ["append", "replace", "upsert", "overwrite"])
def test_a_write_id_is_recognised_after_a_change(store, mode):
    store.create("t", ticks().schema, symbol="symbol", key=["ts", "symbol"])
    first = store.write(ticks(), "t", mode=mode, write_id="monday")
    store.write(ticks(day=6, size=pa.array([2**40] * 4), venue=pa.array(["X"] * 4)), "t")
    again = store.write(ticks(), "t", mode=mode, write_id="monday")
    assert (again.replayed, again.version, again.rows) == (True, first.version, 4)
    with pytest.raises(ConflictError, match="other content"):
        store.write(ticks(day=7), "t", mode=mode, write_id="monday")
    assert len(store.read("t")) == 8


def test_a_transaction_is_recognised_after_a_change(store):
    for _ in range(2):
        with store.transaction(write_id="load") as tx:
            tx.write(ticks(), "t")
            tx.write(ticks(day=7), "u")
        store.write(ticks(day=6, size=pa.array([2**40] * 4), venue=pa.array(["X"] * 4)), "t", write_id="change")
    assert [result.replayed for result in tx.results] == [True, True]
    assert len(store.read("t")) == 8


# Transactions


def test_the_writes_of_a_transaction_change_columns_together(store):
    store.write(ticks(), "t")
    with store.transaction() as tx:
        tx.delete("t", "size = 3")
        tx.write(ticks(day=6), "t", "cold")
        tx.write(ticks(day=7, venue=pa.array(["X"] * 4)), "t", "warm")
        tx.write(ticks(day=8, venue=pa.array(["Y"] * 4), size=pa.array([2**40] * 4)), "t")
    assert [(one.added_columns, one.widened) for one in tx.results] == [(("venue",), {"size": ("int32", "int64")})]
    found = store.read("t", to="arrow")
    assert found["venue"].to_pylist() == [None] * 7 + ["X"] * 4 + ["Y"] * 4
    assert found["size"].to_pylist() == [0, 1, 2, *[0, 1, 2, 3] * 2, *[2**40] * 4]
    assert store.audit()


def test_a_table_made_by_a_transaction_may_grow_in_it(store):
    with store.transaction() as tx:
        tx.write(ticks(), "t", mode="upsert", key=["ts", "symbol"])
        tx.write(ticks(day=6, venue=pa.array(["X"] * 4)), "t")
    assert store.read("t", to="arrow")["venue"].to_pylist() == [None] * 4 + ["X"] * 4
    assert store.write(ticks(2, venue=pa.array(["Z"] * 2)), "t", mode="upsert").deleted == 2


def test_a_transaction_cannot_grow_a_table_after_a_stream(store):
    store.write(ticks(), "t")

    def grow():
        with store.transaction() as tx:
            tx.write(ticks(day=6).to_reader(2), "t")
            tx.write(ticks(day=7, venue=pa.array(["X"] * 4)), "t")

    with pytest.raises(InvalidInputError, match="begin with the write that has all columns"):
        grow()
    assert len(store.read("t")) == 4
    assert store.table("t").schema == ticks().schema


# Refusals


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (lambda: ticks(venue=pa.array(["X"] * 4)).drop_columns("size"), ["lacks 'size'", "Rename columns, and add"]),
        (lambda: ticks(sise=pa.array([1] * 4)).drop_columns("size"), ["'sise' (instead of 'size'?)"]),
        (lambda: ticks().drop_columns("size"), ["lacks 'size'", "Add columns, with nulls"]),
        (lambda: ticks().append_column("siz\u0435", pa.array([1] * 4)), ["look alike", "rename one"]),
        (lambda: typed(["1", "2"], pa.string()), ["'size' is string where the table has int32", "pd.to_numeric"]),
        (lambda: typed([True, False], pa.bool_()), ["'size' is bool where the table has int32"]),
        (lambda: typed([2**40, 1], pa.uint64()), ["'size' is uint64 where the table has int32"]),
        (lambda: ticks().set_column(1, "symbol", pa.array([1] * 4)), ["'symbol' is int64"]),
        (lambda: ticks(__ns_x=pa.array([1] * 4)), ["reserved"]),
        (lambda: ticks(_seq=pa.array([1] * 4)), ["reserved"]),
        (lambda: ticks(Trade_Dates=pa.array([1] * 4)).rename_columns(["ts", "symbol", "size", "a\nb"]), ["control"]),
        (lambda: ticks(x=pa.array([[1]] * 4, pa.list_(pa.decimal256(50, 1)))), ["cannot be kept", "'x'"]),
    ],
)
@pytest.mark.parametrize("mode", ["append", "overwrite", "replace"])
def test_what_cannot_be_followed_is_refused_before_anything_changes(store, frame, words, mode):
    store.write(ticks(), "t")
    before = store.metadata_catalog.snapshot(), [one.location for one in store.hot_store.list()]
    with pytest.raises((InvalidInputError, UnsupportedError)) as caught:
        store.write(frame(), "t", mode=mode)
    for word in words:
        assert word in str(caught.value)
    assert (store.metadata_catalog.snapshot(), [one.location for one in store.hot_store.list()]) == before
    assert store.table("t").schema == ticks().schema


def test_narrower_types_never_narrow_a_table(store):
    store.write(typed([2**40, 2], pa.int64()), "t")
    assert store.write(typed([1, 2], pa.int8(), day=6), "t").widened == {}
    assert store.table("t").schema.field("size").type == pa.int64()


def test_nanoseconds_for_a_column_that_may_reach_further_are_refused(store):
    stamps = pa.array([0, 1, 2, 3], pa.timestamp("us"))
    store.write(ticks(seen=stamps), "t")
    assert store.write(ticks(day=6, seen=stamps.cast(pa.timestamp("ns"))), "t").widened == {}
    with pytest.raises(InvalidInputError, match=r"would lose data.*dt\.floor\('us'\)"):
        store.write(ticks(day=7, seen=pa.array([1, 2, 3, 4], pa.timestamp("ns"))), "t")


# Writers at the same time


def together(store, *frames, **options):
    """Write frames, one by one planned on what the table was before any of them."""
    gate = threading.Barrier(len(frames))
    found = [None] * len(frames)

    def run(at):
        with qs.open(store.metadata_catalog.path.parent) as own:
            own.read("t")
            gate.wait()
            try:
                found[at] = own.write(frames[at], "t", TIERS[at % 3], **options)
            except QuantStoreError as error:
                found[at] = error

    threads = [threading.Thread(target=run, args=[at]) for at in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_writers_that_widen_at_the_same_time_all_succeed(store):
    store.write(typed([1, 2], pa.int8()), "t")
    frames = [typed([limit, 0], kind, day=6 + at) for at, (kind, limit) in enumerate(
        [(pa.int16(), 2**15 - 1), (pa.int32(), 2**31 - 1), (pa.int64(), 2**63 - 1), (pa.int8(), 127)]
    )]  # fmt: skip
    results = together(store, *frames)
    assert [getattr(result, "rows", result) for result in results] == [2] * 4
    assert store.read("t", to="arrow")["size"].to_pylist() == [1, 2, 2**15 - 1, 0, 2**31 - 1, 0, 2**63 - 1, 0, 127, 0]
    assert store.table("t").schema.field("size").type == pa.int64()
    assert store.audit()


def test_writers_that_add_the_same_column_all_succeed(store):
    store.write(ticks(), "t")
    frames = [ticks(day=6 + at, venue=pa.array([f"V{at}"] * 4)) for at in range(4)]
    results = together(store, *frames)
    assert [getattr(result, "rows", result) for result in results] == [4] * 4
    assert sum(bool(result.added_columns) for result in results) == 1
    assert store.read("t", to="arrow")["venue"].to_pylist() == [None] * 4 + [
        f"V{at}" for at in range(4) for _ in range(4)
    ]


def test_of_writers_that_add_different_columns_one_succeeds_and_the_others_are_told(store):
    store.write(ticks(), "t")
    frames = [ticks(day=6 + at, **{f"extra_{'abc'[at]}": pa.array([at] * 4)}) for at in range(3)]
    results = together(store, *frames)
    won = [result for result in results if not isinstance(result, QuantStoreError)]
    lost = [result for result in results if isinstance(result, QuantStoreError)]
    assert len(won) == 1
    assert len(lost) == 2
    assert all(isinstance(error, InvalidInputError) and "lacks 'extra_" in str(error) for error in lost)
    assert store.table("t").schema.names == ["ts", "symbol", "size", *won[0].added_columns]
    assert len(store.read("t")) == 8


@pytest.fixture
def outpaced(store, monkeypatch):
    """Change the table's columns under the next write, just before it commits."""

    def arrange(frame):
        commits = store.metadata_catalog.commits
        write = type(commits).write

        def late(self, attempt, some):
            monkeypatch.setattr(type(commits), "write", write)
            with qs.open(store.metadata_catalog.path.parent) as other:
                other.write(frame, "t")
            return write(self, attempt, some)

        monkeypatch.setattr(type(commits), "write", late)

    return arrange


@pytest.mark.parametrize("mode", ["append", "replace", "upsert", "overwrite"])
def test_a_write_follows_what_another_widened_meanwhile(store, outpaced, mode):
    store.write(ticks(), "t", key=["ts", "symbol"])
    outpaced(ticks(day=8, size=pa.array([2**40] * 4)))
    result = store.write(ticks(day=6, size=pa.array([9] * 4, pa.int16())), "t", mode=mode)
    assert (result.rows, result.widened) == (4, {})
    sizes = store.read("t", to="arrow")["size"].to_pylist()
    assert sizes == ([9] * 4 if mode == "overwrite" else [0, 1, 2, 3, *[9] * 4, *[2**40] * 4])
    assert store.audit()


def test_a_write_that_no_longer_fits_is_refused_and_leaves_nothing(store, outpaced):
    store.write(ticks(), "t")
    outpaced(ticks(day=8, venue=pa.array(["X"] * 4)))
    with pytest.raises(InvalidInputError, match="lacks 'venue'"):
        store.write(ticks(day=6), "t")
    assert len(store.read("t")) == 8
    assert len(list(store.hot_store.list())) == 2


def test_a_stream_cannot_follow_a_change_made_meanwhile(store, outpaced):
    store.write(ticks(), "t")
    outpaced(ticks(day=8, size=pa.array([2**40] * 4)))
    with pytest.raises(ConflictError, match="stream"):
        store.write(ticks(day=6).to_reader(), "t")
    assert len(store.read("t")) == 8


def test_a_delete_is_not_hindered_by_a_change_of_columns(store, outpaced):
    store.write(ticks(), "t")
    outpaced(ticks(day=8, size=pa.array([2**40, 3, 3, 4]), venue=pa.array(["X"] * 4)))
    assert store.delete("t", "size = 3").deleted == 3
    assert store.read("t", to="arrow")["size"].to_pylist() == [0, 1, 2, 2**40, 4]


def test_a_transaction_follows_what_another_widened_meanwhile(store, outpaced):
    store.write(ticks(), "t")
    outpaced(ticks(day=8, size=pa.array([2**40] * 4)))
    with store.transaction() as tx:
        tx.write(ticks(day=6), "t", "cold")
        tx.write(ticks(day=7, venue=pa.array(["X"] * 4)), "t")
    assert tx.results[0].added_columns == ("venue",)
    found = store.read("t", to="arrow")
    assert found["size"].to_pylist() == [0, 1, 2, 3] * 3 + [2**40] * 4
    assert found["venue"].to_pylist() == [None] * 8 + ["X"] * 4 + [None] * 4


def test_pandas_nulls_in_a_small_integer_column_make_it_floating(store):
    """Such a frame has whole numbers and NaN; 32-bit integers are exact in doubles, 64-bit ones are refused."""
    frame = ticks().to_pandas()
    store.write(frame, "small")
    gaps = frame.assign(size=[1.0, np.nan, 3.0, 4.0], ts=frame["ts"] + pd.Timedelta("1D"))
    assert store.write(gaps, "small").widened["size"] == ("int32", "double")
    store.write(frame.astype({"size": "int64"}), "large")
    with pytest.raises(InvalidInputError, match=r"astype\('Int64'\)"):
        store.write(gaps, "large")


def test_changes_tell_of_rows_older_than_a_column(store):
    """Rows that went after the columns changed are told as the table reads now, and as it read then."""
    store.write(ticks(), "t", "cold")
    store.write(ticks(day=6, size=pa.array([2**40] * 4), venue=pa.array(["X"] * 4)), "t")
    table = store.table("t")
    assert table.changes(0)["change"].tolist() == ["added"] * 8
    store.delete("t", "size = 2 AND venue IS NULL")
    gone = table.changes(2, to="arrow")
    assert gone.column_names == [*store.table("t").schema.names, "change"]
    assert gone.select(["size", "venue", "change"]).to_pylist() == [{"size": 2, "venue": None, "change": "removed"}]
    assert table.changes(1)["change"].value_counts().to_dict() == {"added": 4, "removed": 1}


@pytest.mark.parametrize("tier", TIERS)
def test_asset_classes_that_a_later_frame_brings_are_kept_row_by_row(store, tier):
    store.write(ticks(), "t", tier)
    classes = pa.array(["EQUITY", "FX", None, "EQUITY"]).fill_null("FX")
    store.write(ticks(day=6, asset_class=classes), "t", tier)
    found = store.read("SELECT asset_class FROM t WHERE trade_date = '2026-01-06' ORDER BY ts", to="arrow")
    assert found["asset_class"].to_pylist() == classes.to_pylist()
    assert store.read("SELECT count(*) AS n FROM t WHERE asset_class = 'FX'", to="arrow")["n"].to_pylist() == [2]
    assert "asset_class" not in store.read("t").columns
