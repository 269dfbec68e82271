"""Where a query is planned and run: what fails there is told in words about the query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quantstore.errors import IntegrityError, InvalidInputError, NotFoundError, UnsupportedError

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.catalog.catalog import Catalog
    from quantstore.query.request import ReadRequest

_MISTAKES = (InvalidInputError, NotFoundError, UnsupportedError, IntegrityError)


@contextmanager
def telling(request: ReadRequest, catalog: Catalog, version: int | None = None) -> Iterator[None]:
    """Tell what is wrong with a query that fails inside the block: in its own words, with place and nearest name.

    Args:
        request: The read.
        catalog: Where its tables are looked up.
        version: The version read; None for the newest.
    """
    try:
        yield
    except _MISTAKES as error:
        from quantstore.query.mistakes.rehearsal import told  # loaded by the first mistake

        better = told(error, request, catalog, version)
        if better is error:
            raise
        raise better from None


def told_tables(
    tables: Iterable[pa.Table], request: ReadRequest, catalog: Catalog, version: int | None = None
) -> Iterator[pa.Table]:
    """Hand on the tables of a query as it runs; see `telling`."""
    with telling(request, catalog, version):
        yield from tables
