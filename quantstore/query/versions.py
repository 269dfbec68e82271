"""What happened to a table, as frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from quantstore.catalog.records import Change

_LINEAGE = ("inputs", "input_version", "query", "file", "notebook", "line", "commit")


def versions_frame(changes: Sequence[Change]) -> pd.DataFrame:
    """Return one row per change: when, who, which operation, rows, lineage."""
    import pandas as pd

    return pd.DataFrame(
        {
            "version": [one.version for one in changes],
            "committed": _instants(changes),
            "author": [one.author for one in changes],
            "operation": [one.operation for one in changes],
            "tier": [one.tier for one in changes],
            "rows": [one.rows for one in changes],
            "deleted": [one.deleted for one in changes],
            "segments": [one.segments for one in changes],
            "write_id": pd.Series([one.write_id for one in changes], dtype=object),
            "lineage": pd.Series([one.lineage for one in changes], dtype=object),
        }
    )


def lineage_frame(changes: Sequence[Change]) -> pd.DataFrame:
    """Return one row per change: what its rows were made from, and by which code."""
    import pandas as pd

    noted = [one.lineage | one.lineage.get("code", {}) for one in changes]
    named = {
        "inputs": [tuple(one.get("inputs", ())) for one in noted],
        "input_version": pd.array([one.get("version") for one in noted], dtype="Int64"),
        "line": pd.array([one.get("line") for one in noted], dtype="Int64"),
    }
    texts = {name: pd.Series([one.get(name) for one in noted], dtype=object) for name in _LINEAGE if name not in named}
    return pd.DataFrame(
        {
            "version": [one.version for one in changes],
            "committed": _instants(changes),
            "author": [one.author for one in changes],
            "operation": [one.operation for one in changes],
            **{name: named.get(name, texts.get(name)) for name in _LINEAGE},
        }
    )


def _instants(changes: Sequence[Change]) -> pd.Series[pd.Timestamp]:
    import pandas as pd

    stamps = pd.Series([one.committed_ns for one in changes], dtype="int64")
    return pd.to_datetime(stamps, unit="ns", utc=True)
