"""Tags and holds: what keeps old versions from expiring."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from quantstore.catalog import kept, schema, snapshots
from quantstore.catalog.database import Database
from quantstore.catalog.inserts import new_key
from quantstore.core.clock import Clock
from quantstore.core.names import nearest
from quantstore.core.process import author
from quantstore.errors import AccessDeniedError, ConflictError, NotFoundError


@dataclass(frozen=True, slots=True)
class Tag:
    """A name of a version; the version does not expire while it has one.

    Attributes:
        name: The name.
        version: What it names.
        created_ns: When it was given, nanoseconds since the Unix epoch, UTC.
        author: By whom.
    """

    name: str
    version: int
    created_ns: int
    author: str


@dataclass(frozen=True, slots=True)
class HoldRecord:
    """What keeps every version of one table.

    Attributes:
        hold_id: Its number.
        table: The table's name.
        reason: Why it is there.
        oldest_version: The version from which on it keeps the table.
        until_ns: When it ends by itself, or None.
        created_ns: When it was made.
        author: By whom.
    """

    hold_id: int
    table: str
    reason: str
    oldest_version: int
    until_ns: int | None
    created_ns: int
    author: str


class Marks:
    """Makes, lists and takes away tags and holds."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def tag(self, name: str, version: int | None) -> Tag:
        """Name a version (None: the newest); naming it again changes nothing.

        Raises:
            ConflictError: The name is that of another version.
            NotFoundError: There is no such version, or it has expired.
        """
        t = schema.tags
        with self._database.write() as connection:
            newest = snapshots.current(connection).version
            version = newest if version is None else version
            if not 0 <= version <= newest:
                raise no_such_version(version, newest)
            known = find_tag(connection, name)
            if known is not None and known.version != version:
                raise ConflictError(
                    f"Tag {name!r} names version {known.version}; choose another name, or take it away first: "
                    f"store.untag({name!r}).",
                    tag=name,
                    version=known.version,
                )
            if known is not None:
                return known
            if not kept.is_kept(connection, version):
                raise kept.expired(connection, version)
            made = Tag(name, version, self._clock.now_ns(), author())
            values = {"name": name, "version": version, "created_ns": made.created_ns, "author": made.author}
            connection.execute(insert(t), values)
        return made

    def untag(self, name: str) -> Tag:
        """Take a name away and return what it named.

        Raises:
            NotFoundError: There is no such tag.
        """
        with self._database.write() as connection:
            known = find_tag(connection, name)
            if known is None:
                raise unknown_tag(name, [one.name for one in _tags(connection)])
            connection.execute(delete(schema.tags).where(schema.tags.c.name == name))
        return known

    def tags(self) -> list[Tag]:
        """Return all tags, those of the newest versions first."""
        with self._database.read() as connection:
            return _tags(connection)

    def hold(self, table_id: int, reason: str, until_ns: int | None) -> HoldRecord:
        """Keep every version of a table that is kept now, and all that follow.

        Raises:
            NotFoundError: The table has been dropped.
        """
        with self._database.write() as connection:
            now = self._clock.now_ns()
            record = snapshots.table_of(connection, table_id)
            if snapshots.find_table(connection, record.name) is None:
                raise NotFoundError(
                    f"Table {record.name!r} was dropped; bring it back first: store.undrop({record.name!r}).",
                    table=record.name,
                )
            oldest = kept.oldest_of(connection, table_id, now)
            values = {
                "reason": reason,
                "oldest_version": oldest,
                "until_ns": until_ns,
                "created_ns": now,
                "author": author(),
            }
            hold_id = new_key(connection.execute(insert(schema.holds), {"table_id": table_id, **values}))
        return HoldRecord(hold_id, record.name, reason, oldest, until_ns, now, author())

    def release(self, hold_id: int) -> None:
        """End a hold for good, whatever the clock will say; one that has ended stays so."""
        h, now = schema.holds, self._clock.now_ns()
        with self._database.write() as connection:
            connection.execute(update(h).where(h.c.hold_id == hold_id, kept.is_active(now)).values(until_ns=kept.ENDED))

    def holds(self, table_id: int | None = None) -> list[HoldRecord]:
        """Return the holds that hold now, of one table or of all, oldest first."""
        with self._database.read() as connection:
            return _holds(connection, table_id, self._clock.now_ns())


def require_not_held(connection: Connection, table_id: int, now: int) -> None:
    """Check that no hold keeps a table.

    Raises:
        AccessDeniedError: One does.
    """
    held = _holds(connection, table_id, now)
    if held:
        raise AccessDeniedError(
            f"Table {held[0].table!r} is held ({held[0].reason}, by {held[0].author}) and cannot be dropped; nothing "
            "was changed. Release the hold first: table.holds() lists it.",
            table=held[0].table,
            hold=held[0].hold_id,
        )


def find_tag(connection: Connection, name: str) -> Tag | None:
    """Return a tag by its name, or None."""
    row = connection.execute(select(schema.tags).where(schema.tags.c.name == name)).one_or_none()
    return None if row is None else Tag(row.name, row.version, row.created_ns, row.author)


def unknown_tag(name: str, known: list[str]) -> NotFoundError:
    """Return the error for a name that is no tag's, with the nearest that is."""
    near = nearest(name, known, 0.5)
    hint = f" Did you mean {near!r}?" if near else " store.tags() lists the tags."
    return NotFoundError(f"There is no tag {name!r}.{hint}", tag=name, **({"suggestion": near} if near else {}))


def no_such_version(version: int, newest: int) -> NotFoundError:
    """Return the error for a version that has not been."""
    return NotFoundError(f"There is no version {version}; the newest is {newest}.", version=version)


def _tags(connection: Connection) -> list[Tag]:
    t = schema.tags
    rows = connection.execute(select(t).order_by(t.c.version.desc(), t.c.name))
    return [Tag(row.name, row.version, row.created_ns, row.author) for row in rows]


def _holds(connection: Connection, table_id: int | None, now: int) -> list[HoldRecord]:
    h, t = schema.holds, schema.tables
    query = select(h, t.c.name).join(t, t.c.table_id == h.c.table_id).where(kept.is_active(now)).order_by(h.c.hold_id)
    if table_id is not None:
        query = query.where(h.c.table_id == table_id)
    return [
        HoldRecord(row.hold_id, row.name, row.reason, row.oldest_version, row.until_ns, row.created_ns, row.author)
        for row in connection.execute(query)
    ]
