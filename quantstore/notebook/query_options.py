"""What a `%%tierquery` says: options, an optional `NAME <<`, and SQL taken as it was typed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from keyword import iskeyword

from quantstore.errors import InvalidInputError
from quantstore.notebook.options import Given, Option, read_leading

MAGIC = "%%tierquery"

QUERY_OPTIONS = (
    Option(("-o", "--out"), "NAME", "assign the result to NAME instead of showing it"),
    Option(("--to",), "KIND", "pandas (default), polars, lazy, arrow or reader"),
    Option(("--tiers",), "TIERS", "tiers that may answer, such as hot,warm; default all"),
    Option(("--as-of",), "WHEN", "what the store knew then: a version, an instant with a time of day, or $name"),
    Option(("-p", "--param"), "NAME=EXPR", "value of $NAME; without it the variable of that name", repeats=True),
    Option(("--missing",), "ACTION", "where --tiers leaves rows out: warn (default), raise or ignore"),
    Option(("-s", "--store"), "STORE", "a variable that holds a store, or the place of one; default qs.default()"),
    Option(("--explain",), "", "return the plan (what would be read, what is pruned and why) and run nothing"),
    Option(("-q", "--quiet"), "", "no line about rows, time and tiers under the result"),
)

_ASSIGNMENT = re.compile(r"\s*([^\W\d]\w*)\s*(=)?\s*<<(?!<)")


@dataclass(frozen=True, slots=True)
class QueryCall:
    """One call of the magic.

    Attributes:
        query: Table name or SQL.
        out: Variable to assign to, or None.
        show: Whether the result is returned, to be shown.
        to: Kind of result.
        tiers: Tiers as typed, or None for all.
        as_of: As typed, or None.
        params: Name and expression of each `-p`.
        missing: What to do where rows are left out.
        store: As typed, or None.
        explain: Whether only the plan is wanted.
        quiet: Whether to leave the footer out.
    """

    query: str
    out: str | None = None
    show: bool = True
    to: str = "pandas"
    tiers: str | None = None
    as_of: str | None = None
    params: tuple[tuple[str, str], ...] = ()
    missing: str = "warn"
    store: str | None = None
    explain: bool = False
    quiet: bool = False


def read_call(line: str, cell: str | None) -> QueryCall:
    """Read what follows the magic's name on its line, and the cell's body, if any.

    Raises:
        InvalidInputError: An option makes no sense, or there is no query.
    """
    at, target, shows = _assignment(line, 0)
    given = read_leading(line[at:], QUERY_OPTIONS, MAGIC)
    at += given.end
    if target is None:
        at, target, shows = _assignment(line, at)
    if target is not None and given.has("out"):
        raise InvalidInputError(f"{MAGIC}: give either {target} << or --out, not both.")
    out = target or given.one("out")
    if out is not None and (not out.isidentifier() or iskeyword(out)):
        raise InvalidInputError(f"{MAGIC}: {out!r} cannot be the name of a variable.")
    return QueryCall(
        query=_query(line[at:], cell),
        out=out,
        show=out is None or shows,
        to=given.values.get("to", ["pandas"])[0],
        tiers=given.one("tiers"),
        as_of=given.one("as-of"),
        params=_params(given),
        missing=given.values.get("missing", ["warn"])[0],
        store=given.one("store"),
        explain=given.has("explain"),
        quiet=given.has("quiet"),
    )


def usage() -> str:
    """Return the magic's help."""
    width = max(len(option.usage()) for option in QUERY_OPTIONS)
    lines = [f"  {option.usage():<{width}}  {option.help}" for option in QUERY_OPTIONS]
    return _HELP.format(options="\n".join(lines))


def _assignment(line: str, at: int) -> tuple[int, str | None, bool]:
    """Return where `NAME <<` at offset `at` ends, the name, and whether `=` asks to show the result as well."""
    found = _ASSIGNMENT.match(line, at)
    return (at, None, False) if found is None else (found.end(), found[1], found[2] is not None)


def _params(given: Given) -> tuple[tuple[str, str], ...]:
    params = []
    for text in given.values.get("param", ()):
        name, _, expression = (part.strip() for part in text.partition("="))
        name = name.removeprefix("$")
        if not name.isidentifier() or not expression:
            raise InvalidInputError(f"{MAGIC}: -p takes NAME=EXPR, not {text!r}.")
        params.append((name, expression))
    return tuple(params)


def _query(rest: str, cell: str | None) -> str:
    """Return the SQL; trailing semicolons go, as they mean nothing and must not hide the result."""
    text = "\n".join(part for part in (rest if rest.strip() else "", cell or "") if part).rstrip()
    while text.endswith(";"):
        text = text[:-1].rstrip()
    if not text.strip():
        raise InvalidInputError(f"{MAGIC}: give a table's name or SQL. {MAGIC}? shows how.")
    return text


_HELP = """Ask a store in SQL, whatever tiers hold the rows.

    %%tierquery [NAME <<] [options]
    SELECT symbol, avg(price) FROM trades WHERE ts >= $start GROUP BY symbol

    x = %tierquery [options] SELECT ...
    %tierquery trades

$name is bound to the variable of that name, as a value, never pasted. NAME << assigns the result without showing it,
NAME = << assigns and shows it. Options come before the SQL; from the first other word on, everything is SQL as typed.

{options}
"""
