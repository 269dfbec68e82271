"""Broken builds: defects that a test must find, each a small patch of functions made in a process of its own.

None of this is in the package. `QUANTSTORE_BROKEN=<name>` and the plug-in beside this file put one into a run:
`QUANTSTORE_BROKEN=sweep_ignores_readers PYTHONPATH=tests/broken pytest -p broken_build <test>`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PEERS = "reliability/test_failures_of_peers.py"


@dataclass(frozen=True, slots=True)
class Defect:
    """A way to be wrong.

    Attributes:
        name: What `QUANTSTORE_BROKEN` calls it.
        failure: Row of docs/reliability.md, such as `F4`, or `P6` for a promise of the design.
        test: Node id, below `tests/`, of the test that finds it.
        reason: Expression found in what that test reports.
        apply: Puts it into this process.
    """

    name: str
    failure: str
    test: str
    reason: str
    apply: Callable[[], None]

    @property
    def says(self) -> str:
        """What is wrong, in a sentence."""
        return (self.apply.__doc__ or "").strip()


DEFECTS: dict[str, Defect] = {}


def defect(failure: str, test: str, reason: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function as a defect."""

    def register(apply: Callable[[], None]) -> Callable[[], None]:
        assert apply.__doc__, f"{apply.__name__} does not say what is wrong"
        assert apply.__name__ not in DEFECTS
        DEFECTS[apply.__name__] = Defect(apply.__name__, failure, test, reason, apply)
        return apply

    return register


def swap(place: str, make: Callable[[Any], Any]) -> None:
    """Put `make(old)` in the place of `module:name` or `module:Class.name`; it must be there."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(f"quantstore.{module}")
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, make(getattr(owner, name)))


def load() -> dict[str, Defect]:
    """Import every module of defects and return all of them by name."""
    folder = str(importlib.import_module("defects").__file__).rpartition("/")[0]
    for found in pkgutil.iter_modules([folder]):
        if found.name.startswith("broken_in_"):
            importlib.import_module(found.name)
    return DEFECTS
