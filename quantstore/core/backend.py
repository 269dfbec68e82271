"""The specified storage interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class StorageBackend(ABC):
    """Reads and writes tables without the caller knowing which tier holds which rows."""

    @abstractmethod
    def write(self, df: Any, table: str, tier: str = "hot") -> Any:
        """Write a DataFrame to the given tier."""

    @abstractmethod
    def read(self, query: str, tiers: list[str] = ["hot", "warm", "cold"]) -> Any:  # noqa: B006 - specified
        """Read a table or the answer to a query from the given tiers."""

    @abstractmethod
    def migrate(self, table: str, src_tier: str, dst_tier: str) -> Any:
        """Move a table's data from one tier to another."""
