"""Importing this gives pandas frames `.tier`; `import quantstore` alone does so once pandas is imported."""

from __future__ import annotations

from quantstore.frames.hooks import register
from quantstore.frames.pandas import PandasTier

__all__ = ["PandasTier"]

register("pandas")
