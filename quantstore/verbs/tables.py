"""Tables: made, listed, looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from quantstore.core.table import TableSpec, parse_grain
from quantstore.verbs.base import Verbs

if TYPE_CHECKING:
    from quantstore.table import Table


class TableVerbs(Verbs):
    """create, tables, table."""

    def create(
        self,
        table: str,
        schema: Any = None,
        *,
        time: str = "ts",
        symbol: str | None = None,
        key: str | Iterable[str] | None = None,
        calendar: str | None = None,
        grain: str = "auto",
        asset_class: str | None = None,
    ) -> Table:
        """Make an empty table; without this the first write does.

        Args:
            table: Its name.
            schema: Arrow schema, or None to let the first write fix the columns.
            time: Time column.
            symbol: Symbol column, if any.
            key: Columns that identify a row, if any.
            calendar: Exchange calendar (`XNYS`, `CMES`, ... as `exchange_calendars` names them) whose sessions are the
                trade dates of rows that bring none; default the UTC date of the time column.
            grain: Width of a partition: `day`, `month`, `year`, or `auto`: the first rows decide.
            asset_class: Asset class of rows that bring none.

        Raises:
            InvalidInputError: The name is taken or not usable, the schema lacks a column named here, or no calendar is
                called so.
            MissingDependencyError: `calendar` needs a package that is not installed.
        """
        from quantstore.core.names import check_name, refuse_lookalike
        from quantstore.rows.calendars import calendar_name
        from quantstore.rows.form import Wishes, new_form, refuse_unordered

        keys = () if key is None else (key,) if isinstance(key, str) else tuple(key)
        wishes = Wishes(time, symbol, keys or None, asset_class, None, calendar, parse_grain(grain))
        refuse_lookalike(check_name(table), self.tables())
        if schema is not None:
            form = new_form(table, schema, wishes, {})
            refuse_unordered(form)
            self.metadata_catalog.commits.create(form.spec, form.stored())
        else:
            known = None if calendar is None else calendar_name(calendar)
            spec = TableSpec(table, time, symbol, keys, known, parse_grain(grain), asset_class)
            self.metadata_catalog.commits.create(spec, None)
        return self.table(table)

    def tables(self) -> list[str]:
        """Return the names of all tables, sorted."""
        with self.metadata_catalog.view() as view:
            return view.table_names()

    def table(self, name: str) -> Table:
        """Return a table to look at: schema, placement, versions.

        Raises:
            NotFoundError: No such table; the nearest is named.
        """
        from quantstore.table import Table

        return Table(self.metadata_catalog, self._record(name), self._stores, self._reader)
