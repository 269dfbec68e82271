"""Writes that another writer comes before, between the planning of them and their commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
import pytest

from quantstore.core import failpoints
from quantstore.errors import ConflictError

KEY = ["ts", "symbol"]


def ticks(rows: int = 2, price: float = 1.0) -> pd.DataFrame:
    stamps = pd.date_range("2026-01-05T10:00Z", periods=rows, freq="1h")
    return pd.DataFrame({"ts": stamps, "symbol": "A", "price": price})


@pytest.fixture
def before_commit() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Return what runs a function once, when the next write is ready to be committed."""
    waiting: list[Callable[[], object]] = []

    def hook(step: str) -> None:
        if step == "write.copied" and waiting:
            waiting.pop()()

    failpoints.set_hook(hook)
    yield waiting.append
    failpoints.set_hook(None)


@pytest.mark.parametrize("is_made", [False, True])
@pytest.mark.parametrize("options", [{"mode": "upsert", "key": KEY}, {"mode": "replace"}])
def test_of_two_first_corrections_no_row_is_there_twice(store, before_commit, options, is_made):
    if is_made:
        store.create("t")
    before_commit(lambda: store.write(ticks(1, price=9.0), "t", **options))
    result = store.write(ticks(), "t", **options)
    assert (result.rows, result.deleted) == (2, 1)
    assert store.read("t")["price"].tolist() == [1.0, 1.0]


def test_a_first_upsert_in_a_transaction_takes_the_place_of_rows_that_came_meanwhile(store, before_commit):
    before_commit(lambda: store.write(ticks(1, price=9.0), "t", mode="upsert", key=KEY))
    with store.transaction() as tx:
        tx.write(ticks(), "t", mode="upsert", key=KEY)
        tx.write(ticks().assign(symbol="B"), "t")
    assert store.read("t").groupby("symbol")["price"].agg(list).to_dict() == {"A": [1.0, 1.0], "B": [1.0, 1.0]}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("in_transaction", [False, True])
def test_rows_found_unchanged_are_added_where_a_delete_takes_them_meanwhile(store, before_commit, rows, in_transaction):
    store.write(ticks(1), "t", mode="upsert", key=KEY)
    before_commit(lambda: store.delete("t", "symbol = 'A'"))
    if in_transaction:
        with store.transaction() as tx:
            tx.write(ticks(rows), "t", mode="upsert")
            tx.write(ticks().assign(symbol="B"), "t")
    else:
        store.write(ticks(rows), "t", mode="upsert")
    assert len(store.read("SELECT * FROM t WHERE symbol = 'A'")) == rows


def test_a_replace_with_the_same_rows_adds_them_where_a_delete_takes_them_meanwhile(store, before_commit):
    store.write(ticks(), "t")
    before_commit(lambda: store.delete("t", "symbol = 'A'"))
    assert store.write(ticks(), "t", mode="replace").rows == 2
    assert len(store.read("t")) == 2


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.write(ticks().assign(symbol="B"), "t"),
        lambda store: store.delete("t", "ts >= '2026-01-05T11:00Z'"),
    ],
)
def test_a_write_planned_before_an_upsert_gives_a_key_leaves_the_key(store, before_commit, write):
    store.write(ticks(), "t")
    before_commit(lambda: store.write(ticks(1, price=9.0), "t", mode="upsert", key=KEY))
    write(store)
    assert store.write(ticks(1, price=10.0), "t", mode="upsert").deleted == 1


def test_of_two_first_upserts_with_different_keys_the_second_is_refused(store, before_commit):
    store.write(ticks(1), "t")
    before_commit(lambda: store.write(ticks(1, price=9.0), "t", mode="upsert", key=KEY))
    with pytest.raises(ConflictError, match="another form"):
        store.write(ticks(), "t", mode="upsert", key=["ts"])
    assert store.read("t")["price"].tolist() == [9.0]


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_of_two_first_writes_with_different_time_columns_the_second_is_refused(store, before_commit, mode):
    store.create("t")
    rows = ticks().assign(received=pd.Timestamp("2026-06-01T10:00Z"))
    before_commit(lambda: store.write(rows, "t", time="received"))
    with pytest.raises(ConflictError, match="another form"):
        store.write(rows.assign(price=2.0), "t", time="ts", mode=mode)
    assert store.read("t", start="2026-06-01")["price"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("has_other", [False, True])
def test_a_condition_is_never_asked_of_another_table_that_got_the_name(store, has_other):
    """Nor is the table called unknown to the writer that has just found it."""
    from quantstore.corrections.correction import Parts
    from quantstore.query.condition import Condition

    store.write(ticks(), "t")
    record = store._record("t")
    store.table("t").rename("u")
    if has_other:
        store.write(ticks(price=2.0), "t")
    parts: Parts = store._parts()
    with pytest.raises(ConflictError, match="dropped or renamed"):
        Condition(parts.catalog, parts.stores, parts.engine, record, "price = 1.0")
