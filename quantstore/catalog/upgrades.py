"""Numbered steps that bring a catalog to the form this release reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

from sqlalchemy import Connection, func, inspect, select

from quantstore.catalog import schema
from quantstore.errors import UnsupportedError


def _first_form(connection: Connection) -> None:
    schema.metadata.create_all(connection)
    connection.execute(
        schema.settings.insert(),
        [{"name": "store_id", "value": uuid4().hex}, {"name": "placement_generation", "value": "0"}],
    )


STEPS: tuple[tuple[str, Callable[[Connection], None]], ...] = (("first form", _first_form),)
"""Name and function of each step; the n-th makes form n. Only ever appended to."""


def current_form(connection: Connection) -> int:
    """Return the number of the last step applied; 0 for an empty database."""
    if not inspect(connection).has_table(schema.upgrades.name):
        return 0
    return connection.execute(select(func.max(schema.upgrades.c.number))).scalar() or 0


def check_form(form: int, where: str) -> None:
    """Refuse a catalog made by a newer release.

    Raises:
        UnsupportedError: `form` is newer than this release knows.
    """
    if form > len(STEPS):
        raise UnsupportedError(
            f"The catalog {where} has form {form}; this release of quantstore reads up to form {len(STEPS)}. "
            "Upgrade quantstore (pip install -U quantstore).",
            form=form,
        )


def apply_steps(connection: Connection, form: int) -> None:
    """Apply every step after `form` in the caller's transaction."""
    for number, (name, step) in enumerate(STEPS, start=1):
        if number > form:
            step(connection)
            connection.execute(schema.upgrades.insert(), {"number": number, "name": name, "applied_ns": time.time_ns()})
