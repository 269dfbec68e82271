"""The jobs, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs import append, correct, opening, planning, publish, query, repeat, whole, write

if TYPE_CHECKING:
    from bench import Bench
    from job import Contender, Job

GROUPS = (write, append, publish, correct, whole, query, repeat, opening, planning)
ALL: list[Job] = [job for group in GROUPS for job in group.JOBS]


def find_contender(bench: Bench, job: str, name: str) -> Contender:
    """Return a contender by the names of its job and its own."""
    contenders = next(one for one in ALL if one.name == job).contenders(bench)
    return next(one for one in contenders if one.name == name)
