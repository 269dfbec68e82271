"""`%%tierquery` and `%tier` in a shell of this process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output

import quantstore as qs
from quantstore import api
from quantstore.errors import InvalidInputError, NotFoundError, PartialResultWarning, UnavailableError
from quantstore.manager import HybridStorageManager
from quantstore.notebook.commands import COMMANDS, STORE_OPTION
from quantstore.notebook.query_options import QUERY_OPTIONS
from quantstore.query import engine
from quantstore.query.plan import Plan

DOCS = Path(__file__).parents[2] / "docs" / "notebook.md"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HybridStorageManager]:
    """A store with a day in each tier, made the default: 8 rows, `n` from 0 to 7, two symbols."""
    monkeypatch.setattr(api, "_default", None)
    made = qs.open(tmp_path / "store")
    stamps = pd.date_range("2026-11-16", periods=8, freq="9h", tz="UTC").as_unit("ns")
    frame = pd.DataFrame({"ts": stamps, "symbol": list("ABABABAB"), "n": range(8)})
    made.write(frame, "ticks")
    made.migrate("ticks", "hot", "cold", before="2026-11-17")
    made.migrate("ticks", "hot", "warm", before="2026-11-18")
    yield made
    made.close()


@pytest.fixture
def shell(one_shell: InteractiveShell, store: HybridStorageManager) -> Iterator[InteractiveShell]:
    one_shell.reset(new_session=True)
    one_shell.extension_manager.load_extension("quantstore")
    one_shell.user_ns.update(store=store, pd=pd)
    yield one_shell
    one_shell.extension_manager.unload_extension("quantstore")


@pytest.fixture
def run(shell: InteractiveShell) -> Callable[..., Any]:
    """Run a cell and return its value; an error in it is raised."""

    def run_cell(code: str) -> Any:
        with capture_output():
            result: ExecutionResult = shell.run_cell(code)
        result.raise_error()
        return result.result

    return run_cell


def shown(shell: InteractiveShell, code: str) -> CapturedIO:
    """Run a cell and return what it shows."""
    with capture_output() as captured:
        shell.run_cell(code, store_history=True).raise_error()
    return captured


def interrupted_after(delay: float) -> Callable[..., Any]:
    """Return the engine's way of running a statement, with a Ctrl-C `delay` seconds after it begins."""
    original = engine.interruptible

    def run_interrupted(cursor: Any, action: Callable[[], Any]) -> Any:
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            return original(cursor, action)
        finally:
            timer.cancel()

    return run_interrupted


def test_cell_returns_a_pandas_frame_over_all_tiers(run: Callable[..., Any], store: HybridStorageManager) -> None:
    result = run("%%tierquery\nSELECT symbol, sum(n) AS total\nFROM ticks\nGROUP BY symbol ORDER BY symbol")
    assert isinstance(result, pd.DataFrame)
    assert result["total"].tolist() == [12, 16]
    assert store.last is not None
    assert [use.tier.value for use in store.last.plan.uses()] == ["hot", "warm", "cold"]


def test_line_form_reads_sql_a_bare_table_and_assigns(run: Callable[..., Any]) -> None:
    assert run("%tierquery SELECT max(n) AS top FROM ticks")["top"].tolist() == [7]
    assert run("%tierquery ticks")["n"].tolist() == list(range(8))
    assert run("x = %tierquery SELECT min(n) AS low FROM ticks\nx['low'].tolist()") == [0]


@pytest.mark.parametrize("ending", [";", " ; ", ";;\n", "; \n\n"])
def test_a_trailing_semicolon_never_hides_the_result(shell: InteractiveShell, ending: str) -> None:
    """Cell and line forms, as IPython sees them with history, which is what hides results of Python cells."""
    for code in ("%%tierquery\nSELECT 41 + 1 AS answer" + ending, "%tierquery ticks" + ending.strip()):
        assert shell.run_cell(code, store_history=True).result is not None
        assert "Out[" in shown(shell, code).stdout


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("", pd.DataFrame),
        ("--to pandas", pd.DataFrame),
        ("--to polars", pl.DataFrame),
        ("--to=lazy", pl.LazyFrame),
        ("--to arrow", pa.Table),
        ("--to reader", pa.RecordBatchReader),
    ],
)
def test_to_gives_each_kind_of_result(run: Callable[..., Any], option: str, kind: type) -> None:
    result = run(f"%%tierquery {option}\nSELECT n FROM ticks ORDER BY n")
    assert isinstance(result, kind)
    if kind is pa.RecordBatchReader:
        assert result.read_all()["n"].to_pylist() == list(range(8))


def test_a_polars_result_knows_where_it_came_from(run: Callable[..., Any]) -> None:
    assert run("%tierquery --to polars ticks").tier.info().tables == ("ticks",)


@pytest.mark.parametrize(
    ("head", "shows"),
    [
        ("-o found", False),
        ("--out found", False),
        ("--out=found --to polars", False),
        ("found <<", False),
        ("found<<", False),
        ("--to polars found <<", False),
        ("found << --to polars", False),
        ("found = <<", True),
        ("found=<< -q", True),
    ],
)
def test_results_are_assigned_and_shown_as_asked(
    shell: InteractiveShell, run: Callable[..., Any], head: str, shows: bool
) -> None:
    result = run(f"%%tierquery {head}\nSELECT 3 AS a")
    assert (result is not None) is shows
    assert list(shell.user_ns["found"]["a"]) == [3]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT -1 AS v", -1),
        ("SELECT 1 << 3 AS v", 8),
        ("SELECT 1 --to polars is a comment\n + 2 AS v", 3),
        ("SELECT '7'::INT AS v", 7),
        ("""SELECT '{"a": {"b": 5}}'::JSON -> 'a' ->> 'b' AS v""", "5"),
        ("SELECT '$start {x} -o y << --to' AS v", "$start {x} -o y << --to"),
        ("SELECT $$it's $verbatim$$ AS v", "it's $verbatim"),
        ("SELECT 5 AS v -- $nobody", 5),
        ("SELECT [10, 20, 30][2:3][1] AS v", 20),
        ("SELECT 10 % 4 AS v", 2),
        ("SELECT 'a;' AS v", "a;"),
        ("SELECT 'naïve — 東京' AS v", "naïve — 東京"),
        ("SELECT '\\n \\ %tier {{x}}' AS v", "\\n \\ %tier {{x}}"),
        ("-- begins with a comment\nSELECT 1 AS v", 1),
        ("/* -o x */ SELECT 1 AS v", 1),
        ("WITH a AS (SELECT 1 AS v) SELECT v FROM a", 1),
        ("SELECT (-1)::INT AS v", -1),
    ],
)
@pytest.mark.parametrize("form", ["%%tierquery\n{}", "%%tierquery --to arrow\n{}", "%%tierquery --to arrow {}"])
def test_sql_is_taken_as_typed(run: Callable[..., Any], form: str, sql: str, value: Any) -> None:
    if form.endswith("arrow {}"):  # on the magic's own line; a cell magic needs a body
        first, _, rest = sql.partition("\n")
        sql = f"{first}\n{rest or '-- end'}"
    result = run(form.format(sql))
    assert list(result["v"].to_pylist() if isinstance(result, pa.Table) else result["v"]) == [value]


def test_text_on_the_magics_line_and_below_are_one_statement(run: Callable[..., Any]) -> None:
    assert run("%%tierquery -q SELECT count(*) AS c\nFROM ticks\nWHERE n > 3")["c"].tolist() == [4]


def test_dollar_names_are_bound_as_values(run: Callable[..., Any]) -> None:
    run("symbol = \"A' OR 1=1 --\"; wanted = ['A', 'B']; low = 2; since = pd.Timestamp('2026-11-17', tz='UTC')")
    count = "SELECT count(*) AS c FROM ticks WHERE "
    assert run(f"%tierquery {count} symbol = $symbol")["c"].tolist() == [0]
    assert run(f"%tierquery {count} symbol IN $wanted AND n >= $low")["c"].tolist() == [6]
    assert run(f"%tierquery {count} ts >= $since")["c"].tolist() == [5]


def test_line_magic_in_a_function_sees_its_variables(run: Callable[..., Any]) -> None:
    body = "    found = %tierquery -q SELECT count(*) AS c FROM ticks WHERE n >= $low\n    return found\n"
    code = f"low = 100\ndef above(low):\n{body}"
    assert run(code + "above(5)['c'].tolist()") == [3]


@pytest.mark.parametrize(
    "options",
    [
        "-p low=2+4",
        "--param low=6 --param symbol='A'",
        "-p 'low = 6'",
        "-p low=int(pd.Timestamp('2026-11-16 06:00', tz='UTC').hour)",
        "-p $low=6",
    ],
)
def test_p_gives_values_of_expressions(run: Callable[..., Any], options: str) -> None:
    where = "n >= $low" + (" AND symbol = $symbol" if "symbol" in options else "")
    expected = [1] if "symbol" in options else [2]
    assert run(f"%tierquery {options} SELECT count(*) AS c FROM ticks WHERE {where}")["c"].tolist() == expected


def test_p_wins_over_a_variable(run: Callable[..., Any]) -> None:
    assert run("low = 0\n%tierquery -p low=7 SELECT count(*) AS c FROM ticks WHERE n >= $low")["c"].tolist() == [1]


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (
            "symbols = 1\n%tierquery SELECT $symbls",
            InvalidInputError,
            r"no variable 'symbls'\. Did you mean \$symbols\?",
        ),
        ("%tierquery SELECT $qqqqqqq", InvalidInputError, r"Set qqqqqqq = \.\.\. or pass -p qqqqqqq=EXPR"),
        ("%tierquery -p a=1/0 SELECT $a", InvalidInputError, "-p a: 1/0 fails with ZeroDivisionError"),
        ("%tierquery -p a SELECT 1", InvalidInputError, "-p takes NAME=EXPR"),
        ("%tierquery -p b=1 SELECT 1", InvalidInputError, "'b', which the query does not use"),
        ("%tierquery --tier hot SELECT 1", InvalidInputError, "no option --tier. Did you mean --tiers?"),
        ("%tierquery --to", InvalidInputError, "--to needs KIND"),
        ("%tierquery --explain=x SELECT 1", InvalidInputError, "--explain takes no value"),
        ("%tierquery --to arrow --to polars SELECT 1", InvalidInputError, "--to is given twice"),
        ("%tierquery --to excel SELECT 1", InvalidInputError, "not one of pandas, polars"),
        ("%tierquery --tiers lukewarm ticks", InvalidInputError, "not a tier"),
        ("%tierquery --tiers '' ticks", InvalidInputError, "not a tier"),
        ("%tierquery --missing perhaps ticks", InvalidInputError, "not one of warn, raise, ignore"),
        ("%tierquery --as-of 99 ticks", NotFoundError, "no version 99"),
        ("%tierquery --as-of 2026-11-20 ticks", InvalidInputError, "is a day"),
        ("%tierquery -o for SELECT 1", InvalidInputError, "'for' cannot be the name of a variable"),
        ("%tierquery -o a b << SELECT 1", InvalidInputError, "either b << or --out"),
        ("%tierquery -s 'oh SELECT 1", InvalidInputError, "is not closed"),
        ("%tierquery -s ./nowhere ticks", NotFoundError, "no store at"),
        ("%tierquery -s pd ticks", InvalidInputError, "pd is a module, not a store"),
        ("%tierquery", InvalidInputError, "a table's name or SQL"),
        ("%tierquery -- only a comment", InvalidInputError, "one statement at a time"),
        ("%tierquery tick", NotFoundError, "Did you mean 'ticks'"),
        ("%%tierquery\nSELECT * FROM tick", NotFoundError, "Did you mean 'ticks'"),
        ("%%tierquery\nSELEKT 1", InvalidInputError, "Did you mean SELECT"),
        ("%%tierquery\nSELECT 1; SELECT 2", InvalidInputError, "one statement at a time"),
        ("%%tierquery\nDROP TABLE ticks", InvalidInputError, "Only statements that read"),
    ],
)
def test_mistakes_raise_our_errors_and_name_the_way_out(
    run: Callable[..., Any], code: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(code)


def test_an_error_is_shown_as_one_line(shell: InteractiveShell) -> None:
    with capture_output() as captured:
        shell.run_cell("%tierquery tick")
    assert captured.stdout.strip() == "NotFoundError: There is no table 'tick'. Did you mean 'ticks'?"


def test_tiers_leave_rows_out_as_missing_says(run: Callable[..., Any]) -> None:
    for _ in range(2):
        with pytest.warns(PartialResultWarning, match="--tiers hot,warm leaves out 1 segment with 3 rows"):
            assert run("%tierquery --tiers hot,warm ticks")["n"].tolist() == [3, 4, 5, 6, 7]
    assert run("%tierquery --tiers cold --missing ignore ticks")["n"].tolist() == [0, 1, 2]
    with pytest.raises(UnavailableError):
        run("%tierquery --tiers cold --missing raise ticks")


def test_as_of_takes_a_version_an_instant_and_a_variable(run: Callable[..., Any], store: HybridStorageManager) -> None:
    before = pd.Timestamp.now(tz="UTC").isoformat()
    store.write(store.read("ticks"), "ticks", on_repeat="append")
    run("version = 1")
    for when in ("1", "$version", before, f"'{before}'"):
        assert len(run(f"%tierquery --as-of {when} ticks")) == 8
    assert len(run("%tierquery ticks")) == 16


def test_explain_gives_the_plan_and_reads_nothing(run: Callable[..., Any], store: HybridStorageManager) -> None:
    plan = run("low = 1\n%tierquery --explain SELECT * FROM ticks WHERE ts >= '2026-11-18' AND n > $low")
    assert isinstance(plan, Plan)
    assert "pruned 2 segments" in str(plan)
    assert store.last is None


def test_store_is_a_variable_an_expression_or_a_place(
    run: Callable[..., Any], tmp_path: Path, store: HybridStorageManager
) -> None:
    place = tmp_path / "other"
    with qs.open(place) as other:
        other.write(pd.DataFrame({"ts": pd.to_datetime(["2026-11-16"], utc=True), "n": [99]}), "ticks")
        stores = {"x": other}
        one = "SELECT max(n) AS top FROM ticks"
        shell = InteractiveShell.instance()
        shell.user_ns.update(other=other, stores=stores, place=place)
        for text in ("other", "stores['x']", "place", str(place), f'"{place}"'):
            assert run(f"%tierquery -s {text} {one}")["top"].tolist() == [99]
        assert run(f"%tierquery --store store {one}")["top"].tolist() == [7]


def test_the_footer_comes_after_the_result_and_tells_of_every_tier(shell: InteractiveShell) -> None:
    captured = shown(shell, "%%tierquery\nSELECT count(*) AS c FROM ticks")
    (footer,) = captured.outputs
    text = footer.data["text/plain"]
    assert text.startswith("1 row in ")
    assert [part.split()[0] for part in text.split(" | ")[1:]] == ["hot", "warm", "cold", "version"]
    assert "<div" in footer.data["text/html"]


def test_quiet_leaves_the_footer_out_and_many_queries_share_one(shell: InteractiveShell) -> None:
    assert shown(shell, "%tierquery -q ticks").outputs == []
    (footer,) = shown(shell, "for _ in range(20):\n    x = %tierquery SELECT 1 AS one").outputs
    assert footer.data["text/plain"].startswith("19 queries, then one more:\n1 row in ")


@pytest.mark.parametrize("delay", [0.0, 0.3, 1.0])
def test_ctrl_c_stops_a_query_and_the_next_one_runs(
    shell: InteractiveShell, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    """Interrupted as soon as the engine is asked, and in the middle of the work."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch, capture_output():
        patch.setattr(engine, "interruptible", interrupted_after(delay))
        result = shell.run_cell("%%tierquery\nSELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b")
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert run("%tierquery SELECT 5 AS c")["c"].tolist() == [5]


def test_loading_twice_unloading_and_reloading(shell: InteractiveShell) -> None:
    shell.run_cell("import quantstore; quantstore.load_ipython_extension(get_ipython())").raise_error()
    assert len(shown(shell, "%tierquery ticks").outputs) == 1
    with capture_output():
        shell.run_cell("%reload_ext quantstore").raise_error()
    assert len(shown(shell, "%tierquery ticks").outputs) == 1
    callbacks = {event: len(found) for event, found in shell.events.callbacks.items()}
    with capture_output():
        shell.run_cell("%unload_ext quantstore").raise_error()
    assert "tierquery" not in shell.magics_manager.magics["cell"]
    assert {"tier", "tierquery"}.isdisjoint(shell.magics_manager.magics["line"])
    assert {event: len(found) for event, found in shell.events.callbacks.items()} == {
        event: number - (event in {"pre_run_cell", "post_run_cell", "post_execute"})
        for event, number in callbacks.items()
    }
    with capture_output():
        shell.run_cell("%load_ext quantstore").raise_error()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ls", ["ticks", "8", "rows cold"]),
        ("show ticks", ["cold", "2026-11-16", "zstd", "symbol large_string"]),
        ("status", ["1 table, version 1", "warm", "hot"]),
        ("store", ["HybridStorageManager("]),
        ("audit", ["everything is as recorded"]),
        ("sweep --grace 0s", ["swept 2 superseded copies"]),
        ("last", ["No read of this store"]),
        ("migrate ticks warm cold", ["3 rows moved and verified", "cold"]),
        ("migrate ticks any cold --dry-run", ["5 rows would move"]),
        ("migrate ticks hot cold --where \"symbol = 'A' AND n > 6\"", ["0 rows moved and verified: nothing to move"]),
        ("migrate --dry-run ticks cold hot --before $day", ["2 rows would move"]),
        ("help", ["%tier migrate TABLE FROM TO", "--dry-run"]),
        ("help migrate", ["only rows that meet a condition"]),
        ("", ["%tier ls"]),
    ],
)
def test_tier_subcommands_show_themselves(
    shell: InteractiveShell, run: Callable[..., Any], command: str, expected: list[str]
) -> None:
    run("day = pd.Timestamp('2026-11-16 10:00', tz='UTC')")
    result = run(f"%tier {command}")
    for text in expected:
        assert text in repr(result)
    if hasattr(result, "_repr_html_"):
        assert "<" in result._repr_html_()


def test_tier_results_hold_what_they_were_made_from(run: Callable[..., Any], store: HybridStorageManager) -> None:
    moves = run("%tier migrate ticks warm cold")
    assert [receipt.rows for receipt in moves.value] == [3]
    assert bool(run("%tier audit").value)
    run("%tierquery -q ticks")
    assert run("%tier last").value is store.last
    assert "scan ticks: 3 of 3 segments" in repr(run("%tier last"))


def test_tier_store_chooses_the_default(run: Callable[..., Any], tmp_path: Path, store: HybridStorageManager) -> None:
    chosen = run(f"%tier store {tmp_path / 'other'}")
    assert qs.default() is chosen
    assert run("%tier ls").rows == ()
    run("%tier store store")
    assert qs.default() is store


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("migrat ticks hot cold", "Did you mean migrate"),
        ("migrate ticks hot", "Write %tier migrate TABLE FROM TO"),
        ("ls ticks now", "Write %tier ls"),
        ("migrate ticks hot cold --befor 2026", "Did you mean --before"),
        ("help dance", "no subcommand 'dance'"),
        ("show tick", "Did you mean 'ticks'"),
        ("migrate ticks hot cold --before $dya", "no variable 'dya'"),
    ],
)
def test_tier_mistakes_raise_our_errors(run: Callable[..., Any], command: str, message: str) -> None:
    with pytest.raises((InvalidInputError, NotFoundError), match=message):
        run(f"%tier {command}")


def test_question_mark_shows_the_help(shell: InteractiveShell) -> None:
    for code, text in (("%%tierquery?", "--as-of WHEN"), ("%tierquery?", "NAME <<"), ("%tier?", "%tier sweep")):
        assert text in shown(shell, code).stdout


def test_the_manual_has_every_option_subcommand_and_verb() -> None:
    manual = DOCS.read_text()
    for option in (*QUERY_OPTIONS, STORE_OPTION):
        for name in option.names:
            assert f"`{name} {option.value}".rstrip() in manual
    for name, command in COMMANDS.items():
        assert f"`{' '.join(['%tier', name, *command.words])}`" in manual
        for option in command.options:
            assert f"`{option.usage()}`" in manual
    for verb in (
        "df.tier.write(",
        "df.tier.info()",
        "pd.DataFrame.tier.read(",
        "pl.LazyFrame.tier.read(",
        "lf.tier.write(",
    ):
        assert verb in manual
