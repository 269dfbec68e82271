"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

from quantstore.errors import InvalidInputError

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_TEXT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*$", re.IGNORECASE)


def parse_duration_ns(value: str | float | timedelta, what: str) -> int:
    """Return a duration in nanoseconds.

    Args:
        value: Text such as `"1h"`, `"30min"` or `"14d"`, seconds, or a `timedelta`; not negative.
        what: The parameter's name, for the error.

    Raises:
        InvalidInputError: It is none of these.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        found = _TEXT.match(str(value))
        seconds = float(found.group(1)) * _UNITS[found.group(2).lower()] if found else -1.0
    if not seconds >= 0:
        raise InvalidInputError(
            f"{what}={value!r} is not a duration; pass text such as '1h', '30min', '14d', or seconds."
        )
    return int(seconds * 1e9)
