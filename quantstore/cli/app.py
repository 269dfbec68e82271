"""The shell command `quantstore`: one function per command, no logic."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quantstore.cli import history
from quantstore.cli.arguments import Parser, Run, build_parser, parse, parse_as_of, parse_param
from quantstore.cli.output import complain, print_json, print_text
from quantstore.cli.progress import progress_line
from quantstore.cli.running import opened
from quantstore.cli.running import show as show_result
from quantstore.errors import InvalidInputError, NotFoundError, QuantStoreError, QuantStoreWarning

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.manager import HybridStorageManager

DONE, PROBLEMS, USAGE, FAILED, INTERRUPTED, CLOSED = 0, 1, 2, 3, 130, 141


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process by default.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    _print_anything()
    try:
        with _plain_warnings():
            options = parse(parser(), arguments)
            code: int = options.run(options)
            print(end="", flush=True)  # so that a failure shows here and not while leaving
            return code
    except SystemExit as leaving:  # --help and --version
        return int(leaving.code or DONE)
    except KeyboardInterrupt:
        complain("stopped before it was done", "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _close_output()
        return CLOSED
    except QuantStoreError as error:
        return _failed(error, str(error), arguments)
    except Exception as error:  # noqa: BLE001 - the last resort of a program: a line instead of a traceback
        return _failed(error, f"{type(error).__name__}: {error}; --debug shows where", arguments)


def parser() -> Parser:
    """Return the parser of all commands."""
    return build_parser(_COMMANDS)


def demo(options: argparse.Namespace) -> int:
    """Run the demonstration."""
    from quantstore.cli.demo import run

    with progress_line():
        facts = run(options.path, options.rows, fresh=options.fresh, say=None if options.json else print_text)
    if options.json:
        print_json(facts)
    return DONE if facts["audit"]["ok"] else PROBLEMS


def ls(options: argparse.Namespace) -> int:
    """List the tables."""
    from quantstore.cli.facts import tables_facts
    from quantstore.cli.pages import tables_page

    with opened(options, read_only=True) as store:
        show_result(options, tables_facts(store), tables_page)
    return DONE


def show(options: argparse.Namespace) -> int:
    """Show one table."""
    from quantstore.cli.facts import table_facts
    from quantstore.cli.pages import table_page

    with opened(options, read_only=True) as store:
        show_result(options, table_facts(store, options.table), table_page)
    return DONE


def create(options: argparse.Namespace) -> int:
    """Make an empty table; its columns come with the first rows."""
    with opened(options, create=True) as store:
        table = store.create(
            options.table,
            time=options.time,
            symbol=options.symbol,
            key=options.key,
            calendar=options.calendar,
            grain=options.grain,
            asset_class=options.asset_class,
        )
        show_result(options, {"table": table.name}, lambda made: f"made table {made['table']}")
    return DONE


def write(options: argparse.Namespace) -> int:
    """Write files into a table."""
    from quantstore.cli.sources import open_files

    with opened(options, create=True) as store, progress_line():
        result = store.write(
            open_files(
                options.files,
                known=_schema(store, options.table),
                text=filter(None, ("symbol", "asset_class", options.symbol)),
            ),
            options.table,
            options.tier,
            mode=options.mode,
            where=options.where,
            key=options.key,
            time=options.time,
            symbol=options.symbol,
            asset_class=options.asset_class,
            tz=options.tz,
            wide=options.wide,
            write_id=options.write_id,
            on_repeat=options.on_repeat,
            dry_run=options.dry_run,
        )
    show_result(options, result, repr)
    return DONE


def query(options: argparse.Namespace) -> int:
    """Answer a query, or explain what it would read."""
    from quantstore.cli.facts import plan_facts
    from quantstore.cli.results import Destination, deliver

    sql = sys.stdin.read() if options.sql == "-" else options.sql
    asked: dict[str, Any] = {
        "tiers": options.tiers,
        "params": dict(map(parse_param, options.param)),
        "as_of": parse_as_of(options.as_of),
    }
    with opened(options) as store:
        if options.explain:
            plan = store.explain(sql, **asked)
            show_result(options, plan_facts(plan) if options.json else plan, str)
            return DONE
        destination = Destination.of(options.to or ("json" if options.json else None), options.out)
        rows = deliver(store.read(sql, **asked, missing=options.missing, to="reader"), destination)
        if destination.path is not None:
            print_text(f"{rows:,} rows in {destination.path}")
    return DONE


def migrate(options: argparse.Namespace) -> int:
    """Move rows of a table to another tier."""
    from quantstore.cli.pages import moves_page

    with opened(options) as store, progress_line():
        moved = store.migrate(
            options.table,
            options.source,
            options.destination,
            where=options.where,
            before=options.before,
            dry_run=options.dry_run,
        )
    show_result(options, moved, moves_page)
    return DONE


def sweep(options: argparse.Namespace) -> int:
    """Delete bytes that nothing reaches."""
    with opened(options) as store, progress_line():
        swept = store.sweep(options.grace)
    show_result(options, swept, repr)
    return DONE


def audit(options: argparse.Namespace) -> int:
    """Check the whole store."""
    with opened(options, read_only=True) as store, progress_line():
        report = store.audit()
    show_result(options, {"ok": report.ok, **asdict(report)} if options.json else report, repr)
    return DONE if report.ok else PROBLEMS


def fsck(options: argparse.Namespace) -> int:
    """Check the whole store, and mend it on request."""
    with opened(options, read_only=not options.repair) as store, progress_line():
        report = store.fsck(repair=options.repair, deep=not options.shallow)
    show_result(options, report.as_dict() if options.json else report, repr)
    return DONE if report.ok else PROBLEMS


def rebuild(options: argparse.Namespace) -> int:
    """Make a lost or damaged catalog again."""
    from quantstore import api

    with progress_line():
        found = api.rebuild(options.store, dry_run=options.dry_run, from_files=options.from_files, deep=options.deep)
    show_result(options, {"ok": found.ok, **asdict(found)} if options.json else found, repr)
    return DONE if found.ok else PROBLEMS


def status(options: argparse.Namespace) -> int:
    """Show where the store is and what it holds."""
    from quantstore.cli.facts import store_facts
    from quantstore.cli.pages import store_page

    with opened(options, read_only=True) as store:
        show_result(options, store_facts(store), store_page)
    return DONE


_COMMANDS: dict[str, Run] = {
    "demo": demo,
    "ls": ls,
    "show": show,
    "create": create,
    "write": write,
    "query": query,
    "migrate": migrate,
    "sweep": sweep,
    "audit": audit,
    "fsck": fsck,
    "rebuild": rebuild,
    "status": status,
    "delete": history.delete,
    "compact": history.compact,
    "tag": history.tag,
    "restore": history.restore,
    "rename": history.rename,
    "drop": history.drop,
    "undrop": history.undrop,
    "expire": history.expire,
    "publish": history.publish,
    "maintain": history.maintain,
}


def _schema(store: HybridStorageManager, table: str) -> pa.Schema | None:
    """Return the columns of a table, or None where it has none yet."""
    try:
        return store.table(table).schema
    except (NotFoundError, InvalidInputError):
        return None


def _print_anything() -> None:
    """Let characters that the terminal's encoding lacks be written out instead of being an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show our own warnings as one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", QuantStoreWarning)
        before = warnings.showwarning

        def show_warning(message: Any, category: Any, *rest: Any, **more: Any) -> None:
            if issubclass(category, QuantStoreWarning):
                complain(str(message), "warning")
            else:
                before(message, category, *rest, **more)

        warnings.showwarning = show_warning
        yield


def _failed(error: Exception, message: str, arguments: list[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exception(error)
    picture = ""
    if isinstance(error, QuantStoreError) and "line" in error.context:  # the place in the query, with carets
        message, _, picture = message.partition("\n")
    complain(message, picture=picture)
    return USAGE if isinstance(error, InvalidInputError) else FAILED


def _close_output() -> None:
    """Point standard output nowhere, so that leaving does not fail once more over the reader that is gone."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
