"""Where copies go inside a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantstore.core.segment import ASSET_CLASS, TRADE_DATE
from quantstore.core.table import Grain
from quantstore.core.tier import Tier
from quantstore.stores.files import quote_component

if TYPE_CHECKING:
    from quantstore.core.segment import Partition
    from quantstore.core.table import TableSpec

_NULL = "__HIVE_DEFAULT_PARTITION__"
_DAY_FORMAT = {Grain.DAY: "%Y-%m-%d", Grain.MONTH: "%Y-%m", Grain.YEAR: "%Y"}


def location(spec: TableSpec, partition: Partition, tier: Tier, attempt_id: str, number: int) -> str:
    """Return the path of a copy, relative to the store's root and without a suffix.

    Hot and warm copies lie flat in a folder per table; cold ones under `trade_date=/asset_class=`, the layout that
    other engines expect (`trade_date_month=` and `trade_date_year=` for wider grains, as Iceberg names transforms).
    """
    folder = quote_component(spec.name.casefold())
    file = f"{attempt_id}-{number:06d}"
    if tier is not Tier.COLD:
        return f"{folder}/{file}"
    day_key = TRADE_DATE if spec.grain is Grain.DAY else f"{TRADE_DATE}_{spec.grain.value}"
    day = partition.trade_date.strftime(_DAY_FORMAT[spec.grain])
    kind = _NULL if partition.asset_class is None else quote_component(partition.asset_class)
    return f"{folder}/{day_key}={day}/{ASSET_CLASS}={kind}/{file}"
