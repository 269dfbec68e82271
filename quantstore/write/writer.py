"""Write: normalise, split, copy durably, commit once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantstore.catalog.records import Attempt, TableRecord, WriteCommit, WriteOutcome
from quantstore.core.events import Progress, announce
from quantstore.core.failpoints import reach
from quantstore.core.names import check_name, check_text, refuse_lookalike
from quantstore.core.segment import SEQ, NewCopy, NewSegment, Partition, SegmentStats
from quantstore.core.tier import Tier
from quantstore.core.warn import warn_caller
from quantstore.errors import AccessDeniedError, ConflictError, InvalidInputError, QuantStoreError, RepeatedWriteWarning
from quantstore.rows.fingerprint import ContentDigest
from quantstore.rows.form import TableForm, Wishes, known_form, new_form
from quantstore.rows.source import Source, open_source
from quantstore.stores.base import Part, Written
from quantstore.write.conform import conform
from quantstore.write.locations import location as location_of
from quantstore.write.misfits import wrong_columns
from quantstore.write.partition import Piece, add_hidden, contents, split
from quantstore.write.result import WriteResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quantstore.catalog.catalog import Catalog
    from quantstore.stores.base import SegmentStore

STREAM_BUFFER_BYTES = 20 * 2**20
SEGMENT_BYTES = 128 * 2**20
MODES = ("append", "overwrite", "error")
REPEATS = ("skip", "append", "raise")


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What the caller asked for, checked."""

    table: str
    tier: Tier
    mode: str = "append"
    wishes: Wishes = field(default_factory=Wishes)
    write_id: str | None = None
    on_repeat: str = "skip"
    expected_version: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.mode not in MODES:
            raise InvalidInputError(f"mode={self.mode!r} is not one of {', '.join(MODES)}.")
        if self.on_repeat not in REPEATS:
            raise InvalidInputError(f"on_repeat={self.on_repeat!r} is not one of {', '.join(REPEATS)}.")
        check_text(self.table)
        if self.write_id is not None and not str(self.write_id).strip():
            raise InvalidInputError("write_id must not be empty; leave it out or give the write a name.")


class Writer:
    """Writes frames and streams into one tier; nothing exists before the commit."""

    def __init__(self, catalog: Catalog, stores: Mapping[Tier, SegmentStore], name: str) -> None:
        self._catalog = catalog
        self._stores = stores
        self._name = name

    def write(self, data: Any, request: WriteRequest) -> WriteResult:
        """Write `data` and return what became of it, once it is durable.

        Raises:
            InvalidInputError: The data does not fit the table; nothing was changed.
            ConflictError: Another writer came first in a way that matters; nothing was changed.
            CapacityError: The disk is full; nothing was changed.
        """
        if self._catalog.read_only:
            raise AccessDeniedError("The store is open read-only; open it with read_only=False to write.")
        with self._catalog.view() as view:
            record = view.table(request.table)
            if record is None:
                refuse_lookalike(check_name(request.table), view.table_names())
        if request.mode == "error" and request.write_id is None:
            _refuse_existing(record, request.table)
        source = open_source(data)
        form = self._form(record, source, request)
        commit = WriteCommit(
            spec=form.spec,
            schema=form.stored(),
            table_id=record.table_id if record else None,
            operation=request.mode,
            tier=request.tier,
            segments=(),
            rows=0,
            write_id=request.write_id,
            removes_all=request.mode == "overwrite",
            expected_version=request.expected_version,
            must_create=request.mode == "error",
            on_repeat=request.on_repeat,
            lineage=_lineage(data),
        )
        outcome = _Attempted(self._catalog, self._stores[request.tier], form, request).run(source, commit)
        return self._result(outcome, form, request)

    def _form(self, record: TableRecord | None, source: Source, request: WriteRequest) -> TableForm:
        if record is None:
            # The keyword is for the rows of this write; only create() gives a table one of its own.
            wishes = replace(request.wishes, asset_class=None)
            return new_form(request.table, source.schema, wishes, source.frame)
        if record.schema is None:
            wishes = _filled(request.wishes, record)
            form = new_form(record.name, source.schema, wishes, source.frame)
            return replace(form, spec=replace(record.spec, time=form.spec.time, symbol=form.spec.symbol))
        form = known_form(record)
        _refuse_other_form(form, request.wishes, source.schema)
        return form

    def _result(self, outcome: WriteOutcome, form: TableForm, request: WriteRequest) -> WriteResult:
        if outcome.is_repeat:
            warn_caller(
                f"These rows are in table {form.spec.name!r} already, since version {outcome.version}; nothing was "
                "added. Pass on_repeat='append' to add them again.",
                RepeatedWriteWarning,
            )
        return WriteResult(
            store=self._name,
            table=form.spec.name,
            tier=request.tier.value,
            version=outcome.version,
            rows=outcome.rows,
            deleted=outcome.deleted,
            segments=outcome.segments,
            replayed=outcome.replay_of is not None,
        )


class _Attempted:
    """One write on its way from rows to commit."""

    def __init__(self, catalog: Catalog, store: SegmentStore, form: TableForm, request: WriteRequest) -> None:
        self._catalog = catalog
        self._store = store
        self._form = form
        self._request = request
        self._attempt: Attempt | None = None
        self._segments: list[NewSegment] = []
        self._locations: list[str] = []
        self._digest = ContentDigest(pa.schema([field for field in form.schema if field.name != SEQ]))
        self._rows = 0

    def run(self, source: Source, commit: WriteCommit) -> WriteOutcome:
        try:
            for table in self._buffers(source):
                self._copy(table)
            reach("write.copied")
            commit = replace(commit, segments=tuple(self._segments), rows=self._rows, content=self._digest.hexdigest())
            outcome = self._catalog.commits.write(self._attempt, commit)
        except QuantStoreError as error:
            conflict = self._catalog.attempts.conflict(self._attempt)
            self._give_up()
            if conflict is not None:
                raise conflict from error
            raise
        except BaseException:
            self._give_up()
            raise
        if outcome.replay_of is not None:
            self._give_up()
        return outcome

    def _buffers(self, source: Source) -> Iterator[pa.Table]:
        """Yield conformed rows, whole or in buffers of a bounded size."""
        held: list[pa.Table] = []
        size = 0
        for table in source.tables:
            conformed = conform(table, self._form, tz=self._request.wishes.tz)
            if not source.is_stream:
                yield conformed
                continue
            held.append(conformed)
            size += conformed.nbytes
            if size >= STREAM_BUFFER_BYTES:
                yield pa.concat_tables(held)
                held, size = [], 0
        if held:
            yield pa.concat_tables(held)

    def _copy(self, table: pa.Table) -> None:
        """Make the rows durable in the store as uncommitted segments."""
        if table.num_rows == 0:
            return
        full = add_hidden(table, self._form, self._request.wishes.asset_class)
        able = self._store.capabilities
        pieces = list(split(full, self._form, able.order, self._rows, SEGMENT_BYTES, mixes=able.mixes))
        self._register()
        parts = [
            Part(self._location(piece, len(self._locations) + number), piece.table, piece.partition, piece.is_mixed)
            for number, piece in enumerate(pieces)
        ]
        with ThreadPoolExecutor(1) as beside:  # while bytes are written, rows are hashed and counted
            digested = beside.submit(self._digest.update, full)
            described = [beside.submit(contents, piece, self._form.layout) for piece in pieces]
            files = self._store.write(self._form.layout, parts)
            self._locations += [file.location for file in files]
            digested.result()
            for piece, held, file in zip(pieces, described, files, strict=True):
                self._segments += self._new_segments(piece, held.result(), file)
        self._rows += table.num_rows
        announce(Progress("write", self._form.spec.name, self._rows, None, "rows"))

    def _new_segments(
        self, piece: Piece, held: Sequence[tuple[Partition, SegmentStats]], file: Written
    ) -> Iterator[NewSegment]:
        """Yield the segments of a file, each with its share of the file's bytes."""
        rows = 0
        for partition, stats in held:
            before, rows = rows, rows + stats.rows
            total = piece.table.num_rows
            copy = NewCopy(
                tier=self._request.tier,
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

    def _register(self) -> None:
        if self._attempt is None:
            self._attempt = self._catalog.attempts.register("write", self._form.spec.name)
            reach("write.registered")
        else:
            self._attempt = self._catalog.attempts.renew(self._attempt)

    def _location(self, piece: Piece, number: int) -> str:
        attempt = self._attempt
        assert attempt is not None  # noqa: S101 - registered just before
        return location_of(self._form.spec, piece.partition, self._request.tier, attempt.attempt_id, number)

    def _give_up(self) -> None:
        """End the attempt and delete what it wrote; what fails here a sweep finds by the attempt's lease."""
        if self._attempt is None:
            return
        try:
            if self._catalog.attempts.abort(self._attempt):
                for location in self._locations:
                    self._store.delete(location)
        except (QuantStoreError, OSError):
            return


def _lineage(data: Any) -> dict[str, Any]:
    """Return what the rows were made from, where the frame carries the note of a read."""
    note = getattr(data, "attrs", {}).get("quantstore") if hasattr(data, "attrs") else None
    if not isinstance(note, dict):
        return {}
    return {"inputs": note.get("tables", []), "version": note.get("version")}


def _refuse_existing(record: TableRecord | None, name: str) -> None:
    if record is not None and record.is_written:
        raise ConflictError(f"Table {name!r} exists already; use mode='append' or 'overwrite'.", table=name)


def _filled(wishes: Wishes, record: TableRecord) -> Wishes:
    spec = record.spec
    return replace(
        wishes,
        time=wishes.time or (spec.time or None),
        symbol=wishes.symbol or spec.symbol,
        key=wishes.key or spec.key,
        grain=spec.grain,
    )


def _refuse_other_form(form: TableForm, wishes: Wishes, schema: pa.Schema) -> None:
    """Refuse a time, symbol or key column other than the one the table was made with."""
    spec = form.spec
    for what, wanted, fixed in (("time", wishes.time, spec.time), ("symbol", wishes.symbol, spec.symbol)):
        if wanted is not None and (fixed is None or wanted.casefold() != fixed.casefold()):
            raise InvalidInputError(
                f"Table {spec.name!r} has {what} column {fixed!r}, fixed when it was made; leave {what}={wanted!r} out "
                "or write to another table.",
                table=spec.name,
            )
    if wishes.key is not None and tuple(wishes.key) != spec.key:
        raise InvalidInputError(
            f"Table {spec.name!r} has key {spec.key!r}, fixed when it was made; leave key= out.", table=spec.name
        )
    if spec.time.casefold() not in {name.casefold() for name in schema.names}:
        raise wrong_columns(form, [spec.time], [])
