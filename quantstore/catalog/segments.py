"""Segments of one version of a table, found by the catalog's statistics without looking at every one of them.

Spans of time are found as in the relational interval tree of Kriegel, Poetke and Seidl (VLDB 2000), in a form that any
B-tree serves: segments are classed by the length of their span, and within a class of spans shorter than `16 ** k`
nanoseconds those that reach into a window begin less than `16 ** k` before it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, or_, select, text

from quantstore.catalog import schema
from quantstore.catalog.snapshots import from_days, to_days
from quantstore.core.segment import Copy, Partition, PlacedSegment, Role, Segment, SegmentStats, Subset
from quantstore.core.tier import Tier
from quantstore.core.timerange import MAX_NS, MIN_NS, TimeRange
from quantstore.errors import IntegrityError

_TIER_RANK = {tier.value: rank for rank, tier in enumerate(Tier)}
_MAX_NAMED = 8
_ESCAPE = "~"
_MAX_LISTED = 500  # databases bound the number of values in a statement
_s, _c = schema.segments.c, schema.copies.c


@dataclass(frozen=True, slots=True)
class SegmentFilter:
    """Conditions a segment must meet to be worth opening; each is sound on the catalog's statistics.

    Attributes:
        time: Event-time range the segment must overlap.
        first_day: Smallest partition day, or None.
        last_day: Largest partition day (included), or None.
        days: Partition days wanted, or None for all.
        asset_classes: Asset classes wanted, or None for all.
        symbols: Symbols of which the segment must be able to hold one, or None for all.
    """

    time: TimeRange = TimeRange()
    first_day: date | None = None
    last_day: date | None = None
    days: tuple[date, ...] | None = None
    asset_classes: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None


EVERYTHING = SegmentFilter()


def find_segments(
    connection: Connection, table_id: int, version: int, wanted: SegmentFilter = EVERYTHING
) -> list[PlacedSegment]:
    """Return the segments of `version` that pass `wanted`, oldest event time first, with their live copies."""
    found = connection.execute(_finding(_shape(wanted)), _values(table_id, version, wanted)).all()
    return _grouped(found)


def count_segments(
    connection: Connection, table_id: int, version: int | None, wanted: SegmentFilter = EVERYTHING
) -> int:
    """Return how many segments of `version` (None: the newest) pass `wanted`."""
    query = select(func.count()).select_from(schema.segments)
    if version is not None:
        query = query.where(*_visible())
    else:
        query = query.where(_s.removed_version.is_(None), _s.retired_generation.is_(None))
    shape = _shape(wanted)
    return connection.execute(
        query.where(*_conditions(shape), _reached(shape)), _values(table_id, version, wanted)
    ).scalar_one()


def has_newcomers(connection: Connection, table_id: int, since: int, wanted: SegmentFilter) -> bool:
    """Whether a segment that passes `wanted` has come into the table after version `since` and is still in it."""
    shape = _shape(wanted)
    query = (
        select(_s.segment_id)
        .where(*_conditions(shape), _reached(shape))
        .where(_s.removed_version.is_(None), _s.retired_generation.is_(None), _s.added_version > bindparam("since"))
        .limit(1)
    )
    return connection.execute(query, {**_values(table_id, None, wanted), "since": since}).first() is not None


def every_segment(connection: Connection, table_id: int | None = None) -> list[PlacedSegment]:
    """Return every segment that any version reaches, of one table or of all."""
    stands = _s.retired_generation.is_(None)
    return _grouped(
        connection.execute(_with_copies(stands if table_id is None else and_(stands, _s.table_id == table_id))).all()
    )


def span_class(min_ns: int, max_ns: int) -> int:
    """Return the class of a segment's span: the smallest `k` for which it is shorter than `16 ** k` nanoseconds."""
    return -(-(max_ns - min_ns).bit_length() // 4)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Which conditions a filter has; statements of one shape differ in their values only."""

    has_start: bool
    has_end: bool
    has_first_day: bool
    has_last_day: bool
    days: int | None
    asset_classes: int | None
    symbols: int | None
    named: int


def _shape(wanted: SegmentFilter) -> _Shape:
    return _Shape(
        wanted.time.start_ns is not None,
        wanted.time.end_ns is not None,
        wanted.first_day is not None,
        wanted.last_day is not None,
        _listed(wanted.days),
        _listed(wanted.asset_classes),
        _listed(wanted.symbols),
        len(wanted.symbols) if wanted.symbols is not None and len(wanted.symbols) <= _MAX_NAMED else 0,
    )


def _listed(values: tuple[Any, ...] | None) -> int | None:
    """Return 1 for a list that can be given as such, 0 for an empty one, -1 for one too long, None for no list."""
    if values is None:
        return None
    return min(len(values), 1) if len(values) <= _MAX_LISTED else -1


def _values(table_id: int, version: int | None, wanted: SegmentFilter) -> dict[str, Any]:
    """Return the values of the conditions, by the names statements give them."""
    start = MIN_NS if wanted.time.start_ns is None else wanted.time.start_ns
    last = MAX_NS if wanted.time.end_ns is None else wanted.time.end_ns - 1
    days = [to_days(day) for day in wanted.days or ()]
    symbols = list(wanted.symbols or ())
    return {
        "table_id": table_id,
        "version": version,
        "start": start,
        "last": last,
        **{f"after_{number}": max(start - 16**number, MIN_NS - 1) for number in range(schema.SPAN_CLASSES)},
        "first_day": None if wanted.first_day is None else to_days(wanted.first_day),
        "last_day": None if wanted.last_day is None else to_days(wanted.last_day),
        "days": days,
        "lowest_day": min(days, default=0),
        "highest_day": max(days, default=0),
        "asset_classes": list(wanted.asset_classes or ()),
        "symbols": symbols,
        "first_symbol": min(symbols, default=""),
        "last_symbol": max(symbols, default=""),
        **{f"names_{number}": _listing(symbol) for number, symbol in enumerate(symbols[:_MAX_NAMED])},
    }


def _listing(symbol: str) -> str:
    """Return the pattern of a list of symbols, as the catalog keeps it, with this one in it."""
    text = json.dumps(symbol)
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return f"%{text}%"


@lru_cache(maxsize=512)
def _finding(shape: _Shape) -> Select[Any]:
    return _with_copies(and_(*_visible(), *_conditions(shape), _reached(shape)), is_complete=True)


def _visible() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a segment belongs to a version of its table."""
    version: ColumnElement[int] = bindparam("version")
    return (
        _s.retired_generation.is_(None),
        _s.added_version <= version,
        or_(_s.removed_version.is_(None), _s.removed_version > version),
    )


def _reached(shape: _Shape) -> ColumnElement[bool]:
    """Return the condition that a segment is one of a table, through the index that leaves the fewest to look at.

    Other conditions must not name the table, or a database may choose an index that leaves more.
    """
    found: Any
    if shape.has_start and shape.has_end:
        found = _BY_SPAN
    elif shape.days is not None or shape.has_first_day or shape.has_last_day:
        found = select(_s.segment_id).where(_s.table_id == bindparam("table_id"), *_day_conditions(shape))
    elif shape.has_start or shape.has_end:
        found = _BY_SPAN
    elif shape.symbols == 1:
        found = _BY_SYMBOL
    else:
        return _s.table_id == bindparam("table_id")
    return _s.segment_id.in_(found)


_BY_SPAN = text(
    " UNION ALL ".join(
        f"SELECT segment_id FROM segments WHERE table_id = :table_id AND span_class = {number} "
        f"AND min_ns > :after_{number} AND min_ns <= :last AND max_ns >= :start"
        for number in range(schema.SPAN_CLASSES)
    )
)
_BY_SYMBOL = text(
    "SELECT segment_id FROM segments WHERE table_id = :table_id AND min_symbol = max_symbol AND min_symbol IN :symbols "
    "UNION ALL SELECT segment_id FROM segments WHERE table_id = :table_id AND min_symbol <> max_symbol "
    "AND min_symbol <= :last_symbol AND max_symbol >= :first_symbol "
    "UNION ALL SELECT segment_id FROM segments WHERE table_id = :table_id AND min_symbol IS NULL"
).bindparams(bindparam("symbols", expanding=True))


def _conditions(shape: _Shape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = _day_conditions(shape)
    if shape.has_start:
        conditions.append(_s.max_ns >= bindparam("start"))
    if shape.has_end:
        conditions.append(_s.min_ns <= bindparam("last"))
    if shape.asset_classes is not None and shape.asset_classes >= 0:
        conditions.append(_s.asset_class.in_(bindparam("asset_classes", expanding=True)))
    if shape.symbols is not None:
        reaches = and_(_s.max_symbol >= bindparam("first_symbol"), _s.min_symbol <= bindparam("last_symbol"))
        conditions.append(or_(_s.min_symbol.is_(None), reaches))
    if shape.named:
        lists = (_s.symbols.like(bindparam(f"names_{number}"), escape=_ESCAPE) for number in range(shape.named))
        conditions.append(or_(_s.symbols.is_(None), _s.min_symbol.is_(None), *lists))
    return conditions


def _day_conditions(shape: _Shape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.has_first_day:
        conditions.append(_s.trade_date >= bindparam("first_day"))
    if shape.has_last_day:
        conditions.append(_s.trade_date <= bindparam("last_day"))
    if shape.days == -1:
        conditions.append(_s.trade_date.between(bindparam("lowest_day"), bindparam("highest_day")))
    elif shape.days is not None:
        conditions.append(_s.trade_date.in_(bindparam("days", expanding=True)))
    return conditions


def _with_copies(condition: ColumnElement[bool], *, is_complete: bool = False) -> Select[Any]:
    """Return the segments that meet a condition with the copies of each.

    Args:
        condition: What they must meet.
        is_complete: Whether one without a copy is wanted, too, so that no answer lacks its rows without a word.
    """
    is_copy = and_(_c.segment_id == _s.segment_id, _c.condemned_generation.is_(None))
    joined = select(schema.segments, schema.copies).join(schema.copies, is_copy, isouter=is_complete)
    return joined.where(condition).order_by(_s.min_ns, _s.segment_id)


def _grouped(rows: Sequence[Any]) -> list[PlacedSegment]:
    for row in rows:
        if row.copy_id is None:
            raise IntegrityError(
                f"The catalog is damaged: it knows of no copy of segment {row.segment_id}, which has {row.rows} rows. "
                "fsck() tells more, and rebuild() makes the catalog anew."
            )
    try:
        return [
            PlacedSegment(segment_of(group[0]), tuple(sorted(map(copy_of, group), key=_copy_rank)))
            for group in (list(some) for _, some in groupby(rows, key=lambda row: row.segment_id))
        ]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise IntegrityError(
            f"The catalog is damaged: a row about a segment makes no sense ({error}). fsck() tells which, and may be "
            "able to mend it."
        ) from error


def _copy_rank(copy: Copy) -> tuple[bool, int]:
    return copy.role is not Role.PRIMARY, _TIER_RANK[copy.tier.value]


def segment_of(row: Any) -> Segment:
    """Return the segment in a row of the catalog."""
    return Segment(
        segment_id=row.segment_id,
        table_id=row.table_id,
        schema_id=row.schema_id,
        partition=Partition(from_days(row.trade_date), row.asset_class),
        stats=SegmentStats(
            rows=row.rows,
            min_ns=row.min_ns,
            max_ns=row.max_ns,
            symbols=None if row.symbols is None else tuple(json.loads(row.symbols)),
            min_symbol=row.min_symbol,
            max_symbol=row.max_symbol,
            has_null_symbol=row.has_null_symbol,
        ),
        added_version=row.added_version,
        removed_version=row.removed_version,
    )


def copy_of(row: Any) -> Copy:
    """Return the copy in a row of the catalog."""
    return Copy(
        copy_id=row.copy_id,
        segment_id=row.segment_id,
        tier=Tier(row.tier),
        store=row.store,
        location=row.location,
        codec=row.codec,
        size_bytes=row.size_bytes,
        checksum=row.checksum,
        seq_base=row.seq_base,
        role=Role(row.role),
        created_ns=row.created_ns,
        sharers=row.sharers,
        file_bytes=row.file_bytes,
        pin_id=row.pin_id,
        subset=None if row.subset is None else _subset(json.loads(row.subset)),
    )


def _subset(kept: dict[str, Any]) -> Subset:
    return Subset(tuple(kept["symbols"]), kept["rows"])
