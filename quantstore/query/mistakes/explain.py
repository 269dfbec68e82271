"""From what the engine complains of to the error that is raised: pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from quantstore.errors import NotFoundError, QuantStoreError
from quantstore.query.mistakes import meaning, naming
from quantstore.query.mistakes.cases import Case, Names, Told
from quantstore.query.mistakes.complaints import Complaint, tidy
from quantstore.query.mistakes.places import (
    Stretch,
    character,
    find_name,
    find_table,
    find_text,
    find_words,
    place,
    word_end,
)
from quantstore.query.mistakes.syntax import syntax

_NAME = '"+(?P<name>.+?)"+'
_LISTS = "(?:EXCLUDE|REPLACE|RENAME) list not found"
_VALUE = '"(?P<value>.*?)"'
_STAMP = "(?P<kind>timestamp|date|time) field"
_SOURCE = "(?: when casting from source column (?P<column>.+))?$"
_RULES: tuple[tuple[re.Pattern[str], Callable[[Case, re.Match[str]], Told]], ...] = tuple(
    (re.compile(pattern), tell)
    for pattern, tell in (
        (r'Referenced column "(?P<name>.+?)" (?:was )?not found', naming.unknown_column),
        (rf"Column {_NAME} (?:in {_LISTS}|does not exist on|referenced in)", naming.unknown_column),
        (r'Table "(?P<owner>.+?)" does not have a column named "(?P<name>.+?)"', naming.unknown_column),
        (r'Referenced table "(?P<name>.+?)" not found', naming.unknown_alias),
        (r'Ambiguous reference to column name "(?P<name>.+?)" \(use: (?P<use>.+)\)', naming.ambiguous_column),
        (r'Ambiguous reference to table "(?P<name>.+?)"', naming.ambiguous_table),
        (
            r'(?P<what>Table|Type|[\w ]*(?:Function|Macro)) with name (?P<name>"[^"]+"|\S+) does not exist',
            naming.unknown_entry,
        ),
        (r"Window functions are not supported here", naming.needs_window),
        (r'column "?(?P<name>.+?)"? must appear in the GROUP BY clause', meaning.not_grouped),
        (r"WHERE clause cannot contain aggregates", meaning.aggregate_in_where),
        (
            r"No function matches the given name and argument types '(?P<name>[^(]+)\((?P<types>.*)\)'",
            meaning.wrong_arguments,
        ),
        (rf"Could not convert string '(?P<value>.*)' to (?P<type>[A-Z]\w*){_SOURCE}", meaning.no_conversion),
        (rf"invalid {_STAMP} format: {_VALUE}, expected", meaning.no_time),
        (rf"{_STAMP} value out of range: {_VALUE}", meaning.no_time),
        (r"Unknown TimeZone '(?P<name>.*?)'", meaning.no_zone),
        (r'extract specifier "(?P<name>.*?)" not recognized', meaning.no_part),
        (r"Cannot compare values of type (?P<left>.+?) and type (?P<right>.+?)(?: - |$)", meaning.not_comparable),
        (r"^Overflow in .*$", meaning.overflow),
    )
)


def explain(complaint: Complaint, sql: str, names: Names) -> QuantStoreError:
    """Return the error that tells a mistake: what is wrong, where in the query, and the way out.

    Args:
        complaint: What the engine says; its position is one in `sql`.
        sql: The query as it was written.
        names: What the query may name.
    """
    case = Case(complaint, sql, names, _spot(complaint, sql))
    told = syntax(case) if complaint.kind == "Parser" else _by_rule(case)
    return _placed(told.kind, told.text, sql, told.spot or case.spot, told.context)


def locate(error: QuantStoreError, sql: str) -> QuantStoreError:
    """Return an error of the same class with the place of the table, column, literal or parameter it is about."""
    context = error.context
    if "literal" in context:
        spot = find_text(sql, str(context["literal"]))
    elif "parameter" in context:
        spot = find_words(sql, f"${context['parameter']}")
    elif "column" in context:
        spot = find_name(sql, str(context["column"]))
    else:
        spot = find_table(sql, str(context["table"])) if "table" in context else None
    return error if spot is None else _placed(type(error), str(error), sql, spot, context)


def no_such_file(complaint: Complaint, sql: str) -> QuantStoreError | None:
    """Return the error for a file that the query names and that is not there; None where it is about something else."""
    found = re.search(r'No files found that match the pattern "(.*?)"', complaint.message)
    if found is None or found[1] not in sql:
        return None
    text = f"No file matches {found[1]!r}; relative paths begin at {Path.cwd()}."
    return _placed(NotFoundError, text, sql, find_text(sql, found[1]), {"file": found[1]})


def _by_rule(case: Case) -> Told:
    for pattern, tell in _RULES:
        found = pattern.search(case.complaint.message)
        if found is not None:
            return tell(case, found)
    return Told(tidy(case.complaint.message))


def _placed(
    kind: type[QuantStoreError], text: str, sql: str, spot: Stretch | None, context: Mapping[str, Any]
) -> QuantStoreError:
    """Return an error with the picture of a place; `column` is the place's from here on."""
    if spot is None:
        return kind(text, **context)
    found = place(sql, *spot)
    rest = {"column_name" if key == "column" else key: value for key, value in context.items()}
    return kind(f"{text}\n{found.picture}", **rest, line=found.line, column=found.column, near=found.near)


def _spot(complaint: Complaint, sql: str) -> Stretch | None:
    """Return the stretch of the query that a complaint points at."""
    if complaint.fragment:
        return find_words(sql, complaint.fragment)
    if complaint.byte is None or complaint.byte > len(sql.encode("utf-8", "surrogatepass")):
        return None
    start = character(sql, complaint.byte)
    end = character(sql, complaint.byte + complaint.length) if complaint.length else word_end(sql, start)
    named = complaint.name
    if named is not None and named.casefold() not in sql[start : max(end, start + len(named) + 2)].casefold():
        return find_name(sql, named)  # the engine counted in a text of its own, such as a macro's
    return start, end
