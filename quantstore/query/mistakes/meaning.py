"""Queries whose names are right, and whose types, groups or values are not."""

from __future__ import annotations

import re
from zoneinfo import available_timezones

from quantstore.core.names import nearest
from quantstore.query.mistakes.cases import Case, Told
from quantstore.query.mistakes.complaints import tidy
from quantstore.query.mistakes.places import find_name, find_text

_OPERATORS = {"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE", "~~~": "GLOB"}
_TYPES = {
    "BOOL": "BOOLEAN",
    "INT8": "TINYINT",
    "INT16": "SMALLINT",
    "INT32": "INTEGER",
    "INT64": "BIGINT",
    "INT128": "HUGEINT",
    "STRING": "VARCHAR",
    "UINT8": "UTINYINT",
    "UINT16": "USMALLINT",
    "UINT32": "UINTEGER",
    "UINT64": "UBIGINT",
}
_PARTS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond", "epoch")
_TIMES = {"date": "2026-11-20", "time": "14:30:00", "timestamp": "2026-11-20 14:30:00"}
_SHOWN_SIGNATURES = 3


def not_grouped(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a column beside aggregates that is not grouped by."""
    name = found["name"]
    return Told(
        f"Column {name!r} must appear in GROUP BY or inside an aggregate; add it to GROUP BY, or write "
        f"any_value({name}) where it does not matter which.",
        spot=case.spot or find_name(case.sql, name),
        context={"column": name},
    )


def aggregate_in_where(_case: Case, _found: re.Match[str]) -> Told:
    """Return what to say of an aggregate in WHERE."""
    return Told("WHERE cannot hold an aggregate; put the condition into HAVING, after GROUP BY.")


def wrong_arguments(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a function or operator that does not take the types it is given."""
    name = found["name"]
    types = [_type(one) for one in re.split(r",\s*(?![^(]*\))", found["types"])] if found["types"] else []
    context = {"function": name, "types": types}
    if not re.match(r"\w", name):
        shown = " and ".join(types)
        text = f"{_OPERATORS.get(name, name)} does not go with {shown}; cast one of them: CAST(... AS type)."
        return Told(text, context=context)
    takes = [_signature(line) for line in case.complaint.message.split("\n\t")[2:] if line.strip()]
    more = f" and {len(takes) - _SHOWN_SIGNATURES} more" if len(takes) > _SHOWN_SIGNATURES else ""
    hint = f" There are {', '.join(takes[:_SHOWN_SIGNATURES])}{more}." if takes else ""
    return Told(f"Function {name} does not take ({', '.join(types)}).{hint}", context=context)


def _signature(line: str) -> str:
    """Return `name(types)` of a line such as `strftime("data" DATE, format VARCHAR, /) -> VARCHAR`."""
    return re.sub(r",? ?/", "", line.strip().partition(" -> ")[0]).replace('"', "")


def _type(name: str) -> str:
    plain = name.strip().removesuffix("_LITERAL")
    return _TYPES.get(plain, plain)


def not_comparable(_case: Case, found: re.Match[str]) -> Told:
    """Return what to say of two types that do not compare."""
    left, right = _type(found["left"]), _type(found["right"])
    way = "cast one of them: CAST(... AS type)."
    if {left, right} == {"TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"}:
        way = "say which zone the one without is in: column AT TIME ZONE 'UTC'."
    return Told(f"Cannot compare {left} with {right}; {way}", context={"types": [left, right]})


def no_conversion(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a text that is no value of the type it is cast to."""
    value, target, column = found["value"], _type(found["type"]), found.groupdict().get("column")
    source = f" of column {column!r}" if column else ""
    spot = find_text(case.sql, value) or case.spot or (find_name(case.sql, column) if column else None)
    return Told(
        f"{value!r}{source} is no {target}; TRY_CAST(... AS {target}) gives NULL where a value does not fit.",
        spot=spot,
        context={"value": value, "type": target} | ({"column": column} if column else {}),
    )


def no_time(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a text that is no date or time."""
    value, kind = found["value"], found["kind"]
    spot = find_text(case.sql, value) or case.spot
    return Told(f"{value!r} is no {kind}; write it like '{_TIMES[kind]}'.", spot=spot, context={"value": value})


def no_zone(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a time zone that does not exist."""
    name = found["name"]
    meant = nearest(name, sorted(available_timezones()))
    hint = f" Did you mean {meant!r}?" if meant else " Write one like 'America/New_York' or 'UTC'."
    context = {"zone": name} | ({"suggestion": meant} if meant else {})
    return Told(f"There is no time zone {name!r}.{hint}", spot=find_text(case.sql, name) or case.spot, context=context)


def no_part(case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a part of a date or time that does not exist."""
    name = found["name"]
    meant = nearest(name, _PARTS)
    hint = f" Did you mean {meant!r}?" if meant else f" There are {', '.join(_PARTS)}."
    spot = case.spot or find_text(case.sql, name) or find_text(case.sql, name.lower())
    context = {"value": name.lower()} | ({"suggestion": meant} if meant else {})
    return Told(f"{name.lower()!r} is no part of a date or time.{hint}", spot=spot, context=context)


def overflow(_case: Case, found: re.Match[str]) -> Told:
    """Return what to say of a sum or product that its type cannot hold."""
    return Told(f"{tidy(found[0])} Cast to a wider type first, such as HUGEINT or DOUBLE.")
