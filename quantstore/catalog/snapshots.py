"""Questions about one consistent view of the catalog."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from quantstore.catalog import schema
from quantstore.catalog.records import Change, Snapshot, TableRecord
from quantstore.core.segment import Copy, Partition, PlacedSegment, Role, Segment, SegmentStats
from quantstore.core.table import Grain, TableSchema, TableSpec
from quantstore.core.tier import Tier
from quantstore.core.timerange import TimeRange

EPOCH = date(1970, 1, 1)
_TIER_RANK = {tier.value: rank for rank, tier in enumerate(Tier)}
_MAX_LISTED = 500  # databases bound the number of values in a statement
_s, _c = schema.segments.c, schema.copies.c


def to_days(day: date) -> int:
    """Return days since 1970-01-01."""
    return (day - EPOCH).days


def from_days(days: int) -> date:
    """Return the date that many days after 1970-01-01."""
    return EPOCH + timedelta(days=days)


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


def current(connection: Connection) -> Snapshot:
    """Return the newest version and placement generation."""
    version = connection.execute(select(func.max(schema.versions.c.version))).scalar() or 0
    return Snapshot(version, generation(connection))


def generation(connection: Connection) -> int:
    """Return the placement generation."""
    wanted = schema.settings.c.name == "placement_generation"
    return int(connection.execute(select(schema.settings.c.value).where(wanted)).scalar_one())


def version_at(connection: Connection, instant_ns: int) -> int:
    """Return the newest version committed at or before `instant_ns`; 0 where there is none."""
    v = schema.versions.c
    return connection.execute(select(func.max(v.version)).where(v.committed_ns <= instant_ns)).scalar() or 0


def table_names(connection: Connection, version: int) -> list[str]:
    """Return the names of all tables that existed at `version`, sorted."""
    t = schema.tables.c
    rows = connection.execute(select(t.name).where(t.created_version <= version).order_by(t.name_key))
    return [row.name for row in rows]


def find_table(connection: Connection, name: str, version: int | None = None) -> TableRecord | None:
    """Return the table called `name` in any case, with its schema at `version` (default: newest), or None."""
    t = schema.tables.c
    row = connection.execute(select(schema.tables).where(t.name_key == name.casefold())).one_or_none()
    if row is None or (version is not None and row.created_version > version):
        return None
    found = _newest_schema(connection, row.table_id, version)
    return TableRecord(
        table_id=row.table_id,
        spec=TableSpec(
            name=row.name,
            time=row.time,
            symbol=row.symbol,
            key=tuple(json.loads(row.key)),
            calendar=row.calendar,
            grain=Grain(row.grain),
            asset_class=row.asset_class,
        ),
        schema_id=found[0] if found else None,
        schema=found[1] if found else None,
        created_version=row.created_version,
        changed_version=row.changed_version,
        is_written=row.is_written,
    )


def _newest_schema(connection: Connection, table_id: int, version: int | None) -> tuple[int, TableSchema] | None:
    s = schema.schemas.c
    query = select(schema.schemas).where(s.table_id == table_id).order_by(s.added_version.desc()).limit(1)
    if version is not None:
        query = query.where(s.added_version <= version)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    columns = tuple((name, kind) for name, kind in json.loads(row.columns))
    return row.schema_id, TableSchema(row.arrow, columns, tuple(json.loads(row.hidden)), json.loads(row.frame))


def visible(table_id: int, version: int) -> ColumnElement[bool]:
    """Return the condition that a segment belongs to `version` of a table."""
    return and_(
        _s.table_id == table_id,
        _s.retired_generation.is_(None),
        _s.added_version <= version,
        or_(_s.removed_version.is_(None), _s.removed_version > version),
    )


def find_segments(
    connection: Connection, table_id: int, version: int, wanted: SegmentFilter = EVERYTHING
) -> list[PlacedSegment]:
    """Return the segments of `version` that pass `wanted`, oldest event time first, with their live copies."""
    return _placed(connection, and_(visible(table_id, version), *_conditions(wanted)))


def every_segment(connection: Connection, table_id: int | None = None) -> list[PlacedSegment]:
    """Return every segment that any version reaches, of one table or of all."""
    stands = _s.retired_generation.is_(None)
    return _placed(connection, stands if table_id is None else and_(stands, _s.table_id == table_id))


def _conditions(wanted: SegmentFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.time.start_ns is not None:
        conditions.append(_s.max_ns >= wanted.time.start_ns)
    if wanted.time.end_ns is not None:
        conditions.append(_s.min_ns < wanted.time.end_ns)
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
    if wanted.asset_classes is not None and len(wanted.asset_classes) <= _MAX_LISTED:
        conditions.append(_s.asset_class.in_(wanted.asset_classes))
    if wanted.symbols is not None:
        low, high = min(wanted.symbols, default=""), max(wanted.symbols, default="")
        conditions.append(or_(_s.min_symbol.is_(None), and_(_s.max_symbol >= low, _s.min_symbol <= high)))
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
    )


def table_changes(connection: Connection, table_id: int | None = None) -> list[Change]:
    """Return what each version did, newest first, for one table or all."""
    v, ch, t = schema.versions.c, schema.changes, schema.tables.c
    query = (
        select(ch, v.committed_ns, v.author, t.name)
        .join(schema.versions, v.version == ch.c.version)
        .join(schema.tables, t.table_id == ch.c.table_id)
        .order_by(v.version.desc())
    )
    if table_id is not None:
        query = query.where(ch.c.table_id == table_id)
    return [
        Change(
            version=row.version,
            table=row.name,
            operation=row.operation,
            tier=row.tier,
            committed_ns=row.committed_ns,
            author=row.author,
            rows=row.rows,
            deleted=row.deleted,
            segments=row.segments,
            write_id=row.write_id,
            content=row.content,
            lineage=json.loads(row.lineage),
        )
        for row in connection.execute(query)
    ]
