"""Pins: shadow copies of a table's rows in a tier, verified as moves are, kept until released or a date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.compute as pc

from quantstore.catalog.conflicts import moved_away
from quantstore.catalog.pins import NewPin, PinRecord
from quantstore.core.events import Progress, announce
from quantstore.core.failpoints import reach
from quantstore.core.render import counted, human_bytes
from quantstore.core.segment import Copy, NewCopy, PlacedSegment, Role, Subset
from quantstore.core.tier import Tier
from quantstore.errors import ConflictError, IntegrityError, NotFoundError, QuantStoreError
from quantstore.query.memory import release_unused
from quantstore.query.plan import may_hold_symbol
from quantstore.query.relations import damaged
from quantstore.rows.fingerprint import column_proofs
from quantstore.rows.form import TableForm, known_form
from quantstore.stores.base import Part
from quantstore.write.locations import location
from quantstore.write.order import in_store_order
from quantstore.write.origin import origin
from quantstore.write.partition import piece_stats
from quantstore.write.proof import find_difference

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import Attempt, TableRecord
    from quantstore.stores.base import SegmentStore

_ROUNDS = 8
Shadow = tuple[PlacedSegment, NewCopy]


@dataclass(frozen=True, slots=True)
class Pin:
    """Shadow copies of a table's rows, kept until released or a date; in a `with` block released at its end.

    Attributes:
        id: Its number.
        table: The table.
        tier: Where the shadows are.
        where: The condition as it was given, or None.
        symbols: The symbols wanted, or None for all.
        until_ns: When it ends, nanoseconds since the epoch; None for never.
        segments: Shadow copies it keeps.
        rows: Rows of these.
        bytes: Bytes of these.
    """

    id: int
    table: str
    tier: Tier
    where: str | None
    symbols: tuple[str, ...] | None
    until_ns: int | None
    segments: int
    rows: int
    bytes: int
    _pinner: Pinner = field(repr=False, compare=False)

    def release(self) -> int:
        """Give the shadow copies up, which a later sweep deletes; return how many. Once more does nothing."""
        return self._pinner.release([self.id])

    def refresh(self) -> Pin:
        """Make shadows of what has come into the pin's range since, and return the pin as it is then.

        Raises:
            NotFoundError: It was released, or its time is over.
        """
        self._pinner.refresh(self.id)
        return self._pinner.get(self.id)

    def __enter__(self) -> Self:
        """Return the pin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()

    def __repr__(self) -> str:
        """Return one line."""
        import pandas as pd

        of = "" if self.symbols is None else f" of {counted(len(self.symbols), 'symbol')}"
        until = "released" if self.until_ns is None else str(pd.Timestamp(self.until_ns, tz="UTC").floor("s"))
        return (
            f"pin {self.id}: {self.table!r}{of} in {self.tier.value}, {counted(self.rows, 'row')} "
            f"({human_bytes(self.bytes)}) in {self.segments:,} shadow {'copy' if self.segments == 1 else 'copies'} "
            f"until {until}"
        )


@dataclass(frozen=True, slots=True)
class PinsRefreshed:
    """What refreshing pins did; prints as one line.

    Attributes:
        released: Pins whose time was over.
        made: Shadow copies made.
        given_up: Shadow copies given up: damaged, or of rows that are no longer there.
    """

    released: int
    made: int
    given_up: int

    def __repr__(self) -> str:
        """Return one line."""
        return f"pins: {self.made} shadow copies made, {self.given_up} given up, {self.released} pins ended"


class Pinner:
    """Makes, refreshes and releases pins.

    Args:
        catalog: Knows the pins.
        stores: By tier.
    """

    def __init__(self, catalog: Catalog, stores: Mapping[Tier, SegmentStore]) -> None:
        self._catalog = catalog
        self._stores = stores

    def pin(self, record: TableRecord, new: NewPin) -> Pin:
        """Copy what a pin wants into its tier and make it exist.

        Raises:
            IntegrityError: A source is damaged, or a copy reads back differently; nothing was changed.
            CapacityError: The tier is full; nothing was changed.
            ConflictError: Other processes kept moving the same segments.
        """
        return self.get(self._copied(record, new, new)[0])

    def get(self, pin_id: int) -> Pin:
        """Return a pin.

        Raises:
            NotFoundError: It was released, or its time is over.
        """
        found = self._catalog.pins.get(pin_id)
        if found is None:
            raise NotFoundError(f"There is no pin {pin_id}; it was released, or its time is over.", pin=pin_id)
        return self._shown(found)

    def all(self, table_id: int | None = None) -> list[Pin]:
        """Return the pins of a table, or all, oldest first."""
        return [self._shown(one) for one in self._catalog.pins.all(table_id)]

    def release(self, pin_ids: Sequence[int]) -> int:
        """End pins and return how many shadows were given up."""
        return self._catalog.pins.release(pin_ids)

    def refresh(self, pin_id: int | None = None) -> PinsRefreshed:
        """End pins whose time is over, give up shadows that are of no use, and make those that are missing.

        Args:
            pin_id: Only this pin's are made; None for all.

        Raises:
            NotFoundError: The pin was released, or its time is over.
        """
        now = self._catalog.clock.now_ns()
        records = self._catalog.pins.all()
        over = [one.pin_id for one in records if one.has_ended(now)]
        given_up = self._catalog.pins.release(over) if over else 0
        if pin_id is not None:
            self.get(pin_id)
        given_up += self._catalog.pins.tidy(self._broken()) if records else 0
        made = 0
        for one in records:
            if one.pin_id not in over and pin_id in (None, one.pin_id):
                record = self._catalog.table_of(one.pin.table_id)
                made += self._copied(record, one.pin, one.pin_id)[1]
        return PinsRefreshed(len(over), made, given_up)

    def _broken(self) -> list[int]:
        """Return shadows that are damaged or gone."""
        broken = []
        for placed in self._catalog.every_segment():
            for copy in placed.copies:
                if copy.role is Role.SHADOW:
                    try:
                        self._stores[copy.tier].verify(copy)
                    except IntegrityError:
                        broken.append(copy.copy_id)
        return broken

    def _copied(self, record: TableRecord, new: NewPin, pin: NewPin | int) -> tuple[int, int]:
        """Make the shadows that are missing, and the pin where it is new; return its number and how many they are.

        Where another process moves a segment meanwhile, it is begun again.
        """
        for _ in range(_ROUNDS - 1):
            with suppress(ConflictError):
                return self._try(record, new, pin)
        return self._try(record, new, pin)

    def _try(self, record: TableRecord, new: NewPin, pin: NewPin | int) -> tuple[int, int]:
        with self._catalog.view() as view:
            found = view.segments(new.table_id, new.wanted)
        own = None if isinstance(pin, NewPin) else pin
        missing = [one for one in found if may_hold_symbol(one, new.wanted.symbols) and not _is_there(one, new, own)]
        if not missing:
            return self._catalog.pins.add(None, pin, ()) if own is None else (own, 0)
        attempt = self._catalog.attempts.register("pin", record.name)
        reach("pin.registered")
        written: list[str] = []
        try:
            shadows: list[Shadow] = []
            for number, placed in enumerate(missing):
                shadow = self._copy(record, placed, new, attempt, number, written)
                if shadow is not None:
                    shadows.append((placed, shadow))
                attempt = self._catalog.attempts.renew(attempt)
                announce(Progress("pin", record.name, number + 1, len(missing), "segments"))
            reach("pin.verified")
            return self._catalog.pins.add(attempt, pin, shadows)
        except BaseException as error:
            conflict = self._catalog.attempts.conflict(attempt) if isinstance(error, QuantStoreError) else None
            self._give_up(attempt, new.tier, written)
            if conflict is not None:
                raise conflict from error
            raise

    def _copy(
        self,
        record: TableRecord,
        placed: PlacedSegment,
        new: NewPin,
        attempt: Attempt,
        number: int,
        written: list[str],
    ) -> NewCopy | None:
        """Copy a segment, or its rows of the symbols wanted, and prove the copy; None where it has no such rows."""
        form = self._form(record, placed.segment.schema_id)
        partition = placed.segment.partition
        rows = self._read(record, placed, form)
        subset = None
        symbols = new.wanted.symbols
        if symbols is not None and form.spec.symbol is not None:
            kept = rows.filter(_is_in(rows.column(form.spec.symbol), symbols))
            if not kept.num_rows:
                return None
            subset = Subset(tuple(sorted(symbols)), kept.num_rows) if kept.num_rows < rows.num_rows else None
            rows = kept
        store = self._stores[new.tier]
        proofs = column_proofs(rows)
        rows = in_store_order(rows, form.layout, store.capabilities.order)
        stats = piece_stats(rows, form.layout)
        place = location(form.spec, partition, new.tier, attempt.attempt_id, number)
        said = origin(form, attempt, role=Role.SHADOW.value)
        (made,) = store.write(form.layout, [Part(place, rows, partition, origin=said)])
        written.append(made.location)
        reach("pin.copied")
        del rows
        copy = NewCopy(
            tier=new.tier,
            store=store.name,
            location=made.location,
            codec=store.capabilities.codec,
            size_bytes=made.size_bytes,
            checksum=made.checksum,
            seq_base=0,
            role=Role.SHADOW,
            subset=subset,
        )
        problem = find_difference(store, form, partition, copy, stats, proofs)
        if problem is None and subset is None and stats != placed.segment.stats:
            problem = f"statistics {stats} instead of {placed.segment.stats}"
        if problem is not None:
            raise IntegrityError(
                f"Pinning table {record.name!r}, partition {partition}, in {new.tier.value}: the shadow copy reads "
                f"back with {problem}. Nothing was changed; the source is intact.",
                table=record.name,
                partition=str(partition),
                tier=new.tier.value,
            )
        release_unused()
        return copy

    def _read(self, record: TableRecord, placed: PlacedSegment, form: TableForm) -> pa.Table:
        copy = placed.primary
        try:
            return self._stores[copy.tier].read(form.layout, copy, placed.segment.partition)
        except IntegrityError as error:
            if not self._catalog.is_live_copy(copy.copy_id):
                raise moved_away(record.name, placed.segment.partition) from error
            raise damaged(record.name, placed, copy, error) from error

    def _form(self, record: TableRecord, schema_id: int) -> TableForm:
        return known_form(record, self._catalog.schemas([schema_id])[schema_id])

    def _give_up(self, attempt: Attempt, tier: Tier, written: Sequence[str]) -> None:
        """End the attempt and delete what it wrote; what fails here a sweep finds by the attempt's lease."""
        try:
            if self._catalog.attempts.abort(attempt):
                for place in written:
                    self._stores[tier].delete(place)
        except (QuantStoreError, OSError):
            return

    def _shown(self, found: PinRecord) -> Pin:
        new = found.pin
        return Pin(
            found.pin_id,
            self._catalog.table_of(new.table_id).name,
            new.tier,
            new.where,
            new.wanted.symbols,
            new.until_ns,
            found.segments,
            found.rows,
            found.size_bytes,
            self,
        )


def _is_there(placed: PlacedSegment, new: NewPin, own: int | None) -> bool:
    """Whether what a pin wants of a segment is in its tier: as the primary, or as a shadow of this very pin."""

    def suffices(copy: Copy) -> bool:
        is_own = copy.role is Role.PRIMARY or (own is not None and copy.pin_id == own)
        return copy.tier is new.tier and is_own and copy.serves(new.wanted.symbols)

    return any(suffices(copy) for copy in placed.copies)


def _is_in(column: pa.ChunkedArray, symbols: Sequence[str]) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return pc.is_in(column, pa.array(symbols, column.type))
