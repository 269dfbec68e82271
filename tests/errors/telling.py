"""What every refusal is held to: the class, what it says, and that nothing was changed by it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quantstore.errors import QuantStoreError

INTERNALS = re.compile(r"__quantstore|__ns_|quantstore_scan|hive_partitioning|LINE \d|exception_type|Candidate|<class")


def ticks(rows=6, zone="UTC", unit="us", **columns):
    """A small frame of trades."""
    stamps = pd.date_range("2026-01-05 14:30", periods=rows, freq="min", tz=zone).as_unit(unit)
    prices = np.arange(rows) + 0.5
    frame = {"ts": stamps, "symbol": ["AAPL", "MSFT"] * (rows // 2), "price": prices, "size": np.arange(rows)}
    return pd.DataFrame(frame | columns)


def state(store):
    """What a refusal must leave as it is: the version, the tables and every file of rows."""
    folder = store.metadata_catalog.path.parent
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("catalog.sqlite")]
    snapshot = store.metadata_catalog.snapshot()
    return snapshot, store.tables(), sorted((str(path), path.stat().st_size) for path in files)


@contextmanager
def refused(kind, *words, store=None):
    """Expect an error of exactly this class that says these words, names no internals and changed nothing."""
    before = None if store is None else state(store)
    with pytest.raises(QuantStoreError) as caught:
        yield caught
    error = caught.value
    message = str(error)
    assert type(error) is kind, message
    for word in words:
        assert word in message, message
    assert not INTERNALS.search(message), message
    assert message == message.strip()
    if store is not None:
        assert state(store) == before


def pictured(error):
    """Return the words above the carets, and check that line, column and picture say the same."""
    _, shown, carets = str(error).rsplit("\n", 2)
    at, width = carets.index("^"), carets.count("^")
    assert carets == " " * at + "^" * width
    label = f"line {error.context['line']}: "
    assert shown.startswith(label)
    return shown[at : at + width]


def folder_state(folder: Path):
    """Every path below a folder with its size."""
    return sorted((str(path), path.stat().st_size if path.is_file() else 0) for path in folder.rglob("*"))
