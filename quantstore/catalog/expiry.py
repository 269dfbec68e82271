"""Expiry: give up the versions that nothing keeps, and the segments that only they reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, func, or_, select, update

from quantstore.catalog import kept, schema, snapshots
from quantstore.catalog.database import Database
from quantstore.catalog.garbage import drop_dead_readers
from quantstore.catalog.inserts import next_generation
from quantstore.core.clock import Clock
from quantstore.core.failpoints import reach
from quantstore.core.render import counted, human_bytes

_MANY = 500
_s, _c = schema.segments.c, schema.copies.c
_h, _t, _r, _n, _p = schema.holds.c, schema.tags.c, schema.readers.c, schema.table_names.c, schema.pins.c


@dataclass(frozen=True, slots=True)
class Expired:
    """What an expiry gave up, or would.

    Attributes:
        oldest_version: The version from which on all are kept.
        versions: Versions that could be read before and cannot now.
        kept: Older versions that stay because of a tag or an open reader.
        segments: Segments given up.
        size_bytes: Bytes of their files that nothing else reaches; a sweep frees them.
    """

    oldest_version: int
    versions: int
    kept: tuple[int, ...]
    segments: int
    size_bytes: int

    def __repr__(self) -> str:
        """Return one line."""
        apart = f" {', '.join(map(str, self.kept))} and" if self.kept else ""
        return (
            f"{counted(self.versions, 'version')} given up, with {counted(self.segments, 'segment')} of "
            f"{human_bytes(self.size_bytes)} for a sweep to free;{apart} all from {self.oldest_version} on are kept"
        )


class Expiry:
    """Expires versions, in one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def expire(self, before: int) -> Expired:
        """Give up what is older than version `before` and that nothing keeps."""
        with self._database.write() as connection:
            reach("expire.begun")
            now = self._clock.now_ns()
            drop_dead_readers(connection, now)
            _end_overdue(connection, now)
            found, dead = _find(connection, before, now)
            wanted = schema.settings.c.name == "oldest_version"
            connection.execute(update(schema.settings).where(wanted).values(value=str(found.oldest_version)))
            if found.segments:
                step = next_generation(connection)
                for condition in _unreachable(dead):
                    given_up = update(schema.segments).where(condition).values(retired_generation=step)
                    connection.execute(given_up, {"oldest": found.oldest_version, "now": now})
                retired = select(_s.segment_id).where(_s.retired_generation == step)
                connection.execute(
                    update(schema.copies)
                    .where(_c.segment_id.in_(retired), _c.condemned_generation.is_(None))
                    .values(condemned_generation=step, condemned_ns=now)
                )
            reach("expire.filled")
        reach("expire.committed")
        return found

    def preview(self, before: int) -> Expired:
        """Return what `expire` would give up; readers that are dead still count."""
        with self._database.read() as connection:
            return _find(connection, before, self._clock.now_ns())[0]

    def oldest(self) -> int:
        """Return the version from which on all are kept."""
        with self._database.read() as connection:
            return kept.oldest_version(connection)


def _end_overdue(connection: Connection, now: int) -> None:
    """End holds and pins whose time is over for good: what they kept may be given up now, and a clock may be set back.

    Else they would seem to keep versions again of which rows are gone.
    """
    for table in (schema.holds, schema.pins):
        overdue = (table.c.until_ns > kept.ENDED) & (table.c.until_ns <= now)
        connection.execute(update(table).where(overdue).values(until_ns=kept.ENDED))


def is_reachable(connection: Connection, table_id: int, oldest: int, now: int) -> bool:
    """Whether a table has a name at a version that is kept, or a hold or pin on it."""
    return table_id not in _dead_tables(connection, oldest, now, (table_id,))


def _find(connection: Connection, before: int, now: int) -> tuple[Expired, list[int]]:
    """Return what would be given up, and the tables that nothing reaches."""
    was = kept.oldest_version(connection)
    oldest = max(was, min(before, snapshots.current(connection).version))
    apart = [version for version in kept.kept_apart(connection) if version < oldest]
    dead = _dead_tables(connection, oldest, now)
    segments = size = 0
    for condition in _unreachable(dead):
        query = select(_s.segment_id).where(condition)
        values = {"oldest": oldest, "now": now}
        ids = [row.segment_id for row in connection.execute(query, values)]
        segments += len(ids)
        size += _bytes_of(connection, ids)
    gone = oldest - was - sum(was <= version < oldest for version in apart)
    return Expired(oldest, gone, tuple(apart), segments, size), dead


def _unreachable(dead: Sequence[int]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions, of which no two hold of one segment, that no kept version reaches a segment."""
    oldest: ColumnElement[int] = bindparam("oldest")
    now: ColumnElement[int] = bindparam("now")
    active = or_(_h.until_ns.is_(None), _h.until_ns > now)
    for start in range(0, len(dead), _MANY):
        yield and_(_s.retired_generation.is_(None), _s.table_id.in_(dead[start : start + _MANY]))
    alive = [_s.table_id.not_in(dead)] if dead else []
    yield and_(
        *alive,
        _s.retired_generation.is_(None),
        _s.removed_version.is_not(None),
        _s.removed_version <= oldest,
        ~exists().where(_t.version >= _s.added_version, _t.version < _s.removed_version),
        ~exists().where(_r.version >= _s.added_version, _r.version < _s.removed_version),
        ~exists().where(_h.table_id == _s.table_id, active, _h.oldest_version < _s.removed_version),
    )


def _dead_tables(connection: Connection, oldest: int, now: int, among: Sequence[int] | None = None) -> list[int]:
    """Return the tables that have segments, no name at any kept version, and neither hold nor pin."""
    query = select(_n.table_id, _n.from_version, _n.to_version)
    named = select(_n.table_id).where(_n.to_version.is_(None))
    query = query.where(_n.table_id.not_in(named)) if among is None else query.where(_n.table_id.in_(list(among)))
    apart = kept.kept_apart(connection)
    alive: dict[int, bool] = {}
    for row in connection.execute(query):
        end = row.to_version
        reached = end is None or end > oldest or any(row.from_version <= version < end for version in apart)
        alive[row.table_id] = alive.get(row.table_id, False) or reached
    if not alive:
        return []
    holding = select(_h.table_id).where(kept.is_active(now))
    pinning = select(_p.table_id).where(or_(_p.until_ns.is_(None), _p.until_ns > now))
    guarded = {row.table_id for row in connection.execute(holding.union(pinning))}
    dead = {table_id for table_id, reached in alive.items() if not reached and table_id not in guarded}
    if among is not None:
        return sorted(dead)
    filled = select(_s.table_id).where(_s.retired_generation.is_(None)).distinct()
    return sorted(row.table_id for row in connection.execute(filled) if row.table_id in dead)


def _bytes_of(connection: Connection, segment_ids: list[int]) -> int:
    """Return the bytes of the segments' copies, those in files that other segments reach left out."""
    given_up = set(segment_ids)
    found: dict[tuple[str, str], tuple[int, bool]] = {}
    for start in range(0, len(segment_ids), _MANY):
        some = segment_ids[start : start + _MANY]
        own = select(_c.store, _c.location).where(_c.segment_id.in_(some), _c.condemned_generation.is_(None))
        places = own.distinct().subquery()
        sharing = (
            select(_c.store, _c.location, _c.segment_id, func.coalesce(_c.file_bytes, _c.size_bytes).label("bytes"))
            .join(places, and_(_c.store == places.c.store, _c.location == places.c.location))
            .where(_c.condemned_generation.is_(None))
        )
        for row in connection.execute(sharing):
            size, is_free = found.get((row.store, row.location), (row.bytes, True))
            found[row.store, row.location] = size, is_free and row.segment_id in given_up
    return sum(size for size, is_free in found.values() if is_free)
