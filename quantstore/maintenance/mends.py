"""What mends a problem: each a copy-verify-commit of its own, or one change that is whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from quantstore.catalog.inspection import REBUILD
from quantstore.catalog.segments import span_class
from quantstore.core.failpoints import reach
from quantstore.core.segment import Copy, NewCopy, PlacedSegment, Role, Segment, SegmentStats
from quantstore.errors import IntegrityError, QuantStoreError
from quantstore.maintenance.rescue import Rescue, Rescued
from quantstore.maintenance.unreadable import UNREADABLE
from quantstore.rows.fingerprint import column_proofs
from quantstore.stores.base import Part
from quantstore.write.locations import location
from quantstore.write.order import in_store_order
from quantstore.write.origin import origin
from quantstore.write.proof import find_difference

if TYPE_CHECKING:
    from quantstore.catalog.records import Attempt, ColumnProof
    from quantstore.catalog.repairs import Correction
    from quantstore.maintenance.checks.grounds import Grounds, Place

DAMAGED = ".damaged"
_NAME = re.compile(r"(^|/)[0-9a-f]{32}-[^/]*\.(arrow|parquet)$")
DISAGREE = (
    "Which of the catalog and the copies of this segment is right cannot be told, and nothing is changed: mend what is "
    f"told beside it first, or {REBUILD}."
)
_TOGETHER = "mended together with another copy in the same file"


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
        wrong: What tells the rows that are wrong, where others than these are looked for.
    """

    grounds: Grounds
    placed: PlacedSegment
    copy: Copy
    is_readable: bool = False
    wrong: Mapping[str, ColumnProof] | None = None

    def outlook(self, ways_out: str) -> tuple[str, Restore | None]:
        """Return what it would do, for people, and itself; or the ways out, where it cannot do anything."""
        place = None if self.is_readable else self.grounds.find_bytes(self.copy)
        if place is not None and (self._can_hold_it() or place.tier is self.copy.tier):
            return f"fsck(repair=True) puts its bytes back, which lie in {place.path}.", self
        if self._is_doubtful():
            return DISAGREE, None
        source = self._rescue().find(lambda _: None)
        if source is not None:
            return f"fsck(repair=True) writes it anew from {source.told}.", self
        if self._is_extra():
            return "fsck(repair=True) gives this extra copy up.", self
        return ways_out, None

    def apply(self) -> str:
        """Bring the bytes back."""
        if self._is_well():
            return _TOGETHER
        place = None if self.is_readable else self.grounds.find_bytes(self.copy)
        if place is not None:
            # finding it may have taken hours, in which another process may have mended the copy
            return _TOGETHER if self._is_well() else self._put_back(place)
        if self._is_doubtful():
            raise CannotMendError
        rescued = self._rescue().find(self._rewrite)
        if rescued is not None:
            return f"wrote it anew from {rescued.told}"
        if self._is_extra():
            self._set_aside()
            self.grounds.catalog.repairs.give_up(self.copy.copy_id)
            return "gave the extra copy up; refresh_pins() makes it anew"
        raise CannotMendError

    def _rescue(self) -> Rescue:
        return Rescue(self.grounds, self.placed, self.copy, self.wrong)

    def _is_doubtful(self) -> bool:
        """Whether it is one of several primaries, and so perhaps the only copy of another segment."""
        primaries = [one.copy_id for one in self.placed.copies if one.role is Role.PRIMARY]
        return len(primaries) > 1 and self.copy.copy_id in primaries

    def _is_extra(self) -> bool:
        """Whether it is a shadow beside a primary copy."""
        return self.copy.role is Role.SHADOW and any(one.role is Role.PRIMARY for one in self.placed.copies)

    def _is_well(self) -> bool:
        if not self.grounds.catalog.is_live_copy(self.copy.copy_id):
            return True
        if self.is_readable:
            return False
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
        if own is None or not self._can_hold_it():
            if place.tier is not copy.tier:
                raise CannotMendError
            grounds.catalog.repairs.relocate(copy, place.location)
            return f"noted that its bytes are in {place.location}"
        self._set_aside()
        relocate(place.path, own)
        reach("repair.put.back")
        grounds.stores[copy.tier].verify(copy, deep=True)
        return f"put its bytes back, which lay in {place.path}"

    def _can_hold_it(self) -> bool:
        """Whether the place recorded is one that a write may have made, and not that of another copy."""
        is_place = self.grounds.path(self.copy.tier, self.copy.location) is not None
        return is_place and bool(_NAME.search(self.copy.location)) and not self._is_shared_place()

    def _is_shared_place(self) -> bool:
        """Whether the place recorded is that of another copy, whose bytes are there."""
        copy = self.copy
        return any(
            (other.store, other.location) == (copy.store, copy.location)
            and (other.checksum != copy.checksum or (self.is_readable and other.copy_id != copy.copy_id))
            for placed in self.grounds.state.segments
            for other in placed.copies
        )

    def _set_aside(self) -> None:
        """Move what is in the copy's place to the lost and found."""
        path = self.grounds.path(self.copy.tier, self.copy.location)
        if path is not None and path.is_file() and not self._is_shared_place():
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
class GiveUp:
    """Gives up a copy that a segment can do without.

    Attributes:
        grounds: The store.
        placed: The segment.
        copy: The copy.
        done: What was done, for people.
    """

    grounds: Grounds
    placed: PlacedSegment
    copy: Copy
    done: str

    def is_safe(self) -> bool:
        """Whether another primary of the segment is whole and holds the same rows, should this one hold the last."""
        others = [one for one in self.placed.copies if one.role is Role.PRIMARY and one.copy_id != self.copy.copy_id]
        own = self._proofs(self.copy)
        if own is None and self.copy.role is Role.PRIMARY:
            return False  # whose rows it has cannot be told
        is_part = self.copy.subset is not None or own is None
        found = (self._proofs(one) for one in others)
        return any(proofs is not None and (is_part or proofs == own) for proofs in found)

    def _proofs(self, copy: Copy) -> Any:
        """Return what tells the rows of a copy from others, or None where it is not whole."""
        grounds, segment = self.grounds, self.placed.segment
        try:
            store = grounds.stores[copy.tier]
            store.verify(copy, deep=True)
            return column_proofs(store.read(grounds.form(segment.schema_id).layout, copy, segment.partition))
        except UNREADABLE:
            return None

    def apply(self) -> str:
        """Give it up."""
        if not self.is_safe():
            raise CannotMendError
        self.grounds.catalog.repairs.give_up(self.copy.copy_id)
        return self.done


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
