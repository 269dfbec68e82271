"""Writes that are refused: each says which column or name, and the way out, and changes nothing."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from telling import refused, ticks

from quantstore.errors import ConflictError, InvalidInputError, UnsupportedError


@pytest.fixture
def trades(store):
    """A store with a table to misfit."""
    store.write(ticks(), "trades")
    return store


# Time


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (lambda: ticks().drop(columns="ts"), {}, ["'new' needs a time column", "pd.to_datetime"]),
        (lambda: ticks(ts=["2026-01-05"] * 6), {}, ["'new' needs a time column", "pd.to_datetime"]),
        (lambda: ticks(ts=["2026-01-05"] * 6), {"time": "ts"}, ["'ts' of table 'new' is", "pd.to_datetime(df['ts'])"]),
        (lambda: ticks().rename(columns={"ts": "a"}).assign(b=ticks()["ts"]), {}, ["several", "a, b", "time="]),
        (ticks, {"time": "tss"}, ["time='tss' names no column", "'new'", "Did you mean 'ts'"]),
        (ticks, {"time": "hour"}, ["time='hour'", "There are 'ts', 'symbol'"]),
        (ticks, {"symbol": "price"}, ["'price' of table 'new' is double, not text", "astype('str')"]),
        (ticks, {"key": "idd"}, ["key='idd' names no column"]),
        (lambda: ticks(zone=None), {"tz": "America/NewYork"}, ["no time zone 'America/NewYork'", "'America/New_York'"]),
        (ticks, {"tz": "UTC"}, ["leave tz= out"]),
        (lambda: ticks(ts=[pd.Timestamp("2026-01-05", tz="UTC"), pd.NaT] * 3), {}, ["3 empty values in 6", "drop"]),
    ],
)  # fmt: skip
def test_a_table_needs_a_time_column(trades, frame, options, words):
    with refused(InvalidInputError, *words, store=trades):
        trades.write(frame(), "new", **options)


def test_a_frame_without_the_tables_time_column_is_refused(trades):
    with refused(InvalidInputError, "does not fit table 'trades'", "lacks 'ts'", store=trades):
        trades.write(ticks().drop(columns="ts"), "trades")


def test_a_frame_without_rows_makes_a_table_and_changes_none(trades):
    before = trades.metadata_catalog.snapshot()
    assert trades.write(ticks().iloc[:0], "trades").rows == 0
    assert trades.metadata_catalog.snapshot() == before
    assert trades.write(ticks().iloc[:0], "empty").rows == 0
    assert trades.read("empty").columns.tolist() == ["ts", "symbol", "price", "size"]
    for nothing in (pd.DataFrame(), iter([])):
        with refused(InvalidInputError, "no ", store=trades):
            trades.write(nothing, "nothing")


# Columns


def doubled(*names):
    return pa.Table.from_arrays([pa.array(ticks()["ts"]), *[pa.array([1] * 6)] * (len(names) - 1)], names=list(names))


@pytest.mark.parametrize("table", ["trades", "new"])
@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (lambda: doubled("ts", "a", "a"), ["Column 'a' appears more than once", "rename"]),
        (lambda: ticks(PRICE=1), ["'price' and 'PRICE' differ only in case"]),
        (lambda: ticks().rename(columns={"size": "pricе"}), ["look", "U+0435 CYRILLIC SMALL LETTER IE"]),
        (lambda: ticks().rename(columns={"size": "price "}), ["look", "U+0020 SPACE"]),
        (lambda: ticks().rename(columns={"size": 7}), ["7 is not text", "map(str)"]),
        (lambda: ticks(bad=[object()] * 6), ["Column 'bad' (object) cannot be stored"]),
        (lambda: ticks(bad=[1, "a"] * 3), ["Column 'bad' (object) cannot be stored"]),
        (lambda: ticks()["price"], ["A Series has no columns", "to_frame"]),
        (lambda: pl.Series("price", [1.5]), ["A Series has no columns", "to_frame"]),
        (lambda: {"ts": 1}, ["cannot come as dict"]),
        (lambda: None, ["cannot come as NoneType"]),
    ],
)
def test_columns_that_cannot_be_told_apart_or_kept_are_refused(trades, frame, words, table):
    with refused(InvalidInputError, *words, store=trades):
        trades.write(frame(), table)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (lambda: ticks().drop(columns="price"), ["lacks 'price'", "The table has 'ts', 'symbol'", "Add columns"]),
        (
            lambda: ticks(venue="x").drop(columns="size"),
            ["lacks 'size' and has 'venue', which the table has not", "Rename columns, and add those", "drop this one"],
        ),
        (lambda: ticks().rename(columns={"price": "prise"}), ["lacks 'price'", "'prise' (instead of 'price'?)"]),
        (lambda: ticks().rename(columns={"price": "рrice"}), ["looks like 'price'", "U+0440"]),
        (lambda: ticks(price="a"), ["'price' is", "where the table has double", "pd.to_numeric(df['price'])"]),
        (lambda: ticks(size=0.5), ["'size' is double where the table has int64", "df['size'].astype('Int64')"]),
        (lambda: ticks(symbol=1), ["'symbol' is int64 where the table has", "df['symbol'].astype('str')"]),
        (lambda: ticks(price="a", size=0.5), ["'price' is", "'size' is double where the table has int64"]),
        (lambda: ticks(zone=None), ["'ts' is timestamp[us] where the table has timestamp[us, tz=UTC]", "tz_localize"]),
        (lambda: ticks(ts="2026-01-05"), ["'ts' is", "pd.to_datetime(df['ts'])"]),
    ],
)  # fmt: skip
def test_schema_conflicts_name_every_column_with_both_types(trades, frame, words):
    with refused(InvalidInputError, "table 'trades'", "Nothing was changed", *words, store=trades) as caught:
        trades.write(frame(), "trades")
    assert caught.value.context["table"] == "trades"


def test_the_types_of_a_conflict_are_there_for_programs(trades):
    with refused(InvalidInputError) as caught:
        trades.write(ticks(size=0.5), "trades")
    assert caught.value.context["columns"] == {"size": {"given": "double", "stored": "int64"}}


def test_a_zone_where_the_table_has_none_is_refused(trades):
    trades.write(ticks(zone=None), "naive")
    with refused(InvalidInputError, "drop its zone: df['ts'].dt.tz_convert('UTC').dt.tz_localize(None)", store=trades):
        trades.write(ticks(), "naive")


def test_a_stream_that_changes_its_columns_leaves_nothing(trades):
    rows = iter([ticks(), ticks().drop(columns="price")])
    with refused(InvalidInputError, "lacks 'price'", store=trades):
        trades.write(rows, "new")


def test_another_time_symbol_or_key_than_the_tables_is_refused(trades):
    for option in ({"time": "price"}, {"symbol": "price"}, {"key": "price"}):
        with refused(InvalidInputError, "Table 'trades' has", "fixed when it was made", store=trades):
            trades.write(ticks(), "trades", **option)


# Names


PLAIN_NAMES = [
    "../x",
    "/etc/passwd",
    "a/b",
    ".",
    "..",
    "x; DROP TABLE trades",
    "q'uo\"te",
    "select",
    "with space",
    "_seq",
    "$x",
    "%s",
    "a.b",
    "*",
    "catalog.sqlite",
    "CON",
    "é" * 150,
    "🚀",
    "價格",
    "%2e%2e%2f",
]


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_are_data_wherever_they_are_used(trades, tmp_path, name):
    """Whatever a name looks like to a shell, a file system or SQL, it names one table inside the store."""
    for tier in ("hot", "cold"):
        trades.write(
            ticks().rename(columns={"size": name if name != "_seq" else "seq"}), name, tier, on_repeat="append"
        )
    assert name in trades.tables()
    assert len(trades.read(name)) == 12
    quoted = '"' + name.replace('"', '""') + '"'
    column = quoted if name != "_seq" else "seq"
    assert trades.read(f"SELECT sum({column}) AS s FROM {quoted}")["s"].tolist() == [30]
    assert len(trades.read("trades")) == 6
    assert trades.migrate(name, "any", "warm")
    assert len(trades.read(name)) == 12
    root = trades.metadata_catalog.path.parent
    assert {path.parent for path in tmp_path.iterdir()} == {tmp_path}
    assert [path.name for path in tmp_path.iterdir()] == [root.name]
    assert all(len(part) < 256 for path in root.rglob("*") for part in Path(path).parts)


@pytest.mark.parametrize("what", ["table", "column"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", ["must not be empty"]),
        ("  ", ["must not be empty"]),
        ("a" * 201, ["201 characters", "at most 200"]),
        ("new\nline", ["control characters", "U+000A"]),
        ("nul\0", ["control characters", "U+0000"]),
        ("\x1b[2J", ["control characters", "U+001B"]),
        ("a\u202eb", ["invisible characters", "RIGHT-TO-LEFT OVERRIDE"]),
        ("\u200b", ["invisible characters", "ZERO WIDTH SPACE"]),
        ("a\u00a0b", ["invisible characters", "NO-BREAK SPACE"]),
        ("\u3164", ["invisible characters", "HANGUL FILLER"]),
        (unicodedata.normalize("NFD", "prix\u00e9"), ["accents apart", "normalize('NFC', name)"]),
    ],
)
def test_names_that_cannot_be_read_are_refused(trades, what, name, words):
    frame, table = (ticks(), name) if what == "table" else (ticks(**{name: 1}), "new")
    with refused(InvalidInputError, f"{what} name", *words, store=trades):
        trades.write(frame, table)
    if what == "table":
        with refused(InvalidInputError, *words, store=trades):
            trades.create(name)


def test_the_packages_own_names_are_reserved(trades):
    for kind, column in (
        (InvalidInputError, "_seq"),
        (InvalidInputError, "_SEQ"),
        (InvalidInputError, "Trade_Date"),
        (UnsupportedError, "__ns_ts"),
        (InvalidInputError, "__quantstore_0"),
    ):
        with pytest.raises(kind, match=r"reserved|must be spelt"):
            trades.write(ticks(**{column: 1}), "new")
    with pytest.raises(InvalidInputError, match="reserved"):
        trades.write(ticks(), "__quantstore_0")
    assert trades.tables() == ["trades"]


@pytest.mark.parametrize("name", [None, 5, b"trades", "half \ud800"])
def test_names_that_are_no_text_are_refused(trades, name):
    with refused(InvalidInputError, "name", store=trades):
        trades.write(ticks(), name)


@pytest.mark.parametrize("name", ["trаdes", "ｔrades", "ТRADES"])
def test_a_table_that_looks_like_another_is_refused(trades, name):
    with refused(InvalidInputError, "looks like 'trades', which exists", "U+", store=trades) as caught:
        trades.write(ticks(), name)
    assert caught.value.context["suggestion"] == "trades"
    with refused(InvalidInputError, "looks like 'trades'", store=trades):
        trades.create(name)
    trades.write(ticks(), "TRADES", on_repeat="append")
    assert trades.tables() == ["trades"]
    trades.write(ticks(), "прайс")
    assert len(trades.read("прайс")) == 6


def test_a_table_name_with_spaces_at_its_ends_is_refused(trades):
    for name in (" trades", "trades ", "x "):
        with refused(InvalidInputError, "begins or ends with a space", store=trades):
            trades.write(ticks(), name)


# Repeats


def test_a_write_id_with_other_content_is_a_conflict(trades):
    first = trades.write(ticks(price=2.0), "trades", write_id="monday")
    assert trades.write(ticks(price=2.0), "trades", write_id="monday").version == first.version
    with refused(ConflictError, "'monday'", f"version {first.version}", "id of its own", store=trades) as caught:
        trades.write(ticks(price=3.0), "trades", write_id="monday")
    assert caught.value.context["write_id"] == "monday"
    with refused(InvalidInputError, "write_id must not be empty", store=trades):
        trades.write(ticks(), "trades", write_id=" ")


def test_conflicts_with_what_is_there_say_what_to_do(trades):
    with refused(ConflictError, "already, since version 1", "on_repeat='append'", store=trades):
        trades.write(ticks(), "trades", on_repeat="raise")
    with refused(ConflictError, "exists already", "mode='append'", store=trades):
        trades.write(ticks(), "trades", mode="error")
    with refused(ConflictError, "at version 1, not 9", "read it again", store=trades):
        trades.write(ticks(price=9.0), "trades", expected_version=9)


# Making tables


def test_tables_that_cannot_be_made_are_refused(trades):
    stamps = pa.schema([("ts", pa.timestamp("us"))])
    for kind, words, arguments, options in (
        (InvalidInputError, ["exists already", "another name"], ["Trades"], {}),
        (InvalidInputError, ["time='ts' names no column"], ["new", pa.schema([("a", pa.int64())])], {}),
        (InvalidInputError, ["must be a pyarrow.Schema, not dict"], ["new", {"a": 1}], {}),
        (InvalidInputError, ["not a grain"], ["new"], {"grain": "week"}),
        (InvalidInputError, ["no exchange calendar 'XNYSE'", "Did you mean 'XNYS'?"], ["new"], {"calendar": "XNYSE"}),
        (InvalidInputError, ["has no time zone", "tz="], ["new", stamps], {"calendar": "XNYS"}),
    ):
        with refused(kind, *words, store=trades):
            trades.create(*arguments, **options)
