"""Importing this gives Polars frames `.tier`; `import quantstore` alone does so once Polars is imported."""

from __future__ import annotations

from quantstore.frames.hooks import register
from quantstore.frames.polars import LazyTier, PolarsTier

__all__ = ["LazyTier", "PolarsTier"]

register("polars")
