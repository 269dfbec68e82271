"""The mapping between a table's logical schema, what Parquet files hold and what SQL sees.

The hot tier keeps logical types as they are. Warm and cold files both hold the physical schema: timestamps in
microseconds (zoned ones in UTC) with a remainder column for nanoseconds, small and unsigned integers widened,
dictionaries decoded. DuckDB sees the same types and values wherever a row comes from.
"""

from __future__ import annotations

from quantstore.stores.column_types import (
    FIELD_IDS,
    REMAINDER_PREFIX,
    check_schema,
    is_promotable,
    keep_field_ids,
    physical_schema,
    physical_type,
    remainder_name,
)
from quantstore.stores.conversion import (
    MAX_STORED_CATEGORIES,
    check_values,
    file_categories,
    from_physical,
    physical_columns,
    restore,
    to_physical,
)
from quantstore.stores.engine_types import (
    engine_projection,
    engine_type,
    from_engine,
    physical_time_bounds,
    to_engine,
    widened_projection,
)

__all__ = [
    "FIELD_IDS",
    "MAX_STORED_CATEGORIES",
    "REMAINDER_PREFIX",
    "check_schema",
    "check_values",
    "engine_projection",
    "engine_type",
    "file_categories",
    "from_engine",
    "from_physical",
    "is_promotable",
    "keep_field_ids",
    "physical_columns",
    "physical_schema",
    "physical_time_bounds",
    "physical_type",
    "remainder_name",
    "restore",
    "to_engine",
    "to_physical",
    "widened_projection",
]
