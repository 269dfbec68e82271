"""Mistakes in SQL: told in the query's own words, at their place, with the nearest name."""

from __future__ import annotations

import pandas as pd
import pytest
from telling import pictured, refused, ticks

import quantstore as qs
from quantstore.errors import InvalidInputError, NotFoundError, UnsupportedError

TABLES = ("hot_ns", "cold_ns", "hot_us", "cold_us")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Tables in tiers and resolutions that the engine is given in different ways."""
    with qs.open(tmp_path_factory.mktemp("mistakes") / "s") as opened:
        for name in TABLES:
            tier, unit = name.split("_")
            opened.write(ticks(unit=unit), name, tier)
        opened.write(ticks(zone=None), "naive")
        yield opened


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("sql", "kind", "words", "near", "suggestion"),
    [
        ("SELECT pric FROM {}", NotFoundError, ["no column 'pric'", "Did you mean 'price'"], "pric", "price"),
        ("SELECT t.pric FROM {} t", NotFoundError, ["'t' has no column 'pric'", "'price'"], "pric", "price"),
        ("SELECT _sequ FROM {}", NotFoundError, ["Did you mean '_seq'"], "_sequ", "_seq"),
        ("SELECT trade_dat, _seq FROM {}", NotFoundError, ["'trade_date'"], "trade_dat", "trade_date"),
        ("SELECT volumes FROM {}", NotFoundError, ["there are 'ts', 'symbol', 'price', 'size'"], "volumes", None),
        ("SELECT * EXCLUDE (pricee) FROM {}", NotFoundError, ["'pricee'", "'price'"], "pricee", "price"),
        ("SELECT * FROM {} WHERE symbol = AAPL", NotFoundError, ["if it is a text, write 'AAPL'"], "AAPL", None),
        ('SELECT * FROM {} WHERE symbol = "AAPL"', NotFoundError, ["write 'AAPL'"], '"AAPL"', None),
        ("SELECT x.price FROM {} t", NotFoundError, ["no table or alias 'x'", "It has 't'"], "x", None),
        ("SELECT {0}.price FROM {0} t", NotFoundError, ["is called 't' in this query"], "{}", "t"),
        ("SELECT avgg(price) FROM {}", InvalidInputError, ["no function 'avgg'", "'avg'"], "avgg", "avg"),
        ("SELECT price::tex FROM {}", InvalidInputError, ["no type 'tex'", "'text'"], "tex", "text"),
        ("SELECT symbol FROM {0} a, {0} b", InvalidInputError, ["a.symbol or b.symbol"], "symbol", None),
        ("SELECT sum(price), symbol FROM {}", InvalidInputError, ["GROUP BY", "any_value(symbol)"], "symbol", None),
        ("SELECT price FROM {} WHERE sum(price) > 1", InvalidInputError, ["HAVING"], "sum", None),
        ("SELECT price + symbol FROM {}", InvalidInputError, ["does not go with DOUBLE and VARCHAR"], "+", None),
        ("SELECT sum(symbol) FROM {}", InvalidInputError, ["sum does not take (VARCHAR)"], "sum", None),
        ("SELECT row_number() FROM {}", InvalidInputError, ["OVER (PARTITION BY"], "row_number", None),
        ("SELECT CAST('abc' AS INT) FROM {}", InvalidInputError, ["'abc' is no INTEGER", "TRY_CAST"], "'abc'", None),
        ("SELECT CAST(symbol AS INT) FROM {}", InvalidInputError, ["'AAPL' of column 'symbol'"], None, None),
        ("SELECT * FROM {} WHERE ts > 'soon'", InvalidInputError, ["'soon'", "like '2026-11-20"], "'soon'", None),
        ("SELECT ts AT TIME ZONE 'America/NewYork' FROM {}", InvalidInputError, ["'America/New_York'"], None, None),
        ("SELECT date_trunc('houer', ts) FROM {}", InvalidInputError, ["'houer' is no part"], "'houer'", "hour"),
        ("SELECT * FROM main.{}", NotFoundError, ["no schemas", "alone"], None, None),
        ("SELECT strftime(ts) FROM {}", InvalidInputError, ["There are strftime("], "strftime", None),
        ("SELECT * FROM {} LIMIT -1", InvalidInputError, ["LIMIT", "negative"], "-", None),
        ("SELECT price FROM {} UNION SELECT 1, 2", InvalidInputError, ["number of result columns"], None, None),
    ],
)  # fmt: skip
def test_what_a_query_means_is_told_at_its_place(store, table, sql, kind, words, near, suggestion):
    with refused(kind, *words, store=store) as caught:
        store.read(sql.format(table))
    context = caught.value.context
    assert context.get("suggestion") == suggestion or suggestion is None
    if near is not None:
        assert pictured(caught.value).startswith(near.format(table))
        assert context["near"].startswith(near.format(table))


@pytest.mark.parametrize(
    ("sql", "words", "near"),
    [
        ("SELECT * FORM hot_us", ["Syntax error at or near 'FORM'", "Did you mean FROM"], "FORM"),
        ("SELEC * FROM hot_us", ["Did you mean SELECT"], "SELEC"),
        ("SELECT * FROM hot_us oder BY price", ["Did you mean ORDER"], "oder"),
        ("SELECT count(* FROM hot_us", ["A ) is missing"], "FROM"),
        ("SELECT price) FROM hot_us", ["There is no ( for this )"], ")"),
        ("SELECT 'abc FROM hot_us", ["has no end: a ' is missing"], "'abc"),
        ('SELECT "abc FROM hot_us', ['has no end: a " is missing'], '"abc'),
        ("SELECT 1 /* why", ["a */ is missing"], "/"),
        ("SELECT price FROM hot_us WHERE price BETWEEN 1", ["Syntax error", "ends too early"], None),
        ("no table here", ["neither the name of a table nor SQL"], "no"),
        ("hot_u where price > 1", ["neither the name of a table nor SQL"], "hot_u"),
    ],
)
def test_what_is_no_sql_is_told_at_its_place(store, sql, words, near):
    with refused(InvalidInputError, *words, store=store) as caught:
        store.read(sql)
    if near is not None:
        assert pictured(caught.value).startswith(near)


def test_the_place_counts_in_the_text_of_the_caller(store):
    """Lines, tabs, wide characters and text of several bytes before the place."""
    with refused(NotFoundError, "'pric'") as caught:
        store.read("SELECT 'é漢',\n\t'ü', pric\nFROM hot_us\nWHERE price > 1")
    assert (caught.value.context["line"], caught.value.context["column"]) == (2, 7)
    assert str(caught.value).endswith("line 2:     'ü', pric\n                 ^^^^")
    with refused(InvalidInputError, "Did you mean WHERE") as caught:
        store.read("SELECT\r\n  price,\r\n  symbol\r\nFROM hot_us\r\nWHER price > 1\r\n")
    assert (caught.value.context["line"], caught.value.context["column"]) == (5, 1)
    with refused(NotFoundError, "'pric'") as caught:
        store.read("SELECT '漢漢漢', pric FROM hot_us")
    assert str(caught.value).endswith(" " * len("line 1: SELECT '漢漢漢', ") + "   ^^^^")


def test_a_long_line_is_cut_around_the_place(store):
    columns = ", ".join(f"price AS price_{number}" for number in range(60))
    with refused(NotFoundError, "'pric'") as caught:
        store.read(f"SELECT {columns}, pric, {columns} FROM hot_us")
    line = str(caught.value).splitlines()[1]
    assert pictured(caught.value) == "pric"
    assert len(line) < 120
    assert line.count("...") == 2


def test_a_name_of_an_inner_query_is_the_nearest_there(store):
    sql = "WITH c AS (SELECT price AS dollars FROM hot_us) SELECT dolars FROM c"
    with refused(NotFoundError, "Did you mean 'dollars'", store=store) as caught:
        store.read(sql)
    assert pictured(caught.value) == "dolars"


def test_unknown_tables_are_told_at_their_place(store):
    with refused(NotFoundError, "no table 'hot_uss'. Did you mean 'hot_us'", store=store) as caught:
        store.read("SELECT *\nFROM naive\nJOIN hot_uss USING (symbol)")
    assert pictured(caught.value) == "hot_uss"
    assert caught.value.context["line"] == 3
    with refused(NotFoundError, "Did you mean 'hot_us'") as caught:
        store.read("hot_uss")
    with refused(NotFoundError, "Did you mean 'hot_us'"):
        store.explain("SELECT * FROM hot_uss")


def test_tables_made_later_are_told_so(store):
    for query in ("cold_us", "SELECT * FROM cold_us"):
        with refused(NotFoundError, "no table 'cold_us' at version 1; it was made later", "as_of="):
            store.read(query, as_of=1)
    with refused(NotFoundError, "no table 'cold_uz' at version 1. The store has 'hot_ns'"):
        store.read("cold_uz", as_of=1)
    with refused(NotFoundError, "at version 0. The store had no tables then"):
        store.read("nothing", as_of=0)


def test_parameters_without_values_are_told_at_their_place(store):
    with refused(InvalidInputError, "$low and no value", store=store) as caught:
        store.read("SELECT * FROM hot_us WHERE price > $low")
    assert pictured(caught.value) == "$low"
    with refused(InvalidInputError, "'hi', which the query does not use"):
        store.read("SELECT * FROM hot_us WHERE price > $low", params={"low": 1, "hi": 2})
    with refused(NotFoundError, "'pric'") as caught:
        store.read("SELECT * FROM hot_ns WHERE pric > $low", params={"low": 1.0})
    assert pictured(caught.value) == "pric"


def test_files_that_are_not_there_are_named(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(NotFoundError, "No file matches 'nope.parquet'", str(tmp_path), store=store) as caught:
        store.read("SELECT * FROM 'nope.parquet'")
    assert pictured(caught.value) == "'nope.parquet'"


def test_frames_are_known_as_tables_are(store):
    with refused(NotFoundError, "Did you mean 'weight'") as caught:
        store.read("SELECT weigt FROM mine", frames={"mine": pd.DataFrame({"weight": [1.0]})})
    assert pictured(caught.value) == "weigt"


@pytest.mark.parametrize("to", ["pandas", "polars", "arrow", "reader", "relation", "lazy"])
def test_every_kind_of_result_tells_alike(store, to):
    with refused(NotFoundError, "Did you mean 'price'") as caught:
        store.read("SELECT pric FROM cold_ns", to=to)
    assert pictured(caught.value) == "pric"


def test_what_fails_after_the_first_batch_is_told_too(store):
    """The engine's failures come as Arrow's while a result is fetched."""
    text = "CASE WHEN range < 5000000 THEN '1' ELSE 'late' END"
    reader = store.read(f"SELECT CAST({text} AS INTEGER) AS n FROM range(6000000)", to="reader")
    assert reader.read_next_batch().num_rows
    with refused(InvalidInputError, "'late' is no INTEGER") as caught:
        reader.read_all()
    assert pictured(caught.value) == "'late'"


def test_naive_and_zoned_columns_compare_as_documented(store):
    """A naive column beside a zoned one counts as UTC; a zone is named with AT TIME ZONE."""
    for zoned in ("hot_us", "hot_ns", "cold_us", "cold_ns"):
        sql = f"SELECT count(*) AS n FROM {zoned} z JOIN naive n ON z.ts = n.ts"
        assert store.read(sql)["n"].tolist() == [6]
        eastern = sql.replace("n.ts", "n.ts AT TIME ZONE 'America/New_York'")
        assert store.read(eastern)["n"].tolist() == [0]


def test_zoned_bounds_on_a_naive_column_are_refused(store):
    bound = pd.Timestamp("2026-01-05", tz="UTC")
    for option in ("start", "end"):
        with refused(InvalidInputError, f"{option}=", "'ts' has none", "naive", store=store):
            store.read("naive", **{option: bound})
    with refused(InvalidInputError, "before=", "naive time: before='2026-01-05 00:00:00'", store=store):
        store.migrate("naive", "hot", "cold", before=bound)
    assert len(store.read("hot_us", start="2026-01-05", end="2026-01-06")) == 6


def test_columns_of_a_bare_read_are_named_with_the_nearest(store):
    with refused(NotFoundError, "Table 'hot_us' has no column 'pric'. Did you mean 'price'", store=store):
        store.read("hot_us", columns=["pric"])


def test_what_cannot_be_done_exactly_is_still_unsupported(store):
    """A query that is no mistake keeps the refusal of the rewrite."""
    with refused(UnsupportedError, store=store):
        store.read("PIVOT hot_ns ON symbol IN ('AAPL', 'MSFT') USING first(ts) GROUP BY price")


def test_a_join_of_everything_may_give_a_name_twice(store):
    """pandas and Arrow hold both columns; Polars says what to do."""
    sql = "SELECT * FROM hot_ns a JOIN cold_us b USING (ts, symbol) JOIN naive n USING (symbol) WHERE a.size = 1"
    names = ["ts", "symbol", "price", "size", "price", "size", "ts", "price", "size"]
    for backend in (None, "pyarrow", "numpy_nullable"):
        found = store.read(sql, dtype_backend=backend)
        assert found.columns.tolist() == names
        assert found["size"].iloc[0].tolist() == [1, 1, 1]
    assert store.read(sql, to="arrow").column_names == names
    for to in ("polars", "lazy"):
        with refused(InvalidInputError, "several columns called 'price', 'size', 'ts'", "EXCLUDE", store=store):
            store.read(sql, to=to)


@pytest.mark.parametrize(
    ("where", "kind", "words", "near"),
    [
        ("pric > 1", NotFoundError, ["Table 'hot_ns' has no column 'pric'", "'price'"], "pric"),
        ("price >", InvalidInputError, ["ends too early"], None),
        ("price >> > 1", InvalidInputError, ["Syntax error"], ">"),
        ("price > 1 adn size > 1", InvalidInputError, ["Did you mean AND"], "adn"),
        ("symbol = AAPL", NotFoundError, ["if it is a text, write 'AAPL'"], "AAPL"),
        ("price > symbol + 1", InvalidInputError, ["+ does not go with VARCHAR and INTEGER"], "+"),
        ("ts > 'soon'", InvalidInputError, ["'soon'", "like '2026-11-20"], "'soon'"),
        ("sum(price) > 1", InvalidInputError, ["aggregate"], "sum"),
        ("1 = 1) OR (1 = 1", InvalidInputError, ["not a condition on the rows of table 'hot_ns'"], None),
        ("true); DELETE FROM hot_ns WHERE (true", InvalidInputError, [""], None),
    ],
)
def test_conditions_of_moves_are_told_as_queries_are(store, where, kind, words, near):
    for dry_run in (True, False):
        with refused(kind, *words, store=store) as caught:
            store.migrate("hot_ns", "hot", "cold", where=where, dry_run=dry_run)
        if near is not None:
            assert pictured(caught.value).startswith(near)
            assert str(caught.value).endswith("^")
            assert caught.value.context["line"] == 1
            assert where[caught.value.context["column"] - 1 :].startswith(near)
