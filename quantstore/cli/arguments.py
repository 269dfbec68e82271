"""Commands and options of the shell command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from quantstore.errors import InvalidInputError

Run = Callable[[argparse.Namespace], int]

_TIERS = ("hot", "warm", "cold")
_EXITS = """exit codes:
  0    done
  1    audit or fsck left problems, or rebuild could not bring back everything
  2    wrong usage, or input that cannot be accepted
  3    any other error
  130  interrupted"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raise InvalidInputError, naming the help to read."""
        raise InvalidInputError(f"{message} (see '{self.prog} --help')")


class _Version(argparse.Action):
    """`--version`, looked up when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from quantstore import __version__

        print(f"quantstore {__version__}")
        parser.exit()


def build_parser(commands: Mapping[str, Run]) -> Parser:
    """Return the parser of the whole command.

    Args:
        commands: What runs each command; the parsed options carry it as `run`.
    """
    shared = _shared_options()
    parser = Parser(
        prog="quantstore",
        description="One table over a hot, a warm and a cold tier: write, query, move and check it.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    adding = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (text, add_options) in _COMMANDS.items():
        one = adding.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[shared], allow_abbrev=False
        )
        add_options(one)
        one.set_defaults(run=commands[name])
    return parser


def parse(parser: Parser, arguments: list[str] | None) -> argparse.Namespace:
    """Return the options, shared ones filled in.

    Raises:
        InvalidInputError: The arguments make no sense.
    """
    options = parser.parse_args(arguments)
    for name, value in (("store", None), ("json", False), ("debug", False)):
        if not hasattr(options, name):
            setattr(options, name, value)
    return options


def parse_param(text: str) -> tuple[str, Any]:
    """Return name and value of `NAME=VALUE`; a value that is JSON is that, anything else is text.

    Raises:
        InvalidInputError: There is no name.
    """
    name, separator, value = text.partition("=")
    name = name.strip().removeprefix("$")
    if not separator or not name.isidentifier():
        raise InvalidInputError(f"--param {text!r} is not NAME=VALUE.")
    try:
        return name, json.loads(value, parse_constant=_no_number)
    except ValueError:
        return name, value


def parse_as_of(text: str | None) -> int | str | None:
    """Return a version, where the text is a number, or the text."""
    return int(text) if text is not None and text.isdecimal() else text


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _shared_options() -> Parser:
    """Return options that may stand before and after the command's name."""
    shared = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument(
        "--store",
        metavar="PATH",
        help="folder, quantstore.toml or profile:NAME; default $QUANTSTORE_STORE, ./quantstore.toml or ./.quantstore",
    )
    shared.add_argument("--json", action="store_true", help="print JSON")
    shared.add_argument("--debug", action="store_true", help="show where an error arose")
    return shared


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--path", default="quantstore-demo", metavar="DIR", help="where to make it (default: %(default)s)"
    )
    parser.add_argument("--rows", type=int, metavar="N", help="ticks to simulate (default: 300000)")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--keep", action="store_true", help="go on with a demo that is there (default)")
    again.add_argument("--fresh", action="store_true", help="delete a demo that is there and make it anew")


def _no_options(_: argparse.ArgumentParser) -> None:
    """Add nothing."""


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE")


def _fsck(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repair", action="store_true", help="mend what can be mended safely")
    parser.add_argument("--shallow", action="store_true", help="look at names and sizes only, read no contents")


def _rebuild(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be had, change nothing")
    parser.add_argument("--from-files", action="store_true", help="use the files of rows alone, not the journal")
    parser.add_argument("--deep", action="store_true", help="read every file of rows, not only look for it")


def _create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help="its name")
    parser.add_argument("--time", default="ts", metavar="COLUMN", help="time column (default: %(default)s)")
    parser.add_argument("--symbol", metavar="COLUMN", help="symbol column")
    parser.add_argument("--key", action="append", metavar="COLUMN", help="column of the table's key; repeatable")
    parser.add_argument("--calendar", metavar="NAME", help="exchange whose sessions are the trade dates, such as XNYS")
    parser.add_argument("--grain", default="auto", help="day, month, year or auto (default: %(default)s)")
    parser.add_argument("--asset-class", metavar="NAME", help="asset class of rows that bring none")


def _write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help="made by the first write")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="CSV (.gz too), Parquet, Arrow or Feather; patterns such as '*.csv'"
    )
    parser.add_argument("--tier", default="hot", help="hot, warm or cold (default: %(default)s)")
    parser.add_argument(
        "--mode", default="append", help="append, replace, upsert, overwrite or error (default: %(default)s)"
    )
    parser.add_argument("--where", metavar="CONDITION", help="rows that --mode replace takes away")
    parser.add_argument("--key", action="append", metavar="COLUMN", help="column of the table's key; repeatable")
    parser.add_argument("--time", metavar="COLUMN", help="time column of a new table")
    parser.add_argument("--symbol", metavar="COLUMN", help="symbol column of a new table")
    parser.add_argument("--asset-class", metavar="NAME", help="asset class of rows that bring none")
    parser.add_argument("--tz", metavar="ZONE", help="zone of a time column without one")
    parser.add_argument("--wide", metavar="NAME", help="the files have a column per symbol; what their cells are")
    parser.add_argument("--write-id", metavar="ID", help="name of this write; a second write with it adds nothing")
    parser.add_argument(
        "--on-repeat", default="skip", help="rows that are there already: skip, append or raise (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only count what would be added and removed")


def _query(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sql", metavar="SQL", help="a table's name or a query; - reads it from standard input")
    parser.add_argument(
        "--to", choices=("table", "csv", "json", "parquet", "arrow"), help="format (default: table, or by --out)"
    )
    parser.add_argument("--out", metavar="FILE", help="write to a file instead of standard output")
    parser.add_argument(
        "--tiers", default=",".join(_TIERS), metavar="LIST", help="tiers that may answer (default: %(default)s)"
    )
    parser.add_argument("--as-of", metavar="WHEN", help="a version, or an instant such as 2026-11-20T16:00Z")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="value of $NAME; JSON or text; repeatable"
    )
    parser.add_argument(
        "--missing", default="warn", metavar="HOW", help="rows that --tiers leaves out: warn, raise or ignore"
    )
    parser.add_argument("--explain", action="store_true", help="show what would be read and why, and read nothing")


def _migrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE")
    parser.add_argument("source", metavar="SRC", help="hot, warm, cold or any")
    parser.add_argument("destination", metavar="DST", help="hot, warm or cold")
    parser.add_argument("--where", metavar="CONDITION", help="only rows that meet this SQL condition")
    parser.add_argument("--before", metavar="INSTANT", help="only rows with an event time before this")
    parser.add_argument("--dry-run", action="store_true", help="only show what would move")


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grace", default="1h", metavar="DURATION", help="keep what was superseded this lately (default: %(default)s)"
    )


def _delete(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE")
    parser.add_argument("where", metavar="CONDITION", help="SQL condition on the rows to delete")
    parser.add_argument("--write-id", metavar="ID", help="name of this delete; a second one with it does nothing")
    parser.add_argument("--dry-run", action="store_true", help="only count what would be removed")


def _compact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", nargs="?", help="default: all tables")
    parser.add_argument("--tier", help="only segments of this tier")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be merged")


def _tag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="without it the tags are listed")
    parser.add_argument("--version", metavar="WHEN", help="a version, a tag or an instant; default the newest")
    parser.add_argument("--delete", action="store_true", help="take the tag away")


def _restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE")
    parser.add_argument("version", metavar="WHEN", help="a version, a tag or an instant")


def _rename(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE")
    parser.add_argument("new", metavar="NEW", help="its new name")


def _expire(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("older_than", metavar="AGE", help="give up versions superseded that long ago, such as 30d")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be given up")


def _publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", nargs="?", help="default: all tables")


def _maintain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--older-than", metavar="AGE", help="also give up versions superseded that long ago")
    parser.add_argument(
        "--grace", default="1h", metavar="DURATION", help="keep what was superseded this lately (default: %(default)s)"
    )


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "demo": ("simulate a market, spread it over three tiers and query it", _demo),
    "ls": ("list the tables", _no_options),
    "show": ("show a table: columns, placement, versions", _show),
    "create": ("make an empty table", _create),
    "write": ("write files into a table", _write),
    "query": ("answer a SQL query over all tiers", _query),
    "migrate": ("move rows of a table from one tier to another", _migrate),
    "sweep": ("delete bytes that nothing reaches", _sweep),
    "audit": ("read every copy back and prove every move again", _no_options),
    "fsck": ("check everything an audit checks, and what is derived from it; mend it on request", _fsck),
    "rebuild": ("make a lost or damaged catalog again from its journal, or from the files of rows", _rebuild),
    "status": ("show where the store is and what it holds", _no_options),
    "delete": ("delete the rows that meet a condition", _delete),
    "compact": ("merge small and overlapping segments into few sorted ones", _compact),
    "tag": ("name a version, or list the names", _tag),
    "restore": ("make a new version of a table that is as an old one was", _restore),
    "rename": ("give a table another name", _rename),
    "drop": ("take a table away; undrop brings it back", _show),
    "undrop": ("bring back the table dropped last under a name", _show),
    "expire": ("give up old versions", _expire),
    "publish": ("make the cold rows Iceberg tables that other engines read", _publish),
    "maintain": ("do all upkeep: expire, refresh pins, compact, publish, sweep", _maintain),
}
