"""Maintain: everything that keeps a store small and healthy, in the order in which each helps the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from quantstore.core.warn import warn_caller
from quantstore.errors import QuantStoreError, QuantStoreWarning

Step = tuple[str, Callable[[], Any]]
"""Name of a job, and what does it."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """What a maintenance did; prints as one line per job.

    Attributes:
        done: What each job returned, by its name, in the order in which they ran.
        failed: The errors of jobs that failed; the others ran all the same.
    """

    done: dict[str, Any]
    failed: dict[str, QuantStoreError]

    def __bool__(self) -> bool:
        """Whether every job succeeded."""
        return not self.failed

    def __repr__(self) -> str:
        """Return one line per job."""
        lines = [f"{name}: {_told(found)}" for name, found in self.done.items()]
        lines += [f"{name} failed: {error}" for name, error in self.failed.items()]
        return "\n".join(lines) or "nothing to do"


def maintain(steps: Sequence[Step]) -> Maintained:
    """Run jobs one after the other; one that fails warns and does not keep the others from running."""
    done: dict[str, Any] = {}
    failed: dict[str, QuantStoreError] = {}
    for name, run in steps:
        try:
            done[name] = run()
        except QuantStoreError as error:
            failed[name] = error
            warn_caller(f"{name} failed and is left for the next maintenance: {error}", QuantStoreWarning)
    return Maintained(done, failed)


def _told(found: Any) -> str:
    if isinstance(found, list | tuple):
        return "; ".join(map(repr, found)) or "nothing to do"
    return "nothing to do" if found is None else repr(found)
