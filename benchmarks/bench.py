"""Everything a job may need, opened where it is first asked for, in this process or in a child of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import Data, Variant

if TYPE_CHECKING:
    from peers.arctic import Arctic
    from peers.bare import Bare
    from peers.duckdb import DuckDB
    from peers.iceberg import Iceberg
    from peers.own import Own
    from peers.polars import Polars


class Bench:
    """The ticks of a variant, the store and its peers, under one folder.

    Args:
        work: Where data is kept; one folder below per variant.
        variant: The data.
        rows: How many ticks.
        sizes: Segments of the synthetic catalogs.
    """

    def __init__(self, work: Path, variant: Variant, rows: int, sizes: tuple[int, ...] = ()) -> None:
        self.work, self.variant, self.rows, self.sizes = work, variant, rows, sizes
        self.folder = work / variant.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = Data(self.folder, variant, rows)

    def make(self) -> None:
        """Make the ticks and, where they are installed, the stores that are read."""
        self.data.make()
        self.own.make()
        if has("arcticdb"):
            self.arctic.make()

    def later(self, peer: str, method: str) -> Callable[..., Any]:
        """Return a peer's method, looked up when it is called, as the peer may not be installed."""

        def call(*given: Any) -> Any:
            return getattr(getattr(self, peer), method)(*given)

        return call

    @cached_property
    def own(self) -> Own:
        """The store itself."""
        from peers.own import Own

        return Own(self.folder, self.data)

    @cached_property
    def bare(self) -> Bare:
        """Plain files."""
        from peers.bare import Bare

        return Bare(self.folder, self.data)

    @cached_property
    def arctic(self) -> Arctic:
        """ArcticDB."""
        from peers.arctic import Arctic

        return Arctic(self.folder, self.data)

    @cached_property
    def duckdb(self) -> DuckDB:
        """DuckDB, with a table of its own."""
        from peers.duckdb import DuckDB

        return DuckDB(self.data)

    @cached_property
    def polars(self) -> Polars:
        """Polars, with a frame in memory."""
        from peers.polars import Polars

        return Polars(self.data)

    @cached_property
    def iceberg(self) -> Iceberg:
        """Apache Iceberg, by pyiceberg."""
        from peers.iceberg import Iceberg

        return Iceberg(self.folder, self.data)


def has(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None
