"""Queries as the engine must see them: hidden columns out of stars, stamps with nanoseconds treated exactly.

What a query is promised: a column with a zone behaves as TIMESTAMPTZ and one without as TIMESTAMP, whatever the
resolution; nanoseconds stay in results, filters and joins. The engine (DuckDB 1.5 to 2.x, session zone UTC) holds both
as TIMESTAMP_NS, instants in UTC, which few of its functions know. The rewrite follows kinds from the tables through
every expression and

- brings what stamps are compared or mixed with to TIMESTAMP_NS (literals parsed here, to the nanosecond);
- cuts stamps down to microseconds, always downwards, for functions that know no others;
- keeps the digits below a microsecond apart while intervals are added or zones applied, and puts them back on.

A query over tables without nanoseconds is left as it is, but for hidden columns. What cannot be proven raises.

The kinds of parameters and what they are bound as:

| kind | bound as |
| --- | --- |
| `zoned`, `naive` | TIMESTAMPTZ, TIMESTAMP |
| `zoned_ns`, `naive_ns` | TIMESTAMP_NS (an instant in UTC): stamps with digits below a microsecond |
| `date` | DATE |
| `text` | VARCHAR; beside a stamp with nanoseconds it is read to the last digit |
| `other` | anything else |

A list is bound as a list of these and has the kind of its elements.

`pandas.Timestamp.max` is what the engine calls infinity: it is kept, compared and ordered; functions of it may give
NULL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import pyarrow as pa
from sqlglot import exp

from quantstore.errors import UnsupportedError

# Imported for the rules they register.
from quantstore.query.rewriting import arithmetic, casts, comparisons, leaves, nested, operands, stars, windows  # noqa: F401
from quantstore.query.rewriting.kinds import DATE, NAIVE, NAIVE_NS, OTHER, TEXT, ZONED, Tag, of_arrow, zoned_ns
from quantstore.query.rewriting.limits import sort_before_limit
from quantstore.query.rewriting.scopes import Context, Field, Shape
from quantstore.query.rewriting.selects import visit_query

_BUCKETS = (exp.DateBin,) if hasattr(exp, "DateBin") else ()
_ZONES = {"UTC", "GMT", "Z", "EST", "EST5EDT", "CET", "EET", "PST8PDT", "CST6CDT", "MST7MDT"}
_PARAMETERS = {
    "zoned": ZONED,
    "naive": NAIVE,
    "zoned_ns": zoned_ns(),
    "naive_ns": NAIVE_NS,
    "date": DATE,
    "text": TEXT,
    "other": OTHER,
}


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """What is known of a result column.

    Attributes:
        name: Its name; for an expression without an alias as near as can be to the engine's.
        source: Table (as in `schemas`) and column (as in the schema) whose values it hands on unchanged, or None.
        zone: Zone of every TIMESTAMP_NS in it (in a list or struct at any depth) where these are instants in UTC; None
            where they are wall-clock times or there are none.
    """

    name: str
    source: tuple[str, str] | None
    zone: str | None


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A rewritten statement.

    Attributes:
        tree: The new tree; table references keep the names the query gave them.
        outputs: The result's columns, or None where they depend on the data; then none of them needs a zone.
        hidden: Per table the hidden columns the query names, spelled as in the schema.
    """

    tree: exp.Expression
    outputs: tuple[OutputColumn, ...] | None
    hidden: Mapping[str, frozenset[str]]


def rewrite(
    tree: exp.Expression,
    schemas: Mapping[str, pa.Schema],
    hidden: Mapping[str, frozenset[str]],
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> Rewritten:
    """Return a statement that means to the engine what `tree` means to the caller.

    Args:
        tree: A parsed statement that reads (DuckDB dialect); left unchanged.
        schemas: Logical schemas by lower-cased table name, hidden columns last.
        hidden: Names of each table's hidden columns.
        parameters: Kinds of the values bound to `$name`.

    Raises:
        InvalidInputError: A literal beside a stamp is none, or a name is ambiguous.
        UnsupportedError: The statement does something with nanoseconds whose outcome cannot be proven.
    """
    tree = tree.copy()
    _repair(tree)
    tables = {name: _table(name, schema, hidden.get(name, frozenset())) for name, schema in schemas.items()}
    kinds = {name.lower(): _PARAMETERS[kind] for name, kind in parameters.items()}
    has_ns = any(_has_ns(schema) for schema in schemas.values())
    context = Context(tables, kinds, has_ns or any(kind.is_ns for kind in kinds.values()), visit_query)
    holder = exp.Paren(this=tree)
    try:
        shape = visit_query(tree, None, {}, context)
        for finish in context.later:
            finish()
    except RecursionError:
        raise UnsupportedError("This statement is nested too deeply to be analysed.") from None
    named = {table: frozenset(names) for table, names in context.named.items()}
    found: exp.Expression = holder.this
    found.pop()
    _keep_qualifiers(found)
    return Rewritten(sort_before_limit(found), _outputs(shape), named)


def _repair(tree: exp.Expression) -> None:
    """Undo what the parser gets wrong: the zone in `time_bucket(width, stamp, 'zone')` becomes a unit."""
    for node in tree.find_all(*_BUCKETS) if _BUCKETS else ():
        third = node.args.get("unit")
        if isinstance(third, exp.Var):
            is_zone = "/" in third.name or third.name in _ZONES
            third.replace(exp.Literal.string(third.name) if is_zone else exp.column(third.name.lower()))


def _keep_qualifiers(tree: exp.Expression) -> None:
    """Keep what stands before columns in a PIVOT and in the query it takes: the writer of SQL would drop it."""
    for pivot in tree.find_all(exp.Pivot):
        for column in list(pivot.find_all(exp.Column)):
            if column.table:
                column.replace(exp.Dot.build(column.parts))


@lru_cache(maxsize=256)
def _has_ns(schema: pa.Schema) -> bool:
    return any(of_arrow(field.type).carries_ns for field in schema)


@lru_cache(maxsize=256)
def _table(name: str, schema: pa.Schema, hidden: frozenset[str]) -> tuple[Shape, dict[str, Field]]:
    low = {one.lower() for one in hidden}
    fields = [Field(field.name, of_arrow(field.type), (name, field.name)) for field in schema]
    visible = tuple(one for one in fields if one.name.lower() not in low)
    return Shape(visible), {one.name.lower(): one for one in fields if one.name.lower() in low}


def _outputs(shape: Shape) -> tuple[OutputColumn, ...] | None:
    zones = [_zone(one) for one in shape.fields]
    if not shape.is_open:
        return tuple(OutputColumn(one.name, one.source, zone) for one, zone in zip(shape.fields, zones, strict=True))
    for one in shape.fields:
        if one.kind.carries_zone:
            raise UnsupportedError(
                f"The columns of this result are known only once it has run, and the zone of {one.name!r}, which has "
                f"nanoseconds, would be lost; write {one.name}::TIMESTAMPTZ to go on in microseconds.",
                column=one.name,
            )
    return None


def _zone(field: Field) -> str | None:
    stamps = [kind for kind in field.kind.leaves() if kind.is_ns]
    if len({kind.tag for kind in stamps}) > 1 and field.source is None:
        raise UnsupportedError(
            f"Column {field.name!r} holds instants and wall-clock times with nanoseconds in one list or struct; cast "
            "the instants to TIMESTAMPTZ, or give each its own column.",
            column=field.name,
        )
    return next((kind.zone for kind in stamps if kind.tag is Tag.ZONED_NS), None)
