"""Sweep: delete bytes that nothing reaches.

Attempts are ended in the catalog before any of their bytes go, bytes before the records of them, so that whatever
moment the process dies at, the next sweep finishes the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantstore.core.events import Progress, announce
from quantstore.core.failpoints import reach
from quantstore.core.render import human_bytes

if TYPE_CHECKING:
    from quantstore.catalog.catalog import Catalog
    from quantstore.core.tier import Tier
    from quantstore.stores.base import SegmentStore, Stored

REMEMBERED_NS = 24 * 3600 * 10**9
"""How long an ended attempt stays on record, so that bytes a stalled writer adds late are still known as garbage."""
_ID_LENGTH = 32
_FILE_ID_LENGTH = 39
"""Of an attempt's id, a dash and six digits."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep did.

    Attributes:
        attempts: Attempts of dead or stalled processes that were ended.
        copies: Superseded copies deleted.
        orphans: Files of ended attempts deleted.
        freed_bytes: Bytes freed by both.
    """

    attempts: int
    copies: int
    orphans: int
    freed_bytes: int

    def __repr__(self) -> str:
        """Return one line."""
        return (
            f"swept {self.copies} superseded copies and {self.orphans} orphans, {human_bytes(self.freed_bytes)} freed; "
            f"{self.attempts} dead attempts ended"
        )


def sweep(catalog: Catalog, stores: Mapping[Tier, SegmentStore], grace_ns: int) -> SweepResult:
    """Delete copies condemned at least `grace_ns` ago that no reader holds, and whatever ended attempts left behind."""
    reaped = catalog.attempts.reap()
    catalog.garbage.reap_readers()
    reach("sweep.reaped")
    copies, freed = _sweep_condemned(catalog, stores, grace_ns)
    found = list(orphans(catalog, stores))
    reach("sweep.listed")
    for number, (tier, stored) in enumerate(found, start=1):
        stores[tier].delete(stored.location)
        reach("sweep.deleted")
        announce(Progress("sweep", "", number, len(found), "files"))
    catalog.attempts.forget(REMEMBERED_NS, keep={attempt_of(stored.location) for _, stored in found})
    reach("sweep.done")
    return SweepResult(len(reaped), copies, len(found), freed + sum(stored.size_bytes for _, stored in found))


def _sweep_condemned(catalog: Catalog, stores: Mapping[Tier, SegmentStore], grace_ns: int) -> tuple[int, int]:
    by_name = {store.name: store for store in stores.values()}
    gone = [copy for copy in catalog.garbage.condemned(grace_ns) if copy.store in by_name]
    for copy in gone:
        by_name[copy.store].delete(copy.location)
        reach("sweep.deleted")
    if gone:
        catalog.garbage.forget(gone)
        reach("sweep.forgotten")
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    for copy in gone:  # several may be the same rows of one file
        own, _ = sizes.get((copy.store, copy.location), (0, 0))
        sizes[copy.store, copy.location] = own + copy.size_bytes, copy.file_bytes
    return len(gone), sum(min(size) for size in sizes.values())


def orphans(catalog: Catalog, stores: Mapping[Tier, SegmentStore]) -> list[tuple[Tier, Stored]]:
    """Return files of ended attempts that no record names.

    Stores are listed before the catalog is read: a file written after that is not on the list, and a file whose attempt
    committed in between is on record. Files of attempts the catalog never knew are left alone, and files that bear the
    name of a copy on record that is elsewhere: somebody moved or copied them. `audit` reports both.
    """
    listed = [(tier, stored) for tier, store in stores.items() for stored in store.list()]
    states = catalog.attempts.states()
    known = catalog.garbage.locations()
    names = {file_id(location) for _, location in known}
    return [
        (tier, stored)
        for tier, stored in listed
        if states.get(attempt_of(stored.location), "open") != "open"
        and (stores[tier].name, stored.location) not in known
        and file_id(stored.location) not in names
    ]


def attempt_of(location: str) -> str:
    """Return the id of the attempt that wrote a file."""
    return file_id(location)[:_ID_LENGTH]


def file_id(location: str) -> str:
    """Return what tells a file from all others, in whatever folder and with whatever ending."""
    return location.rpartition("/")[2][:_FILE_ID_LENGTH]
