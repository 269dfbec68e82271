"""What the catalog says of a table is damaged: every verb says so, none goes on with it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

import quantstore as qs
from quantstore.errors import IntegrityError, UnsupportedError


def rows(day: int) -> pd.DataFrame:
    ts = pd.to_datetime([f"2026-03-0{day}T10:00Z", f"2026-03-0{day}T11:00Z"])
    return pd.DataFrame({"ts": ts, "symbol": ["A", "B"], "price": [1.0, 2.0]})


def changed(place, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(place / "catalog.sqlite")) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole") / "store"
    with qs.open(root) as store:
        store.write(rows(2), "trades", "hot")
        store.write(rows(3), "trades", "cold")
    return root


@pytest.fixture
def place(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "store"))


VERBS = {
    "read": lambda store: store.read("trades"),
    "sql": lambda store: store.read("SELECT count(*) AS n FROM trades"),
    "scan": lambda store: store.scan("trades"),
    "write": lambda store: store.write(rows(4), "trades"),
    "delete": lambda store: store.delete("trades", "price > 1"),
    "migrate": lambda store: store.migrate("trades", "hot", "cold"),
    "compact": lambda store: store.compact("trades"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("time", "ps"),
        ("symbol", "sxmbol"),
        ("key", '["id"]'),
        ("key", '["id'),
        ("grain", "dax"),
    ],
)
def test_a_damaged_word_about_a_table_is_told_whatever_is_asked(place, verb, column, value):
    changed(place, f'UPDATE tables SET "{column}" = ?', value)
    with qs.open(place) as store:
        version = store.metadata_catalog.snapshot().version
        with pytest.raises(IntegrityError, match=r"The catalog is damaged: .*trades.*fsck\(\)"):
            VERBS[verb](store)
        assert store.metadata_catalog.snapshot().version == version
        assert not store.audit().ok


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("known", ["columns", "arrow"])
def test_a_column_under_two_names_is_told(place, verb, known):
    with closing(sqlite3.connect(place / "catalog.sqlite")) as connection:
        (before,) = connection.execute(f"SELECT {known} FROM table_schemas").fetchone()
    after = before.replace("price", "pricd") if known == "columns" else before.replace(b"price", b"pricd")
    assert after != before
    changed(place, f"UPDATE table_schemas SET {known} = ?", after)
    with qs.open(place) as store, pytest.raises(IntegrityError, match="two lists of them differ"):
        VERBS[verb](store)


def test_a_calendar_that_the_library_does_not_know_is_named(place):
    changed(place, "UPDATE tables SET calendar = ?", "CNE")
    with qs.open(place) as store:
        with pytest.raises(UnsupportedError, match="'CNE'"):
            store.write(rows(4), "trades")
        assert len(store.read("trades")) == 4


def test_a_receipt_that_makes_no_sense_is_told(place):
    with qs.open(place) as store:
        store.migrate("trades", "hot", "warm")
    changed(place, "UPDATE receipts SET source = ?", "het")
    with qs.open(place) as store:
        with pytest.raises(IntegrityError, match="a receipt makes no sense"):
            store.metadata_catalog.receipts()
        assert not store.audit().ok
