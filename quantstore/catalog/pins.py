"""Pins: which rows of a table are to have shadow copies in a tier, until when, and the shadows they keep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import Connection, delete, or_, select, update

from quantstore.catalog import schema, snapshots
from quantstore.catalog.attempts import commit_attempt, require_open
from quantstore.catalog.database import Database
from quantstore.catalog.inserts import condemn_all, insert_copy, new_key, next_generation
from quantstore.catalog.records import Attempt
from quantstore.catalog.segments import SegmentFilter, find_segments
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.process import author
from quantstore.core.segment import NewCopy, PlacedSegment, Role
from quantstore.core.tier import Tier
from quantstore.core.timerange import TimeRange

_p, _c, _s = schema.pins.c, schema.copies.c, schema.segments.c


@dataclass(frozen=True, slots=True)
class NewPin:
    """A pin to be made.

    Attributes:
        table_id: The table.
        tier: Where the shadows are.
        wanted: Which segments, and of which symbols.
        where: The condition as it was given, or None.
        until_ns: When it ends; None for never.
    """

    table_id: int
    tier: Tier
    wanted: SegmentFilter
    where: str | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class PinRecord:
    """A pin as the catalog knows it.

    Attributes:
        pin_id: Its number.
        pin: What it asks for.
        created_ns: When it was made.
        author: Who made it.
        segments: Shadows it keeps.
        rows: Rows of these.
        size_bytes: Bytes of these.
    """

    pin_id: int
    pin: NewPin
    created_ns: int
    author: str
    segments: int
    rows: int
    size_bytes: int

    def has_ended(self, now_ns: int) -> bool:
        """Whether its time is over."""
        return self.pin.until_ns is not None and self.pin.until_ns <= now_ns


class Pins:
    """Makes, lists and releases pins."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def all(self, table_id: int | None = None) -> list[PinRecord]:
        """Return the pins of a table, or all, oldest first."""
        with self._database.read() as connection:
            return _records(connection, None if table_id is None else _p.table_id == table_id)

    def get(self, pin_id: int) -> PinRecord | None:
        """Return a pin; None where it was released."""
        with self._database.read() as connection:
            found = _records(connection, _p.pin_id == pin_id)
        return found[0] if found else None

    def add(
        self, attempt: Attempt | None, pin: NewPin | int, copies: Sequence[tuple[PlacedSegment, NewCopy]]
    ) -> tuple[int, int]:
        """Make shadows exist, and the pin where it is new, in one transaction; return its number and how many they are.

        Segments that are no longer live by now are passed over; their copies are left to a sweep.

        Raises:
            ConflictError: The attempt was ended by a sweep.
        """
        with self._database.write() as connection:
            reach("pin.commit.begun")
            now = self._clock.now_ns()
            if attempt is not None:
                require_open(connection, attempt)
            pin_id = pin if isinstance(pin, int) else self._insert(connection, pin, now)
            stands = connection.execute(select(_p.pin_id).where(_p.pin_id == pin_id)).one_or_none() is not None
            made = _insert_shadows(connection, pin_id, copies, now) if stands else 0
            if attempt is not None:
                commit_attempt(connection, attempt, now)
            reach("pin.commit.filled")
        reach("pin.committed")
        return pin_id, made

    def release(self, pin_ids: Iterable[int]) -> int:
        """End pins; their shadows go to other pins that want them, or are given up. Return how many were given up."""
        ids = list(pin_ids)
        with self._database.write() as connection:
            reach("pin.release.begun")
            connection.execute(delete(schema.pins).where(_p.pin_id.in_(ids)))
            shadows = _shadows(connection, _c.pin_id.in_(ids))
            left = [row.copy_id for row in shadows if not _hand_over(connection, row)]
            self._condemn(connection, left)
        reach("pin.released")
        return len(left)

    def tidy(self, broken: Iterable[int] = ()) -> int:
        """Give up shadows of segments that are no longer live, those without a pin, those named; return how many."""
        named = set(broken)
        with self._database.write() as connection:
            gone = [row.copy_id for row in _shadows(connection) if row.copy_id in named or _is_over(connection, row)]
            self._condemn(connection, gone)
        return len(gone)

    def _condemn(self, connection: Connection, copy_ids: Sequence[int]) -> None:
        if copy_ids:
            condemn_all(connection, copy_ids, next_generation(connection), self._clock.now_ns())

    def _insert(self, connection: Connection, pin: NewPin, now: int) -> int:
        values = {
            "table_id": pin.table_id,
            "tier": pin.tier.value,
            "wanted": json.dumps({"where": pin.where, **_plain(pin.wanted)}),
            "until_ns": pin.until_ns,
            "created_ns": now,
            "author": author(),
        }
        return new_key(connection.execute(schema.pins.insert(), values))


def pins_for(connection: Connection, table_id: int, tier: Tier, now: int) -> list[tuple[int, frozenset[int]]]:
    """Return the pins of a table in a tier whose time is not over, each with the live segments it wants."""
    mine = (_p.table_id == table_id) & (_p.tier == tier.value) & or_(_p.until_ns.is_(None), _p.until_ns > now)
    rows = connection.execute(select(schema.pins).where(mine).order_by(_p.pin_id)).all()
    if not rows:
        return []
    version = snapshots.current(connection).version
    found = []
    for row in rows:
        placed = find_segments(connection, table_id, version, _filter(json.loads(row.wanted)))
        found.append((row.pin_id, frozenset(one.segment.segment_id for one in placed)))
    return found


def keep_as_shadow(connection: Connection, copy_id: int, pin_id: int) -> None:
    """Let a copy that was a segment's primary go on as its shadow."""
    wanted = _c.copy_id == copy_id
    connection.execute(update(schema.copies).where(wanted).values(role=Role.SHADOW.value, pin_id=pin_id))


def live_copies(connection: Connection, segment_id: int) -> list[int]:
    """Return every copy of a segment that is not given up."""
    query = select(_c.copy_id).where(_c.segment_id == segment_id, _c.condemned_generation.is_(None))
    return list(connection.execute(query).scalars())


def _insert_shadows(
    connection: Connection, pin_id: int, copies: Sequence[tuple[PlacedSegment, NewCopy]], now: int
) -> int:
    made = 0
    if copies:
        next_generation(connection)
    for placed, copy in copies:
        segment_id = placed.segment.segment_id
        stands = (_s.segment_id == segment_id) & _s.retired_generation.is_(None) & _s.removed_version.is_(None)
        if connection.execute(select(_s.segment_id).where(stands)).one_or_none() is not None:
            insert_copy(connection, segment_id, _of_pin(copy, pin_id), 0, now)
            made += 1
    return made


def _of_pin(copy: NewCopy, pin_id: int) -> NewCopy:
    return replace(copy, role=Role.SHADOW, pin_id=pin_id)


def _shadows(connection: Connection, *conditions: Any) -> Sequence[Any]:
    """Return shadows that are not given up, with what is to be known of their segments."""
    query = (
        select(schema.copies, _s.table_id, _s.removed_version, _s.retired_generation)
        .join(schema.segments, _s.segment_id == _c.segment_id)
        .where(_c.pin_id.is_not(None), _c.role == Role.SHADOW.value, _c.condemned_generation.is_(None), *conditions)
    )
    return connection.execute(query).all()


def _is_over(connection: Connection, shadow: Any) -> bool:
    if shadow.removed_version is not None or shadow.retired_generation is not None:
        return True
    return connection.execute(select(_p.pin_id).where(_p.pin_id == shadow.pin_id)).one_or_none() is None


def _hand_over(connection: Connection, shadow: Any) -> bool:
    """Give a shadow whose pin is gone to another pin of its tier that wants no more; False where there is none."""
    if shadow.removed_version is not None or shadow.retired_generation is not None:
        return False
    others = select(schema.pins).where(_p.table_id == shadow.table_id, _p.tier == shadow.tier).order_by(_p.pin_id)
    version = snapshots.current(connection).version
    for row in connection.execute(others).all():
        wanted = _filter(json.loads(row.wanted))
        held = None if shadow.subset is None else set(json.loads(shadow.subset)["symbols"])
        if held is not None and (wanted.symbols is None or not held.issuperset(wanted.symbols)):
            continue
        placed = find_segments(connection, shadow.table_id, version, wanted)
        mine = [one for one in placed if one.segment.segment_id == shadow.segment_id]
        if mine and not any(copy.pin_id == row.pin_id for copy in mine[0].copies):
            wanted_copy = _c.copy_id == shadow.copy_id
            connection.execute(update(schema.copies).where(wanted_copy).values(pin_id=row.pin_id))
            return True
    return False


def _records(connection: Connection, condition: Any) -> list[PinRecord]:
    query = select(schema.pins).order_by(_p.pin_id)
    rows = connection.execute(query if condition is None else query.where(condition)).all()
    kept: dict[int, list[Any]] = {}
    if rows:
        mine = select(_c.pin_id, _c.size_bytes, _c.subset, _s.rows)
        shadows = mine.join(schema.segments, _s.segment_id == _c.segment_id).where(
            _c.pin_id.is_not(None), _c.role == Role.SHADOW.value, _c.condemned_generation.is_(None)
        )
        for shadow in connection.execute(shadows):
            kept.setdefault(shadow.pin_id, []).append(shadow)
    return [_record(row, kept.get(row.pin_id, [])) for row in rows]


def _record(row: Any, shadows: Sequence[Any]) -> PinRecord:
    kept = json.loads(row.wanted)
    pin = NewPin(row.table_id, Tier(row.tier), _filter(kept), kept["where"], row.until_ns)
    rows = sum(one.rows if one.subset is None else json.loads(one.subset)["rows"] for one in shadows)
    size = sum(one.size_bytes for one in shadows)
    return PinRecord(row.pin_id, pin, row.created_ns, row.author, len(shadows), rows, size)


def _plain(wanted: SegmentFilter) -> dict[str, Any]:
    """Return a filter as values that JSON keeps."""
    return {
        "start_ns": wanted.time.start_ns,
        "end_ns": wanted.time.end_ns,
        "first_day": wanted.first_day and wanted.first_day.isoformat(),
        "last_day": wanted.last_day and wanted.last_day.isoformat(),
        "days": wanted.days and [day.isoformat() for day in wanted.days],
        "asset_classes": wanted.asset_classes,
        "symbols": wanted.symbols,
    }


def _filter(kept: dict[str, Any]) -> SegmentFilter:
    def day(name: str) -> date | None:
        return None if kept[name] is None else date.fromisoformat(kept[name])

    def several(name: str) -> tuple[Any, ...] | None:
        return None if kept[name] is None else tuple(kept[name])

    listed = several("days")
    return SegmentFilter(
        TimeRange(kept["start_ns"], kept["end_ns"]),
        day("first_day"),
        day("last_day"),
        None if listed is None else tuple(map(date.fromisoformat, listed)),
        several("asset_classes"),
        several("symbols"),
    )
