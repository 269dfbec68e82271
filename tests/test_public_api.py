"""The names and signatures that callers rely on."""

from __future__ import annotations

import inspect

import pytest

import quantstore as qs
from quantstore.table import Table
from quantstore.write.result import WriteResult

EMPTY = inspect.Parameter.empty


def signature(function):
    """Return names and defaults of the positional parameters, and of the keywords."""
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    positional = {one.name: one.default for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD}
    return positional, {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


def test_the_package_offers_these_names():
    assert sorted(qs.__all__) == [
        "HybridStorageManager",
        "QuantStoreError",
        "StorageBackend",
        "Tier",
        "__version__",
        "default",
        "open",
        "rebuild",
        "use",
    ]
    for name in qs.__all__:
        assert getattr(qs, name) is not None
        assert name in dir(qs)
    assert callable(qs.load_ipython_extension)
    assert callable(qs.unload_ipython_extension)
    with pytest.raises(AttributeError, match="nothing"):
        qs.nothing  # noqa: B018 - the access is the test


def test_open_takes_a_place_and_overrides():
    positional, keywords = signature(qs.open)
    assert positional == {"target": None}
    assert keywords["read_only"] is False
    assert keywords["create"] is True
    assert {name: keywords[name] for name in ("catalog", "hot", "warm", "cold")} == dict.fromkeys(
        ("catalog", "hot", "warm", "cold")
    )
    assert list(signature(qs.use)[0]) == ["store"]
    assert signature(qs.default) == ({}, {})


@pytest.mark.parametrize(
    ("verb", "positional", "keywords"),
    [
        (
            "write",
            {"df": EMPTY, "table": EMPTY, "tier": "hot"},
            {
                "mode": "append",
                "time": None,
                "symbol": None,
                "key": None,
                "asset_class": None,
                "tz": None,
                "write_id": None,
                "on_repeat": "skip",
                "expected_version": None,
            },
        ),
        (
            "read",
            {"query": EMPTY, "tiers": ("hot", "warm", "cold")},
            {
                "start": None,
                "end": None,
                "dates": None,
                "symbols": None,
                "columns": None,
                "params": None,
                "as_of": None,
                "to": "pandas",
                "dtype_backend": None,
                "missing": "warn",
                "max_bytes": "auto",
            },
        ),
        (
            "migrate",
            {"table": EMPTY, "src_tier": EMPTY, "dst_tier": EMPTY},
            {"where": None, "before": None, "dry_run": False},
        ),
        (
            "create",
            {"table": EMPTY, "schema": None},
            {"time": "ts", "key": None, "calendar": None, "grain": "auto", "asset_class": None},
        ),
        ("explain", {"query": EMPTY}, {}),
        ("at", {"when": EMPTY}, {}),
        ("tag", {"name": EMPTY, "version": None}, {}),
        ("tags", {}, {}),
        ("untag", {"name": EMPTY}, {}),
        ("undrop", {"name": EMPTY}, {}),
        ("expire", {"older_than": None}, {"before": None, "dry_run": False}),
        ("maintain", {}, {}),
        ("tables", {}, {}),
        ("table", {"name": EMPTY}, {}),
        ("audit", {}, {}),
        ("sweep", {"grace": "1h"}, {}),
        ("close", {}, {}),
    ],
)
def test_the_facade_has_its_verbs(verb, positional, keywords):
    """Defaults are part of the contract; more keywords may follow."""
    found_positional, found_keywords = signature(getattr(qs.HybridStorageManager, verb))
    assert list(found_positional)[: len(positional)] == list(positional)
    assert positional.items() <= found_positional.items()
    assert keywords.items() <= found_keywords.items()


def test_results_carry_the_promised_attributes():
    assert isinstance(qs.HybridStorageManager.last, property)
    fields = set(WriteResult.__dataclass_fields__)
    assert {"version", "rows", "deleted", "segments", "replayed"} <= fields
    assert all(hasattr(Table, name) for name in ("name", "schema", "placement", "versions", "lineage"))


def test_placement_has_the_promised_columns(store):
    import pandas as pd

    store.write(pd.DataFrame({"ts": pd.to_datetime(["2026-01-05"], utc=True), "symbol": ["A"]}), "t")
    promised = (
        "segment_id tier role trade_date asset_class rows bytes min_ts max_ts location codec created last_read heat"
    )
    assert list(store.table("t").placement().columns) == promised.split()


def test_every_public_name_is_described():
    """Whoever asks for help gets it."""
    for name in ("open", "default", "use", "HybridStorageManager", "StorageBackend", "Tier", "QuantStoreError"):
        assert inspect.getdoc(getattr(qs, name)), name
    for name, verb in inspect.getmembers(qs.HybridStorageManager, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(verb), name
