"""SQL for stamps with nanoseconds: what the engine lacks, built from integers.

The engine holds such a stamp as TIMESTAMP_NS. Its own functions work on microseconds and either round (DuckDB 2.0) or
cut towards zero (1.5) on the way there; here sub-microsecond digits are always cut downwards, before 1970 as after.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from quantstore.query.rewriting.kinds import DATE, NAIVE, Kind, Tag

ENDLESS = 10**40
"""Stands for the stamp after all others; its negative for the one before."""

_FLOORED = "quantstore_floored"
_SHIFT = 9_223_372_036_854_776
"""Microseconds that make every 64-bit count of nanoseconds positive."""

_LATEST = "2262-04-11 23:47:16.854775"
_EARLIEST = "1677-09-21 00:12:43.145225"
_TYPES = {
    "TIMESTAMP_NS": exp.DataType.Type.TIMESTAMP_NS,
    "TIMESTAMPTZ": exp.DataType.Type.TIMESTAMPTZ,
    "TIMESTAMP": exp.DataType.Type.TIMESTAMP,
    "DATE": exp.DataType.Type.DATE,
    "TEXT": exp.DataType.Type.TEXT,
    "BIGINT": exp.DataType.Type.BIGINT,
}


def call(name: str, *arguments: exp.Expression) -> exp.Expression:
    """Return a call of an engine function."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def cast_to(node: exp.Expression, name: str) -> exp.Expression:
    """Return a cast to one of the engine's types."""
    return exp.Cast(this=node, to=exp.DataType(this=_TYPES[name]))


def number(value: int) -> exp.Expression:
    """Return an integer literal."""
    literal = exp.Literal(this=str(abs(value)), is_string=False)
    return exp.Neg(this=literal) if value < 0 else literal


def bare(node: exp.Expression) -> exp.Expression:
    """Return `node` without the parentheses around it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def wrapped(node: exp.Expression) -> exp.Expression:
    """Return `node` in parentheses where an operator beside it could tear it apart."""
    if isinstance(node, exp.Binary | exp.Unary | exp.Between | exp.In | exp.Case | exp.Interval | exp.AtTimeZone):
        return node if isinstance(node, exp.Paren) else exp.Paren(this=node)
    return node


def stamp_of(nanoseconds: exp.Expression) -> exp.Expression:
    """Return the TIMESTAMP_NS of a count of nanoseconds."""
    return call("MAKE_TIMESTAMP_NS", nanoseconds)


def nanoseconds_of(node: exp.Expression) -> exp.Expression:
    """Return the count of nanoseconds of a TIMESTAMP_NS."""
    inner = bare(node)
    if isinstance(inner, exp.Anonymous) and str(inner.this).upper() == "MAKE_TIMESTAMP_NS":
        return inner.expressions[0]
    return call("EPOCH_NS", node)


def _floor_thousandth(count: exp.Expression) -> exp.Expression:
    """Return a 64-bit integer divided by 1000, rounded down, without naming it twice or leaving 64 bits.

    The engine's `//` cuts towards zero, so the dividend is made positive first: an eighth of it leaves room for that.
    """
    eighth = exp.Paren(this=exp.BitwiseRightShift(this=wrapped(count), expression=number(3)))
    positive = exp.Paren(this=exp.Add(this=eighth, expression=number(125 * _SHIFT)))
    quotient = exp.IntDiv(this=positive, expression=number(125))
    return exp.Sub(this=quotient, expression=number(_SHIFT))


def _micros(count: exp.Expression, kind: Kind) -> exp.Expression:
    return call("MAKE_TIMESTAMPTZ" if kind.is_zoned else "MAKE_TIMESTAMP", count)


def floor(node: exp.Expression, kind: Kind) -> exp.Expression:
    """Return a TIMESTAMP_NS as TIMESTAMPTZ or TIMESTAMP, digits below a microsecond cut off downwards."""
    known = bare(node).meta.get(_FLOORED)
    if known is not None:
        return wrapped(known.copy())
    return _micros(_floor_thousandth(nanoseconds_of(node)), kind)


def ceiling(node: exp.Expression, kind: Kind) -> exp.Expression:
    """Return the first microsecond not before a TIMESTAMP_NS, as TIMESTAMPTZ or TIMESTAMP."""
    below = _floor_thousandth(exp.Neg(this=wrapped(nanoseconds_of(node))))
    return _micros(exp.Neg(this=exp.Paren(this=below)), kind)


def with_rest(micros: exp.Expression, node: exp.Expression) -> exp.Expression:
    """Return a TIMESTAMP or TIMESTAMPTZ with the sub-microsecond digits of the TIMESTAMP_NS `node` put back on."""
    count = exp.Mul(this=call("EPOCH_US", micros.copy()), expression=number(1000))
    digits = exp.Mod(this=wrapped(nanoseconds_of(node)), expression=number(1000))
    positive = exp.Paren(this=exp.Add(this=digits, expression=number(1000)))
    rest = exp.Mod(this=positive, expression=number(1000))
    found = stamp_of(exp.Add(this=count, expression=rest))
    found.meta[_FLOORED] = micros
    return found


def shifted(node: exp.Expression, nanoseconds: int) -> exp.Expression:
    """Return a TIMESTAMP_NS moved by a fixed time."""
    count = nanoseconds_of(node)
    if nanoseconds < 0:
        return stamp_of(exp.Sub(this=count, expression=number(-nanoseconds)))
    return stamp_of(exp.Add(this=count, expression=number(nanoseconds)))


_UNITS = {
    **dict.fromkeys(("microsecond", "us"), 10**3),
    **dict.fromkeys(("millisecond", "ms"), 10**6),
    **dict.fromkeys(("second", "sec", "s"), 10**9),
    **dict.fromkeys(("minute", "min", "m"), 60 * 10**9),
    **dict.fromkeys(("hour", "hr", "h"), 3600 * 10**9),
    **dict.fromkeys(("day", "d"), 86_400 * 10**9),
    **dict.fromkeys(("week", "w"), 7 * 86_400 * 10**9),
}
_LONGEST = 2**62


def fixed_length(node: exp.Expression) -> int | None:
    """Return the nanoseconds of an INTERVAL literal of whole fixed units, else None; days have 24 hours in UTC."""
    node = bare(node)
    if not isinstance(node, exp.Interval) or not isinstance(node.this, exp.Literal) or node.args.get("unit") is None:
        return None
    unit = node.args["unit"].name.lower()
    length = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
    text = node.this.name.strip()
    if length is None or not text.lstrip("+-").isdigit():
        return None
    found = int(text) * length
    return found if abs(found) < _LONGEST else None


def difference(left: exp.Expression, right: exp.Expression) -> exp.Expression:
    """Return the INTERVAL between two TIMESTAMP_NS, rounded down to the microsecond, days apart from time."""
    count = exp.Sub(this=wrapped(nanoseconds_of(left)), expression=wrapped(nanoseconds_of(right)))
    micros = _micros(_floor_thousandth(count), NAIVE)
    return exp.Paren(this=exp.Sub(this=micros, expression=_micros(number(0), NAIVE)))


def widened(node: exp.Expression) -> exp.Expression:
    """Return a DATE, TIMESTAMP or TIMESTAMPTZ as TIMESTAMP_NS; outside that type's range the engine raises."""
    return cast_to(node, "TIMESTAMP_NS")


def clamped(node: exp.Expression, kind: Kind) -> exp.Expression:
    """Return a DATE, TIMESTAMP or TIMESTAMPTZ as TIMESTAMP_NS for comparison only.

    What lies outside that type's range becomes the stamp before or after all others.
    """
    name = {Tag.ZONED: "TIMESTAMPTZ", Tag.NAIVE: "TIMESTAMP", Tag.DATE: "DATE"}[kind.tag]
    latest = _LATEST[:10] if kind == DATE else _LATEST + ("+00" if kind.is_zoned else "")
    earliest = "1677-09-22" if kind == DATE else _EARLIEST + ("+00" if kind.is_zoned else "")

    def bound(text: str) -> exp.Expression:
        return cast_to(exp.Literal.string(text), name)

    def build(value: Callable[[], exp.Expression]) -> exp.Expression:
        above = exp.GT(this=wrapped(value()), expression=bound(latest))
        below = exp.LT(this=wrapped(value()), expression=bound(earliest))
        endless = exp.Literal.string("infinity"), exp.Literal.string("-infinity")
        ends = [cast_to(text, "TIMESTAMP_NS") for text in endless]
        ifs = [exp.If(this=above, true=ends[0]), exp.If(this=below, true=ends[1])]
        return exp.Case(ifs=ifs, default=widened(value()))

    return once(node, build)


Value = Callable[[], exp.Expression]


def once(node: exp.Expression, build: Callable[[Value], exp.Expression]) -> exp.Expression:
    """Return what `build` makes of a value that it needs several times.

    The value is repeated where the engine is sure to find the same again, else evaluated once, as a lambda's argument.
    """
    if not _is_opaque(node):
        return build(node.copy)
    return _applied(node, build)


def once_with(
    node: exp.Expression, other: exp.Expression, build: Callable[[Value, Value], exp.Expression]
) -> exp.Expression:
    """Return what `build` makes of a value that it needs several times and of another that it needs beside it.

    A lambda holds no query, and DuckDB 1.5 loses columns of queries around it: both become its argument.
    """
    if not _is_opaque(node):
        return build(node.copy, other.copy)
    if not _is_opaque(other) and other.find(exp.Column) is None:
        return _applied(node, lambda value: build(value, other.copy))
    fields = [exp.PropertyEQ(this=exp.to_identifier(name), expression=one) for name, one in (("a", node), ("b", other))]

    def field(value: Value, name: str) -> exp.Expression:
        return call("STRUCT_EXTRACT", value(), exp.Literal.string(name))

    return _applied(
        exp.Struct(expressions=fields),
        lambda value: build(lambda: field(value, "a"), lambda: field(value, "b")),
    )


def _applied(node: exp.Expression, build: Callable[[Value], exp.Expression]) -> exp.Expression:
    name = exp.to_identifier("_once", quoted=True)
    body = exp.Lambda(this=build(name.copy), expressions=[name.copy()])
    listed = call("LIST_TRANSFORM", call("LIST_VALUE", node), body)
    return call("LIST_EXTRACT", listed, number(1))


_STABLE = {
    "epoch_ns", "epoch_us", "epoch_ms", "make_timestamp_ns", "make_timestamp", "make_timestamptz", "make_timestamp_ms",
    "now", "get_current_timestamp", "transaction_timestamp", "today", "timezone", "date_part", "to_days", "to_hours",
    "to_minutes", "to_seconds", "to_microseconds", "to_milliseconds", "to_months", "to_weeks", "to_years", "epoch",
    "list_extract", "date_trunc", "time_bucket", "make_date", "arbitrary", "list_value",
}  # fmt: skip


def _is_opaque(node: exp.Expression) -> bool:
    """Whether evaluating an expression twice may give two values, or cost twice as much."""
    return any(
        isinstance(part, exp.Query | exp.Rand | exp.Uuid | exp.Lambda)
        or (isinstance(part, exp.Anonymous) and str(part.this).lower() not in _STABLE)
        for part in node.walk()
    )


def text_of(node: exp.Expression, kind: Kind) -> exp.Expression:
    """Return a TIMESTAMP_NS as text, an instant with the offset that TIMESTAMPTZ shows in a UTC session."""
    shown = cast_to(node, "TEXT")
    if not kind.is_zoned:
        return shown
    return exp.Paren(this=exp.DPipe(this=shown, expression=exp.Literal.string("+00"), safe=True))


def parameter_stamp(node: exp.Expression, *, zoned: bool, beyond: bool) -> exp.Expression:
    """Return the TIMESTAMP_NS that a parameter bound to text shows, nine digits after the point included."""
    kind = "TIMESTAMPTZ" if zoned else "TIMESTAMP"
    digits = call("REGEXP_EXTRACT", node.copy(), exp.Literal.string(r"\.\d{6}(\d{1,3})"), number(1))
    rest = cast_to(call("RPAD", digits, number(3), exp.Literal.string("0")), "BIGINT")
    micros = cast_to(node.copy(), kind)
    count = exp.Mul(this=call("EPOCH_US", micros.copy()), expression=number(1000))
    found = stamp_of(exp.Add(this=count, expression=rest))
    if not beyond:
        return found
    case = clamped(micros, Kind(Tag.ZONED if zoned else Tag.NAIVE))
    case.set("default", found)
    return case
