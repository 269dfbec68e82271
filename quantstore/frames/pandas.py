"""`pd.DataFrame.tier`."""

from __future__ import annotations

from types import ModuleType

from quantstore.frames.accessor import TierAccessor, attach


class PandasTier(TierAccessor):
    """`df.tier` of pandas: write this frame, tell where it came from; `pd.DataFrame.tier.read` reads one."""

    __slots__ = ()

    _kind = "pandas DataFrame"
    _to = "pandas"


def register(pandas: ModuleType) -> None:
    """Give `pandas.DataFrame` its `.tier`; a column called `tier` stays reachable as `df["tier"]`."""
    attach(pandas.DataFrame, PandasTier, pandas.api.extensions.register_dataframe_accessor)
