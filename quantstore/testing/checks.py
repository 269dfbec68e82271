"""Checks of the simulator's arguments."""

from __future__ import annotations

from datetime import date

from quantstore.errors import InvalidInputError

EPOCH = date(1970, 1, 1)
LAST_DAY = (date(2200, 1, 1) - EPOCH).days
"""Well before nanoseconds since 1970 leave 64 bits."""


def check_seed(seed: int) -> int:
    """Return `seed` if it can seed a simulation.

    Raises:
        InvalidInputError: It is negative.
    """
    if seed < 0:
        raise InvalidInputError(f"seed={seed} is negative; choose zero or more.", seed=seed)
    return int(seed)


def check_start(start: date) -> int:
    """Return the first day of a simulation, counted from 1970-01-01.

    Raises:
        InvalidInputError: It lies before 1970 or after 2199.
    """
    day = date(start.year, start.month, start.day).toordinal() - EPOCH.toordinal()
    if not 0 <= day < LAST_DAY:
        raise InvalidInputError(f"start={start} is out of range; choose a day from 1970 to 2199.")
    return day


def check_counts(least: int = 1, **counts: int) -> None:
    """Check numbers of rows, days and the like.

    Raises:
        InvalidInputError: One is less than `least`.
    """
    for name, value in counts.items():
        if value < least:
            raise InvalidInputError(f"{name}={value} is too small; choose {least} or more.", parameter=name)


def check_shares(**shares: float) -> None:
    """Check shares and probabilities.

    Raises:
        InvalidInputError: One is negative, or one or more.
    """
    for name, value in shares.items():
        if not 0.0 <= value < 1.0:
            raise InvalidInputError(f"{name}={value} is not a share; choose 0 or more and less than 1.", parameter=name)
