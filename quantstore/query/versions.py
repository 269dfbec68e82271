"""What happened to a table, as frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Columns = Mapping[str, list[Any]]
"""What each version did, as `Catalog.change_columns` gives it."""


def versions_frame(columns: Columns) -> pd.DataFrame:
    """Return one row per version: when, who, which operation, rows, lineage."""
    import pandas as pd

    rest = ("author", "operation", "tier", "rows", "deleted", "segments")
    return pd.DataFrame(
        {
            "version": pd.Series(columns["version"], dtype="int64"),
            "committed": _instants(columns),
            **{name: columns[name] for name in rest},
            "write_id": pd.Series(columns["write_id"], dtype=object),
            "lineage": pd.Series(columns["lineage"], dtype=object),
        }
    )


def lineage_frame(columns: Columns) -> pd.DataFrame:
    """Return one row per version: what its rows were made from, and by which code."""
    import pandas as pd

    noted = [one | one.get("code", {}) for one in columns["lineage"]]

    def texts(name: str) -> pd.Series[Any]:
        return pd.Series([one.get(name) for one in noted], dtype=object)

    return pd.DataFrame(
        {
            "version": pd.Series(columns["version"], dtype="int64"),
            "committed": _instants(columns),
            "author": columns["author"],
            "operation": columns["operation"],
            "inputs": pd.Series([tuple(one.get("inputs", ())) for one in noted], dtype=object),
            "input_version": pd.array([one.get("version") for one in noted], dtype="Int64"),
            "query": texts("query"),
            "file": texts("file"),
            "notebook": texts("notebook"),
            "line": pd.array([one.get("line") for one in noted], dtype="Int64"),
            "commit": texts("commit"),
        }
    )


def _instants(columns: Columns) -> pd.Series[pd.Timestamp]:
    import pandas as pd

    return pd.to_datetime(pd.Series(columns["committed_ns"], dtype="int64"), unit="ns", utc=True)
