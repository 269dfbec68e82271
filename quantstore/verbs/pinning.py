"""Pinning: shadow copies kept in a tier until released or a date."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from quantstore.verbs.base import Verbs, names

if TYPE_CHECKING:
    from quantstore.tiering.pins import Pin, PinsRefreshed


class PinningVerbs(Verbs):
    """pin, pins, refresh_pins."""

    def pin(
        self,
        table: str,
        tier: str = "hot",
        *,
        where: str | None = None,
        symbols: str | Iterable[str] | None = None,
        start: Any = None,
        end: Any = None,
        until: str | float | timedelta | Any = None,
    ) -> Pin:
        """Keep shadow copies of a table's rows in a tier, wherever the rows themselves are and go.

        Whole segments are copied, or of each segment the rows of some symbols; a shadow serves the queries that
        provably need nothing else. What it holds beyond what was asked for does no harm.

        Args:
            table: The table.
            tier: Where the shadows are to be.
            where: SQL condition; segments without a row that can meet it are left out, and where it names symbols, the
                rows of others.
            symbols: Symbols wanted, one or several.
            start: First event time wanted; no zone means UTC.
            end: Event time to stop before.
            until: When the pin ends: a duration from now (`"14d"`, seconds, a `timedelta`), or an instant. `maintain`
                and `refresh_pins` give it up then.

        Returns:
            The pin, which can be released, refreshed, and used in a `with` block.

        Raises:
            NotFoundError: No such table or column; the nearest is named.
            InvalidInputError: An option makes no sense.
            IntegrityError: A source is damaged, or a copy reads back differently; nothing was changed.
            CapacityError: The tier is full; nothing was changed.
        """
        from quantstore.tiering.pinning import new_pin
        from quantstore.tiering.pins import Pinner

        self.metadata_catalog.require_writable("pin")
        record = self._record(table)
        new = new_pin(
            self.metadata_catalog,
            self._stores,
            self._engine,
            record,
            tier,
            where=where,
            symbols=names(symbols),
            start=start,
            end=end,
            until=until,
        )
        return Pinner(self.metadata_catalog, self._stores).pin(record, new)

    def pins(self, table: str | None = None) -> list[Pin]:
        """Return the pins of a table, or of all tables, oldest first."""
        from quantstore.tiering.pins import Pinner

        table_id = None if table is None else self._record(table).table_id
        return Pinner(self.metadata_catalog, self._stores).all(table_id)

    def refresh_pins(self) -> PinsRefreshed:
        """End pins whose time is over, make the shadows that pins lack, damaged ones anew; `maintain` does it too."""
        from quantstore.tiering.pins import Pinner

        self.metadata_catalog.require_writable("refresh pins")
        return Pinner(self.metadata_catalog, self._stores).refresh()
