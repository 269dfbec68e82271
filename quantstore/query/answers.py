"""Answers that were given before: looked for before a read is planned, kept after it has run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantstore.cache.results import ResultCache, automatic_bytes
from quantstore.query.keys import Key, Keys
from quantstore.query.memory import parse_bytes
from quantstore.query.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

    from quantstore.catalog.catalog import Catalog, View
    from quantstore.query.engine import Engine
    from quantstore.query.request import ReadRequest

ENVIRONMENT = "QUANTSTORE_CACHE"
_CHOICE_BYTES = 2048
_OFF = ("off", "none", "no", "false", "0")
_FOLDER = "cache"
_USUAL_CATALOG = "catalog.sqlite"
_NOTE = "answered from the cache; explain() shows what would be read"


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole answer to a read.

    Attributes:
        table: Its rows.
        plan: What was read for it, now or when it was kept.
        frame: How to restore a pandas frame; None for an answer to SQL.
        planned: When planning was done.
        layer: Where it was found, `memory` or `disk`; None where it was read.
        tables: Versions of the tables it was made of.
    """

    table: pa.Table
    plan: Plan
    frame: Mapping[str, Any] | None
    planned: float
    layer: str | None
    tables: Mapping[str, int]


class Answers:
    """Finds and keeps answers of one store.

    Args:
        cache: Where they are kept.
        catalog: Knows the store's own name.
        engine: Says which of its functions give the same for the same.
    """

    def __init__(self, cache: ResultCache, catalog: Catalog, engine: Engine) -> None:
        self.cache = cache
        self.keys = Keys(engine, catalog)

    def wants(self, request: ReadRequest) -> bool:
        """Whether the answer to a read may be looked for and kept."""
        return request.cache and self.cache.is_on

    def find(
        self, key: Key | None, view: View, request: ReadRequest, frame: Mapping[str, Any] | None, now: float
    ) -> Whole | None:
        """Return a kept answer, or None."""
        found = self.cache.find(key.digest) if key is not None else None
        if found is None or key is None:
            return None
        snapshot = view.snapshot
        if found.facts is None:
            plan = Plan(request.query, snapshot.version, snapshot.generation, (), request.tiers, (_NOTE,))
        else:
            plan = replace(found.facts, version=snapshot.version, generation=snapshot.generation)
        return Whole(found.table, plan, frame, now, found.layer, key.tables)

    def keep(self, key: Key | None, whole: Whole, seconds: float) -> None:
        """Keep a complete answer that took so long to run, if it is worth it."""
        plan = whole.plan
        if key is None or plan.left_out:
            return
        choices = sum(len(scan.choices) for scan in plan.scans)
        self.cache.keep(key.digest, whole.table, plan, choices * _CHOICE_BYTES, seconds)


def open_cache(wanted: int | str | bool | None, catalog: Catalog) -> ResultCache:
    """Return the result cache of a store.

    Args:
        wanted: Bound of the layer in memory: bytes, text such as `256MB`, True or `auto`, False or `off`; None for
            `$QUANTSTORE_CACHE`, else `auto`.
        catalog: Its file's folder takes the layer on disk.

    Raises:
        InvalidInputError: It is none of these.
    """
    chosen = os.environ.get(ENVIRONMENT) or "auto" if wanted is None else wanted
    if chosen is True or chosen == "auto":
        size = automatic_bytes()
    elif chosen in (False, 0) or str(chosen).strip().lower() in _OFF:
        size = 0
    else:
        size = parse_bytes(chosen, "cache") or 0
    return ResultCache(size, cache_folder(catalog.path), is_read_only=catalog.read_only)


def cache_folder(catalog: Path) -> Path:
    """Return where answers are kept on disk: beside the catalog, under a name that no other catalog there uses."""
    name = _FOLDER if catalog.name == _USUAL_CATALOG else f"{catalog.name}.{_FOLDER}"
    return catalog.absolute().parent / name
