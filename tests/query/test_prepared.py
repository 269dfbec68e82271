"""Plans that are used again, frames as tables, relations as results."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import quantstore as qs
from quantstore.errors import InvalidInputError, NotFoundError
from quantstore.query import preparer
from quantstore.query.parse import parse

START = pd.Timestamp("2026-01-05 14:30", tz="UTC")


def frame(rows: int = 6, start: pd.Timestamp = START) -> pd.DataFrame:
    """A minute apart, two symbols, prices 0, 1, 2, ..."""
    stamps = pd.date_range(start, periods=rows, freq="min", unit="ns")
    symbols = np.where(np.arange(rows) % 2 == 0, "A", "B")
    return pd.DataFrame({"ts": stamps, "symbol": symbols, "price": np.arange(rows, dtype=float)})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[qs.HybridStorageManager]:
    """Six rows in hot."""
    with qs.open(tmp_path / "store") as opened:
        opened.write(frame(), "trades")
        yield opened


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The statements that were analysed."""
    seen: list[Any] = []
    original = preparer.analyse

    def analyse(sql: str, *args: Any, **options: Any) -> Any:
        seen.append(sql)
        return original(sql, *args, **options)

    monkeypatch.setattr(preparer, "analyse", analyse)
    return seen


SQL = "SELECT price FROM trades WHERE ts >= $low AND symbol = $name ORDER BY ts"


def prices(store: qs.HybridStorageManager, low: Any, name: Any = "A", **options: Any) -> list[float]:
    """Run the query."""
    return store.read(SQL, params={"low": low, "name": name}, to="arrow", **options)["price"].to_pylist()


def test_a_text_is_analysed_once_and_each_run_sees_its_own_values(
    store: qs.HybridStorageManager, analysed: list[Any]
) -> None:
    """Other values of the same kinds need no new analysis, and neither do new rows, moves and other tiers."""
    assert prices(store, START) == [0, 2, 4]
    assert prices(store, START) == [0, 2, 4]
    assert prices(store, START + timedelta(minutes=2)) == [2, 4]
    assert prices(store, START, "B") == [1, 3, 5]
    store.write(frame(2, START + timedelta(hours=1)), "trades", "cold")
    assert prices(store, START) == [0, 2, 4, 0]
    store.migrate("trades", "hot", "warm")
    assert prices(store, START) == [0, 2, 4, 0]
    assert prices(store, START, tiers="cold", missing="ignore") == [0]
    assert prices(store, START, as_of=1) == [0, 2, 4]
    assert prices(store, START) == [0, 2, 4, 0]
    assert len(analysed) == 1


def test_values_of_another_kind_are_analysed_anew(store: qs.HybridStorageManager, analysed: list[Any]) -> None:
    """Text, naive, zoned and nanosecond stamps take different ways and give the same rows."""
    later = START + timedelta(minutes=2)
    for low in (
        later,
        later.isoformat(),
        later.tz_localize(None),
        later - pd.Timedelta(1, "ns"),
        later.to_pydatetime(),
    ):
        assert prices(store, low) == [2, 4]
    assert prices(store, datetime(1, 1, 1, tzinfo=UTC)) == [0, 2, 4]
    assert prices(store, datetime(9999, 1, 1, tzinfo=UTC)) == []
    assert len(analysed) >= 3


def test_equal_values_of_other_types_do_not_share_a_plan(store: qs.HybridStorageManager) -> None:
    """1, 1.0 and True are equal in Python and different to the engine."""
    sql = "SELECT typeof($x) AS kind FROM trades LIMIT 1"
    kinds = [store.read(sql, params={"x": x}, to="arrow")["kind"][0].as_py() for x in (1, 1.0, True, "1", [1], [1.0])]
    assert kinds == ["INTEGER", "DOUBLE", "BOOLEAN", "VARCHAR", "INTEGER[]", "DOUBLE[]"]


def test_a_table_made_anew_with_other_columns_is_analysed_anew(tmp_path: Path) -> None:
    """A statement that failed for want of a table works once there is one."""
    with qs.open(tmp_path / "store") as store:
        with pytest.raises(NotFoundError):
            store.read("SELECT count(*) AS n FROM trades")
        store.write(frame(), "trades")
        assert store.read("SELECT count(*) AS n FROM trades")["n"].tolist() == [6]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("SELECT $one,$two", "SELECT $one, $two"),
        ("SELECT ($one,$two)", "SELECT ($one, $two)"),
        ("SELECT '$a,$b', $one||$two, 'x$y' -- $a,$b\n, $c", "SELECT '$a,$b', $one || $two, 'x$y' /* $a,$b */, $c"),
        ("SELECT $$a,b$$, $x$ab$x$, $p$q,r$p$,$a", "SELECT 'a,b', 'ab', 'q,r', $a"),
        ('SELECT "$a,$b" , $1,$2', 'SELECT "$a,$b", $1, $2'),
    ],
)
def test_parameters_without_spaces_are_parameters(text: str, tokens: str) -> None:
    """`$a,$b` is two parameters and not the start of a dollar-quoted text."""
    tree = parse(text)
    assert tree is not None
    assert tree.sql("duckdb") == tokens


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "reader", "indexed"])
def test_frames_are_tables_of_a_query(store: qs.HybridStorageManager, kind: str) -> None:
    """Any frame that can be written can be joined, in nanoseconds and zones as a stored table."""
    signals = pd.DataFrame({"ts": [START, START + timedelta(minutes=3)], "signal": ["buy", "sell"]})
    table = pa.Table.from_pandas(signals, preserve_index=False)
    made: Any = {
        "pandas": signals,
        "polars": pl.from_arrow(table),
        "lazy": pl.from_arrow(table).lazy(),
        "arrow": table,
        "reader": table.to_reader(),
        "indexed": signals.set_index("ts"),
    }[kind]
    found = store.read(
        "SELECT t.ts, price, signal FROM trades t JOIN Signals USING (ts) ORDER BY t.ts",
        frames={"signals": made},
        to="arrow",
    )
    assert found["price"].to_pylist() == [0, 3]
    assert found["signal"].to_pylist() == ["buy", "sell"]
    assert found.schema.field("ts").type == pa.timestamp("ns", "UTC")


def test_frames_keep_zones_and_nanoseconds(store: qs.HybridStorageManager) -> None:
    """A frame's zoned nanoseconds come out of a query as they went in, ordered categories too."""
    stamps = pd.to_datetime([1, 2], unit="ns", utc=True).tz_convert("America/New_York")
    grades = pd.Categorical(["low", "high"], categories=["low", "high"], ordered=True)
    found = store.read("SELECT * FROM mine", frames={"mine": pd.DataFrame({"at": stamps, "grade": grades})}, to="arrow")
    assert found.schema.field("at").type == pa.timestamp("ns", "America/New_York")
    assert found["at"].cast(pa.int64()).to_pylist() == [1, 2]
    assert found.schema.field("grade").type.ordered


def test_frames_of_one_name_and_other_columns_are_not_mistaken(store: qs.HybridStorageManager) -> None:
    """The same text over a frame of other columns, or of other rows, is answered from that frame."""
    for values in ([1, 2], [3], ["x"]):
        found = store.read("SELECT * FROM mine", frames={"mine": pl.DataFrame({"v": values})}, to="arrow")
        assert found["v"].to_pylist() == values


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ({"trades": pd.DataFrame({"x": [1]})}, "another name"),
        ({"a": pd.DataFrame({"x": [1]}), "A": pd.DataFrame({"x": [1]})}, "twice"),
        ({"a": 7}, "frames"),
        ({"": pd.DataFrame({"x": [1]})}, "empty"),
    ],
)
def test_frames_that_cannot_be_tables_are_refused(store: qs.HybridStorageManager, frames: Any, words: str) -> None:
    """A frame may not hide a stored table, nor be no frame."""
    with pytest.raises(InvalidInputError, match=words):
        store.read("SELECT 1 AS x", frames=frames)


def test_frames_go_with_sql(store: qs.HybridStorageManager) -> None:
    """A bare table has no use for frames."""
    with pytest.raises(InvalidInputError, match="frames="):
        store.read("trades", frames={"x": pd.DataFrame({"a": [1]})})


def test_a_relation_is_the_engines_own_and_goes_on(store: qs.HybridStorageManager) -> None:
    """Relations of a table and of SQL can be filtered and summed by DuckDB's own methods."""
    store.write(frame(2, START + timedelta(hours=1)), "trades", "cold")
    relation = store.read("trades", to="relation")
    assert isinstance(relation, duckdb.DuckDBPyRelation)
    assert relation.columns == ["ts", "symbol", "price"]
    assert relation.filter("symbol = 'A'").aggregate("sum(price)").fetchall() == [(6.0,)]
    assert [row[2] for row in relation.fetchall()] == [0, 1, 2, 3, 4, 5, 0, 1]
    some = store.read("trades", to="relation", start=START + timedelta(minutes=4), symbols=["A"], columns=["price"])
    assert some.fetchall() == [(4.0,), (0.0,)]
    day = store.read("trades", to="relation", dates="2026-01-05", end=START + timedelta(minutes=1))
    assert len(day.fetchall()) == 1
    query = store.read("SELECT symbol, sum(price) AS s FROM trades GROUP BY 1 ORDER BY 1", to="relation")
    assert query.fetchall() == [("A", 6.0), ("B", 10.0)]
    assert store.last is not None
    assert store.last.rows is None


def test_a_relation_holds_its_rows_until_it_is_dropped(store: qs.HybridStorageManager) -> None:
    """What a relation may still read is not swept; once it is gone it is."""
    store.migrate("trades", "hot", "cold")
    relation = store.read("trades", to="relation")
    store.migrate("trades", "cold", "warm")
    assert store.sweep(grace=0).copies == 1
    assert len(relation.fetchall()) == 6
    del relation
    assert store.sweep(grace=0).copies == 1


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("decode(1, 1, 'one')", None),
        ("make_timestamp(2026, 1, 5, 14, 30, 0.5)::VARCHAR", "2026-01-05 14:30:00.5"),
        ("TIMESTAMP '2026-01-05 14:30'::VARCHAR", "2026-01-05 14:30:00"),
        ("time_bucket(INTERVAL 1 DAY, TIMESTAMP '2026-01-05 01:00', INTERVAL 2 HOUR)", datetime(2026, 1, 4, 2)),
        ("'$a,$b' || $$ x$$", "$a,$b x"),
    ],
)
def test_a_text_that_needs_no_rewriting_reaches_the_engine_untouched(
    store: qs.HybridStorageManager, expression: str, expected: Any
) -> None:
    """Forms that the parser would write out otherwise mean what they mean to the engine."""
    query = f"SELECT {expression} AS x FROM trades t WHERE price = 0 /* trades */ -- 'trades"
    plain = duckdb.connect()
    plain.execute("SET TimeZone = 'UTC'")
    try:
        wanted = plain.sql(f"SELECT {expression} AS x").fetchall()[0][0]
    except duckdb.Error:
        with pytest.raises(InvalidInputError):
            store.read(query)
        return
    assert expected is None or wanted == expected
    assert store.read(query, to="arrow")["x"][0].as_py() == wanted


def test_names_in_quotes_and_aliases_are_spliced(tmp_path: Path) -> None:
    """Tables are found wherever they stand, in any spelling, and words like them elsewhere are left alone."""
    with qs.open(tmp_path / "store") as store:
        store.write(frame(), "My Trades")
        store.write(frame(3), "quotes")
        query = (
            'SELECT "my trades".price, \'quotes\' AS quotes FROM "MY TRADES" SEMI JOIN Quotes USING (ts) '
            "WHERE price IN (SELECT price FROM quotes AS q WHERE q.price < 2) ORDER BY price"
        )
        assert store.read(query).to_dict("list") == {"price": [0, 1], "quotes": ["quotes"] * 2}
        assert store.read('FROM "My Trades" SELECT count(*) AS n')["n"].tolist() == [6]
