"""What the catalog hands out and takes in, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quantstore.core.segment import NewCopy, NewSegment, PlacedSegment
from quantstore.core.table import TableSchema, TableSpec
from quantstore.core.tier import Tier

if TYPE_CHECKING:
    from quantstore.catalog.segments import SegmentFilter

UNCHANGED = "unchanged"
"""In the lineage of a write: how many of its rows were there already, and so are not its own."""


@dataclass(frozen=True, slots=True)
class TableRecord:
    """A table as the catalog knows it.

    Attributes:
        schema: The newest schema, or None before the first write fixes it.
        schema_id: Its number, or None.
        changed_version: The newest version that changed this table.
        is_written: Whether a write has reached it, or it was only made.
    """

    table_id: int
    spec: TableSpec
    schema_id: int | None
    schema: TableSchema | None
    created_version: int
    changed_version: int
    is_written: bool

    @property
    def name(self) -> str:
        """The table's name as first written."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent view: a version, and the generation of placement it was read at."""

    version: int
    generation: int


@dataclass(frozen=True, slots=True)
class Change:
    """What one version did to one table."""

    version: int
    table: str
    operation: str
    tier: str
    committed_ns: int
    author: str
    rows: int
    deleted: int
    segments: int
    write_id: str | None
    content: str | None
    lineage: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A registered intention to write bytes; their locations contain `attempt_id`.

    Attributes:
        after_version: The newest version when it was registered.
    """

    attempt_id: str
    kind: str
    target: str
    lease_until_ns: int
    after_version: int = 0


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A segment that a correction takes rows from: what stays takes its place from the commit's version on.

    Attributes:
        source: The segment as read.
        removed: Number of rows that go.
        versions: Versions whose rows go.
        rest: What stays, in the same tier, each row with the `_seq` it has; empty where every row goes.
    """

    source: PlacedSegment
    removed: int
    versions: tuple[int, ...]
    rest: tuple[NewSegment, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteCommit:
    """Everything one write changes in one table.

    Attributes:
        spec: Definition of the table; used when the commit creates it.
        schema: Schema of the rows.
        schema_id: Number of the table's newest schema as the write was planned, or None where it had none.
        evolves: Whether `schema` takes the place of that one.
        added_columns: Columns it adds.
        widened: Columns it gives a wider type, with the type before and after.
        table_id: The existing table, or None to create it.
        operation: Write mode.
        content: Digest of rows in order and schema.
        contents_before: What the digest would have been in forms the table had before.
        removes_all: Whether every live segment of the table is removed first (overwrite).
        rewrites: Segments of which rows are removed.
        scope: What the rows removed were looked for by, or None: no segment that passes may have come since.
        planned_version: The version they were looked for at.
        found: Segments that hold the rows looked for, those that stay as they are among them.
        changes_nothing: Whether the rows were found to be in the table as they are.
        expected_version: The table's `changed_version` the caller insists on, or None.
        must_create: Whether an existing table is a conflict.
    """

    spec: TableSpec
    schema: TableSchema
    table_id: int | None
    operation: str
    tier: Tier
    segments: tuple[NewSegment, ...]
    rows: int
    content: str | None = None
    write_id: str | None = None
    removes_all: bool = False
    rewrites: tuple[Rewrite, ...] = ()
    scope: SegmentFilter | None = None
    planned_version: int = 0
    found: tuple[PlacedSegment, ...] = ()
    changes_nothing: bool = False
    expected_version: int | None = None
    must_create: bool = False
    on_repeat: str = "append"
    lineage: dict[str, Any] = field(default_factory=dict)
    schema_id: int | None = None
    evolves: bool = False
    added_columns: tuple[str, ...] = ()
    widened: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    contents_before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What a commit did.

    Attributes:
        replay_of: The earlier version that already holds the rows, or None.
        evolved: Whether the table took the commit's schema in place of the one it had.
    """

    version: int
    rows: int
    deleted: int
    segments: int
    replay_of: int | None = None
    is_repeat: bool = False
    evolved: bool = False


@dataclass(frozen=True, slots=True)
class ColumnProof:
    """Order-free fingerprint of one column.

    Attributes:
        nulls: Number of nulls.
        digest: Wrapping sums over the rows, hexadecimal; equal for equal multisets of values.
    """

    nulls: int
    digest: str


@dataclass(frozen=True, slots=True)
class MovedSegment:
    """One segment that a move replaces by itself elsewhere, or by its two halves.

    Attributes:
        source: The placed segment as read.
        pieces: What takes its place: one that keeps its identity, or two that split it.
    """

    source: PlacedSegment
    pieces: tuple[MovedPiece, ...]


@dataclass(frozen=True, slots=True)
class MovedPiece:
    """Rows of a segment and their new copy.

    Attributes:
        part: Partition, stats and copy of a piece that becomes a segment of its own; None keeps the source's identity.
        copy: The new copy, with an absolute `seq_base`.
        moved: Whether this piece changed tier (the rest of a split stays).
        columns: Fingerprints of every column, `_seq` included.
    """

    part: NewSegment | None
    copy: NewCopy
    moved: bool
    columns: dict[str, ColumnProof]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a segment's rows arrived: what left, what arrived, and how to check it again."""

    receipt_id: int
    table: str
    segment_id: int
    copy_id: int
    source: Tier
    destination: Tier
    rows: int
    source_bytes: int
    destination_bytes: int
    min_ns: int
    max_ns: int
    columns: dict[str, ColumnProof]
    moved_ns: int
    author: str


@dataclass(frozen=True, slots=True)
class Heat:
    """How often and how lately a segment was read."""

    reads: int
    last_read_ns: int
    heat: float


@dataclass(frozen=True, slots=True)
class GarbageCopy:
    """A copy no new reader can reach, whose bytes may go."""

    copy_id: int
    store: str
    location: str
    size_bytes: int
    condemned_ns: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table that is published in another format, and how far.

    Attributes:
        table: The table, under the name it has or last had.
        is_dropped: Whether it has no name any more.
        format: What it is published as.
        name: The name it was published under.
        location: Where.
        version: The version it was published at; 0 before the first time.
        generation: The placement generation it was published at.
        snapshot_id: What the other format calls it; empty where it has nothing to call.
        published_ns: When.
        lag: How many versions of the table came since; 0 where what it shows is the same now.
    """

    table: TableRecord
    is_dropped: bool
    format: str
    name: str
    location: str
    version: int
    generation: int
    snapshot_id: str
    published_ns: int
    lag: int


@dataclass(frozen=True, slots=True)
class ColdState:
    """What there is to publish of a table.

    Attributes:
        table: The table, under the name it has or last had.
        is_dropped: Whether it has no name any more.
        snapshot: When it was looked at.
        segments: Segments of the newest version whose primary copies are in cold; none of a dropped table.
        content: Digest of what a publication of it shows.
    """

    table: TableRecord
    is_dropped: bool
    snapshot: Snapshot
    segments: tuple[PlacedSegment, ...]
    content: str
