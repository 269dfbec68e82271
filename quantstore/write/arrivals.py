"""New rows of one table, staged: conformed, cut into partitions, made durable, digested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa

from quantstore.core.events import Progress, announce
from quantstore.core.segment import SEQ, NewCopy, NewSegment, Partition, SegmentStats
from quantstore.rows.fingerprint import ContentDigest
from quantstore.stores.base import Part, Written
from quantstore.write.conform import conform
from quantstore.write.partition import Piece, add_hidden, contents, split

if TYPE_CHECKING:
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.rows.source import Source
    from quantstore.stores.base import SegmentStore
    from quantstore.write.staging import Staging

STREAM_BUFFER_BYTES = 20 * 2**20
SEGMENT_BYTES = 128 * 2**20


class Arrivals:
    """Rows that a write adds to one table.

    Args:
        staging: What the files are written under.
        store: The tier's store.
        tier: The tier.
        form: The table's form.
        first_ordinal: Number of the first row among those the commit adds to the table.
    """

    def __init__(
        self, staging: Staging, store: SegmentStore, tier: Tier, form: TableForm, first_ordinal: int = 0
    ) -> None:
        self._staging = staging
        self._store = store
        self._tier = tier
        self._form = form
        self._first = first_ordinal
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
        for table in conformed(source, self._form, tz=tz):
            if table.num_rows:
                self.add(add_hidden(table, self._form, asset_class))

    def add(self, full: pa.Table) -> None:
        """Stage rows that have all columns but `_seq`."""
        if full.num_rows == 0:
            return
        able = self._store.capabilities
        first = self._first + self.rows
        pieces = list(split(full, self._form, able.order, first, SEGMENT_BYTES, mixes=able.mixes))
        self._staging.renew()
        parts = [
            Part(
                self._staging.place(self._form.spec, piece.partition, self._tier),
                piece.table,
                piece.partition,
                piece.is_mixed,
            )
            for piece in pieces
        ]
        with ThreadPoolExecutor(1) as beside:  # while bytes are written, rows are hashed and counted
            digested = beside.submit(self._digest.update, full)
            described = [beside.submit(contents, piece, self._form.layout) for piece in pieces]
            files = self._staging.write(self._store, self._form.layout, parts)
            digested.result()
            for piece, held, file in zip(pieces, described, files, strict=True):
                self.segments += self._new_segments(piece, held.result(), file)
        self.rows += full.num_rows
        announce(Progress("write", self._form.spec.name, self.rows, None, "rows"))

    def _new_segments(
        self, piece: Piece, held: Sequence[tuple[Partition, SegmentStats]], file: Written
    ) -> Iterator[NewSegment]:
        """Yield the segments of a file, each with its share of the file's bytes."""
        rows = 0
        for partition, stats in held:
            before, rows = rows, rows + stats.rows
            total = piece.table.num_rows
            copy = NewCopy(
                tier=self._tier,
                store=self._store.name,
                location=file.location,
                codec=self._store.capabilities.codec,
                size_bytes=file.size_bytes * rows // total - file.size_bytes * before // total,
                checksum=file.checksum,
                seq_base=piece.seq_start,
                is_relative=True,
                sharers=len(held),
                file_bytes=file.size_bytes if len(held) > 1 else None,
            )
            yield NewSegment(partition, stats, copy)


def content_digest(form: TableForm) -> ContentDigest:
    """Return a digest to be fed rows of a table, `_seq` left out."""
    return ContentDigest(pa.schema([field for field in form.schema if field.name != SEQ]))


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
