"""What a store is: six methods and a record of what it can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from quantstore.core.timerange import TimeRange

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.core.segment import Copy, Partition


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do, as data.

    Attributes:
        form: How the engine reads a copy: `arrow` (the store hands over tables) or `parquet` (a local path).
        order: Row order inside a copy: `time` is (time, _seq); `symbol` is (symbol, time, _seq).
        codec: Name recorded in the catalog for new copies.
        durable: Whether bytes survive a crash of the process and of the machine once `write` returns.
        mixes: Whether one copy may hold the rows of all asset classes of a day.
    """

    form: Literal["arrow", "parquet"]
    order: Literal["time", "symbol"]
    codec: str
    durable: bool = True
    mixes: bool = False


@dataclass(frozen=True, slots=True)
class TableLayout:
    """What a store needs to know about a table.

    Attributes:
        schema: Logical Arrow schema of the user's columns followed by the hidden ones that are not the user's:
            `trade_date` (date32), `asset_class` (string) and `_seq` (int64), in this order.
        time: Name of the time column.
        symbol: Name of the symbol column, or None.
    """

    schema: pa.Schema
    time: str
    symbol: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """Rows to be kept as one copy.

    Attributes:
        location: Where, relative to the store's root, without a file suffix. Its last component starts with the uuid
            of the attempt that writes it.
        table: Rows in the store's order. May lack hidden columns: `_seq` where it equals the row number,
            `trade_date` and `asset_class` where they are constant; `read` puts them back.
        partition: The partition all rows belong to.
        is_mixed: Whether the column `asset_class` says for each row which partition of the day it belongs to, and not
            `partition`.
        origin: What the file is to say of how it came to be, as JSON keeps it; None for nothing.
    """

    location: str
    table: pa.Table
    partition: Partition
    is_mixed: bool = False
    origin: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A durable copy: its final location (with suffix), size in bytes and checksum of the whole file."""

    location: str
    size_bytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One object found in a store."""

    location: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows and columns of a copy are wanted; a store may return more rows, never fewer.

    Attributes:
        columns: Names in the order wanted, hidden ones included; None means all of the layout's schema.
        time: Event-time range.
        symbols: Only these symbols; None means all.
        whole_file: Whether, where segments share a file, the rows of all of them are wanted.
    """

    columns: tuple[str, ...] | None = None
    time: TimeRange = TimeRange()
    symbols: tuple[str, ...] | None = None
    whole_file: bool = False


class SegmentStore(Protocol):
    """Keeps copies of segments in one technology."""

    name: str

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        ...

    def write(self, layout: TableLayout, parts: Sequence[Part]) -> list[Written]:
        """Write each part as one copy; all are durable (files, renames and directories synced) on return.

        Raises:
            CapacityError: The device is full; nothing is kept under a final name that `list` does not show.
        """
        ...

    def read(
        self, layout: TableLayout, copy: Copy, partition: Partition, selection: Selection = Selection()
    ) -> pa.Table:
        """Return the rows of a copy in its stored order, in logical types, hidden columns filled in.

        The copy is verified first.

        Raises:
            IntegrityError: The bytes are missing or are not the bytes that were written.
        """
        ...

    def verify(self, copy: Copy, *, deep: bool = False) -> str:
        """Check a copy against its checksum and return its absolute path.

        The whole file is read on first use in this process and again whenever inode, size or modification time
        change; `deep` reads it regardless.

        Raises:
            IntegrityError: The bytes are missing or are not the bytes that were written.
        """
        ...

    def delete(self, location: str) -> None:
        """Delete a copy's bytes; deleting what is not there is no error."""
        ...

    def list(self) -> Iterator[Stored]:
        """Yield everything in the store that bears an attempt's name, unfinished temporary files included."""
        ...

    def close(self) -> None:
        """Release maps and handles; views handed out stay valid."""
        ...
