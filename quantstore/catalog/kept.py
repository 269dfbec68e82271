"""Which versions can still be read: those from the oldest kept one on, and older ones that something keeps.

A tag or an open reader keeps a version of every table, a hold all versions of one table from the one on that was the
oldest kept when the hold was made. Nothing can begin to keep a version that has expired.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, or_, select, union_all

from quantstore.catalog import schema
from quantstore.errors import NotFoundError

EXPIRED = "oldest"
"""In the context of an error that says that a version has expired: the oldest that has not."""
ENDED = 0
"""When a hold or pin ended that must not come to life again where the clock is set back."""
_OLDEST = select(schema.settings.c.value).where(schema.settings.c.name == "oldest_version")
_h, _t, _r = schema.holds.c, schema.tags.c, schema.readers.c


def oldest_version(connection: Connection) -> int:
    """Return the version from which on all are kept."""
    return int(connection.execute(_OLDEST).scalar_one())


def kept_apart(connection: Connection) -> list[int]:
    """Return the versions, sorted, that are kept by tags and open readers, however old they are."""
    return sorted({row.version for row in connection.execute(union_all(select(_t.version), select(_r.version)))})


def is_kept(connection: Connection, version: int) -> bool:
    """Whether all tables can be read at a version."""
    if version >= oldest_version(connection):
        return True
    keepers = union_all(
        select(_t.version).where(_t.version == version), select(_r.version).where(_r.version == version)
    )
    return connection.execute(keepers).first() is not None


def is_active(now: int) -> ColumnElement[bool]:
    """Return the condition that a hold still holds."""
    return or_(_h.until_ns.is_(None), _h.until_ns > now)


def readable_tables(connection: Connection, version: int, now: int) -> frozenset[int] | None:
    """Return the tables that can be read at a version; None for all of them.

    Raises:
        NotFoundError: The version has expired, of every table.
    """
    if is_kept(connection, version):
        return None
    query = select(_h.table_id).where(is_active(now), _h.oldest_version <= version)
    held = frozenset(row.table_id for row in connection.execute(query))
    if not held:
        raise expired(connection, version)
    return held


def oldest_of(connection: Connection, table_id: int, now: int) -> int:
    """Return the version from which on all of one table are kept."""
    query = select(_h.oldest_version).where(is_active(now), _h.table_id == table_id)
    return min([oldest_version(connection), *(int(row.oldest_version) for row in connection.execute(query))])


def expired(connection: Connection, version: int) -> NotFoundError:
    """Return the error for a version that can no longer be read, with the ones that can."""
    oldest = oldest_version(connection)
    query = select(_t.name).where(_t.version < oldest).order_by(_t.version.desc()).limit(3)
    tags = [repr(row.name) for row in connection.execute(query)]
    besides = f" Tags keep older ones, such as {', '.join(tags)}." if tags else ""
    message = f"Version {version} has expired; the oldest kept one is {oldest}.{besides}"
    return NotFoundError(message, version=version, **{EXPIRED: oldest})
