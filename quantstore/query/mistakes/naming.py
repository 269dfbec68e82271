"""Names in a query that mean nothing, or several things."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from quantstore.core.names import listed, nearest
from quantstore.errors import NotFoundError
from quantstore.query.mistakes.cases import Case, Told
from quantstore.query.mistakes.places import Stretch, find_name, word_end
from quantstore.query.mistakes.syntax import tables_hint

_COMPARED = re.compile(r"(?:[=<>,(]|\b(?:like|ilike|in|between|and|when|then|else))\s*$", re.IGNORECASE)
_POSTFIX = "__postfix"
_NEED_WINDOWS = frozenset(
    ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "nth_value")
)


def unknown_column(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a column that is in none of the tables of its place."""
    name, columns = found["name"], case.names.columns
    owner = found.groupdict().get("owner") or _only_table(case)
    spot = _after_point(case, name) or case.spot or find_name(case.sql, name)
    there = [*case.complaint.candidates, *(one for some in columns.values() for one in some), *case.names.hidden]
    meant = nearest(name, there, 0.5)
    where = f"Table {owner!r} has no column {name!r}" if owner else f"There is no column {name!r}"
    context: dict[str, Any] = {"column": name}
    if meant is not None:
        context["suggestion"] = meant
        return Told(f"{where}. Did you mean {meant!r}?", NotFoundError, spot, context)
    if spot is not None and _COMPARED.search(case.sql[: spot[0]]) and not found.groupdict().get("owner"):
        quoted = "'" + name.replace("'", "''") + "'"
        return Told(f"{where}; if it is a text, write {quoted}.", NotFoundError, spot, context)
    shown = columns.get(owner or "", tuple(dict.fromkeys(there)))
    if shown and "FROM clause is missing" not in case.complaint.message:
        where += f"; there are {listed(shown)}"
    return Told(f"{where}.", NotFoundError, spot, context)


def _after_point(case: Case, name: str) -> Stretch | None:
    """Return the place of `name` where the complaint points at `table.name`."""
    if case.spot is None:
        return None
    qualified = re.compile(rf'(?:\w+|"[^"]*")\s*\.\s*(?P<name>"?{re.escape(name)}"?)', re.IGNORECASE)
    found = qualified.match(case.sql, case.spot[0])
    return found.span("name") if found else None


def _only_table(case: Case) -> str | None:
    """Return the table that a column is looked for in, where it is the only one and nothing else is."""
    if len(case.names.columns) != 1:
        return None
    ((name, columns),) = case.names.columns.items()
    known = {one.casefold() for one in columns}
    return name if all(one.casefold() in known for one in case.complaint.candidates) else None


def unknown_alias(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of the part before the point in `x.price`."""
    name, candidates = found["name"], [one.rpartition(".")[2] for one in case.complaint.candidates]
    context: dict[str, Any] = {"table": name}
    spot: Stretch | None = (case.spot[0], word_end(case.sql, case.spot[0])) if case.spot else None
    stored = next((one for one in case.names.columns if one.casefold() == name.casefold()), None)
    if stored is not None and len(candidates) == 1:
        context["suggestion"] = candidates[0]
        return Told(f"Table {stored!r} is called {candidates[0]!r} in this query.", NotFoundError, spot, context)
    meant = nearest(name, candidates, 0.5)
    if meant is not None:
        context["suggestion"] = meant
        hint = f" Did you mean {meant!r}?"
    else:
        hint = f" It has {listed(candidates)}." if candidates else ""
    return Told(f"This query has no table or alias {name!r} here.{hint}", NotFoundError, spot, context)


def ambiguous_column(_case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a column that several tables have."""
    named = re.findall(r"['\"]([^'\"]+)['\"]", found["use"])
    choices = [re.sub(r"^(?:memory|temp)\.main\.", "", one) for one in named]
    return Told(
        f"Column {found['name']!r} could be any of several; write {' or '.join(choices)}.",
        context={"column": found["name"], "choices": choices},
    )


def ambiguous_table(_case: Case, found: re.Match[str]) -> Told:
    """Return what to say of two tables under one name."""
    name = found["name"]
    text = f"Two tables are called {name!r} in this query; give each a name of its own: FROM {name} AS a."
    return Told(text, context={"table": name})


def unknown_entry(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a table, type or function that the engine does not know."""
    what, name = found["what"], found["name"].strip('"')
    if what == "Table":
        return _unknown_table(case, name)
    if what == "Type":
        return _suggested(case, name, case.names.types(), "type")
    if name.casefold() in _NEED_WINDOWS:
        return needs_window(case, found)
    if name.endswith(_POSTFIX):  # DuckDB 1.x takes an operator without a right side for a function
        operator = name.removesuffix(_POSTFIX)
        text = f"Syntax error at or near {operator!r}: nothing it can be used with follows it."
        at = case.sql.find(operator)
        return Told(text, spot=case.spot if at < 0 else (at, at + len(operator)))
    return _suggested(case, name, case.names.functions(), "function")


def needs_window(_case: Case, _found: re.Match[str]) -> Told:
    """Return what to say of a window function without its window."""
    return Told("This function needs a window: write OVER (PARTITION BY ... ORDER BY ...) after it.")


def _suggested(case: Case, name: str, known: Iterable[str], what: str) -> Told:
    meant = nearest(name, known, 0.7)
    spot = case.spot
    if spot is not None and what == "function":
        at = case.sql.casefold().find(name.casefold(), spot[0], spot[1] + len(name))
        spot = (at, at + len(name)) if at >= 0 else spot
    hint = f". Did you mean {meant!r}?" if meant else f"; {what}s are those of DuckDB."
    context = {what: name} | ({"suggestion": meant} if meant else {})
    return Told(f"There is no {what} {name!r}{hint}", spot=spot, context=context)


def _unknown_table(case: Case, name: str) -> Told:
    last = name.rpartition(".")[2]
    spot = case.spot or find_name(case.sql, last)
    stored = next((one for one in case.names.tables if one.casefold() == last.casefold()), None)
    if stored is not None:
        qualified = "." in name or (spot is not None and case.sql[: spot[0]].endswith("."))
        text = f"{stored!r} is a table of the store, which only FROM and JOIN know."
        if qualified:
            text = f"The store has no schemas or databases: write {stored!r} alone."
        return Told(text, NotFoundError, spot, {"table": name, "suggestion": stored})
    meant = nearest(last, case.names.tables, 0.5)
    context = {"table": name} | ({"suggestion": meant} if meant else {})
    hint = f" Did you mean {meant!r}?" if meant else tables_hint(last, case.names)
    return Told(f"There is no table {name!r}.{hint}", NotFoundError, spot, context)
