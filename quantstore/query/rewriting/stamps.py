"""Stamps written in SQL text, read to the nanosecond in every form the engine takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlglot import exp

from quantstore.core.timerange import MAX_NS
from quantstore.query.rewriting.instants import ENDLESS, bare, call, cast_to, number, stamp_of
from quantstore.query.rewriting.kinds import Tag, of_sql

_DAY_NS = 86_400_000_000_000
_DATE = r"(?P<year>-?\d{1,6})(?P<separator>[-/\\ ])(?P<month>\d{1,2})(?P=separator)(?P<day>\d{1,2})(?P<bc> \(BC\))?"
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.(?P<fraction>\d*))?)?"
_OFFSET = r"(?P<sign>[+-])(?P<off_hour>\d{2})(?::?(?P<off_minute>\d{2})(?::?(?P<off_second>\d{2}))?)?"
_ZONE = r" +(?P<zone>[A-Za-z][A-Za-z0-9_+\-/]*)"
_STAMP = re.compile(rf"\s*{_DATE}(?:(?: +|T){_TIME}(?:(?P<utc>Z)| *{_OFFSET}|{_ZONE})?\s*)?")
_ENDLESS = re.compile(r"\s*(-?)inf(?:inity)?\s*", re.IGNORECASE)
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A stamp as written.

    Attributes:
        wall_ns: What the text shows, in nanoseconds since 1970-01-01 of its own clock; may exceed 64 bits.
        offset_ns: How far its clock is ahead of UTC; 0 where the text does not say.
        zone: Named zone of its clock, instead of an offset.
    """

    wall_ns: int
    offset_ns: int = 0
    zone: str | None = None


def parse_stamp(text: str) -> Stamp | None:
    """Return the stamp a text shows, or None where it shows none or one finer than a nanosecond."""
    if endless := _ENDLESS.fullmatch(text):
        return Stamp(-ENDLESS if endless.group(1) else ENDLESS)
    if text.strip().lower() == "epoch":
        return Stamp(0)
    found = _STAMP.fullmatch(text)
    if found is None:
        return None
    parts = found.groupdict()
    day, clock = _day(parts), _clock(parts)
    if day is None or clock is None:
        return None
    offset = _offset(parts)
    zone = parts["zone"]
    return Stamp(day * _DAY_NS + clock, offset, None if zone is None or zone.upper() == "UTC" else zone)


def _day(parts: dict[str, str | None]) -> int | None:
    """Return days since 1970-01-01 in the proleptic Gregorian calendar."""
    year, month, day = (int(parts[name] or 0) for name in ("year", "month", "day"))
    if parts["bc"]:
        year = 1 - year
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or not 1 <= day <= _MONTH_DAYS[month - 1] or (month == 2 and day == 29 and not leap):
        return None
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def _clock(parts: dict[str, str | None]) -> int | None:
    """Return nanoseconds since midnight."""
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    fraction = (parts["fraction"] or "").rstrip("0")
    is_midnight = hour == 24 and minute == second == 0 and not fraction
    if (hour > 23 and not is_midnight) or minute > 59 or second > 59 or len(fraction) > 9:
        return None
    return ((hour * 60 + minute) * 60 + second) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _offset(parts: dict[str, str | None]) -> int:
    hour, minute, second = (int(parts[name] or 0) for name in ("off_hour", "off_minute", "off_second"))
    offset = ((hour * 60 + minute) * 60 + second) * 1_000_000_000
    return -offset if parts["sign"] == "-" else offset


def stamp_sql(stamp: Stamp, *, zoned: bool) -> exp.Expression | None:
    """Return a TIMESTAMP_NS expression of exactly this stamp, or None where it lies outside that type's range.

    Args:
        stamp: The stamp.
        zoned: Whether it meets an instant. Beside a naive time offset and zone are left out of account, as the engine
            does for TIMESTAMP.
    """
    if abs(stamp.wall_ns) == ENDLESS:
        return endless(negative=stamp.wall_ns < 0)
    nanoseconds = stamp.wall_ns - (stamp.offset_ns if zoned else 0)
    if abs(nanoseconds) >= MAX_NS:
        return None
    if not zoned or stamp.zone is None:
        return stamp_of(number(nanoseconds))
    # The engine's own rules say which instant a wall-clock time in a named zone is.
    seconds, rest = divmod(stamp.wall_ns, 1_000_000_000)
    text = f"{_text(seconds)} {stamp.zone}"
    micros = call("EPOCH_US", cast_to(exp.Literal.string(text), "TIMESTAMPTZ"))
    nanos: exp.Expression = exp.Mul(this=micros, expression=number(1000))
    return stamp_of(exp.Add(this=nanos, expression=number(rest)) if rest else nanos)


def endless(*, negative: bool) -> exp.Expression:
    """Return the stamp after, or before, all others."""
    return cast_to(exp.Literal.string("-infinity" if negative else "infinity"), "TIMESTAMP_NS")


def literal_sql(text: str, *, zoned: bool, beyond: bool) -> exp.Expression | None:
    """Return a TIMESTAMP_NS expression of a stamp written as text, or None where it is none.

    Args:
        text: The literal.
        zoned: Whether it meets an instant.
        beyond: Whether a stamp outside the type's range may stand for one before or after all others.
    """
    stamp = parse_stamp(text)
    if stamp is None:
        return None
    found = stamp_sql(stamp, zoned=zoned)
    return endless(negative=stamp.wall_ns < 0) if found is None and beyond else found


def cast_stamp(node: exp.Expression) -> Stamp | None:
    """Return the stamp of a literal with a type (`TIMESTAMPTZ '...'`, `'...'::DATE`), at that type's resolution."""
    node = bare(node)
    if not isinstance(node, exp.Cast) or isinstance(node, exp.TryCast):
        return None
    literal = bare(node.this)
    stamp = parse_stamp(literal.name) if isinstance(literal, exp.Literal) and literal.is_string else None
    kind = of_sql(node.to)
    if stamp is None or abs(stamp.wall_ns) == ENDLESS:
        return None
    if kind.tag is Tag.DATE:
        return Stamp(stamp.wall_ns // _DAY_NS * _DAY_NS)
    if kind.is_micros and not node.to.expressions and not str(node.to.this).endswith(("_S", "_MS")):
        wall = stamp.wall_ns // 1000 * 1000
        return Stamp(wall, stamp.offset_ns, stamp.zone) if kind.is_zoned else Stamp(wall)
    return None


def _text(seconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")
