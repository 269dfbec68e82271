"""What mends a problem: each a copy-verify-commit of its own, or one change that is whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from quantstore.catalog.segments import span_class
from quantstore.core.failpoints import reach
from quantstore.core.segment import Copy, NewCopy, PlacedSegment, Role, Segment, SegmentStats
from quantstore.errors import IntegrityError, QuantStoreError
from quantstore.maintenance.rescue import Rescue, Rescued
from quantstore.rows.fingerprint import column_proofs
from quantstore.stores.base import Part
from quantstore.write.locations import location
from quantstore.write.order import in_store_order
from quantstore.write.origin import origin
from quantstore.write.proof import find_difference

if TYPE_CHECKING:
    from quantstore.catalog.records import Attempt
    from quantstore.catalog.repairs import Correction
    from quantstore.maintenance.checks.grounds import Grounds, Place

DAMAGED = ".damaged"


class CannotMendError(Exception):
    """Nothing that is left can mend it."""


class Mend(Protocol):
    """Puts one thing right."""

    def apply(self) -> str:
        """Do it and return what was done.

        Raises:
            CannotMendError: Nothing that is left can.
        """
        ...


@dataclass(frozen=True, slots=True)
class CorrectRows:
    """Puts values in the catalog right that are proven by what they speak of.

    Attributes:
        grounds: The store.
        corrections: The values.
    """

    grounds: Grounds
    corrections: tuple[Correction, ...]

    @property
    def outlook(self) -> str:
        """What it would do, for people."""
        listed = ", ".join(f"{column} = {_short(value)}" for _, _, _, column, value in self.corrections)
        return f"fsck(repair=True) corrects the catalog: {listed}."

    def apply(self) -> str:
        """Correct the catalog."""
        self.grounds.catalog.repairs.correct(self.corrections)
        listed = ", ".join(f"{column} = {_short(value)}" for _, _, _, column, value in self.corrections)
        return f"corrected the catalog: {listed}"


@dataclass(frozen=True, slots=True)
class Restore:
    """Brings a copy's bytes back: from where they lie, or its rows from other copies that hold them.

    Attributes:
        grounds: The store.
        placed: The segment.
        copy: The copy.
        is_readable: Whether its bytes are those that the catalog has the checksum of, and wrong all the same.
    """

    grounds: Grounds
    placed: PlacedSegment
    copy: Copy
    is_readable: bool = False

    def outlook(self, ways_out: str) -> tuple[str, Restore | None]:
        """Return what it would do, for people, and itself; or the ways out, where it cannot do anything."""
        place = None if self.is_readable else self.grounds.find_bytes(self.copy)
        if place is not None:
            return f"fsck(repair=True) puts its bytes back, which lie in {place.path}.", self
        source = self._rescue().find(lambda _: None)
        if source is not None:
            return f"fsck(repair=True) writes it anew from {source.told}.", self
        if self.copy.role is Role.SHADOW:
            return "fsck(repair=True) gives this extra copy up.", self
        return ways_out, None

    def apply(self) -> str:
        """Bring the bytes back."""
        if not self.is_readable and self._is_well():
            return "mended together with another copy in the same file"
        place = None if self.is_readable else self.grounds.find_bytes(self.copy)
        if place is not None:
            return self._put_back(place)
        rescued = self._rescue().find(self._rewrite)
        if rescued is not None:
            return f"wrote it anew from {rescued.told}"
        if self.copy.role is Role.SHADOW:
            self._set_aside()
            self.grounds.catalog.repairs.give_up(self.copy.copy_id)
            return "gave the extra copy up; refresh_pins() makes it anew"
        raise CannotMendError

    def _rescue(self) -> Rescue:
        return Rescue(self.grounds, self.placed, self.copy)

    def _is_well(self) -> bool:
        if not self.grounds.catalog.is_live_copy(self.copy.copy_id):
            return True
        try:
            self.grounds.stores[self.copy.tier].verify(self.copy, deep=True)
        except QuantStoreError:
            return False
        return True

    def _put_back(self, place: Place) -> str:
        """Move the right bytes to where the catalog says, or note where they are if that is another copy's place."""
        from quantstore.maintenance.lost_and_found import relocate

        copy, grounds = self.copy, self.grounds
        own = grounds.path(copy.tier, copy.location)
        if own is None:
            raise CannotMendError
        if self._is_shared_place():
            if place.tier is not copy.tier:
                raise CannotMendError
            grounds.catalog.repairs.relocate(copy, place.location)
            return f"noted that its bytes are in {place.location}"
        self._set_aside()
        relocate(place.path, own)
        reach("repair.put.back")
        grounds.stores[copy.tier].verify(copy, deep=True)
        return f"put its bytes back, which lay in {place.path}"

    def _is_shared_place(self) -> bool:
        """Whether the place recorded is that of another copy, with other bytes, which are there."""
        copy = self.copy
        others = (
            other
            for placed in self.grounds.state.segments
            for other in placed.copies
            if (other.store, other.location) == (copy.store, copy.location) and other.checksum != copy.checksum
        )
        return next(others, None) is not None

    def _set_aside(self) -> None:
        """Move what is in the copy's place to the lost and found."""
        path = self.grounds.path(self.copy.tier, self.copy.location)
        if path is not None and path.exists() and not self._is_shared_place():
            self.grounds.lost.take(path, f"{self.copy.tier.value}/{self.copy.location}", DAMAGED)
        reach("repair.set.aside")

    def _rewrite(self, rescued: Rescued) -> None:
        """Write rows anew in the copy's tier, read them back, and let them take its place in one commit.

        Raises:
            IntegrityError: They read back differently.
        """
        grounds, segment, copy = self.grounds, self.placed.segment, self.copy
        form = grounds.form(segment.schema_id)
        store = grounds.stores[copy.tier]
        attempt: Attempt = grounds.catalog.attempts.register("repair", form.spec.name)
        reach("repair.registered")
        try:
            proofs = column_proofs(rescued.table)
            table = in_store_order(rescued.table, form.layout, store.capabilities.order)
            place = location(form.spec, segment.partition, copy.tier, attempt.attempt_id, 0)
            asset_class = segment.partition.asset_class
            said = origin(form, attempt, replaces=[(copy.store, copy.location, asset_class)], role=copy.role.value)
            (made,) = store.write(form.layout, [Part(place, table, segment.partition, origin=said)])
            reach("repair.copied")
            new = NewCopy(
                tier=copy.tier,
                store=store.name,
                location=made.location,
                codec=store.capabilities.codec,
                size_bytes=made.size_bytes,
                checksum=made.checksum,
                seq_base=0,
                role=copy.role,
            )
            _require_same(find_difference(store, form, segment.partition, new, rescued.stats, proofs), copy)
            reach("repair.verified")
            self._set_aside()
            grounds.catalog.repairs.replace(attempt, copy, new)
        except BaseException:
            grounds.catalog.attempts.abort(attempt)
            raise


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Moves a file that belongs to nobody to the lost and found.

    Attributes:
        grounds: The store.
        path: The file.
        name: Its name there.
    """

    grounds: Grounds
    path: Path
    name: str

    def apply(self) -> str:
        """Move it."""
        taken = self.grounds.lost.take(self.path, self.name)
        reach("repair.set.aside")
        return "it is gone meanwhile" if taken is None else f"moved it to {taken}"


@dataclass(frozen=True, slots=True)
class Remake:
    """Makes something anew that is derived from the rows.

    Attributes:
        make: Does it.
        done: What was done, for people.
    """

    make: Callable[[], Any]
    done: str

    def apply(self) -> str:
        """Make it."""
        self.make()
        return self.done


def _require_same(problem: str | None, copy: Copy) -> None:
    if problem:
        raise IntegrityError(f"Repairing {copy.location}: the new copy reads back with {problem}.")


def mended_statistics(segment: Segment, found: SegmentStats) -> tuple[Correction, ...]:
    """Return the corrections that give a segment the statistics that its rows have."""
    values = {
        "rows": found.rows,
        "min_ns": found.min_ns,
        "max_ns": found.max_ns,
        "symbols": None if found.symbols is None else json.dumps(found.symbols),
        "min_symbol": found.min_symbol,
        "max_symbol": found.max_symbol,
        "has_null_symbol": found.has_null_symbol,
        "span_class": span_class(found.min_ns, found.max_ns),
    }
    stats = segment.stats
    before = {name: getattr(stats, name, None) for name in values}
    before["symbols"] = None if stats.symbols is None else json.dumps(stats.symbols)
    return tuple(
        ("segments", "segment_id", segment.segment_id, name, value)
        for name, value in values.items()
        if name == "span_class" or before[name] != value
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
