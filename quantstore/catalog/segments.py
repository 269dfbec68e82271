"""Segments of one version of a table, found by the catalog's statistics without looking at every one of them.

Spans of time are found as in the relational interval tree of Kriegel, Poetke and Seidl (VLDB 2000), in a form that any
B-tree serves: segments are classed by the length of their span, and within a class of spans shorter than `16 ** k`
nanoseconds those that reach into a window begin less than `16 ** k` before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, text

from quantstore.catalog import schema
from quantstore.catalog.snapshots import from_days, to_days
from quantstore.core.segment import Copy, Partition, PlacedSegment, Role, Segment, SegmentStats
from quantstore.core.tier import Tier
from quantstore.core.timerange import MAX_NS, MIN_NS, TimeRange

_TIER_RANK = {tier.value: rank for rank, tier in enumerate(Tier)}
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
    return _placed(connection, and_(*_visible(version), *_conditions(wanted), _reached(table_id, wanted)))


def count_segments(
    connection: Connection, table_id: int, version: int | None, wanted: SegmentFilter = EVERYTHING
) -> int:
    """Return how many segments of `version` (None: the newest) pass `wanted`."""
    query = select(func.count()).select_from(schema.segments)
    if version is not None:
        query = query.where(*_visible(version))
    else:
        query = query.where(_s.removed_version.is_(None), _s.retired_generation.is_(None))
    return connection.execute(query.where(*_conditions(wanted), _reached(table_id, wanted))).scalar_one()


def every_segment(connection: Connection, table_id: int | None = None) -> list[PlacedSegment]:
    """Return every segment that any version reaches, of one table or of all."""
    stands = _s.retired_generation.is_(None)
    return _placed(connection, stands if table_id is None else and_(stands, _s.table_id == table_id))


def span_class(min_ns: int, max_ns: int) -> int:
    """Return the class of a segment's span: the smallest `k` for which it is shorter than `16 ** k` nanoseconds."""
    return -(-(max_ns - min_ns).bit_length() // 4)


def _visible(version: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a segment belongs to `version` of its table."""
    return (
        _s.retired_generation.is_(None),
        _s.added_version <= version,
        or_(_s.removed_version.is_(None), _s.removed_version > version),
    )


def _reached(table_id: int, wanted: SegmentFilter) -> ColumnElement[bool]:
    """Return the condition that a segment is one of a table, through the index that leaves the fewest to look at.

    Other conditions must not name the table, or a database may choose an index that leaves more.
    """
    time = wanted.time
    has_days = wanted.days is not None or wanted.first_day is not None or wanted.last_day is not None
    if time.start_ns is not None and time.end_ns is not None:
        found: Any = _by_span(time)
    elif has_days:
        found = select(_s.segment_id).where(_s.table_id == table_id, *_day_conditions(wanted))
        return _s.segment_id.in_(found)
    elif not time.is_everything:
        found = _by_span(time)
    elif wanted.symbols and len(wanted.symbols) <= _MAX_LISTED:
        found = _by_symbol(wanted.symbols)
    else:
        return _s.table_id == table_id
    return _s.segment_id.in_(found.bindparams(table_id=table_id))


_BY_SPAN = text(
    " UNION ALL ".join(
        f"SELECT segment_id FROM segments WHERE table_id = :table_id AND span_class = {number} "
        f"AND min_ns > :after_{number} AND min_ns <= :last AND max_ns >= :start"
        for number in range(schema.SPAN_CLASSES)
    )
)
_BY_SYMBOL = (
    "SELECT segment_id FROM segments WHERE table_id = :table_id AND min_symbol = max_symbol AND min_symbol IN ({}) "
    "UNION ALL SELECT segment_id FROM segments WHERE table_id = :table_id AND min_symbol <> max_symbol "
    "AND min_symbol <= :last_symbol AND max_symbol >= :first_symbol "
    "UNION ALL SELECT segment_id FROM segments WHERE table_id = :table_id AND min_symbol IS NULL"
)


def _by_span(wanted: TimeRange) -> Any:
    start = MIN_NS if wanted.start_ns is None else wanted.start_ns
    last = MAX_NS if wanted.end_ns is None else wanted.end_ns - 1
    after = {f"after_{number}": max(start - 16**number, MIN_NS - 1) for number in range(schema.SPAN_CLASSES)}
    return _BY_SPAN.bindparams(start=start, last=last, **after)


def _by_symbol(symbols: tuple[str, ...]) -> Any:
    listed = {f"symbol_{number}": symbol for number, symbol in enumerate(symbols)}
    query = _BY_SYMBOL.format(", ".join(f":{name}" for name in listed))
    return text(query).bindparams(first_symbol=min(symbols), last_symbol=max(symbols), **listed)


def _conditions(wanted: SegmentFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = _day_conditions(wanted)
    if wanted.time.start_ns is not None:
        conditions.append(_s.max_ns >= wanted.time.start_ns)
    if wanted.time.end_ns is not None:
        conditions.append(_s.min_ns < wanted.time.end_ns)
    if wanted.asset_classes is not None and len(wanted.asset_classes) <= _MAX_LISTED:
        conditions.append(_s.asset_class.in_(wanted.asset_classes))
    if wanted.symbols is not None:
        low, high = min(wanted.symbols, default=""), max(wanted.symbols, default="")
        conditions.append(or_(_s.min_symbol.is_(None), and_(_s.max_symbol >= low, _s.min_symbol <= high)))
    return conditions


def _day_conditions(wanted: SegmentFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.first_day is not None:
        conditions.append(_s.trade_date >= to_days(wanted.first_day))
    if wanted.last_day is not None:
        conditions.append(_s.trade_date <= to_days(wanted.last_day))
    if wanted.days is not None:
        listed = [to_days(day) for day in wanted.days]
        if len(listed) <= _MAX_LISTED:
            conditions.append(_s.trade_date.in_(listed))
        else:
            conditions.append(_s.trade_date.between(min(listed), max(listed)))
    return conditions


def _placed(connection: Connection, condition: ColumnElement[bool]) -> list[PlacedSegment]:
    rows = connection.execute(
        select(schema.segments, schema.copies)
        .join(schema.copies, _c.segment_id == _s.segment_id)
        .where(condition, _c.condemned_generation.is_(None))
        .order_by(_s.min_ns, _s.segment_id)
    ).all()
    return [
        PlacedSegment(_segment(group[0]), tuple(sorted(map(_copy, group), key=_copy_rank)))
        for group in (list(some) for _, some in groupby(rows, key=lambda row: row.segment_id))
    ]


def _copy_rank(copy: Copy) -> tuple[bool, int]:
    return copy.role is not Role.PRIMARY, _TIER_RANK[copy.tier.value]


def _segment(row: Any) -> Segment:
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


def _copy(row: Any) -> Copy:
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
    )
