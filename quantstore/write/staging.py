"""Bytes on their way to a commit: durable, and reached by nothing yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from quantstore.core.failpoints import reach
from quantstore.errors import ConflictError, QuantStoreError
from quantstore.stores.base import Written

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.catalog.records import Attempt
    from quantstore.core.segment import Partition, PlacedSegment
    from quantstore.core.table import TableSpec
    from quantstore.core.tier import Tier
    from quantstore.rows.form import TableForm
    from quantstore.stores.base import Part, SegmentStore, TableLayout

from quantstore.write.locations import location
from quantstore.write.origin import Replaced, origin, replaced


class Staging:
    """Files written under one attempt, which is registered before the first of them.

    Args:
        catalog: Where the attempt is registered.
        target: Table, or tables, written to.
        is_dry: Whether nothing is written at all.
    """

    def __init__(self, catalog: Catalog, target: str, *, is_dry: bool = False) -> None:
        self._catalog = catalog
        self._target = target
        self._written: list[tuple[SegmentStore, str]] = []
        self._names = 0
        self._replaced: list[Replaced] = []
        self.is_dry = is_dry
        self.attempt: Attempt | None = None

    def place(self, spec: TableSpec, partition: Partition, tier: Tier) -> str:
        """Return a location that no other file has; the attempt is registered, and its lease good for a while."""
        self._names += 1
        if self.is_dry:
            return f"dry-{self._names}"
        if self.attempt is None:
            self.attempt = self._catalog.attempts.register("write", self._target)
            reach("write.registered")
        elif self._names % 64 == 0:
            self.renew()
        return location(spec, partition, tier, self.attempt.attempt_id, self._names - 1)

    def replace(self, segments: Iterable[PlacedSegment]) -> None:
        """Note segments that the commit takes away; files written from now on say so."""
        self._replaced += [copy for placed in segments for copy in replaced(placed)]

    def origin(self, form: TableForm, first: int | None = None, *, overwrites: bool = False) -> dict[str, Any] | None:
        """Return what a file says of how it came to be, see `quantstore.write.origin`."""
        return origin(form, self.attempt, first=first, replaces=self._replaced, overwrites=overwrites)

    def renew(self) -> None:
        """Extend the attempt's lease where it is due."""
        if self.attempt is not None:
            self.attempt = self._catalog.attempts.renew(self.attempt)

    def write(self, store: SegmentStore, layout: TableLayout, parts: Sequence[Part]) -> list[Written]:
        """Make parts durable in a store.

        Raises:
            CapacityError: The device is full.
        """
        if self.is_dry:
            return [Written(part.location, part.table.nbytes, "") for part in parts]
        files = store.write(layout, parts)
        self._written += [(store, file.location) for file in files]
        return files

    def failed(self, error: BaseException) -> BaseException:
        """Give up after an error, and return the one to raise: that a sweep took the bytes explains any other."""
        conflict: ConflictError | None = None
        if isinstance(error, QuantStoreError):
            conflict = self._catalog.attempts.conflict(self.attempt)
        self.give_up()
        return error if conflict is None else conflict

    def give_up(self) -> None:
        """End the attempt and delete what it wrote; what fails here a sweep finds by the attempt's lease."""
        if self.attempt is None:
            return
        try:
            if self._catalog.attempts.abort(self.attempt):
                for store, place in self._written:
                    store.delete(place)
        except (QuantStoreError, OSError):
            return
