"""The contracts that stores and catalogs of others can be proven by; needs the extra `testing`."""

from __future__ import annotations

from quantstore.testing.catalog_contract import CatalogContract
from quantstore.testing.store_contract import StoreContract

__all__ = ["CatalogContract", "StoreContract"]
