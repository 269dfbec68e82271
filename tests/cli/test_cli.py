"""The shell command, run in this process and as a real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import quantstore as qs
from quantstore import api
from quantstore.cli.app import main
from quantstore.testing.simulator import MarketSimulator


@pytest.fixture(autouse=True)
def no_default(monkeypatch):
    """Keep stores that commands open from becoming this process's default."""
    monkeypatch.setattr(api, "_default", None)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to work in; the store is `./store`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANTSTORE_STORE", "store")
    return tmp_path


@pytest.fixture(scope="module")
def ticks():
    return MarketSimulator(days=2, trades_per_day=300, quotes_per_day=10, symbols=4).trades()


@pytest.fixture
def filled(place, ticks):
    """A store with the ticks in three tiers."""
    with qs.open("store") as store:
        store.write(ticks, "trades")
        store.migrate("trades", "hot", "warm", before="2026-11-17T12:00Z")
        store.migrate("trades", "warm", "cold", before="2026-11-16T12:00Z")
    return place


@pytest.fixture
def run(capsys):
    """Run a command; return exit code, standard output and standard error."""

    def command(*arguments):
        code = main([str(one) for one in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def rows_of(run, *arguments):
    code, out, err = run("query", *arguments, "--to", "json")
    assert code == 0, err
    return json.loads(out)


# Files in


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "feather", "arrow", "stream.arrow"])
def test_files_of_every_kind_come_back_as_they_were(place, run, ticks, kind):
    path = place / f"ticks.{kind}"
    if kind.startswith("csv"):
        with pa.output_stream(str(path)) as sink:
            pa_csv.write_csv(ticks, sink)
    elif kind == "parquet":
        pq.write_table(ticks, path)
    elif kind == "feather":
        feather.write_feather(ticks, path)
    else:
        make = pa.ipc.new_stream if kind.startswith("stream") else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as sink, make(sink, ticks.schema) as writer:
            writer.write_table(ticks)
    code, out, err = run("write", "trades", path, "--json")
    assert (code, json.loads(out)["rows"]) == (0, ticks.num_rows), err
    with qs.open("store") as store:
        expected = ticks.sort_by([("ts", "ascending")])
        found = store.read("trades", to="arrow").sort_by([("ts", "ascending")])
    assert found.column("ts").equals(expected.column("ts"))
    assert sorted(found.to_pylist(), key=repr) == sorted(expected.to_pylist(), key=repr)


def test_patterns_and_mixed_files_become_one_write(place, run, ticks):
    (place / "days").mkdir()
    pq.write_table(ticks.slice(0, 100), place / "days" / "b.parquet")
    shuffled = ticks.slice(100, 50).select(list(reversed(ticks.column_names)))
    pq.write_table(shuffled, place / "days" / "a.parquet")
    pa_csv.write_csv(ticks.slice(150), place / "rest.csv")
    code, _, err = run("write", "trades", "days/*.parquet", "rest.csv")
    assert code == 0, err
    assert rows_of(run, "SELECT count(*) AS n, max(_seq >> 32) AS version FROM trades") == [
        {"n": ticks.num_rows, "version": 1}
    ]


def test_types_of_csv_columns_hold_for_rows_far_down(place, run, monkeypatch):
    """A first block of whole numbers, empty fields and plain symbols does not fix the types."""
    monkeypatch.setattr("quantstore.cli.csv_files.BLOCK_BYTES", 256)
    lines = ["ts;symbol;price;note;when"]
    lines += [f"2026-01-05 09:{at // 60:02d}:{at % 60:02d};00700;{at};;" for at in range(200)]
    lines += ["2026-01-05 10:00:00.123456789;9988;7.25;late;2026-01-05"]
    (place / "hk.csv").write_text("\n".join(lines) + "\n")
    assert run("write", "hk", "hk.csv", "--time", "ts", "--tz", "Asia/Hong_Kong")[0] == 0
    with qs.open("store") as store:
        assert store.table("hk").schema.field("ts").type == pa.timestamp("ns", "Asia/Hong_Kong")
        found = store.read("hk", to="arrow")
    assert found.column("price").to_pylist()[-2:] == [199.0, 7.25]
    assert found.column("note").to_pylist()[-2:] == [None, "late"]
    assert found.column("symbol").to_pylist()[0] == "00700"
    assert found.column("ts").cast(pa.int64()).to_pylist()[-1] % 10**9 == 123456789


def test_csv_columns_take_the_types_of_the_table(place, run):
    """Whole numbers appended to a column of fractions are fractions; a stamp keeps its zone."""
    (place / "a.csv").write_text("ts,symbol,price\n2026-01-05T09:30:00Z,A,1.5\n")
    (place / "b.csv").write_text("ts,symbol,price\n2026-01-05T09:31:00Z,1,2\n")
    assert run("write", "t", "a.csv")[0] == 0
    assert run("write", "t", "b.csv")[0] == 0
    assert rows_of(run, "SELECT symbol, price FROM t ORDER BY ts") == [
        {"symbol": "A", "price": 1.5},
        {"symbol": "1", "price": 2.0},
    ]


def test_a_large_csv_is_read_in_bounded_memory(place):
    """Arrow never holds more than a part of the file, however long the file is."""
    day = "".join(f"2026-01-05T09:{at // 60 % 60:02d}:{at % 60:02d}Z,S{at % 7},{at}.25\n" for at in range(86_400))
    with (place / "big.csv").open("w") as sink:
        sink.write("ts,symbol,price\n")
        sink.writelines([day] * 75)
    size = (place / "big.csv").stat().st_size
    assert size > 200e6
    code = (
        "import pyarrow as pa; from quantstore.cli.sources import open_files\n"
        "rows = sum(batch.num_rows for batch in open_files(['big.csv']))\n"
        "print(rows, pa.default_memory_pool().max_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rows, peak = map(int, done.stdout.split())
    assert rows == 75 * 86_400
    assert peak < size * 0.6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", "Empty CSV"),
        ("ragged.csv", "ts,a\n2026-01-01,1,2\n", "Expected 2 columns, got 3"),
        ("twice.csv", "ts,a,a\n2026-01-01,1,2\n", "column names repeat"),
        ("no.parquet", "PAR?", "cannot be read as parquet"),
        ("no.feather", "no feather", "cannot be read as feather"),
        ("old.feather", "FEA1....", "old first version"),
        ("what.xlsx", "", "no ending known"),
    ],
)
def test_files_that_cannot_be_read_are_named(place, run, name, content, message):
    (place / name).write_text(content)
    code, _, err = run("write", "t", name)
    assert code == 2
    assert name in err
    assert message in err
    assert run("ls", "--json")[1].strip() in ("", "[]")


def test_missing_files_folders_and_patterns_are_refused(place, run):
    for wanted, message in (("none.csv", "no file"), ("*.csv", "No file matches"), (".", "folder")):
        code, _, err = run("write", "t", wanted)
        assert (code, message in err) == (2, True), err


def test_files_with_other_columns_are_refused_by_name(place, run):
    (place / "a.csv").write_text("ts,x\n2026-01-05T09:30:00Z,1\n")
    (place / "b.csv").write_text("ts,y\n2026-01-05T09:30:00Z,1\n")
    code, _, err = run("write", "t", "a.csv", "b.csv")
    assert code == 2
    assert "a.csv" in err
    assert "'x', 'y'" in err


def test_repeated_writes_are_told_and_write_ids_hold(place, run):
    (place / "a.csv").write_text("ts,x\n2026-01-05T09:30:00Z,1\n")
    assert run("write", "t", "a.csv")[0] == 0
    code, _, err = run("write", "t", "a.csv")
    assert (code, err.startswith("warning: "), err.count("\n")) == (0, True, 1)
    assert run("write", "t", "a.csv", "--on-repeat", "raise")[0] == 3
    assert run("write", "t", "a.csv", "--on-repeat", "append", "--write-id", "again")[0] == 0
    assert run("write", "t", "a.csv", "--on-repeat", "append", "--write-id", "again")[0] == 0
    assert rows_of(run, "SELECT count(*) AS n FROM t") == [{"n": 2}]
    assert run("write", "t", "a.csv", "--mode", "overwrite", "--tier", "cold", "--asset-class", "FX")[0] == 0
    assert rows_of(run, "SELECT count(*) AS n, any_value(asset_class) AS kind FROM t") == [{"n": 1, "kind": "FX"}]


# Answers out


@pytest.mark.parametrize(("kind", "ending"), [("csv", "csv"), ("parquet", "parquet"), ("arrow", "arrow")])
def test_an_answer_in_a_file_is_the_answer(filled, run, ticks, kind, ending):
    code, out, err = run("query", "SELECT ts, symbol, price FROM trades ORDER BY ts, _seq", "--out", f"out.{ending}")
    assert code == 0, err
    assert f"{ticks.num_rows:,} rows in out.{ending}" in out
    with qs.open("store") as store:
        expected = store.read("SELECT ts, symbol, price FROM trades ORDER BY ts, _seq", to="arrow")
    read = {"csv": pa_csv.read_csv, "parquet": pq.read_table, "arrow": feather.read_table}[kind]
    found = read(f"out.{ending}")
    assert found.num_rows == ticks.num_rows
    assert found.cast(expected.schema).equals(expected)
    assert not list(filled.glob(".out*"))


def test_json_holds_every_type_exactly(place, run):
    sql = r"""SELECT 9007199254740993 AS big, 12345678901234567890::UBIGINT AS huge, 1.10::DECIMAL(9, 2) AS money,
        'nan'::DOUBLE AS nan, NULL::INT AS nothing, TIMESTAMP_NS '2026-01-05 09:30:00.123456789' AS ns,
        DATE '2026-01-05' AS day, [1.5::DOUBLE, 'nan'::DOUBLE, NULL] AS list, {'a': TIMESTAMP '2026-01-05 09:30:00'}
        AS struct, TRUE AS yes, '\x01\xFF'::BLOB AS bytes, sum(x) AS total FROM (VALUES (1::BIGINT), (2)) v(x)"""
    with qs.open("store") as store:
        store.write(pd.DataFrame({"ts": pd.to_datetime(["2026"], utc=True)}), "t")
    (row,) = rows_of(run, sql)
    assert row == {
        "big": 9007199254740993,
        "huge": 12345678901234567890,
        "money": "1.10",
        "nan": None,
        "nothing": None,
        "ns": "2026-01-05 09:30:00.123456789",
        "day": "2026-01-05",
        "list": [1.5, None, None],
        "struct": {"a": "2026-01-05 09:30:00.000000"},
        "yes": True,
        "bytes": "01ff",
        "total": 3,
    }


def test_nested_columns_become_json_in_csv(filled, run):
    code, out, _ = run("query", "SELECT [1, 2] AS list, {'a': 'x'} AS struct, 'q\"q' AS quote", "--to", "csv")
    assert code == 0
    assert out.splitlines() == ['"list","struct","quote"', '"[1, 2]","{""a"": ""x""}","q""q"']


def test_long_answers_are_cut_on_screen_only(filled, run, ticks):
    code, out, _ = run("query", "trades")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 2 + 40 + 1 + 1
    assert f"{ticks.num_rows:,} rows, 40 shown" in lines[-1]
    assert len(run("query", "trades", "--to", "csv")[1].splitlines()) == ticks.num_rows + 1


def test_parameters_are_values_and_never_sql(filled, run):
    sql = "SELECT count(*) AS n FROM trades WHERE symbol = $s"
    assert rows_of(run, sql, "--param", "s=x' OR '1'='1") == [{"n": 0}]
    several = rows_of(run, "SELECT count(*) AS n FROM trades WHERE list_contains($s, symbol)", "--param", 's=["NVDA"]')
    assert several == rows_of(run, sql, "--param", "s=NVDA")
    assert several[0]["n"] > 0
    assert rows_of(run, "SELECT $a + 1 AS a, $b AS b", "--param", "a=41", "--param", "b=007") == [{"a": 42, "b": "007"}]
    code, _, err = run("query", sql)
    assert (code, "$s" in err) == (2, True)


def test_a_tier_hint_warns_or_refuses(filled, run, ticks):
    code, out, err = run("query", "SELECT count(*) AS n FROM trades", "--tiers", "hot,warm", "--to", "json")
    assert code == 0
    assert json.loads(out)[0]["n"] < ticks.num_rows
    assert err.startswith("warning: tiers=['hot', 'warm'] leaves out")
    assert run("query", "trades", "--tiers", "hot", "--missing", "raise")[0] == 3
    assert run("query", "trades", "--tiers", "hot", "--missing", "ignore")[2] == ""


def test_as_of_reads_what_the_store_knew(place, run):
    (place / "a.csv").write_text("ts,x\n2026-01-05T09:30:00Z,1\n")
    (place / "b.csv").write_text("ts,x\n2026-01-06T09:30:00Z,2\n")
    assert run("write", "t", "a.csv")[0] == run("write", "t", "b.csv")[0] == 0
    assert len(rows_of(run, "t", "--as-of", "1")) == 1
    assert len(rows_of(run, "t", "--as-of", "2")) == 2
    assert len(rows_of(run, "t", "--as-of", "2100-01-01T00:00Z")) == 2
    assert run("query", "t", "--as-of", "2026-01-05")[0] == 2
    assert run("query", "t", "--as-of", "7")[0] == 3


def test_explain_reads_nothing_and_says_why(filled, run):
    code, out, _ = run("query", "SELECT * FROM trades WHERE ts < '2026-11-16T06:00Z'", "--explain")
    assert code == 0
    assert "cold:" in out
    assert "pruned" in out
    plan = json.loads(run("query", "SELECT * FROM trades WHERE ts < '2026-11-16T06:00Z'", "--explain", "--json")[1])
    assert {use["tier"] for scan in plan["scans"] for use in scan["tiers"]} == {"cold"}


def test_a_query_may_come_from_standard_input(filled, run, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1 AS one"))
    assert rows_of(run, "-") == [{"one": 1}]


def test_a_failed_query_leaves_no_file(filled, run):
    assert run("query", "SELECT error('no') FROM trades", "--out", "out.csv")[0] == 2
    assert run("query", "SELECT 1", "--out", "nowhere/out.csv")[0] == 3
    assert run("query", "SELECT 1", "--out", "out.what")[0] == 2
    assert [one.name for one in filled.iterdir()] == ["store"]


def test_a_pipe_or_device_is_written_to_and_not_replaced(filled, run):
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        assert run("query", "SELECT 1 AS one", "--to", "csv", "--out", "pipe")[0] == 0
        assert reader.stdout.read() == '"one"\n1\n'
    assert (filled / "pipe").is_fifo()
    assert run("query", "SELECT 1", "--to", "csv", "--out", "store")[0] == 3


def test_data_cannot_steer_the_terminal(place, run):
    evil = "A\x1b[2J\x1b]0;owned\x07\u202eB\rC"
    frame = pd.DataFrame({"ts": pd.to_datetime(["2026-01-05"], utc=True), "symbol": [evil], "evil": [evil]})
    with qs.open("store") as store:
        store.write(frame, "t")
    for command in (
        ["query", "t"],
        ["ls"],
        ["show", "t"],
        ["status"],
        ["query", "t", "--to", "json"],
    ):
        code, out, err = run(*command)
        assert code == 0, err
        assert not set(out + err) & set("\x1b\x07\u202e\r"), command
    code, _, err = run("query", 'SELECT * FROM "t\x1b[31m"')
    assert code in (2, 3)
    assert "\x1b" not in err
    assert rows_of(run, "t")[0]["evil"] == evil


# Moving and upkeep


def test_migrate_sweep_and_audit(filled, run, ticks):
    proposed = json.loads(run("migrate", "trades", "any", "hot", "--dry-run", "--json")[1])
    assert 0 < sum(one["rows"] for one in proposed) < ticks.num_rows
    code, out, _ = run("migrate", "trades", "any", "hot", "--where", "symbol = 'NVDA'")
    assert (code, "moved" in out) == (0, True)
    assert run("migrate", "trades", "hot", "cold", "--before", "2026-11-17T00:00Z")[0] == 0
    assert run("migrate", "trades", "cold", "cold")[1].strip() == "nothing to move"
    swept = json.loads(run("sweep", "--grace", "0s", "--json")[1])
    assert swept["copies"] > 0
    code, out, _ = run("audit")
    assert (code, "everything is as recorded" in out) == (0, True)


def test_audit_names_the_damage_and_leaves_with_one(filled, run):
    victim = next(one for one in sorted((filled / "store" / "cold").rglob("*.parquet")))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(data)
    code, out, err = run("audit")
    assert (code, err) == (1, "")
    assert "corrupt" in out
    assert "tier cold" in out
    report = json.loads(run("audit", "--json")[1])
    assert report["ok"] is False
    assert [one["kind"] for one in report["problems"]] == ["corrupt"]


def test_ls_show_and_status_agree_with_the_store(filled, run, ticks):
    (table,) = json.loads(run("ls", "--json")[1])
    assert (table["table"], table["rows"], set(table["tiers"])) == ("trades", ticks.num_rows, {"hot", "warm", "cold"})
    with qs.open("store") as store:
        placement = store.table("trades").placement()
    assert table["bytes"] == placement["bytes"].sum()
    for tier, group in placement.groupby("tier"):
        assert table["tiers"][tier] == {
            "segments": len(group),
            "rows": group["rows"].sum(),
            "bytes": group["bytes"].sum(),
        }
    shown = json.loads(run("show", "TRADES", "--json")[1])
    assert [one["name"] for one in shown["columns"]] == ticks.column_names
    assert sum(one["rows"] for one in shown["partitions"]) == ticks.num_rows
    assert shown["versions"][0]["operation"] == "append"
    facts = json.loads(run("status", "--json")[1])
    assert facts["tables"] == [table]
    assert facts["catalog"] == str(filled / "store" / "catalog.sqlite")
    for command in (["ls"], ["show", "trades"], ["status"]):
        code, out, err = run(*command)
        assert (code, err) == (0, "")
        assert f"{ticks.num_rows:,}" in out


def test_an_empty_table_can_be_listed(place, run):
    with qs.open("store") as store:
        store.create("empty")
    assert "empty" in run("ls")[1]
    assert run("show", "empty")[0] == 0
    assert json.loads(run("show", "empty", "--json")[1])["rows"] == 0


# Manners


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["frobnicate"], 2),
        (["query"], 2),
        (["query", "trades", "--frob"], 2),
        (["query", "trades", "--to", "xml"], 2),
        (["query", "trades", "--param", "novalue"], 2),
        (["sweep", "--grace", "soon"], 2),
        (["write", "trades", "--tier", "tepid", "none.csv"], 2),
        (["migrate", "trades", "hot", "lukewarm"], 2),
        (["query", "tradez"], 3),
        (["show", "tradez"], 3),
        (["--store", "nowhere", "ls"], 3),
        (["ls", "--store", "profile:none"], 3),
    ],
)
def test_errors_are_one_line_with_an_exit_code(filled, run, arguments, code):
    got, out, err = run(*arguments)
    assert got == code
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (filled / "nowhere").exists()


@pytest.mark.parametrize(
    ("sql", "code", "lines"),
    [
        ("SELECT pric FROM trades", 3, ["Did you mean 'price'?", "line 1: SELECT pric FROM trades", " " * 15 + "^^^^"]),
        ("SELECT 1\nFORM trades x", 2, ["Did you mean FROM?", "line 2: FORM trades x", " " * 8 + "^^^^"]),
        ("DROP TABLE trades", 2, ["this is DROP", "line 1: DROP TABLE trades", " " * 8 + "^^^^"]),
    ],
)
def test_a_mistake_in_a_query_is_shown_at_its_place(filled, run, sql, code, lines):
    got, out, err = run("query", sql)
    assert (got, out) == (code, "")
    first, *picture = err.splitlines()
    assert first.startswith("error: ")
    assert lines[0] in first
    assert picture == lines[1:]


def test_debug_shows_the_traceback(filled, run):
    code, _, err = run("query", "tradez", "--debug")
    assert code == 3
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: There is no table 'tradez'")


def test_an_unforeseen_error_is_one_line_too(filled, run, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("line one\nline two")

    monkeypatch.setattr(api, "open", broken)
    code, _, err = run("ls")
    assert (code, err) == (3, "error: RuntimeError: line one line two; --debug shows where\n")


def test_help_and_version_leave_with_zero(run):
    code, out, _ = run("--version")
    assert (code, out) == (0, f"quantstore {qs.__version__}\n")
    code, out, _ = run("write", "--help")
    assert code == 0
    assert "--asset-class" in out


def test_it_is_a_module_and_a_script_and_starts_without_heavy_libraries():
    code = (
        "import sys; sys.argv = ['quantstore', '--help']\n"
        "import quantstore.cli.app as app; app.main(['--help'])\n"
        "heavy = {'pandas', 'polars', 'pyarrow', 'duckdb', 'sqlglot', 'sqlalchemy', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    module = subprocess.run(
        [sys.executable, "-m", "quantstore", "--version"], capture_output=True, text=True, check=True
    )
    assert module.stdout == f"quantstore {qs.__version__}\n"


@pytest.mark.parametrize("kind", ["csv", "table"])
def test_a_reader_that_leaves_early_is_no_error(filled, kind):
    """`quantstore query ... | head` prints what is wanted and nothing on standard error."""
    command = [sys.executable, "-m", "quantstore", "query", "SELECT t.* FROM trades t, range(40)", "--to", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        if kind != "table":
            assert child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 141


def test_ctrl_c_ends_a_long_query_with_130(filled):
    sql = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3"
    command = [sys.executable, "-m", "quantstore", "query", sql]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        time.sleep(4)
        child.send_signal(signal.SIGINT)
        assert child.stderr.read() == "interrupted: stopped before it was done\n"
        assert child.wait(30) == 130


def test_progress_shows_on_a_terminal_after_a_second_and_cleans_up():
    import io

    from quantstore.cli.progress import progress_line
    from quantstore.core.events import Progress, announce

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    now = [0.0]
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        now[0] = 0.0
        with progress_line(stream, lambda: now[0]):
            announce(Progress("migrate", "trades", 1, 10, "segments"))
            assert stream.getvalue() == ""
            now[0] = 1.5
            announce(Progress("migrate", "trades\x1b[2J", 5, 10, "segments"))
            now[0] = 1.51
            announce(Progress("migrate", "trades", 6, 10, "segments"))
            now[0] = 1.7
            announce(Progress("write", "trades", 70_000, None, "rows"))
    assert file.getvalue() == ""
    shown = terminal.getvalue()
    assert "migrate trades\\x1b[2J: 5 of 10 segments (50 %)" in shown
    assert "6 of 10" not in shown
    assert "write trades: 70,000 rows" in shown
    assert shown.endswith("\r" + " " * len("write trades: 70,000 rows") + "\r")
