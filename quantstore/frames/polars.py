"""`pl.DataFrame.tier` and `pl.LazyFrame.tier`."""

from __future__ import annotations

from types import ModuleType

from quantstore.frames.accessor import TierAccessor, attach


class PolarsTier(TierAccessor):
    """`df.tier` of Polars: write this frame, tell where it came from; `pl.DataFrame.tier.read` reads one."""

    __slots__ = ()

    _kind = "Polars DataFrame"
    _to = "polars"


class LazyTier(TierAccessor):
    """`lf.tier`: run the plan and write its rows batch by batch; `pl.LazyFrame.tier.read` reads one."""

    __slots__ = ()

    _kind = "Polars LazyFrame"
    _to = "lazy"

    def _shape(self) -> None:
        return None


def register(polars: ModuleType) -> None:
    """Give `polars.DataFrame` and `polars.LazyFrame` their `.tier`."""
    attach(polars.DataFrame, PolarsTier, polars.api.register_dataframe_namespace)
    attach(polars.LazyFrame, LazyTier, polars.api.register_lazyframe_namespace)
