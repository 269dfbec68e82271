"""Statements and functions that do more than read are refused, with what to use instead."""

from __future__ import annotations

import pytest
from telling import folder_state, pictured, refused, ticks

import quantstore as qs
from quantstore.errors import InvalidInputError, NotFoundError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one table."""
    with qs.open(tmp_path_factory.mktemp("statements") / "s") as opened:
        opened.write(ticks(), "trades")
        yield opened


@pytest.mark.parametrize(
    ("sql", "instead"),
    [
        ("INSERT INTO trades VALUES (1)", "store.write(frame, table)"),
        ("insert into trades select * from trades", "store.write(frame, table)"),
        ("UPDATE trades SET price = 1", "mode='overwrite'"),
        ("DELETE FROM trades", "mode='overwrite'"),
        ("TRUNCATE trades", "mode='overwrite'"),
        ("MERGE INTO trades USING trades AS t ON true WHEN MATCHED THEN DELETE", "mode='overwrite'"),
        ("CREATE TABLE x AS SELECT 1", "WITH ... AS"),
        ("CREATE OR REPLACE VIEW trades AS SELECT 1", "WITH ... AS"),
        ("DROP TABLE trades", "not dropped by statements"),
        ("ALTER TABLE trades RENAME TO x", "new table"),
        ("COMMENT ON TABLE trades IS 'x'", "no comments"),
        ("COPY trades TO 'x.parquet'", "--out FILE"),
        ("COPY (SELECT 1) TO 'x.csv'", "--out FILE"),
        ("EXPORT DATABASE 'x'", "--out FILE"),
        ("ATTACH 'x.db'", "quantstore.open(path)"),
        ("USE main", "quantstore.open(path)"),
        ("SET threads = 1", "memory_limit='2GB'"),
        ("RESET threads", "memory_limit='2GB'"),
        ("PRAGMA database_list", "store.tables()"),
        ("SHOW TABLES", "store.tables()"),
        ("INSTALL httpfs", "not loaded by statements"),
        ("LOAD httpfs", "not loaded by statements"),
        ("CALL pragma_version()", "SELECT * FROM function"),
        ("EXPLAIN SELECT * FROM trades", "store.explain(sql)"),
        ("PREPARE p AS SELECT 1", "params={'name': value}"),
        ("EXECUTE p", "params={'name': value}"),
        ("BEGIN", "transaction of its own"),
        ("COMMIT", "transaction of its own"),
        ("VACUUM", "store.sweep()"),
        ("CHECKPOINT", "transaction of its own"),
    ],
)
def test_statements_that_do_more_than_read_say_what_to_use(store, tmp_path, monkeypatch, sql, instead):
    monkeypatch.chdir(tmp_path)
    word = sql.split()[0]
    with refused(InvalidInputError, f"this is {word.upper()}.", instead, store=store) as caught:
        store.read(sql)
    assert pictured(caught.value) == word
    assert caught.value.context["statement"] == word.upper()
    assert folder_state(tmp_path) == []


@pytest.mark.parametrize("change", ["DELETE FROM trades", "UPDATE trades SET price = 1", "INSERT INTO trades SELECT 1"])
def test_changes_inside_a_query_are_refused_at_their_place(store, change):
    with refused(InvalidInputError, "store.write(", store=store) as caught:
        store.read(f"WITH gone AS (\n  {change} RETURNING *)\nSELECT * FROM gone")
    assert pictured(caught.value) == change.split()[0]
    assert caught.value.context["line"] == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nextval('x')",
        "SELECT setseed(0.5)",
        "SELECT write_log('x')",
        "SELECT * FROM enable_logging(storage => 'file', storage_path => 'logs')",
        "SELECT * FROM checkpoint()",
        "SELECT * FROM arrow_scan(1, 2, 3)",
    ],
)
def test_functions_that_do_more_than_read_are_refused(store, tmp_path, monkeypatch, sql):
    monkeypatch.chdir(tmp_path)
    with refused(InvalidInputError, "does more than read", store=store) as caught:
        store.read(sql)
    assert pictured(caught.value) in sql
    assert folder_state(tmp_path) == []


def test_names_of_such_functions_are_no_offence_elsewhere(store):
    sql = 'SELECT price AS nextval, \'setseed(1)\' AS text, "set".price AS "update" FROM trades AS "set" -- DROP'
    assert store.read(sql)["text"].tolist() == ["setseed(1)"] * 6


@pytest.mark.parametrize(
    ("sql", "words", "near"),
    [
        ("SELECT 1; SELECT 2", ["one statement at a time", "has 2"], "SELECT"),
        ("SELECT 1;\n;DROP TABLE trades;", ["one statement at a time", "has 2"], "DROP"),
        ("-- nothing", ["one statement at a time", "none, only comments"], None),
        ("/* nothing */ ;", ["one statement at a time"], None),
    ],
)
def test_several_statements_and_none_are_refused(store, sql, words, near):
    with refused(InvalidInputError, *words, store=store) as caught:
        store.read(sql)
    if near is not None:
        assert pictured(caught.value) == near
        assert caught.value.context["column"] > 1


def test_one_statement_with_semicolons_and_comments_is_run(store):
    assert store.read("/* ; */ SELECT ';' AS a -- ;\n;")["a"].tolist() == [";"]


def test_a_table_may_bear_the_name_of_a_statement(tmp_path):
    with qs.open(tmp_path / "s") as opened:
        opened.write(ticks(), "vacuum")
        assert len(opened.read("vacuum")) == 6
        assert len(opened.read("SELECT * FROM vacuum")) == 6
        with refused(InvalidInputError, "this is BEGIN"):
            opened.read("begin")
        with refused(NotFoundError, "no table 'update'"):
            opened.read("update")


@pytest.mark.parametrize("name", ["__quantstore_0", '"__QuantStore_0"'])
def test_a_query_cannot_put_something_in_the_place_of_a_table(store, name):
    """Scans of stored tables have names of their own, which a WITH could take."""
    sql = f"WITH {name} AS (SELECT ts, symbol, 9.0 AS price, size FROM trades) SELECT sum(price) FROM trades"
    with pytest.raises(InvalidInputError, match="reserved") as caught:
        store.read(sql)
    assert pictured(caught.value) == name
