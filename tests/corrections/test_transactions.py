"""Transactions: several tables, one commit, or nothing."""

from __future__ import annotations

import pandas as pd
import pytest

from quantstore.errors import ConflictError, InvalidInputError, RepeatedWriteWarning


def ticks(symbol: str, rows: int = 3, price: float = 1.0) -> pd.DataFrame:
    stamps = pd.date_range("2026-01-05T10:00Z", periods=rows, freq="1s")
    return pd.DataFrame({"ts": stamps, "symbol": symbol, "price": price})


def test_everything_becomes_visible_in_one_version(store):
    store.write(ticks("A"), "trades")
    with store.transaction() as tx:
        tx.delete("trades", "symbol = 'A' AND ts >= '2026-01-05T10:00:02Z'")
        tx.delete("trades", "ts < '2026-01-05T10:00:01Z'")
        tx.write(ticks("B"), "trades", "cold")
        tx.write(ticks("C"), "trades", "warm")
        tx.write(ticks("A"), "quotes")
        assert store.tables() == ["trades"]
        assert len(store.read("trades")) == 3
    assert [result.version for result in tx.results] == [2, 2]
    assert [(result.rows, result.deleted) for result in tx.results] == [(6, 2), (3, 0)]
    assert store.read("trades")["symbol"].value_counts().to_dict() == {"A": 1, "B": 3, "C": 3}
    seqs = store.read("SELECT _seq FROM trades")["_seq"]
    assert seqs.is_unique
    assert store.table("trades").versions()["operation"].tolist() == ["delete+append", "append"]
    assert store.audit().ok


def test_an_exception_gives_everything_up(store):
    store.write(ticks("A"), "trades")
    tx = store.transaction()

    def block():
        with tx:
            tx.delete("trades", "symbol = 'A'")
            tx.write(ticks("B"), "trades")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert store.read("trades")["symbol"].unique().tolist() == ["A"]
    assert store.sweep(grace=0).orphans == 0, "its files went with it"
    with pytest.raises(InvalidInputError, match="is over"):
        tx.write(ticks("C"), "trades")


def test_bad_rows_are_refused_where_they_are_given(store):
    store.write(ticks("A"), "trades")
    with store.transaction() as tx:
        with pytest.raises(InvalidInputError, match="lacks 'price'"):
            tx.write(ticks("B").drop(columns="price"), "trades")
        tx.write(ticks("B"), "trades")
    assert len(store.read("trades")) == 6


def test_corrections_that_would_have_to_see_earlier_changes_are_refused(store):
    store.write(ticks("A"), "trades")
    with store.transaction() as tx:
        tx.write(ticks("B"), "trades")
        with pytest.raises(InvalidInputError, match="delete comes after other changes"):
            tx.delete("trades", "symbol = 'B'")
        with pytest.raises(InvalidInputError, match="mode='replace' comes after"):
            tx.write(ticks("B"), "trades", mode="replace")
    assert len(store.read("trades")) == 6


def test_a_replace_begins_a_table_and_appends_follow(store):
    store.write(ticks("A"), "trades")
    with store.transaction() as tx:
        tx.write(ticks("A", 2, price=9.0), "trades", mode="replace")
        tx.write(ticks("B"), "trades")
    assert store.read("trades")["price"].tolist() == [9.0, 1.0, 9.0, 1.0, 1.0]


def test_a_new_table_may_take_several_writes(store):
    with store.transaction() as tx:
        tx.write(ticks("A"), "trades")
        tx.write(ticks("B"), "trades", "cold")
        with pytest.raises(InvalidInputError, match="does not fit"):
            tx.write(ticks("C").assign(more=1).drop(columns="price"), "trades")
    assert len(store.read("trades")) == 6


def test_a_transaction_retried_by_its_write_id_changes_nothing(store):
    def attempt(symbol):
        with store.transaction(write_id="day-1") as tx:
            tx.write(ticks(symbol), "trades")
            tx.write(ticks("A"), "quotes")
        return [result.replayed for result in tx.results]

    assert attempt("A") == [False, False]
    assert attempt("A") == [True, True]
    assert len(store.read("trades")) == len(store.read("quotes")) == 3
    with pytest.raises(ConflictError, match="day-1"):
        attempt("B")


def test_a_cell_with_a_transaction_run_twice_changes_nothing(store):
    def cell():
        with store.transaction() as tx:
            tx.write(ticks("A"), "trades")
            tx.write(ticks("A"), "quotes")
        return tx

    cell()
    with pytest.warns(RepeatedWriteWarning):
        again = cell()
    assert [result.replayed for result in again.results] == [True, True]
    assert len(store.read("trades")) == 3


def test_a_transaction_that_did_nothing_makes_no_version(store):
    with store.transaction() as tx:
        pass
    assert tx.results == []
    assert store.metadata_catalog.snapshot().version == 0


def test_a_version_expected_by_the_first_of_two_writes_counts(store):
    store.write(ticks("A"), "trades")
    store.write(ticks("B"), "trades")

    def block():
        with store.transaction() as tx:
            tx.write(ticks("C"), "trades", expected_version=1)
            tx.write(ticks("D"), "trades")

    with pytest.raises(ConflictError, match="is at version 2, not 1"):
        block()
    assert len(store.read("trades")) == 6


def test_two_expected_versions_of_one_table_are_refused(store):
    store.write(ticks("A"), "trades")
    with store.transaction() as tx:
        tx.write(ticks("B"), "trades", expected_version=1)
        with pytest.raises(InvalidInputError, match="expects 1"):
            tx.write(ticks("C"), "trades", expected_version=2)
    assert len(store.read("trades")) == 6
