"""Commands that correct, name, bring back, give up and tidy."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import quantstore as qs
from quantstore import api
from quantstore.cli.app import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with a store of four rows; return exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "_default", None)
    monkeypatch.setenv("QUANTSTORE_STORE", "store")
    with qs.open("store") as store:
        stamps = pd.date_range("2026-01-05T10:00Z", periods=4, freq="1s")
        rows = pd.DataFrame({"ts": stamps, "symbol": ["A", "B"] * 2, "price": [1.0, 2.0, 3.0, 4.0]})
        store.write(rows, "trades", key=["symbol", "ts"])
    monkeypatch.setattr(api, "_default", None)
    capsys.readouterr()

    def command(*arguments):
        code = main([str(one) for one in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def prices(run, *options):
    code, out, _ = run("query", "SELECT price FROM trades ORDER BY ts, price", "--to", "json", *options)
    assert code == 0
    return [row["price"] for row in json.loads(out)]


def test_delete_and_restore(run):
    assert run("tag", "right")[0] == 0
    code, out, _ = run("delete", "trades", "symbol = 'A'", "--dry-run", "--json")
    assert (code, json.loads(out)["deleted"]) == (0, 2)
    assert prices(run) == [1, 2, 3, 4]
    code, out, _ = run("delete", "trades", "symbol = 'A'", "--write-id", "fix")
    assert (code, "2 rows removed" in out) == (0, True)
    assert prices(run) == [2, 4]
    assert prices(run, "--as-of", "right") == [1, 2, 3, 4]
    assert run("restore", "trades", "right")[1] == "trades: restore, version 3\n"
    assert prices(run) == [1, 2, 3, 4]


def test_corrections_from_files(run, tmp_path):
    (tmp_path / "fix.csv").write_text("ts,symbol,price\n2026-01-05T10:00:00Z,A,9.5\n")
    code, out, _ = run("write", "trades", "fix.csv", "--mode", "upsert")
    assert (code, "1 rows in 2 segments, 1 rows removed" in out) == (0, True)
    assert prices(run) == [9.5, 2, 3, 4]
    code, out, _ = run("write", "trades", "fix.csv", "--mode", "replace", "--where", "symbol = 'A'", "--dry-run")
    assert (code, "2 rows removed (dry run" in out) == (0, True)


def test_tags_are_made_listed_and_taken_away(run):
    assert run("tag")[1] == "no tags\n"
    assert run("tag", "a")[1] == "tag a: version 1\n"
    run("delete", "trades", "true")
    assert run("tag", "b", "--version", "a")[1] == "tag b: version 1\n"
    assert [one["name"] for one in json.loads(run("tag", "--json")[1])] in (["a", "b"], ["b", "a"])
    assert run("tag", "a", "--delete")[1] == "tag a (version 1) taken away\n"
    assert run("tag", "nobody", "--delete")[0] == 3


def test_tables_are_renamed_dropped_and_brought_back(run):
    assert run("rename", "trades", "prints")[1] == "prints: rename, version 2\n"
    assert run("drop", "prints")[1] == "prints dropped, version 3\n"
    assert run("query", "prints")[0] == 3
    assert run("undrop", "prints")[1] == "prints: undrop, version 4\n"
    assert "4" in run("query", "SELECT count(*) AS n FROM prints")[1]


def test_upkeep(run):
    with qs.open("store") as store:
        for price in range(5):
            stamps = [pd.Timestamp("2026-01-05T11:00Z")]
            store.write(pd.DataFrame({"ts": stamps, "symbol": "C", "price": [float(price)]}), "trades")
    code, out, _ = run("compact", "trades", "--dry-run", "--json")
    assert (code, json.loads(out)["dry_run"]) == (0, True)
    assert run("compact", "--tier", "hot")[0] == 0
    assert prices(run) == [1, 2, 3, 4, 0, 1, 2, 3, 4]
    code, out, _ = run("expire", "0s", "--dry-run")
    assert code == 0
    assert prices(run, "--as-of", "2") == [1, 2, 3, 4, 0]
    assert run("expire", "0s")[0] == 0
    assert run("query", "trades", "--as-of", "2")[0] == 3
    code, out, _ = run("maintain", "--older-than", "0s", "--grace", "0s", "--json")
    assert (code, json.loads(out)["failed"]) == (0, {})
    assert prices(run) == [1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_publish(run):
    pytest.importorskip("pyiceberg")
    assert run("migrate", "trades", "hot", "cold")[0] == 0
    code, out, _ = run("publish", "trades")
    assert code == 0
    assert "trades at version 1" in out


def test_a_table_with_sessions_wide_partitions_and_a_key_is_made_and_filled(run, tmp_path):
    options = ("--time", "stamp", "--symbol", "symbol", "--key", "symbol", "--key", "stamp", "--grain", "month")
    assert run("create", "futures", *options, "--calendar", "CMES")[:2] == (0, "made table futures\n")
    (tmp_path / "f.csv").write_text("stamp,symbol,price\n2026-01-04T23:30:00Z,ES,1.5\n2026-01-30T16:00:00Z,ES,2.5\n")
    assert run("write", "futures", "f.csv")[0] == 0
    code, out, _ = run("query", "SELECT CAST(trade_date AS VARCHAR) AS d FROM futures ORDER BY stamp", "--to", "json")
    assert [one["d"] for one in json.loads(out)] == ["2026-01-05", "2026-01-30"]
    with qs.open("store") as store:
        placed = store.table("futures").placement()
    assert (len(placed), len(placed.trade_date.unique())) == (1, 1)
    code, _, error = run("create", "futures")
    assert (code, "exists already" in error) == (2, True)


def test_a_file_with_a_column_for_each_symbol_becomes_rows(run, tmp_path):
    (tmp_path / "close.csv").write_text("date,A,B\n2026-01-05,1.5,2.5\n2026-01-06,3.5,\n")
    assert run("create", "daily", "--time", "date", "--symbol", "symbol")[0] == 0
    assert run("write", "daily", "close.csv", "--wide", "close")[0] == 0
    _, out, _ = run("query", "SELECT symbol, close FROM daily ORDER BY date, symbol", "--to", "json")
    assert [(one["symbol"], one["close"]) for one in json.loads(out)] == [("A", 1.5), ("B", 2.5), ("A", 3.5)]
