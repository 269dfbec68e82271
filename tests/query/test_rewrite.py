"""What the rewrite makes of statements, without running them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from sqlglot import exp
from stamp_tables import rewritten

from quantstore.errors import InvalidInputError, UnsupportedError
from quantstore.query.parse import parse
from quantstore.query.rewriting.rewrite import OutputColumn, rewrite
from quantstore.query.rewriting.stamps import parse_stamp

FIXTURES = Path(__file__).parent / "fixtures"


def _cases() -> list[tuple[str, str, str]]:
    cases = []
    for path in sorted(FIXTURES.glob("*.sql")):
        for block in path.read_text().split("\n\n")[1:]:
            given, _, wanted = block.partition(";\n-- becomes\n")
            cases.append((path.stem, given, wanted.strip().removesuffix(";")))
    return cases


@pytest.mark.parametrize(("rule", "given", "wanted"), _cases(), ids=lambda value: value[:60])
def test_statements_become_what_the_fixtures_say(rule: str, given: str, wanted: str) -> None:
    assert rewritten(given).tree.sql("duckdb") == wanted


def test_every_fixture_is_already_final_where_nothing_needs_a_change() -> None:
    """A statement over tables without nanoseconds comes back as it was."""
    untouched = [(given, wanted) for rule, given, wanted in _cases() if rule == "untouched"]
    assert len(untouched) >= 4
    for given, wanted in untouched:
        tree = parse(given)
        assert tree is not None
        assert tree.sql("duckdb") == wanted


REFUSED = {
    "SELECT my_macro(ts) FROM trades": "my_macro.*ts::TIMESTAMPTZ",
    "SELECT t.wall.my_macro() FROM trades AS t": "my_macro.*t.wall::TIMESTAMP ",
    "SELECT list_aggregate(list(ts), 'max') FROM trades": "list_aggregate.*ts",
    "SELECT list_reduce(list(ts), lambda a, b: a) FROM trades": "list_reduce.*ts",
    "SELECT ts FROM trades WHERE ts = note": "note.*::TIMESTAMPTZ",
    "SELECT ts FROM trades WHERE ts > my_macro(price)": "my_macro",
    "SELECT coalesce(ts, note) FROM trades": "note",
    "SELECT ts FROM trades UNION ALL SELECT note FROM trades": "note",
    "SELECT ts FROM trades UNION ALL SELECT x FROM elsewhere": "x",
    "SELECT ts FROM trades UNION ALL SELECT * FROM elsewhere": "not known before it runs",
    "SELECT ts - my_macro(price) FROM trades": "ts",
    "SELECT ts LIKE '2020%' FROM trades": "LIKE.*ts",
    "SELECT list(ts) = list(seen) FROM trades": "ts",
    "SELECT ts::JSON FROM trades": "JSON.*ts",
    "SELECT [list(ts), list(seen)] FROM trades": "ts",
    "SELECT unnest({'a': ts}) FROM trades": "unnest.*ts",
    "PIVOT trades ON symbol USING last(price) GROUP BY ts": "zone of 'ts'",
    "PIVOT trades ON symbol USING max(ts) GROUP BY price": "PIVOT.*ts",
    "UNPIVOT trades ON ts, seen INTO NAME n VALUE v": "UNPIVOT.*ts",
    "SELECT *, x FROM trades, elsewhere": "zone of 'ts'",
    "SELECT COLUMNS(lambda c: c LIKE 't%') FROM trades": "COLUMNS.*ts",
    "SUMMARIZE trades": "zone of 'ts'",
    "SELECT * FROM quotes NATURAL JOIN elsewhere JOIN trades USING (symbol) NATURAL JOIN elsewhere": "NATURAL",
    "SELECT ts FROM trades FULL JOIN quotes USING (ts)": "USING.*ts.*FULL",
    "SELECT ts FROM trades JOIN elsewhere USING (ts)": "USING.*'ts'",
    "SELECT {'a': ts, 'b': wall} FROM trades": "instants and wall-clock times",
    "WITH RECURSIVE r AS (SELECT now() AS t UNION ALL SELECT ts FROM trades) SELECT t FROM r": "recursive",
    "SELECT ts IN (SELECT x FROM elsewhere) FROM trades": "x",
    "SELECT ts FROM trades WHERE ts IN $other": "search in a list.*ts",
    "SELECT t.* FROM elsewhere AS t(a), trades WHERE t.a > trades.ts": "t.a",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_what_cannot_be_proven_is_refused_by_name_with_the_way_out(sql: str) -> None:
    with pytest.raises(UnsupportedError, match=REFUSED[sql]):
        rewritten(sql)


@pytest.mark.parametrize("literal", ["garbage", "2020-02-30", "2020-01-01 25:00", "2020-01-01 00:00:00.0000000001", ""])
def test_literals_that_are_no_stamps_are_refused_by_name(literal: str) -> None:
    with pytest.raises(InvalidInputError, match=repr(literal)):
        rewritten(f"SELECT ts FROM trades WHERE ts > '{literal}'")


def test_a_literal_out_of_range_compares_but_is_no_value() -> None:
    rewritten("SELECT ts FROM trades WHERE ts < '9999-12-31'")
    with pytest.raises(InvalidInputError, match="9999"):
        rewritten("SELECT coalesce(ts, '9999-12-31') FROM trades")


def test_hidden_columns_are_those_named() -> None:
    def hidden(sql: str) -> dict[str, frozenset[str]]:
        return dict(rewritten(sql).hidden)

    assert hidden("SELECT * FROM trades JOIN quotes USING (symbol)") == {}
    assert hidden("SELECT T._SEQ FROM Trades AS t ORDER BY Trade_Date") == {"trades": {"_seq", "trade_date"}}
    assert hidden("SELECT trade_date FROM own") == {}
    assert hidden("SELECT 1 FROM own JOIN bars USING (trade_date)") == {"bars": {"trade_date"}}
    assert hidden("SELECT (SELECT max(_seq) FROM bars) FROM quotes") == {"bars": {"_seq"}}
    assert hidden("SELECT close AS trade_date FROM bars ORDER BY trade_date") == {}
    assert hidden("SELECT _seq FROM (SELECT _seq FROM bars) JOIN quotes ON true") == {"bars": {"_seq"}}
    assert hidden("WITH bars AS (SELECT 1 AS _seq) SELECT _seq FROM bars") == {}
    assert hidden("SELECT sum(close) FILTER (WHERE _seq > 1) OVER (PARTITION BY asset_class) FROM bars") == {
        "bars": {"_seq", "asset_class"}
    }


def test_a_result_column_may_not_take_the_name_of_a_hidden_column_that_is_used_too() -> None:
    with pytest.raises(InvalidInputError, match="trade_date"):
        rewritten("SELECT close AS trade_date, max(bars.trade_date) FROM bars GROUP BY trade_date")


def test_a_whole_row_leaves_hidden_columns_out() -> None:
    assert rewritten("SELECT bars FROM bars").tree.sql("duckdb") == "SELECT bars FROM bars"
    sql = rewritten("SELECT bars, _seq FROM bars").tree.sql("duckdb")
    assert sql.startswith("""SELECT {'ts': bars."ts", 'symbol': bars."symbol", 'close': bars."close"} AS "bars", """)


def test_statements_nested_too_deeply_are_refused() -> None:
    deep = "+ 1 " * 5000
    with pytest.raises(UnsupportedError, match="deep"):
        rewritten(f"SELECT price {deep} FROM trades")


def test_pivot_over_a_table_whose_hidden_columns_are_named_asks_for_a_subquery() -> None:
    with pytest.raises(InvalidInputError, match="_seq"):
        rewritten("SELECT (SELECT max(_seq) FROM bars), * FROM (PIVOT bars ON symbol USING sum(close))")


OUTPUTS = {
    "SELECT * FROM fills": [("ts", "fills.ts", "UTC"), ("symbol", "fills.symbol", None), ("qty", "fills.qty", None)],
    "SELECT max(ts) AS m, ts + INTERVAL 1 DAY AS d FROM trades GROUP BY 2": [
        ("m", "trades.ts", "America/New_York"),
        ("d", None, "America/New_York"),
    ],
    "SELECT wall, wall AT TIME ZONE 'UTC' AS t, ts AT TIME ZONE 'UTC' AS w, ts::TIMESTAMPTZ AS u FROM trades": [
        ("wall", "trades.wall", None),
        ("t", None, "UTC"),
        ("w", None, None),
        ("u", None, None),
    ],
    "SELECT coalesce(ts, now()) AS a, list(ts) AS b, {'x': ts} AS c FROM trades GROUP BY ALL": [
        ("a", None, "America/New_York"),
        ("b", None, "America/New_York"),
        ("c", None, "America/New_York"),
    ],
    "SELECT q.*, t.price FROM (SELECT symbol, bid AS b FROM quotes) AS q JOIN trades AS t USING (symbol)": [
        ("symbol", "quotes.symbol", None),
        ("b", "quotes.bid", None),
        ("price", "trades.price", None),
    ],
    "WITH c(a, b) AS (SELECT symbol, close FROM bars) SELECT b, a, upper(a) AS u FROM c": [
        ("b", "bars.close", None),
        ("a", "bars.symbol", None),
        ("u", None, None),
    ],
    "SELECT symbol, bid FROM quotes UNION ALL SELECT symbol, bid FROM quotes": [
        ("symbol", "quotes.symbol", None),
        ("bid", "quotes.bid", None),
    ],
    "SELECT symbol FROM quotes UNION ALL SELECT symbol FROM bars": [("symbol", None, None)],
    "SELECT symbol FROM quotes EXCEPT SELECT symbol FROM bars": [("symbol", "quotes.symbol", None)],
    "SELECT arg_max(symbol, close) AS a, first(symbol) AS f, min(DISTINCT symbol) AS m, count(symbol) AS n FROM bars": [
        ("a", "bars.symbol", None),
        ("f", "bars.symbol", None),
        ("m", "bars.symbol", None),
        ("n", None, None),
    ],
    "SELECT lag(symbol) OVER () AS a, lag(symbol, 1, 'x') OVER () AS b, list(close) AS c FROM bars": [
        ("a", "bars.symbol", None),
        ("b", None, None),
        ("c", None, None),
    ],
    "SELECT a.ts, b.ts FROM bars AS a FULL JOIN bars AS b USING (symbol)": [
        ("ts", "bars.ts", None),
        ("ts", "bars.ts", None),
    ],
    "SELECT symbol FROM bars RIGHT JOIN quotes USING (symbol)": [("symbol", "quotes.symbol", None)],
    "SELECT symbol FROM bars FULL JOIN quotes USING (symbol)": [("symbol", None, None)],
    "SELECT * EXCLUDE (ts, close) RENAME (symbol AS s) FROM bars": [("s", "bars.symbol", None)],
    "SELECT (SELECT max(ts) FROM fills) AS m": [("m", "fills.ts", "UTC")],
    "SELECT ts_1 FROM (SELECT a.ts, b.ts FROM bars AS a, fills AS b)": [("ts_1", "fills.ts", "UTC")],
    "SELECT $exact AS e, $at AS a": [("e", None, "UTC"), ("a", None, None)],
    "VALUES (1, 'a')": [("col0", None, None), ("col1", None, None)],
    "SELECT symbol FROM bars SEMI JOIN quotes USING (symbol)": [("symbol", "bars.symbol", None)],
}


@pytest.mark.parametrize("sql", OUTPUTS)
def test_result_columns_know_where_they_come_from(sql: str) -> None:
    wanted = tuple(
        OutputColumn(name, (*source.split("."),) if source else None, zone)  # type: ignore[arg-type]
        for name, source, zone in OUTPUTS[sql]
    )
    assert rewritten(sql).outputs == wanted


@pytest.mark.parametrize(
    "sql",
    [
        "PIVOT bars ON symbol USING sum(close)",
        "SELECT COLUMNS(lambda c: c LIKE 't%') FROM bars",
        "SELECT * FROM elsewhere",
        "SELECT * FROM read_parquet('x.parquet'), bars",
        "DESCRIBE SELECT * FROM bars",
        "SELECT unnest({'a': close, 'b': close}) FROM bars",
        "SELECT * LIKE 't%' FROM bars",
        "PIVOT trades ON symbol USING last(price) GROUP BY wall",
    ],
)
def test_results_that_depend_on_the_data_have_no_known_columns(sql: str) -> None:
    assert rewritten(sql).outputs is None


def test_names_of_tables_and_columns_are_case_insensitive() -> None:
    result = rewritten("SELECT T.TS, Symbol FROM TRADES AS t WHERE TS > '2020-01-01' AND t._SEQ > 0")
    assert result.outputs is not None
    assert [one.source for one in result.outputs] == [("trades", "ts"), ("trades", "symbol")]
    assert "MAKE_TIMESTAMP_NS" in result.tree.sql("duckdb")
    assert result.hidden == {"trades": {"_seq"}}


def test_table_references_stay_recognisable() -> None:
    """Marks that the caller put on table references are found on them again."""
    parsed = parse("SELECT * FROM trades AS t ASOF JOIN quotes USING (symbol, ts) UNION ALL FROM quotes, (FROM trades)")
    assert parsed is not None
    tree = parsed.copy()
    for number, node in enumerate(tree.find_all(exp.Table)):
        node.meta["mark"] = number
    marks = {(node.name, node.meta["mark"]) for node in tree.find_all(exp.Table)}
    schema = pa.schema([("ts", pa.timestamp("ns", "UTC")), ("symbol", pa.string())])
    plain = pa.schema([("ts", pa.timestamp("us", "UTC")), ("symbol", pa.string())])
    result = rewrite(tree, {"trades": schema, "quotes": plain}, {})
    assert len(marks) == 4
    assert {(node.name, node.meta.get("mark")) for node in result.tree.find_all(exp.Table)} == marks


def test_long_chains_of_conditions_and_unions_do_not_exhaust_the_stack() -> None:
    conditions = " OR ".join(f"ts = '2020-01-01 00:00:00.{number:09d}'" for number in range(3000))
    assert rewritten(f"SELECT ts FROM trades WHERE {conditions}").tree.sql("duckdb").count("MAKE_TIMESTAMP_NS") == 3000
    branches = " UNION ALL ".join(["SELECT ts FROM trades", "SELECT ts FROM quotes"] * 100)
    outputs = rewritten(branches).outputs
    assert outputs is not None
    assert outputs[0].zone == "America/New_York"


@pytest.mark.parametrize(
    ("text", "wall_ns", "offset_ns", "zone"),
    [
        ("1970-01-01", 0, 0, None),
        ("1969-12-31 23:59:59.999999999", -1, 0, None),
        ("2000-02-29T12:34:56Z", 951_827_696 * 10**9, 0, None),
        (" 2020/1/2  3:4 ", 1_577_934_240 * 10**9, 0, None),
        ("2020-01-01 00:00:00.5+05:30", 1_577_836_800_500_000_000, 19_800 * 10**9, None),
        ("2020-01-01 00:00:00-0100", 1_577_836_800 * 10**9, -3600 * 10**9, None),
        ("2020-01-01 00:00 UTC", 1_577_836_800 * 10**9, 0, None),
        ("2020-01-01 00:00:00 Europe/Berlin", 1_577_836_800 * 10**9, 0, "Europe/Berlin"),
        ("2020-01-01 24:00:00", 1_577_923_200 * 10**9, 0, None),
        ("0044-03-15 (BC)", -63_517_824_000 * 10**9, 0, None),
        ("epoch", 0, 0, None),
    ],
)
def test_stamps_are_read_in_every_form_the_engine_takes(
    text: str, wall_ns: int, offset_ns: int, zone: str | None
) -> None:
    stamp = parse_stamp(text)
    assert stamp is not None
    assert (stamp.wall_ns, stamp.offset_ns, stamp.zone) == (wall_ns, offset_ns, zone)


@pytest.mark.parametrize(
    "text", ["2020-01/02", "20200101", "2020-01-01 10", "2020-01-01Z", "2019-02-29", "now", "1-2-3 4"]
)
def test_other_text_is_no_stamp(text: str) -> None:
    assert parse_stamp(text) is None
