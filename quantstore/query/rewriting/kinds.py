"""Kinds: what the rewrite knows of a value's type, as far as time and zones go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import pyarrow as pa
from sqlglot import exp


class Tag(StrEnum):
    """The kinds that queries treat differently."""

    ZONED_NS = "zoned_ns"
    """An instant with nanoseconds, which the engine holds as TIMESTAMP_NS in UTC."""
    NAIVE_NS = "naive_ns"
    """A wall-clock time with nanoseconds, TIMESTAMP_NS in the engine."""
    ZONED = "zoned"
    """TIMESTAMPTZ."""
    NAIVE = "naive"
    """TIMESTAMP, TIMESTAMP_MS or TIMESTAMP_S."""
    DATE = "date"
    TIME = "time"
    TIMETZ = "timetz"
    INTERVAL = "interval"
    TEXT = "text"
    LITERAL = "literal"
    """A string literal, which the engine casts to whatever it meets."""
    NULL = "null"
    OTHER = "other"
    """Known to be none of these."""
    UNKNOWN = "unknown"
    """Nothing is known, except that no nanoseconds of a stored table are in it."""
    LIST = "list"
    STRUCT = "struct"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a value's type.

    Attributes:
        tag: The kind itself.
        zone: For `ZONED_NS`: the zone that results carry.
        parts: For a list its element, for a struct its fields, for a map key and value.
        names: For a struct the names of its fields, lower-cased; empty for a row without names.
    """

    tag: Tag
    zone: str | None = None
    parts: tuple[Kind, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def is_ns(self) -> bool:
        """Whether it is one stamp with nanoseconds."""
        return self.tag in {Tag.ZONED_NS, Tag.NAIVE_NS}

    @property
    def is_zoned(self) -> bool:
        """Whether it is an instant, of whatever resolution."""
        return self.tag in {Tag.ZONED_NS, Tag.ZONED}

    @property
    def is_stamp(self) -> bool:
        """Whether it is an instant or wall-clock time, of whatever resolution."""
        return self.is_ns or self.is_micros

    @property
    def is_micros(self) -> bool:
        """Whether the engine knows it as TIMESTAMP or TIMESTAMPTZ."""
        return self.tag in {Tag.ZONED, Tag.NAIVE}

    @property
    def is_nested(self) -> bool:
        """Whether it has parts."""
        return self.tag in {Tag.LIST, Tag.STRUCT, Tag.MAP}

    @property
    def carries_ns(self) -> bool:
        """Whether a stamp with nanoseconds is in it, at any depth."""
        return self.is_ns or any(part.carries_ns for part in self.parts)

    @property
    def carries_zone(self) -> bool:
        """Whether an instant that the engine holds without its zone is in it, at any depth."""
        return self.tag is Tag.ZONED_NS or any(part.carries_zone for part in self.parts)

    @property
    def floored(self) -> Kind:
        """The kind after sub-microsecond digits are cut off."""
        if self.tag is Tag.ZONED_NS:
            return ZONED
        return NAIVE if self.tag is Tag.NAIVE_NS else self

    @property
    def as_value(self) -> Kind:
        """The kind of a result column: a literal there is text."""
        return TEXT if self.tag is Tag.LITERAL else self

    def leaves(self) -> Iterable[Kind]:
        """Yield the kinds at the bottom."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    def field(self, name: str) -> Kind:
        """Return the kind of a struct's field."""
        for known, part in zip(self.names, self.parts, strict=False):
            if known == name.lower():
                return part
        return UNKNOWN


NAIVE_NS = Kind(Tag.NAIVE_NS)
ZONED = Kind(Tag.ZONED)
NAIVE = Kind(Tag.NAIVE)
DATE = Kind(Tag.DATE)
TIME = Kind(Tag.TIME)
TIMETZ = Kind(Tag.TIMETZ)
INTERVAL = Kind(Tag.INTERVAL)
TEXT = Kind(Tag.TEXT)
LITERAL = Kind(Tag.LITERAL)
NULL = Kind(Tag.NULL)
OTHER = Kind(Tag.OTHER)
UNKNOWN = Kind(Tag.UNKNOWN)


def zoned_ns(zone: str = "UTC") -> Kind:
    """Return the kind of an instant with nanoseconds that results show in `zone`."""
    return Kind(Tag.ZONED_NS, zone)


def list_of(kind: Kind) -> Kind:
    """Return the kind of a list."""
    return Kind(Tag.LIST, parts=(kind.as_value,))


def struct_of(parts: Iterable[Kind], names: Iterable[str] = ()) -> Kind:
    """Return the kind of a struct, or of a row where there are no names."""
    return Kind(Tag.STRUCT, parts=tuple(parts), names=tuple(name.lower() for name in names))


def of_arrow(kind: pa.DataType) -> Kind:
    """Return the kind that a logical column of an Arrow type has in queries."""
    if pa.types.is_timestamp(kind):
        if kind.unit == "ns":
            return zoned_ns(kind.tz) if kind.tz is not None else NAIVE_NS
        return ZONED if kind.tz is not None else NAIVE
    if pa.types.is_dictionary(kind):
        return of_arrow(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return of_arrow(kind.storage_type)
    return _of_nested(kind) if pa.types.is_nested(kind) else _of_flat(kind)


_STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _of_flat(kind: pa.DataType) -> Kind:
    tests = (
        (TEXT, any(test(kind) for test in _STRINGS)),
        (DATE, pa.types.is_date(kind)),
        (TIME, pa.types.is_time(kind)),
        (INTERVAL, pa.types.is_duration(kind) or pa.types.is_interval(kind)),
    )
    return next((found for found, fits in tests if fits), OTHER)


def _of_nested(kind: pa.DataType) -> Kind:
    if pa.types.is_struct(kind):
        fields = [kind.field(position) for position in range(kind.num_fields)]
        return struct_of((of_arrow(field.type) for field in fields), (field.name for field in fields))
    if pa.types.is_map(kind):
        return Kind(Tag.MAP, parts=(of_arrow(kind.key_type), of_arrow(kind.item_type)))
    return list_of(of_arrow(kind.value_type)) if hasattr(kind, "value_type") else OTHER


_SQL = {
    "TIMESTAMPTZ": ZONED,
    "TIMESTAMPLTZ": ZONED,
    "TIMESTAMP": NAIVE,
    "TIMESTAMPNTZ": NAIVE,
    "DATETIME": NAIVE,
    "TIMESTAMP_S": NAIVE,
    "TIMESTAMP_MS": NAIVE,
    "TIMESTAMP_NS": NAIVE_NS,
    "DATE": DATE,
    "TIME": TIME,
    "TIME_NS": TIME,
    "TIMETZ": TIMETZ,
    "INTERVAL": INTERVAL,
    "TEXT": TEXT,
    "VARCHAR": TEXT,
    "CHAR": TEXT,
    "NVARCHAR": TEXT,
    "JSON": TEXT,
}


def type_name(to: exp.DataType) -> str:
    """Return a type's name as the parser spells it, upper-cased."""
    name = str(getattr(to.this, "value", to.this))
    return str(to.args.get("kind") or name).upper() if name.replace("-", "") == "USERDEFINED" else name


def of_sql(to: exp.DataType) -> Kind:
    """Return the kind of a value cast to a type."""
    name = type_name(to)
    if name in {"ARRAY", "LIST"}:
        return list_of(of_sql(to.expressions[0]) if to.expressions else UNKNOWN)
    if name == "STRUCT":
        fields = [field for field in to.expressions if isinstance(field, exp.ColumnDef)]
        return struct_of((of_sql(field.kind) for field in fields), (field.name for field in fields))
    if name == "MAP":
        return Kind(Tag.MAP, parts=tuple(of_sql(part) for part in to.expressions if isinstance(part, exp.DataType)))
    if name == "TIMESTAMPTZ_NS":
        return zoned_ns()
    kind = _SQL.get(name, UNKNOWN if type_name(to) != str(getattr(to.this, "value", to.this)) else OTHER)
    if kind is NAIVE and to.expressions and to.expressions[0].name.isdigit() and int(to.expressions[0].name) > 6:
        return NAIVE_NS  # TIMESTAMP(9)
    return kind


def unify(kinds: Iterable[Kind]) -> Kind:
    """Return the kind of a value that may be any of several; nanoseconds and zones win."""
    known = [kind for kind in kinds if kind.tag is not Tag.NULL]
    if not known:
        return NULL
    first_ns = next((kind for kind in known if kind.is_ns), None)
    if first_ns is not None:
        if not any(kind.is_zoned for kind in known):
            return NAIVE_NS
        return next((kind for kind in known if kind.tag is Tag.ZONED_NS), zoned_ns())
    for kind in (ZONED, NAIVE, DATE):
        if kind in known and all(one.is_micros or one.tag in {Tag.DATE, Tag.LITERAL} for one in known):
            return kind
    typed = {replace(kind, zone=None) if not kind.parts else kind for kind in known if kind.tag is not Tag.LITERAL}
    if not typed:
        return LITERAL
    return known_one(typed)


def known_one(kinds: set[Kind]) -> Kind:
    """Return the only kind of a set, or that nothing is known."""
    return next(iter(kinds)) if len(kinds) == 1 else UNKNOWN
