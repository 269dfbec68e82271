"""The catalog's own tables (SQLAlchemy Core, so that SQLite and PostgreSQL share them).

Instants are nanoseconds since the Unix epoch, UTC; days are days since 1970-01-01.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

SPAN_CLASSES = 17
"""Spans of 64 bits have classes 0 to 16, see `segments.span_class`."""

BigId = BigInteger().with_variant(Integer, "sqlite")

upgrades = Table(
    "catalog_upgrades",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("applied_ns", BigInteger, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("version", BigId, primary_key=True),
    Column("committed_ns", BigInteger, nullable=False, index=True),
    Column("author", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
)

tables = Table(
    "tables",
    metadata,
    Column("table_id", BigId, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    Column("time", Text, nullable=False),
    Column("symbol", Text),
    Column("key", Text, nullable=False),
    Column("calendar", Text),
    Column("grain", String(8), nullable=False),
    Column("asset_class", Text),
    Column("created_version", BigInteger, nullable=False),
    Column("changed_version", BigInteger, nullable=False),
    Column("is_written", Boolean, nullable=False),
)

table_names = Table(
    "table_names",
    metadata,
    Column("name_id", BigId, primary_key=True),
    Column("table_id", ForeignKey("tables.table_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("from_version", BigInteger, nullable=False),
    Column("to_version", BigInteger),
    Index("table_names_by_key", "name_key"),
)

schemas = Table(
    "table_schemas",
    metadata,
    Column("schema_id", BigId, primary_key=True),
    Column("table_id", ForeignKey("tables.table_id"), nullable=False),
    Column("added_version", BigInteger, nullable=False),
    Column("arrow", LargeBinary, nullable=False),
    Column("columns", Text, nullable=False),
    Column("hidden", Text, nullable=False),
    Column("frame", Text, nullable=False),
    UniqueConstraint("table_id", "added_version"),
)

changes = Table(
    "version_changes",
    metadata,
    Column("version", ForeignKey("versions.version"), primary_key=True),
    Column("table_id", ForeignKey("tables.table_id"), primary_key=True),
    Column("operation", String(16), nullable=False),
    Column("tier", String(8), nullable=False),
    Column("write_id", Text),
    Column("content", Text),
    Column("rows", BigInteger, nullable=False),
    Column("deleted", BigInteger, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("lineage", Text, nullable=False),
    Column("is_live", Boolean, nullable=False),
    Index("changes_by_write_id", "table_id", "write_id", unique=True, sqlite_where=text("write_id IS NOT NULL")),
    Index("changes_by_content", "table_id", "content"),
    Index("changes_by_table", "table_id", "version"),
)

idle_writes = Table(
    "idle_writes",
    metadata,
    Column("table_id", ForeignKey("tables.table_id"), primary_key=True),
    Column("write_id", Text, primary_key=True),
    Column("operation", String(16), nullable=False),
    Column("content", Text),
    Column("version", BigInteger, nullable=False),
)
"""Writes with a name that changed nothing, and the version that their table had."""

segments = Table(
    "segments",
    metadata,
    Column("segment_id", BigId, primary_key=True),
    Column("table_id", ForeignKey("tables.table_id"), nullable=False),
    Column("schema_id", ForeignKey("table_schemas.schema_id"), nullable=False),
    Column("trade_date", Integer, nullable=False),
    Column("asset_class", Text),
    Column("rows", BigInteger, nullable=False),
    Column("min_ns", BigInteger, nullable=False),
    Column("max_ns", BigInteger, nullable=False),
    Column("symbols", Text),
    Column("min_symbol", Text),
    Column("max_symbol", Text),
    Column("has_null_symbol", Boolean, nullable=False),
    Column("added_version", BigInteger, nullable=False),
    Column("removed_version", BigInteger),
    Column("retired_generation", BigInteger),
    Column("attempt_id", String(32), nullable=False),
    # The last class is right for every span, if slow to search.
    Column("span_class", Integer, nullable=False, server_default=text(str(SPAN_CLASSES - 1))),
    Index("segments_by_span", "table_id", "span_class", "min_ns", "max_ns"),
    Index("segments_by_day", "table_id", "trade_date"),
    Index("segments_by_one_symbol", "table_id", "min_symbol", sqlite_where=text("min_symbol = max_symbol")),
    Index("segments_by_symbols", "table_id", "min_symbol", "max_symbol", sqlite_where=text("min_symbol <> max_symbol")),
    Index("segments_without_symbol", "table_id", sqlite_where=text("min_symbol IS NULL")),
    Index("segments_live", "table_id", sqlite_where=text("removed_version IS NULL AND retired_generation IS NULL")),
    Index(
        "segments_removed",
        "removed_version",
        sqlite_where=text("removed_version IS NOT NULL AND retired_generation IS NULL"),
    ),
)

copies = Table(
    "copies",
    metadata,
    Column("copy_id", BigId, primary_key=True),
    Column("segment_id", ForeignKey("segments.segment_id"), nullable=False),
    Column("tier", String(8), nullable=False),
    Column("store", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("codec", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("seq_base", BigInteger, nullable=False),
    Column("role", String(8), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("condemned_generation", BigInteger),
    Column("condemned_ns", BigInteger),
    Column("sharers", Integer, nullable=False, server_default=text("1")),
    Column("file_bytes", BigInteger),
    Column("pin_id", BigInteger),
    Column("subset", Text),
    Index("copies_by_segment", "segment_id"),
    Index("copies_of_pins", "pin_id", sqlite_where=text("pin_id IS NOT NULL")),
    Index("copies_condemned", "condemned_ns", sqlite_where=text("condemned_ns IS NOT NULL")),
    UniqueConstraint("store", "location", "segment_id"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("attempt_id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("target", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("lease_until_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Index("attempts_by_state", "state"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("receipt_id", BigId, primary_key=True),
    Column("attempt_id", String(32), nullable=False),
    Column("table_id", ForeignKey("tables.table_id"), nullable=False),
    Column("segment_id", BigInteger, nullable=False),
    Column("copy_id", BigInteger, nullable=False),
    Column("source", String(8), nullable=False),
    Column("destination", String(8), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("source_bytes", BigInteger, nullable=False),
    Column("destination_bytes", BigInteger, nullable=False),
    Column("min_ns", BigInteger, nullable=False),
    Column("max_ns", BigInteger, nullable=False),
    Column("columns", Text, nullable=False),
    Column("moved_ns", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Index("receipts_by_segment", "segment_id"),
)

readers = Table(
    "readers",
    metadata,
    Column("reader_id", String(32), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Text, nullable=False),
    Column("lease_until_ns", BigInteger, nullable=False),
)

access = Table(
    "segment_access",
    metadata,
    Column("segment_id", BigId, primary_key=True),
    Column("reads", BigInteger, nullable=False),
    Column("last_read_ns", BigInteger, nullable=False),
    Column("heat", Float, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("hold_id", BigId, primary_key=True),
    Column("table_id", ForeignKey("tables.table_id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("oldest_version", BigInteger, nullable=False),
    Column("until_ns", BigInteger),
    Column("created_ns", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
)

pins = Table(
    "pins",
    metadata,
    Column("pin_id", BigId, primary_key=True),
    Column("table_id", ForeignKey("tables.table_id"), nullable=False),
    Column("tier", String(8), nullable=False),
    Column("wanted", Text, nullable=False),
    Column("until_ns", BigInteger),
    Column("created_ns", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
)

publications = Table(
    "publications",
    metadata,
    Column("table_id", ForeignKey("tables.table_id"), primary_key=True),
    Column("format", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("snapshot_id", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("published_ns", BigInteger, nullable=False),
)
