"""Writing: inputs, modes, repeats, form, refusals that change nothing."""

from __future__ import annotations

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

import quantstore as qs
from quantstore.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RepeatedWriteWarning,
)


def frame(n=6, start="2026-01-05 09:30", symbol="AAPL"):
    ts = pd.date_range(start, periods=n, freq="min", tz="UTC").as_unit("ns")
    return pd.DataFrame({"ts": ts, "symbol": [symbol] * n, "price": np.arange(float(n))})


class Capsule:
    """Something that only speaks the Arrow stream protocol."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


ARROW = pa.Table.from_pandas(frame(), preserve_index=False)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(frame, id="pandas"),
        pytest.param(lambda: pl.DataFrame(ARROW), id="polars"),
        pytest.param(lambda: pl.DataFrame(ARROW).lazy(), id="lazy"),
        pytest.param(lambda: ARROW, id="table"),
        pytest.param(lambda: ARROW.to_batches()[0], id="batch"),
        pytest.param(lambda: ARROW.to_reader(2), id="reader"),
        pytest.param(lambda: Capsule(ARROW), id="capsule"),
        pytest.param(lambda: (ARROW.slice(at, 2) for at in range(0, 6, 2)), id="iterator of tables"),
        pytest.param(lambda: iter([frame(6).iloc[:4], frame(6).iloc[4:]]), id="iterator of pandas"),
        pytest.param(lambda: [pl.DataFrame(ARROW)], id="list of polars"),
    ],
)
def test_every_kind_of_input_is_written_alike(store, given):
    result = store.write(given(), "t")
    assert result.rows == 6
    wanted = frame()
    found = store.read("t")[["ts", "symbol", "price"]]
    assert_frame_equal(found, wanted, check_dtype=False)
    assert store.read("SELECT sum(price) AS s FROM t")["s"].tolist() == [15.0]


def test_a_result_prints_as_one_line(store):
    result = store.write(frame(), "trades", "warm")
    assert repr(result).endswith(": trades -> warm, version 1, 6 rows in 1 segment")
    assert "\n" not in repr(result)


def test_overwrite_replaces_the_whole_table_and_old_versions_keep_it(store):
    first = store.write(frame(6), "t", "cold")
    second = store.write(frame(2, "2026-02-01"), "t", mode="overwrite")
    assert (second.rows, second.deleted) == (2, 6)
    assert len(store.read("t")) == 2
    assert_frame_equal(store.read("t", as_of=first.version), frame(6))


def test_mode_error_only_makes_new_tables(store):
    store.write(frame(), "t", mode="error")
    with pytest.raises(ConflictError, match="exists already"):
        store.write(frame(), "t", mode="error")
    store.create("made")
    assert store.write(frame(), "made", mode="error").rows == 6


def test_a_write_id_makes_a_write_safe_to_retry(store):
    first = store.write(frame(), "t", write_id="load-1", mode="error")
    again = store.write(frame(), "t", write_id="load-1", mode="error")
    assert again.replayed
    assert (again.version, again.rows) == (first.version, first.rows)
    assert len(store.read("t")) == 6
    with pytest.raises(ConflictError, match="load-1"):
        store.write(frame(3), "t", write_id="load-1", mode="error")


def test_the_same_content_again_is_skipped_with_a_warning(store):
    store.write(frame(), "t")
    with pytest.warns(RepeatedWriteWarning, match="already, since version 1") as told:
        assert store.write(pl.DataFrame(ARROW), "t", "cold").replayed
    assert told[0].filename == __file__
    with pytest.raises(ConflictError, match="on_repeat='append'"):
        store.write(frame(), "t", on_repeat="raise")
    assert store.write(frame(), "t", on_repeat="append").rows == 6
    assert len(store.read("t")) == 12


def test_the_same_rows_in_another_order_or_cut_are_no_repeat(store):
    store.write(frame(), "t")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.write(frame().iloc[::-1], "t").rows == 6
        assert store.write(frame().iloc[:5], "t").rows == 5


def test_a_repeat_is_seen_however_a_stream_is_cut(store):
    store.write(ARROW, "t")
    with pytest.warns(RepeatedWriteWarning):
        assert store.write((ARROW.slice(at, 1) for at in range(6)), "t").replayed


def test_duplicate_rows_are_kept_and_ties_stay_in_arrival_order(store):
    same = pd.Timestamp("2026-01-05 09:30", tz="UTC")
    rows = pd.DataFrame({"ts": [same] * 4, "price": [3.0, 1.0, 1.0, 2.0]})
    store.write(rows, "t")
    store.write(rows.assign(price=rows["price"] + 10), "t", "cold")
    assert store.read("t")["price"].tolist() == [3.0, 1.0, 1.0, 2.0, 13.0, 11.0, 11.0, 12.0]
    seqs = store.read("SELECT _seq FROM t ORDER BY _seq")["_seq"].tolist()
    assert seqs == [(1 << 32) + at for at in range(4)] + [(2 << 32) + at for at in range(4)]


def test_seq_is_hidden_from_star_and_kept_through_moves(store):
    shuffled = frame(6).sample(frac=1, random_state=3, ignore_index=True)
    store.write(shuffled, "t")
    wanted = store.read("SELECT price, _seq FROM t ORDER BY _seq")
    assert wanted["price"].tolist() == shuffled["price"].tolist()
    for source, destination in (("hot", "cold"), ("cold", "warm"), ("warm", "hot")):
        store.migrate("t", source, destination)
        assert_frame_equal(store.read("SELECT price, _seq FROM t ORDER BY _seq"), wanted)
    assert "_seq" not in store.read("SELECT * FROM t")
    assert "_seq" not in store.read("t")


def test_partition_columns_are_derived_kept_and_selectable(store):
    late = frame(2, "2026-01-05 23:59:30")
    store.write(late, "t", asset_class="EQUITY")
    store.write(frame(1, "2026-02-01"), "t")
    found = store.read("SELECT trade_date, asset_class, count(*) AS n FROM t GROUP BY ALL ORDER BY ALL")
    assert found["trade_date"].astype(str).tolist() == ["2026-01-05", "2026-01-06", "2026-02-01"]
    assert found["asset_class"].tolist() == ["EQUITY", "EQUITY", "UNKNOWN"]
    assert list(store.read("SELECT * FROM t")) == ["ts", "symbol", "price"]


def test_a_trade_date_column_is_believed(store):
    rows = frame(2).assign(trade_date=[dt.date(2020, 1, 1), dt.date(2020, 1, 2)], asset_class="FX")
    store.write(rows, "t", "cold")
    placement = store.table("t").placement()
    assert placement["trade_date"].astype(str).tolist() == ["2020-01-01", "2020-01-02"]
    assert all("trade_date=2020-01-0" in place and "asset_class=FX" in place for place in placement["location"])
    assert_frame_equal(store.read("t"), rows)


def test_days_before_1970_and_zones_far_from_utc_fall_into_utc_dates(store):
    ts = pd.to_datetime(["1969-12-31 23:59:59.999999999", "1970-01-01"], format="ISO8601").tz_localize("UTC")
    store.write(pd.DataFrame({"ts": ts.tz_convert("Pacific/Kiritimati"), "x": [1, 2]}), "t")
    assert store.table("t").placement()["trade_date"].astype(str).tolist() == ["1969-12-31", "1970-01-01"]


@pytest.mark.parametrize(("grain", "keys"), [("month", ["2026-01-01", "2026-02-01"]), ("year", ["2026-01-01"])])
def test_wider_grains_make_wider_partitions(store, grain, keys):
    store.create("t", grain=grain)
    rows = pd.concat([frame(2, "2026-01-05"), frame(2, "2026-01-20"), frame(2, "2026-02-03")], ignore_index=True)
    store.write(rows, "t", "cold")
    assert store.table("t").placement()["trade_date"].astype(str).tolist() == keys
    assert_frame_equal(store.read("t"), rows)
    found = store.read("SELECT DISTINCT trade_date FROM t WHERE trade_date = DATE '2026-01-20'")
    assert found["trade_date"].astype(str).tolist() == ["2026-01-20"]
    store.migrate("t", "cold", "hot")
    assert_frame_equal(store.read("t"), rows)


def test_create_fixes_the_form(store):
    schema = pa.schema([("when", pa.timestamp("ns", "UTC")), ("sym", pa.string()), ("px", pa.float64())])
    table = store.create("t", schema, time="when", symbol="sym", asset_class="FX")
    assert table.schema.names == ["when", "sym", "px"]
    assert store.read("t").empty
    rows = pd.DataFrame({"px": [1.0], "SYM": ["A"], "when": [pd.Timestamp("2026-01-01", tz="UTC")]})
    store.write(rows, "T")
    assert store.read("t")["sym"].tolist() == ["A"]
    assert store.read("SELECT asset_class FROM t")["asset_class"].tolist() == ["FX"]
    with pytest.raises(InvalidInputError, match="exists already"):
        store.create("t")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda df: df.drop(columns="price"), "lacks 'price'"),
        (lambda df: df.drop(columns="price").assign(prise=1), "'prise' \\(instead of 'price'"),
        (lambda df: df.assign(price="x"), "'price' is"),
        (lambda df: df.assign(ts=df["ts"].dt.tz_localize(None)), "'ts' is"),
        (lambda df: df.assign(Price=1), "clash|'Price'"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_and_changes_nothing(store, change, message):
    store.write(frame(), "t")
    with pytest.raises(InvalidInputError, match=message):
        store.write(change(frame()), "t")
    assert store.metadata_catalog.snapshot().version == 1
    assert not list(store.hot_store.list()) or len(list(store.hot_store.list())) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame({"x": [1]}), "needs a time column"),
        (pd.DataFrame({"a": pd.to_datetime(["2026"]), "b": pd.to_datetime(["2026"])}), "several datetime columns"),
        (pd.DataFrame({"ts": pd.to_datetime(["2026", None])}), "empty values"),
        (pd.DataFrame({"ts": pd.to_datetime(["2026"]), "TS": [1]}), "differ only in case"),
        (pd.DataFrame({"ts": pd.to_datetime(["2026"]), "_seq": [1]}), "reserved"),
        (pd.DataFrame({"ts": pd.to_datetime(["2026"]), 0: [1]}), "not text"),
        (pd.DataFrame({"ts": pd.to_datetime(["2026"]), "o": [object()]}), "'o'"),
        (
            pd.DataFrame([[pd.Timestamp("2026"), 1]], columns=pd.MultiIndex.from_tuples([("ts", ""), ("a", "b")])),
            "Multi",
        ),
        (pd.DataFrame({"ts": pd.to_datetime(["2026"])}, index=["label"]), "row index"),
        (pa.table({"ts": pa.array([10**18], pa.timestamp("us"))}), "1677"),
        (42, "cannot come as int"),
        (iter([]), "no batch"),
    ],
)
def test_bad_frames_are_refused_before_anything_changes(store, data, message):
    with pytest.raises(InvalidInputError, match=message):
        store.write(data, "t")
    assert store.tables() == []
    assert store.metadata_catalog.attempts.states() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "upsurt"}, "mode="),
        ({"on_repeat": "maybe"}, "on_repeat="),
        ({"write_id": " "}, "write_id"),
        ({"time": "tss"}, "Did you mean 'ts'"),
        ({"symbol": "price"}, "not text"),
        ({"tz": "UTC"}, "leave tz= out"),
        ({"key": "nothing"}, "key='nothing' names no column"),
    ],
)
def test_bad_options_are_refused(store, options, message):
    with pytest.raises(InvalidInputError, match=message):
        store.write(frame(), "t", **options)


@pytest.mark.parametrize("name", ["", "  ", "a\x00b", "x" * 201])
def test_unusable_table_names_are_refused(store, name):
    with pytest.raises(InvalidInputError):
        store.write(frame(), name)


@pytest.mark.parametrize("name", ["my trades", "select", 'a"b', "a/b", "..", "x'; DROP TABLE y; --", "Ünï", "a" * 200])
def test_hostile_names_are_just_names(store, name, tmp_path):
    store.write(frame(), name, "cold", asset_class="../../../etc")
    store.migrate(name, "cold", "hot", before="2026-01-05 09:33Z")
    assert_frame_equal(store.read(name), frame())
    quoted = '"' + name.replace('"', '""') + '"'
    assert store.read(f"SELECT count(*) AS n FROM {quoted}")["n"].tolist() == [6]
    assert {p.name for p in tmp_path.iterdir()} == {"store"}
    assert store.tables() == [name]


def test_naive_time_takes_a_zone_or_stays_naive(store):
    naive = frame().assign(ts=lambda df: df["ts"].dt.tz_localize(None))
    store.write(naive, "naive")
    assert_frame_equal(store.read("naive"), naive)
    store.write(naive, "zoned", tz="America/New_York")
    found = store.read("zoned")["ts"]
    assert str(found.dt.tz) == "America/New_York"
    assert found.iloc[0] == pd.Timestamp("2026-01-05 09:30", tz="America/New_York")
    gap = naive.assign(ts=pd.date_range("2026-03-08 02:00", periods=6, freq="min"))
    with pytest.raises(InvalidInputError, match="exist twice"):
        store.write(gap, "zoned", tz="America/New_York")


def test_a_version_knows_what_its_rows_were_made_from(store):
    store.write(frame(), "ticks")
    bars = store.read("SELECT ts, price FROM ticks WHERE price > 1")
    store.write(bars, "bars")
    (noted,) = store.table("bars").versions()["lineage"]
    assert noted.pop("code")["file"].endswith("test_writes.py")
    query = "SELECT ts, price FROM ticks WHERE price > 1"
    assert noted == {"inputs": ["ticks"], "version": 1, "query": query}
    (noted,) = store.table("ticks").versions()["lineage"]
    assert list(noted) == ["code"]


def test_expected_version_refuses_a_lost_update(store):
    first = store.write(frame(), "t")
    store.write(frame(3), "t")
    with pytest.raises(ConflictError, match="not 1 as expected"):
        store.write(frame(2), "t", expected_version=first.version)


def test_a_failing_stream_leaves_nothing(store, tmp_path):
    def broken():
        yield ARROW
        raise RuntimeError("the feed went away")

    with pytest.raises(RuntimeError, match="feed"):
        store.write(broken(), "t")
    assert store.tables() == []
    assert list(store.hot_store.list()) == []


def test_a_read_only_store_refuses_writes_and_reads_on(tmp_path):
    with qs.open(tmp_path / "s") as store:
        store.write(frame(), "t")
    with qs.open(tmp_path / "s", read_only=True) as reader:
        assert len(reader.read("t")) == 6
        for change in (
            lambda: reader.write(frame(), "t"),
            lambda: reader.migrate("t", "hot", "cold"),
            reader.sweep,
            lambda: reader.create("u"),
        ):
            with pytest.raises(AccessDeniedError, match="read-only"):
                change()


def test_opening_what_is_not_there_is_refused_when_it_may_not_be_made(tmp_path):
    with pytest.raises(NotFoundError, match="create=True"):
        qs.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
