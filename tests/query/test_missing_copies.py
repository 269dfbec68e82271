"""A catalog that lost what it knew of a copy: reads that need the rows are refused, others are answered."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pandas as pd
import pytest

import quantstore as qs
from quantstore.errors import IntegrityError


@pytest.fixture
def store(tmp_path):
    """A store of two days, of which the catalog knows the copy of one."""
    with qs.open(tmp_path / "store") as made:
        stamps = pd.to_datetime(["2026-03-02T10:00Z", "2026-03-03T10:00Z"])
        made.write(pd.DataFrame({"ts": stamps, "symbol": ["A", "B"], "price": [1.0, 2.0]}), "quotes")
    with closing(sqlite3.connect(tmp_path / "store" / "catalog.sqlite")) as connection:
        connection.execute("DELETE FROM copies WHERE copy_id = 1")
        connection.commit()
    with qs.open(tmp_path / "store", create=False) as opened:
        yield opened


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.read("quotes"),
        lambda store: store.read("SELECT count(*) FROM quotes"),
        lambda store: store.scan("quotes").collect(),
        lambda store: store.delete("quotes", where="symbol = 'A'"),
    ],
    ids=["table", "count", "lazy", "delete"],
)
def test_what_needs_the_rows_is_refused(store, ask):
    with pytest.raises(IntegrityError, match="knows of no copy of segment 1, which has 1 rows"):
        ask(store)


def test_what_does_not_need_them_is_answered(store):
    assert store.read("SELECT price FROM quotes WHERE symbol = 'B'", to="arrow").to_pydict() == {"price": [2.0]}
    assert not store.audit().ok
