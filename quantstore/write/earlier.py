"""What the digest of rows would have been before their table changed its form: writing them again is a repeat still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.errors import InvalidInputError
from quantstore.write.arrivals import content_digest
from quantstore.write.conform import conform
from quantstore.write.partition import add_hidden

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.rows.fingerprint import ContentDigest
    from quantstore.rows.form import TableForm
    from quantstore.rows.source import Source


class EarlierContents:
    """Digests of rows in forms that their table had before, those that the rows fit.

    Args:
        forms: The forms.
        tz: Zone that a naive time column is given.
        asset_class: Asset class of rows that have no such column.
    """

    def __init__(self, forms: Sequence[TableForm], tz: str | None, asset_class: str | None) -> None:
        self._digests = [(form, content_digest(form)) for form in forms]
        self._tz = tz
        self._asset_class = asset_class

    def watching(self, source: Source) -> Source:
        """Return a source of the same rows that are digested as they pass."""
        return replace(source, tables=self._watched(source.tables)) if self._digests else source

    @property
    def contents(self) -> tuple[str, ...]:
        """The digests."""
        return tuple(digest.hexdigest() for _, digest in self._digests)

    def _watched(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self._digests = [(form, digest) for form, digest in self._digests if self._is_digested(table, form, digest)]
            yield table

    def _is_digested(self, table: pa.Table, form: TableForm, digest: ContentDigest) -> bool:
        """Digest rows as they would have been kept; False where they would not have fitted."""
        known = {name.casefold() for name in form.visible.names} | {TRADE_DATE, ASSET_CLASS}
        others = [name for name in table.column_names if name.casefold() not in known]
        if any(table.column(name).null_count < table.num_rows for name in others):
            return False
        try:
            rows = conform(table.drop_columns(others), form, tz=self._tz)
            if rows.num_rows:
                digest.update(add_hidden(rows, form, self._asset_class))
        except InvalidInputError:
            return False
        return True
