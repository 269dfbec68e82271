"""New rows of one table, staged: conformed, cut into partitions, made durable, digested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa

from quantstore.core.events import Progress, announce
from quantstore.core.segment import SEQ, NewSegment, Partition, SegmentStats
from quantstore.rows.evolution import adapted
from quantstore.rows.fingerprint import ContentDigest
from quantstore.stores.base import Part, Written
from quantstore.write.conform import conform
from quantstore.write.grain import with_grain
from quantstore.write.partition import Piece, add_hidden, contents, split
from quantstore.write.shares import segments_of

if TYPE_CHECKING:
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.rows.source import Source
    from quantstore.stores.base import SegmentStore
    from quantstore.write.staging import Staging

STREAM_BUFFER_BYTES = 20 * 2**20
SEGMENT_BYTES = 128 * 2**20
_BESIDE_BYTES = 2**20
"""Fewer bytes are hashed sooner than a thread is started."""
_Contents = list[tuple[Partition, SegmentStats]]


class Arrivals:
    """Rows that a write adds to one table.

    Args:
        staging: What the files are written under.
        store: The tier's store.
        tier: The tier.
        form: The table's form.
        first_ordinal: Number of the first row among those the commit adds to the table.
        came: The form that rows are brought into first, where the table takes a newer one in the same commit.
        overwrites: Whether the commit takes away all that the table held.

    Attributes:
        form: The table's form; the first rows decide a grain that is not decided yet.
        rows: Rows staged so far.
        segments: Their segments.
    """

    def __init__(
        self,
        staging: Staging,
        store: SegmentStore,
        tier: Tier,
        form: TableForm,
        first_ordinal: int = 0,
        came: TableForm | None = None,
        *,
        overwrites: bool = False,
    ) -> None:
        self._staging = staging
        self._store = store
        self._tier = tier
        self.form = form
        self._first = first_ordinal
        self._came = came
        self._overwrites = overwrites
        self._digest = content_digest(form)
        self.rows = 0
        self.segments: list[NewSegment] = []

    @property
    def content(self) -> str:
        """Digest of all rows so far, in order."""
        return self._digest.hexdigest()

    def add_all(self, source: Source, *, tz: str | None, asset_class: str | None) -> None:
        """Stage the rows of a source.

        Raises:
            InvalidInputError: They do not fit the table.
        """
        came = self._came or self.form
        for table in conformed(source, came, tz=tz):
            if table.num_rows:
                full = add_hidden(table, came, asset_class)
                self.add(full if self._came is None else adapted(full, self.form, row_columns(self.form)))

    def add(self, full: pa.Table) -> None:
        """Stage rows that have all columns but `_seq`."""
        if full.num_rows == 0:
            return
        self.form = with_grain(self.form, full)
        able = self._store.capabilities
        first = self._first + self.rows
        pieces = list(split(full, self.form, able.order, first, SEGMENT_BYTES, mixes=able.mixes))
        self._staging.renew()
        parts = [
            Part(
                self._staging.place(self.form.spec, piece.partition, self._tier),
                piece.table,
                piece.partition,
                piece.is_mixed,
                self._staging.origin(self.form, piece.seq_start, overwrites=self._overwrites),
            )
            for piece in pieces
        ]
        files, held = self._write(full, pieces, parts)
        for piece, one, file in zip(pieces, held, files, strict=True):
            self.segments += segments_of(file, one, self._store, self._tier, seq_start=piece.seq_start)
        self.rows += full.num_rows
        announce(Progress("write", self.form.spec.name, self.rows, None, "rows"))

    def _write(
        self, full: pa.Table, pieces: Sequence[Piece], parts: Sequence[Part]
    ) -> tuple[list[Written], list[_Contents]]:
        """Make parts durable, digest the rows, and return the files and what is in each."""
        layout = self.form.layout
        if full.nbytes < _BESIDE_BYTES:
            self._digest.update(full)
            described = [contents(piece, layout) for piece in pieces]
            return self._staging.write(self._store, layout, parts), described
        with ThreadPoolExecutor(1) as beside:  # while bytes are written, rows are hashed and counted
            digested = beside.submit(self._digest.update, full)
            pending = [beside.submit(contents, piece, layout) for piece in pieces]
            files = self._staging.write(self._store, layout, parts)
            digested.result()
            return files, [one.result() for one in pending]


def content_digest(form: TableForm) -> ContentDigest:
    """Return a digest to be fed rows of a table, `_seq` left out."""
    return ContentDigest(pa.schema([form.schema.field(name) for name in row_columns(form)]))


def row_columns(form: TableForm) -> list[str]:
    """Return the columns that rows of a table have on their way in: all but `_seq`."""
    return [name for name in form.schema.names if name != SEQ]


def conformed(source: Source, form: TableForm, *, tz: str | None) -> Iterator[pa.Table]:
    """Yield the rows of a source in a table's form, whole or in buffers of a bounded size.

    Raises:
        InvalidInputError: They do not fit the table.
    """
    held: list[pa.Table] = []
    size = 0
    for table in source.tables:
        rows = conform(table, form, tz=tz)
        if not source.is_stream:
            yield rows
            continue
        held.append(rows)
        size += rows.nbytes
        if size >= STREAM_BUFFER_BYTES:
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)
