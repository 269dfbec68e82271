"""Segments, their copies and the partition they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from quantstore.core.tier import Tier

SEQ = "_seq"
TRADE_DATE = "trade_date"
ASSET_CLASS = "asset_class"
HIDDEN_COLUMNS = (TRADE_DATE, ASSET_CLASS, SEQ)
UNKNOWN_ASSET_CLASS = "UNKNOWN"

SEQ_VERSION_SHIFT = 32
"""A row's `_seq` is `(version << 32) + ordinal`: 2**31 versions of up to 2**32 rows each."""


def seq_base(version: int) -> int:
    """Return the `_seq` of the first row of a commit."""
    return version << SEQ_VERSION_SHIFT


class Role(StrEnum):
    """What a copy is for."""

    PRIMARY = "primary"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """The logical key `(trade_date, asset_class)`; `trade_date` is the first day of the table's grain."""

    trade_date: date
    asset_class: str | None

    def __str__(self) -> str:
        """Return the form used in messages and paths."""
        return f"trade_date={self.trade_date.isoformat()}/asset_class={self.asset_class}"


@dataclass(frozen=True, slots=True)
class SegmentStats:
    """What the catalog knows about the rows of a segment without opening it.

    Attributes:
        rows: Number of rows, at least one.
        min_ns: Smallest event time, nanoseconds since the epoch.
        max_ns: Largest event time, nanoseconds since the epoch.
        symbols: Sorted distinct symbols where the table has a symbol column and there are few, else None.
        min_symbol: Smallest symbol, or None.
        max_symbol: Largest symbol, or None.
        has_null_symbol: Whether a row has no symbol.
    """

    rows: int
    min_ns: int
    max_ns: int
    symbols: tuple[str, ...] | None = None
    min_symbol: str | None = None
    max_symbol: str | None = None
    has_null_symbol: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """Immutable logical rows of one table in one partition."""

    segment_id: int
    table_id: int
    schema_id: int
    partition: Partition
    stats: SegmentStats
    added_version: int
    removed_version: int | None = None


@dataclass(frozen=True, slots=True)
class Subset:
    """The part of a segment that a shadow copy holds: every row of some symbols.

    Attributes:
        symbols: The symbols, sorted; the segment need not have rows of each.
        rows: How many rows these are.
    """

    symbols: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Copy:
    """One physical form of a segment.

    Attributes:
        location: Path relative to the store's root.
        checksum: `xxh3_128:<hex>` of the whole file.
        seq_base: Added to stored `_seq` values (or to row numbers, where the file has no `_seq` column) to
            give the rows' `_seq`; non-zero for bytes written before their version was known.
        size_bytes: Size of the file, or this segment's part of it.
        sharers: Number of segments whose rows the file was written with, told apart by their asset class.
        file_bytes: Size of the file where it is shared, else None.
        pin_id: The pin that keeps a shadow, else None.
        subset: The rows a shadow holds, or None for all.
    """

    copy_id: int
    segment_id: int
    tier: Tier
    store: str
    location: str
    codec: str
    size_bytes: int
    checksum: str
    seq_base: int
    role: Role = Role.PRIMARY
    created_ns: int = 0
    sharers: int = 1
    file_bytes: int | None = None
    pin_id: int | None = None
    subset: Subset | None = None

    def serves(self, symbols: tuple[str, ...] | None) -> bool:
        """Whether the copy holds every row of `symbols` (None: every row) that the segment has."""
        if self.subset is None:
            return True
        return symbols is not None and set(self.subset.symbols).issuperset(symbols)


@dataclass(frozen=True, slots=True)
class NewCopy:
    """A copy whose bytes are durable and that no transaction has made real yet."""

    tier: Tier
    store: str
    location: str
    codec: str
    size_bytes: int
    checksum: str
    seq_base: int
    is_relative: bool = False
    """Whether the commit adds the base of the version it assigns to `seq_base`."""
    role: Role = Role.PRIMARY
    sharers: int = 1
    file_bytes: int | None = None
    pin_id: int | None = None
    subset: Subset | None = None


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A segment and its first copy, ready to be committed."""

    partition: Partition
    stats: SegmentStats
    copy: NewCopy


@dataclass(frozen=True, slots=True)
class PlacedSegment:
    """A segment with its live copies, primaries first, hottest first."""

    segment: Segment
    copies: tuple[Copy, ...]

    @property
    def primary(self) -> Copy:
        """The authoritative copy."""
        return next(copy for copy in self.copies if copy.role is Role.PRIMARY)

    def rows_of(self, copy: Copy) -> int:
        """Return how many of the segment's rows a copy of it holds."""
        return self.segment.stats.rows if copy.subset is None else copy.subset.rows
