"""What always holds between rows of the catalog, and where it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, func, select, text

from quantstore.catalog import schema
from quantstore.core.segment import SEQ_VERSION_SHIFT, Copy, Role, Segment
from quantstore.core.tier import Tier

if TYPE_CHECKING:
    from quantstore.catalog.inspection import Flaw

_TYPES = {int: "integer", bool: "integer", str: "text"}
_CHECKSUM = re.compile(r"[a-z0-9_]+:[0-9a-f]+")


class _Contradiction(NamedTuple):
    """What must not be found; the query gives table_id, segment_id and a detail of each case."""

    kind: str
    message: str
    query: str


_CONTRADICTIONS = (
    _Contradiction(
        "catalog",
        "segment {segment_id} was added by version {detail}, which is not on record",
        "SELECT s.table_id, s.segment_id, s.added_version AS detail FROM segments s "
        "LEFT JOIN versions v ON v.version = s.added_version WHERE v.version IS NULL AND s.retired_generation IS NULL",
    ),
    _Contradiction(
        "catalog",
        "segment {segment_id} was removed by version {detail}, which is not on record",
        "SELECT s.table_id, s.segment_id, s.removed_version AS detail FROM segments s "
        "LEFT JOIN versions v ON v.version = s.removed_version WHERE v.version IS NULL "
        "AND s.removed_version IS NOT NULL AND s.retired_generation IS NULL",
    ),
    _Contradiction(
        "catalog",
        "segment {segment_id} was removed by version {detail}, before it was added",
        "SELECT table_id, segment_id, removed_version AS detail FROM segments "
        "WHERE removed_version <= added_version AND retired_generation IS NULL",
    ),
    _Contradiction(
        "catalog",
        "segment {segment_id} has columns of table {detail}",
        "SELECT s.table_id, s.segment_id, f.table_id AS detail FROM segments s "
        "JOIN table_schemas f ON f.schema_id = s.schema_id WHERE f.table_id <> s.table_id",
    ),
    _Contradiction(
        "catalog",
        "segment {segment_id} was added by version {detail}, which did nothing to its table",
        "SELECT s.table_id, s.segment_id, s.added_version AS detail FROM segments s LEFT JOIN version_changes c "
        "ON c.table_id = s.table_id AND c.version = s.added_version "
        "WHERE c.version IS NULL AND s.retired_generation IS NULL",
    ),
    _Contradiction(
        "catalog",
        "version {detail} did nothing to any table",
        "SELECT NULL AS table_id, NULL AS segment_id, v.version AS detail FROM versions v "
        "LEFT JOIN version_changes c ON c.version = v.version WHERE c.version IS NULL",
    ),
    _Contradiction(
        "catalog",
        "version {detail} was committed no later than the one before it",
        "SELECT NULL AS table_id, NULL AS segment_id, v.version AS detail FROM versions v "
        "JOIN versions w ON w.version = v.version - 1 WHERE w.committed_ns >= v.committed_ns",
    ),
    _Contradiction(
        "catalog",
        "version {detail} is not on record, and later ones are",
        "SELECT NULL AS table_id, NULL AS segment_id, v.version - 1 AS detail FROM versions v "
        "LEFT JOIN versions w ON w.version = v.version - 1 WHERE v.version > 1 AND w.version IS NULL",
    ),
    _Contradiction(
        "catalog",
        "two of its names hold at the same version ({detail})",
        "SELECT a.table_id, NULL AS segment_id, b.name AS detail FROM table_names a "
        "JOIN table_names b ON b.table_id = a.table_id AND b.name_id > a.name_id "
        "WHERE a.to_version IS NULL OR a.to_version > b.from_version",
    ),
    _Contradiction(
        "catalog",
        "its name {detail} is that of another table at the same version",
        "SELECT a.table_id, NULL AS segment_id, a.name AS detail FROM table_names a "
        "JOIN table_names b ON b.name_key = a.name_key AND b.table_id <> a.table_id "
        "WHERE (a.to_version IS NULL OR a.to_version > b.from_version) "
        "AND (b.to_version IS NULL OR b.to_version > a.from_version)",
    ),
    _Contradiction(
        "catalog",
        "its name is {detail}, and the history of its names says something else",
        "SELECT t.table_id, NULL AS segment_id, t.name AS detail FROM tables t JOIN table_names n "
        "ON n.table_id = t.table_id AND n.to_version IS NULL WHERE n.name <> t.name OR n.name_key <> t.name_key",
    ),
    _Contradiction(
        "catalog",
        "tag {detail} names a version that is not there",
        "SELECT NULL AS table_id, NULL AS segment_id, name AS detail FROM tags "
        "WHERE version < 0 OR version > (SELECT coalesce(max(version), 0) FROM versions)",
    ),
    _Contradiction(
        "catalog",
        "hold {detail} begins at a version that is not there",
        "SELECT table_id, NULL AS segment_id, hold_id AS detail FROM holds "
        "WHERE oldest_version < 0 OR oldest_version > (SELECT coalesce(max(version), 0) FROM versions)",
    ),
    _Contradiction(
        "catalog",
        "the placement generation is smaller than one on record ({detail})",
        "SELECT NULL AS table_id, NULL AS segment_id, max(g) AS detail FROM ("
        "SELECT max(condemned_generation) AS g FROM copies UNION ALL SELECT max(retired_generation) FROM segments) "
        "HAVING max(g) > (SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'placement_generation')",
    ),
    _Contradiction(
        "catalog",
        "the setting {detail} is missing or no number",
        "SELECT NULL AS table_id, NULL AS segment_id, w.name AS detail FROM (SELECT 'placement_generation' AS name "
        "UNION ALL SELECT 'oldest_version') w LEFT JOIN settings s ON s.name = w.name "
        "WHERE s.value IS NULL OR s.value = '' OR s.value GLOB '*[^0-9]*'",
    ),
    _Contradiction(
        "catalog",
        "the store's own number is damaged ({detail})",
        "SELECT NULL AS table_id, NULL AS segment_id, coalesce(max(value), 'gone') AS detail FROM settings "
        "WHERE name = 'store_id' HAVING count(*) <> 1 OR length(max(value)) <> 32 OR max(value) GLOB '*[^0-9a-f]*'",
    ),
    _Contradiction(
        "catalog",
        "it changed last at version {detail}, and the record of changes says something else",
        "SELECT t.table_id, NULL AS segment_id, t.changed_version AS detail FROM tables t WHERE t.changed_version <> "
        "(SELECT max(c.version) FROM version_changes c WHERE c.table_id = t.table_id)",
    ),
    _Contradiction(
        "duplicated",
        "{detail} holds segment {segment_id} and another one of the same partition that is live at the same version",
        "SELECT s.table_id, s.segment_id, c.location AS detail FROM copies c JOIN segments s USING (segment_id) "
        "JOIN copies d ON d.store = c.store AND d.location = c.location AND d.segment_id > c.segment_id "
        "JOIN segments r ON r.segment_id = d.segment_id WHERE c.condemned_generation IS NULL "
        "AND d.condemned_generation IS NULL AND s.retired_generation IS NULL AND r.retired_generation IS NULL "
        "AND (s.table_id <> r.table_id OR (s.trade_date = r.trade_date AND s.asset_class IS r.asset_class "
        "AND (s.removed_version IS NULL OR s.removed_version > r.added_version) "
        "AND (r.removed_version IS NULL OR r.removed_version > s.added_version)))",
    ),
    _Contradiction(
        "derived",
        "copy {detail} of segment {segment_id} is kept by a pin that is gone",
        "SELECT s.table_id, s.segment_id, c.copy_id AS detail FROM copies c JOIN segments s USING (segment_id) "
        "LEFT JOIN pins p ON p.pin_id = c.pin_id WHERE c.condemned_generation IS NULL AND c.pin_id IS NOT NULL "
        "AND c.role = 'shadow' AND p.pin_id IS NULL",
    ),
)

_EVENTS = """
SELECT table_id, version, sum(noted) AS noted, sum(held) AS held FROM (
  SELECT table_id, version, rows - deleted AS noted, 0 AS held FROM version_changes
  UNION ALL SELECT table_id, added_version, 0, rows FROM segments WHERE retired_generation IS NULL
  UNION ALL SELECT table_id, removed_version, 0, -rows FROM segments
    WHERE retired_generation IS NULL AND removed_version IS NOT NULL
) GROUP BY table_id, version ORDER BY table_id, version
"""


def strange_values(connection: Connection) -> Iterator[Flaw]:
    """Yield columns with values of a type that no write puts there: SQLite takes anything anywhere."""
    from quantstore.catalog.inspection import Flaw

    for table in schema.metadata.sorted_tables:
        for column in table.columns:
            wanted = _TYPES.get(column.type.python_type)
            if wanted is None:
                continue
            strange = func.typeof(column).not_in([wanted, "null"])
            count = connection.execute(select(func.count()).select_from(table).where(strange)).scalar_one()
            if count:
                yield Flaw("catalog", f"{table.name}.{column.name} has {count:,} values that are no {wanted}")


def broken(connection: Connection) -> Iterator[Flaw]:
    """Yield every contradiction between rows."""
    from quantstore.catalog.inspection import Flaw

    for kind, message, query in _CONTRADICTIONS:
        for row in connection.execute(text(query)).all():
            told = message.format(segment_id=row.segment_id, detail=row.detail)
            copy_id = row.detail if kind == "derived" else None
            yield Flaw(kind, told, row.table_id, row.segment_id, copy_id)
    yield from _totals(connection)


def _totals(connection: Connection) -> Iterator[Flaw]:
    """Yield tables whose segments do not add up to what its versions added and removed."""
    from quantstore.catalog.inspection import Flaw

    named = set(connection.execute(text("SELECT table_id FROM table_names WHERE to_version IS NULL")).scalars())
    oldest = connection.execute(text("SELECT value FROM settings WHERE name = 'oldest_version'")).scalar()
    first = int(str(oldest)) if str(oldest).isdecimal() else 0
    held: dict[Any, int] = {}
    noted: dict[Any, int] = {}
    told: set[Any] = set()
    newest = {row.table_id: row.version for row in connection.execute(text(_NEWEST))}
    for row in connection.execute(text(_EVENTS)).all():
        table = row.table_id
        held[table] = held.get(table, 0) + row.held
        noted[table] = noted.get(table, 0) + row.noted
        is_kept = row.version >= first or row.version >= newest.get(table, 0)
        if table in named and is_kept and held[table] != noted[table] and table not in told:
            told.add(table)
            what = (
                f"at version {row.version} its segments hold {held[table]:,} rows, and what was written and removed "
                f"up to then makes {noted[table]:,}"
            )
            yield Flaw("catalog", what, table)


_NEWEST = "SELECT table_id, max(version) AS version FROM version_changes GROUP BY table_id"


def flaws_of_segment(segment: Segment, copies: Sequence[Copy], store_names: dict[Tier, str]) -> Iterator[Flaw]:
    """Yield what is wrong with a segment and its live copies as the catalog has them."""
    from quantstore.catalog.inspection import Flaw

    number, stats = segment.segment_id, segment.stats

    def flaw(kind: str, what: str, copy: Copy | None = None, *mend: tuple[str, str, int, str, Any]) -> Flaw:
        return Flaw(kind, what, segment.table_id, number, copy.copy_id if copy else None, mend)

    primaries = [copy for copy in copies if copy.role is Role.PRIMARY]
    if len(primaries) > 1:
        spare = primaries[1:]
        places = " and ".join(f"{copy.tier.value}/{copy.location}" for copy in primaries)
        yield flaw("duplicated", f"segment {number} has {len(primaries)} primary copies: {places}", spare[0])
    if not primaries:
        whole = next((copy for copy in copies if copy.subset is None), None)
        mend = (("copies", "copy_id", whole.copy_id, "role", Role.PRIMARY.value),) if whole is not None else ()
        what = f"segment {number} has no primary copy" + (f", but {len(copies)} others" if copies else "")
        yield flaw("missing", what, whole, *mend)
    numbers = (stats.rows, stats.min_ns, stats.max_ns, segment.added_version)
    if not all(isinstance(one, int) for one in numbers) or stats.rows < 1 or stats.min_ns > stats.max_ns:
        yield flaw("misregistered", f"the statistics of segment {number} make no sense: {stats}")
    for copy in copies:
        yield from _flaws_of_copy(segment, copy, store_names, flaw)


def _flaws_of_copy(segment: Segment, copy: Copy, store_names: dict[Tier, str], flaw: Any) -> Iterator[Flaw]:
    where = f"copy {copy.copy_id} of segment {segment.segment_id}"
    wanted = store_names.get(copy.tier)
    if copy.store != wanted:
        mend = (("copies", "copy_id", copy.copy_id, "store", wanted),) if wanted is not None else ()
        what = f"{where} is in store {copy.store!r}, where tier {copy.tier.value} has {wanted!r}"
        yield flaw("misregistered", what, copy, *mend)
    if not isinstance(copy.checksum, str) or not _CHECKSUM.fullmatch(copy.checksum):
        yield flaw("misregistered", f"{where} has a checksum that is none: {copy.checksum!r}", copy)
    if not isinstance(copy.seq_base, int) or copy.seq_base >> SEQ_VERSION_SHIFT > segment.added_version:
        yield flaw("misregistered", f"{where} has rows of a version later than its own", copy)
    is_sized = isinstance(copy.size_bytes, int) and copy.size_bytes >= 0 and copy.sharers >= 1
    if not is_sized:
        yield flaw("misregistered", f"{where} has a size of {copy.size_bytes!r} bytes", copy)
