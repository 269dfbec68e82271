"""Replace, upsert and delete: what goes, what comes, what stays as it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import quantstore as qs
from quantstore.errors import ConflictError, InvalidInputError, NotFoundError, RepeatedWriteWarning

TIERS = ("hot", "warm", "cold")


def ticks(symbol: str, day: str = "2026-01-05", rows: int = 4, price: float = 1.0, **more: object) -> pd.DataFrame:
    stamps = pd.date_range(f"{day}T10:00Z", periods=rows, freq="1s")
    return pd.DataFrame({"ts": stamps, "symbol": symbol, "price": price + np.arange(rows), **more})


def both(day: str = "2026-01-05") -> pd.DataFrame:
    return pd.concat([ticks("AAPL", day), ticks("MSFT", day)], ignore_index=True)


def rows(store: qs.HybridStorageManager, where: str = "true", **options: object) -> pa.Table:
    sql = f"SELECT ts, symbol, price, _seq FROM t WHERE {where} ORDER BY ts, _seq"
    return store.read(sql, to="arrow", **options)


def files(store: qs.HybridStorageManager) -> dict[str, str]:
    """Return the digest of every file of the store's three tiers."""
    found = {}
    for one in (store.hot_store, store.warm_store, store.cold_store):
        root = Path(one.root)
        for path in root.rglob("*") if root.exists() else ():
            if path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.parametrize("tier", TIERS)
def test_a_correction_of_one_symbol_leaves_every_byte_of_the_others(store, tier):
    store.write(both(), "t", tier)
    store.write(both("2026-01-06"), "t", tier)
    other = rows(store, "symbol = 'MSFT' OR ts >= '2026-01-06'")
    before = files(store)
    result = store.write(ticks("AAPL", rows=3, price=50.0), "t", mode="replace")
    assert (result.rows, result.deleted) == (3, 4)
    assert rows(store, "symbol = 'MSFT' OR ts >= '2026-01-06'").equals(other)
    assert rows(store, "symbol = 'AAPL' AND ts < '2026-01-06'").column("price").to_pylist() == [50.0, 51.0, 52.0]
    assert {path: digest for path, digest in files(store).items() if path in before} == before
    placed = store.table("t").placement()
    assert placed[placed["rows"] == 4]["tier"].tolist() == [tier], "what is left of the segment stays in its tier"


def test_a_busted_print_outside_the_frames_own_time_span_goes(store):
    busted = pd.DataFrame({"ts": [pd.Timestamp("2026-01-05T23:59:59Z")], "symbol": "AAPL", "price": 9e9})
    store.write(pd.concat([both(), busted]), "t")
    store.write(ticks("AAPL"), "t", mode="replace")
    assert pc.max(rows(store, "symbol = 'AAPL'").column("price")).as_py() == 4.0
    assert rows(store).num_rows == 8


def test_a_replace_with_a_condition_clears_just_that(store):
    store.write(both(), "t", "warm")
    result = store.write(
        ticks("AAPL", rows=1, price=7.0), "t", mode="replace", where="symbol = 'AAPL' AND ts < '2026-01-05T10:00:02Z'"
    )
    assert (result.rows, result.deleted) == (1, 2)
    assert rows(store, "symbol = 'AAPL'").column("price").to_pylist() == [7.0, 3.0, 4.0]


def test_a_replace_with_an_empty_frame_and_a_condition_only_clears(store):
    store.write(both(), "t")
    result = store.write(ticks("AAPL", rows=0), "t", mode="replace", where="symbol = 'AAPL'")
    assert (result.rows, result.deleted) == (0, 4)
    assert set(rows(store).column("symbol").to_pylist()) == {"MSFT"}


def test_rows_outside_the_condition_are_refused_before_anything_changes(store):
    store.write(both(), "t")
    before = files(store)
    with pytest.raises(InvalidInputError, match=r"2 of the frame's 4 rows do not meet .*first is row 2"):
        store.write(ticks("AAPL"), "t", mode="replace", where="ts < '2026-01-05T10:00:02Z'")
    assert store.table("t").versions()["version"].tolist() == [1]
    assert files(store) == before


@pytest.mark.parametrize(
    ("mode", "options"),
    [("replace", {}), ("replace", {"where": "symbol = 'AAPL'"}), ("upsert", {"key": ["symbol", "ts"]})],
    ids=["groups", "condition", "upsert"],
)
def test_a_cell_run_twice_changes_nothing_and_says_so(store, mode, options):
    store.write(both(), "t", "cold")
    store.write(ticks("AAPL", rows=6, price=5.0), "t", mode=mode, **options)
    before, version = files(store), store.table("t").versions()["version"].max()
    options.pop("key", None)
    with pytest.warns(RepeatedWriteWarning, match="nothing was changed"):
        again = store.write(ticks("AAPL", rows=6, price=5.0), "t", mode=mode, **options)
    assert again.replayed
    assert (again.rows, again.deleted, again.version) == (0, 0, version)
    assert files(store) == before


def test_an_upsert_changes_only_keys_whose_row_differs(store):
    store.write(both(), "t", "warm", key=["symbol", "ts"])
    kept = rows(store, "symbol = 'AAPL' AND ts <> '2026-01-05T10:00:01Z'")
    frame = ticks("AAPL", rows=6)
    frame.loc[1, "price"] = -1.0
    result = store.write(frame, "t", mode="upsert")
    assert (result.rows, result.deleted) == (3, 1)
    assert rows(store, "symbol = 'AAPL'").column("price").to_pylist() == [1.0, -1.0, 3.0, 4.0, 5.0, 6.0]
    first_four = "symbol = 'AAPL' AND ts <> '2026-01-05T10:00:01Z' AND ts < '2026-01-05T10:00:04Z'"
    assert rows(store, first_four).equals(kept), "rows that were the same keep their _seq"


def test_an_upsert_leaves_one_row_of_a_key_that_was_there_twice(store):
    store.write(pd.concat([ticks("AAPL"), ticks("AAPL")]), "t", key=["symbol", "ts"])
    result = store.write(ticks("AAPL"), "t", mode="upsert")
    assert (result.rows, result.deleted) == (4, 8)
    assert rows(store).column("price").to_pylist() == [1.0, 2.0, 3.0, 4.0]


def test_upserts_compare_null_and_nan_as_what_they_are(store):
    frame = pa.table(
        {
            "ts": pa.array([1, 2, 3, 4], pa.timestamp("ns", "UTC")),
            "symbol": ["A"] * 4,
            "price": [None, float("nan"), 0.0, 1.0],
            "legs": [[1], None, [2, 3], []],
        }
    )
    store.write(frame, "t", key=["symbol", "ts"])
    with pytest.warns(RepeatedWriteWarning):
        assert store.write(frame, "t", mode="upsert").rows == 0
    changed = frame.set_column(2, "price", pa.array([float("nan"), None, 0.0, 1.0]))
    assert store.write(changed, "t", mode="upsert").rows == 2
    changed = changed.set_column(3, "legs", pa.array([[1], None, [2, 4], []]))
    assert store.write(changed, "t", mode="upsert").rows == 1
    assert store.read("t", to="arrow").column("legs").to_pylist() == [[1], None, [2, 4], []]


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (pd.concat([ticks("X"), ticks("X", rows=1)]), r"2 rows that share a key .*symbol='X'"),
        (ticks("X").assign(symbol=["X", None, "X", "X"]), "Key column 'symbol' .*has empty values"),
    ],
)
def test_an_upsert_refuses_keys_that_name_no_one_row(store, frame, problem):
    store.write(both(), "t", key=["symbol", "ts"])
    with pytest.raises(InvalidInputError, match=problem):
        store.write(frame, "t", mode="upsert")


def test_an_upsert_needs_a_key_and_the_first_one_may_give_it(store):
    store.write(both(), "t")
    with pytest.raises(InvalidInputError, match="has no key"):
        store.write(ticks("AAPL"), "t", mode="upsert")
    store.write(ticks("AAPL", price=3.0), "t", mode="upsert", key=["symbol", "ts"])
    store.write(ticks("MSFT", price=3.0), "t", mode="upsert")
    assert rows(store).column("price").to_pylist() == [3.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0, 6.0]
    with pytest.raises(InvalidInputError, match="fixed when it was made"):
        store.write(ticks("AAPL"), "t", mode="upsert", key="ts")


def test_a_first_write_may_be_any_mode(store):
    assert store.write(ticks("A"), "a", mode="replace").rows == 4
    assert store.write(ticks("A"), "b", mode="upsert", key=["symbol", "ts"]).rows == 4
    with pytest.raises(InvalidInputError, match="has no rows yet"):
        store.write(ticks("A"), "c", mode="replace", where="symbol = 'A'")


def test_a_delete_reaches_every_tier_and_is_nothing_the_second_time(store):
    for day, tier in zip(("2026-01-05", "2026-01-06", "2026-01-07"), TIERS, strict=True):
        store.write(both(day), "t", tier)
    preview = store.delete("t", "symbol = 'MSFT' AND price > 2", dry_run=True)
    assert (preview.deleted, preview.dry_run) == (6, True)
    assert rows(store).num_rows == 24
    result = store.delete("t", "symbol = 'MSFT' AND price > 2")
    assert (result.deleted, result.version) == (6, 4)
    assert sorted(store.table("t").placement().groupby("tier")["rows"].sum().tolist()) == [6, 6, 6]
    assert store.delete("t", "symbol = 'MSFT' AND price > 2").version == 4
    assert store.delete("t", "true").deleted == 18
    assert store.read("t").empty


def test_older_versions_read_as_they_were(store):
    store.write(both(), "t", "cold")
    wanted = [rows(store)]
    store.write(ticks("AAPL", price=9.0), "t", mode="replace")
    wanted.append(rows(store))
    store.delete("t", "symbol = 'MSFT'")
    wanted.append(rows(store))
    store.migrate("t", "any", "warm")
    assert [rows(store, as_of=version).equals(table) for version, table in enumerate(wanted, 1)] == [True] * 3


def test_rows_taken_away_may_be_written_again(store):
    """An append whose rows are not all there any more is no repeat."""
    store.write(ticks("AAPL"), "t")
    store.write(ticks("MSFT"), "t")
    store.delete("t", "symbol = 'AAPL' AND price > 3")
    assert store.write(ticks("AAPL"), "t").rows == 4
    assert rows(store, "symbol = 'AAPL'").num_rows == 7
    with pytest.warns(RepeatedWriteWarning):
        assert store.write(ticks("MSFT"), "t").replayed


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_a_retry_with_the_same_write_id_adds_nothing(store, mode):
    store.write(both(), "t", key=["symbol", "ts"])
    frame = ticks("AAPL", price=4.0)
    first = store.write(frame, "t", mode=mode, write_id="fix-1")
    store.write(ticks("AAPL", price=8.0), "t", mode=mode)
    again = store.write(frame, "t", mode=mode, write_id="fix-1")
    assert again.replayed
    assert (again.version, again.rows) == (first.version, first.rows)
    with pytest.raises(ConflictError, match="fix-1"):
        store.write(ticks("AAPL", price=5.0), "t", mode=mode, write_id="fix-1")
    removed = store.delete("t", "price > 9", write_id="gone")
    assert store.delete("t", "price > 9", write_id="gone").version == removed.version
    assert rows(store, "symbol = 'AAPL'").column("price").to_pylist() == [8.0, 9.0]


@pytest.mark.parametrize("mode", ["replace", "upsert", "append"])
@pytest.mark.filterwarnings("ignore::quantstore.errors.RepeatedWriteWarning")
def test_a_named_write_that_changed_nothing_changes_nothing_when_it_is_sent_again(store, mode):
    frame = ticks("AAPL", price=4.0)
    store.write(frame, "t", key=["symbol", "ts"])
    first = store.write(frame, "t", mode=mode, write_id="again")
    assert first.replayed
    store.delete("t", "symbol = 'AAPL'")
    widened = ticks("MSFT").assign(venue="X")
    newest = store.write(widened, "t").version
    again = store.write(frame, "t", mode=mode, write_id="again")
    assert (again.replayed, again.version, again.rows) == (True, first.version, 0)
    with pytest.raises(ConflictError, match="again"):
        store.write(ticks("AAPL", price=5.0), "t", mode=mode, write_id="again")
    assert store.metadata_catalog.snapshot().version == newest
    assert rows(store, "symbol = 'AAPL'").num_rows == 0


def test_a_named_delete_that_found_nothing_finds_nothing_when_it_is_sent_again(store):
    store.write(ticks("AAPL"), "t")
    assert store.delete("t", "symbol = 'MSFT'", write_id="gone").deleted == 0
    store.write(ticks("MSFT"), "t")
    again = store.delete("t", "symbol = 'MSFT'", write_id="gone")
    assert (again.replayed, again.deleted) == (True, 0)
    assert rows(store, "symbol = 'MSFT'").num_rows == 4


def test_expected_version_guards_corrections(store):
    store.write(both(), "t")
    store.write(ticks("IBM"), "t")
    with pytest.raises(ConflictError, match="at version 2, not 1"):
        store.delete("t", "symbol = 'IBM'", expected_version=1)
    assert store.delete("t", "symbol = 'IBM'", expected_version=2).deleted == 4


def test_rows_without_a_symbol_or_asset_class_are_groups_of_their_own(store):
    frame = ticks("A").assign(symbol=["A", None, "A", None], asset_class=["FX", "FX", None, None])
    store.write(frame, "t", "warm")
    correction = frame.iloc[[3]].assign(price=0.0)
    result = store.write(correction, "t", mode="replace")
    assert (result.rows, result.deleted) == (1, 1)
    assert rows(store).column("price").to_pylist() == [1.0, 2.0, 3.0, 0.0]


def test_corrections_of_category_and_ns_columns(store):
    stamps = pa.array([1_000_000_001, 1_000_000_002], pa.timestamp("ns", "America/New_York"))
    symbols = pa.array(["A", "B"]).dictionary_encode()
    frame = pa.table({"ts": stamps, "symbol": symbols, "price": [1.0, 2.0]})
    store.write(frame, "t", "cold", key=["ts", "symbol"])
    changed = frame.set_column(2, "price", pa.array([1.0, 5.0]))
    assert store.write(changed, "t", mode="upsert").rows == 1
    assert store.write(changed.slice(0, 1).set_column(2, "price", pa.array([7.0])), "t", mode="replace").deleted == 1
    assert store.delete("t", "ts = '1970-01-01 00:00:01.000000002Z'").deleted == 1
    assert store.read("t", to="arrow").column("price").to_pylist() == [7.0]


@pytest.mark.parametrize(
    ("where", "kind", "problem"),
    [
        ("sym = 'A'", NotFoundError, "Did you mean 'symbol'"),
        ("symbol = ", InvalidInputError, "line 1"),
        ("symbol IN (SELECT symbol FROM other)", Exception, "other"),
        ("", InvalidInputError, "where="),
    ],
)
def test_a_delete_with_no_proper_condition_is_refused(store, where, kind, problem):
    store.write(both(), "t")
    with pytest.raises(kind, match=problem):
        store.delete("t", where)
    assert rows(store).num_rows == 8


def test_where_goes_with_replace_only(store):
    with pytest.raises(InvalidInputError, match="where= says which rows"):
        store.write(both(), "t", where="symbol = 'A'")


def test_a_dry_run_changes_nothing(store):
    store.write(both(), "t")
    before = files(store)
    for mode in ("append", "replace", "overwrite"):
        result = store.write(ticks("AAPL", price=3.0), "t", mode=mode, dry_run=True)
        assert result.dry_run
        assert result.rows == 4
    assert files(store) == before
    assert store.table("t").versions()["version"].tolist() == [1]
    assert store.write(ticks("A"), "new", dry_run=True).rows == 4
    assert store.tables() == ["t"]


def test_a_dry_run_of_an_overwrite_counts_the_rows_that_would_go(store):
    store.write(both(), "t")
    preview = store.write(ticks("AAPL"), "t", mode="overwrite", dry_run=True)
    assert (preview.rows, preview.deleted) == (4, 8)
    assert store.write(ticks("AAPL"), "new", mode="overwrite", dry_run=True).deleted == 0


def test_an_upsert_compares_rows_whose_column_never_held_anything(store):
    nothing = pa.nulls(4)
    frame = pa.Table.from_pandas(ticks("AAPL")).append_column("note", nothing)
    store.write(frame, "t", key=["ts", "symbol"])
    with pytest.warns(RepeatedWriteWarning):
        assert store.write(frame, "t", mode="upsert").replayed
    changed = pa.Table.from_pandas(ticks("AAPL", rows=2, price=5.0)).append_column("note", nothing.slice(0, 2))
    result = store.write(changed, "t", mode="upsert")
    assert (result.rows, result.deleted) == (2, 2)


def test_a_read_only_store_refuses_corrections(store, tmp_path):
    store.write(both(), "t")
    with qs.open(Path(store.name), read_only=True) as reader:
        with pytest.raises(PermissionError):
            reader.delete("t", "true")
        with pytest.raises(PermissionError):
            reader.transaction()
