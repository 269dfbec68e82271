"""Statements and functions that are not run here, and what to use instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

from quantstore.core.names import RESERVED_PREFIX
from quantstore.errors import InvalidInputError
from quantstore.query.mistakes.places import Place, Word, place, words

_WRITE = "Change data with store.write(frame, table)."
_EXTENSIONS = "What a store needs is loaded by itself; extensions are not loaded by statements."
_SETTINGS = "Settings are arguments, such as quantstore.open(..., memory_limit='2GB')."
_TRANSACTIONS = "Each write is a transaction of its own, and each read sees one version."
_PARAMETERS = "Pass values with params={'name': value} and write $name in the query."
_ANEW = "Read the rows, change them, and write them with store.write(frame, table, mode='overwrite')."
_SAVE = "Read the result and save it, or run `quantstore query SQL --out FILE`."
_OPEN = "Open another store with quantstore.open(path); files are read by name: FROM 'file.parquet'."
INSTEAD = {
    "ABORT": _TRANSACTIONS,
    "ALTER": "Write the changed rows to a new table with store.write(frame, table).",
    "ANALYZE": "Statistics are kept with every write.",
    "ATTACH": _OPEN,
    "BEGIN": _TRANSACTIONS,
    "CALL": "Write SELECT * FROM function(...).",
    "CHECKPOINT": _TRANSACTIONS,
    "COMMENT": "Tables have no comments.",
    "COMMIT": _TRANSACTIONS,
    "COPY": _SAVE,
    "CREATE": "Make a table with store.write(frame, table) or store.create(table); name a query with WITH ... AS.",
    "DELETE": _ANEW,
    "DETACH": _OPEN,
    "DROP": "Tables are not dropped by statements.",
    "EXECUTE": _PARAMETERS,
    "EXPLAIN": "Use store.explain(sql).",
    "EXPORT": _SAVE,
    "FORCE": _TRANSACTIONS,
    "IMPORT": _WRITE,
    "INSERT": "Append rows with store.write(frame, table).",
    "INSTALL": _EXTENSIONS,
    "LOAD": _EXTENSIONS,
    "MERGE": _ANEW,
    "PRAGMA": "Look at tables with store.tables(), store.table(name) or DESCRIBE name.",
    "PREPARE": _PARAMETERS,
    "RESET": _SETTINGS,
    "ROLLBACK": _TRANSACTIONS,
    "SET": _SETTINGS,
    "SHOW": "List tables with store.tables(); look at one with store.table(name) or DESCRIBE name.",
    "TRUNCATE": _ANEW,
    "UPDATE": _ANEW,
    "USE": _OPEN,
    "VACUUM": "Delete what nothing reaches with store.sweep().",
}
"""By the first word of a statement, what to do instead of it."""

_READING = {"SELECT", "MULTI"}
_SINGLE = {"ABORT", "ANALYZE", "BEGIN", "CHECKPOINT", "COMMIT", "ROLLBACK", "SHOW", "VACUUM"}
"""Statements of a single word, which looks like the name of a table."""
_CHANGING = frozenset(
    {
        "add_parquet_key",
        "arrow_scan",
        "arrow_scan_dumb",
        "checkpoint",
        "copy_database",
        "create_external_resource",
        "deregister_external_resource",
        "destroy_external_resource",
        "force_checkpoint",
        "import_database",
        "nextval",
        "pandas_scan",
        "python_arrow_scan",
        "python_map_function",
        "register_external_resource",
        "register_external_resource_type",
        "seq_scan",
        "setseed",
        "setval",
        "truncate_duckdb_logs",
        "write_log",
    }
)
_EMBEDDED = {"insert": {"into", "or"}, "delete": {"from"}, "merge": {"into"}, "update": set[str]()}
_NAMES = {"name", "quoted"}
_SWITCH = re.compile(r"(?:enable|disable)_\w+")


def check_statements(kinds: Sequence[str], sql: str) -> None:
    """Check that a text is one statement that only reads.

    Args:
        kinds: The engine's word for the kind of each statement in it.
        sql: The text.

    Raises:
        InvalidInputError: It is none, several, or does more than read; says what to use instead.
    """
    if len(kinds) != 1:
        raise _several(len(kinds), sql)
    if kinds[0] not in _READING:
        raise _kind_refused(kinds[0], sql)
    problem = _word_refused(sql, INSTEAD) or refused_part(sql) or _function_refused(sql) or _reserved(sql)
    if problem is not None:
        raise problem


def refused_name(text: str) -> InvalidInputError | None:
    """Return the error that refuses what looks like the name of a table and is a statement; None where it is none."""
    return _word_refused(text, _SINGLE)


def refused_part(sql: str) -> InvalidInputError | None:
    """Return the error that refuses a query of which a part in parentheses changes data; None where none does."""
    found = words(sql)
    for before, one, after in zip(found, found[1:], found[2:], strict=False):
        follows = _EMBEDDED.get(one.text.casefold()) if before.text == "(" and one.kind != "text" else None
        if follows is not None and (after.text.casefold() in follows or (not follows and after.kind in _NAMES)):
            return _kind_refused(one.text.upper(), sql, one)
    return None


def _word_refused(sql: str, known: Collection[str]) -> InvalidInputError | None:
    """Return the error that refuses a statement by its first word; the engine takes some for queries."""
    first = next(iter(words(sql)), None)
    if first is None or first.kind in {"quoted", "text"} or first.text.upper() not in known:
        return None
    return _kind_refused(first.text.upper(), sql, first)


def _kind_refused(kind: str, sql: str, word: Word | None = None) -> InvalidInputError:
    """Return the error that refuses a statement of a kind, such as `INSERT`, which begins with `word`."""
    first = word or next(iter(words(sql)), None)
    named = first.text.upper() if first is not None else kind
    shown = named if named in INSTEAD else kind
    spot = place(sql, first.start, first.end) if first else None
    instead = INSTEAD.get(named) or INSTEAD.get(kind, _WRITE)
    return _refused(f"Only statements that read are run here, and this is {shown}. {instead}", spot, statement=shown)


def _several(count: int, sql: str) -> InvalidInputError:
    """Return the error that refuses a text of no statement, or of several."""
    if count == 0:
        return InvalidInputError("Give one statement at a time; this text has none, only comments.", statements=0)
    found = words(sql)
    ends = [at for at, one in enumerate(found) if one.text == ";" and one.kind == "other"]
    second = next((found[at + 1] for at in ends if at + 1 < len(found) and found[at + 1].text != ";"), None)
    if second is None:  # the engine splits a PIVOT whose values it must look up first
        text = "This version of DuckDB cannot look up the values of PIVOT here; name them: ON column IN (...)."
        return InvalidInputError(text, statements=count)
    spot = place(sql, second.start, second.end)
    return _refused(f"Give one statement at a time; this text has {count}.", spot, statements=count)


def _function_refused(sql: str) -> InvalidInputError | None:
    """Return the error that refuses functions which do more than read; None where none is called."""
    found = words(sql)
    for one, after in pairwise(found):
        name = one.text.casefold()
        if after.text == "(" and one.kind != "text" and (name in _CHANGING or _SWITCH.fullmatch(name)):
            message = f"Function {one.text} does more than read, and is not run here; leave it out."
            return _refused(message, place(sql, one.start, one.end), function=name)
    return None


def _reserved(sql: str) -> InvalidInputError | None:
    """Return the error that refuses names that scans of stored tables bear, which a query could put in their place."""
    for one in words(sql):
        if one.kind in _NAMES and one.text.casefold().startswith(RESERVED_PREFIX):
            message = f"The name {one.text!r} begins with {RESERVED_PREFIX!r}, which is reserved; choose another."
            return _refused(message, place(sql, one.start, one.end), name=one.text)
    return None


def _refused(message: str, spot: Place | None, **context: object) -> InvalidInputError:
    if spot is None:
        return InvalidInputError(message, **context)
    return InvalidInputError(
        f"{message}\n{spot.picture}", line=spot.line, column=spot.column, near=spot.near, **context
    )
