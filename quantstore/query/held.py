"""What keeps a long reader's segments from being swept, and what tells a moved copy from a damaged one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quantstore.core.warn import warn_caller
from quantstore.errors import AccessDeniedError, CapacityError, IntegrityError, OtherCopyWarning, QuantStoreError
from quantstore.query.memory import release_unused

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.catalog.catalog import Catalog

REPLANS = 5
"""How often a read is planned anew because copies moved away under it."""
LARGE_BYTES = 8 * 2**20
"""From which size on the memory of a table that was handed out is given back to the system."""
_HEARTBEAT_SECONDS = 60


def has_moved(catalog: Catalog, error: IntegrityError) -> bool:
    """Whether another copy can take the place of one that could not be read: it was moved, or there is a second one."""
    copy_id = error.context.get("copy_id")
    if copy_id is None:
        return False
    if not catalog.is_live_copy(copy_id):
        return True
    if not catalog.do_without(copy_id):
        return False
    warn_caller(f"{error} Another copy answers instead; refresh_pins() makes a damaged shadow anew.", OtherCopyWarning)
    return True


class Held:
    """Keeps a long reader's segments from being swept and its version from expiring, by a heartbeat of its own.

    Args:
        catalog: The catalog.
        version: The version read; None for the newest.
        keeps_copies: Whether segments must stay where they are; else only the version is kept.
    """

    def __init__(self, catalog: Catalog, version: int | None = None, *, keeps_copies: bool = True) -> None:
        self._catalog = catalog
        self._released = threading.Event()
        self._reader_id = _opened(catalog, version, keeps_copies=keeps_copies)
        if self._reader_id is not None:
            threading.Thread(target=self._beat, name="quantstore-heartbeat", daemon=True).start()

    def batches(self, tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Return the batches of `tables`; what is held is let go at the end, or when nobody can ask for more."""
        stream = self._batches(tables, schema)
        next(stream)  # from here on its end is certain to come, even if no batch is ever asked for
        return stream

    def _batches(self, tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[Any]:
        try:
            yield None
            for table in tables:
                size = table.nbytes
                batches = table.cast(schema).to_batches()[::-1]
                del table  # while the next one is made, none of this one is needed
                while batches:
                    yield batches.pop()
                if size >= LARGE_BYTES:
                    release_unused()
        finally:
            tables.close()  # type: ignore[attr-defined]
            self.release()

    def release(self) -> None:
        """Let go."""
        self._released.set()
        if self._reader_id is not None:
            with suppress(QuantStoreError):  # what cannot be written down ends with the lease
                self._catalog.garbage.close_reader(self._reader_id)
            self._reader_id = None

    def _beat(self) -> None:
        while not self._released.wait(_HEARTBEAT_SECONDS):
            reader_id = self._reader_id
            if reader_id is not None:
                with suppress(QuantStoreError):  # the lease outlasts several beats
                    self._catalog.garbage.renew_reader(reader_id)


def _opened(catalog: Catalog, version: int | None, *, keeps_copies: bool) -> str | None:
    """Return the id under which a reader is on record; None where nothing can be written.

    That is no reason not to read; a sweep may then take a segment from under the reader, which raises.
    """
    snapshot = catalog.snapshot()
    if version is not None:
        snapshot = replace(snapshot, version=version)
    try:
        return catalog.garbage.open_reader(snapshot, keeps_copies=keeps_copies)
    except (CapacityError, AccessDeniedError):
        return None
