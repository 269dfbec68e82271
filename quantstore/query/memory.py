"""How large a result may be, and how memory goes back."""

from __future__ import annotations

import re
from pathlib import Path

from quantstore.core.render import human_bytes
from quantstore.errors import InvalidInputError, ResultTooLarge

_UNITS = {
    "": 1,
    "b": 1,
    "k": 2**10,
    "kb": 2**10,
    "m": 2**20,
    "mb": 2**20,
    "g": 2**30,
    "gb": 2**30,
    "t": 2**40,
    "tb": 2**40,
}
_SIZE = re.compile(r"^\s*([\d.]+)\s*([a-z]*)\s*$", re.IGNORECASE)
_FALLBACK_FREE = 4 * 2**30
_SMALL_BYTES = 16 * 2**20


def free_memory() -> int:
    """Return bytes of memory available, from /proc/meminfo; 4 GiB where unknown."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _FALLBACK_FREE


def parse_bytes(value: int | str | None, what: str = "max_bytes") -> int | None:
    """Return a size in bytes: a number, text such as `"2GB"`, `"auto"` (half of free memory) or None (no limit).

    Raises:
        InvalidInputError: It is none of these.
    """
    if value is None:
        return None
    if value == "auto":
        return free_memory() // 2
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _SIZE.match(value) if isinstance(value, str) else None
    unit = found.group(2).lower().replace("ib", "b") if found else "?"
    if found is None or unit not in _UNITS:
        raise InvalidInputError(f"{what}={value!r} is not a size; pass bytes, text such as '2GB', 'auto' or None.")
    return int(float(found.group(1)) * _UNITS[unit])


class SizeLimit:
    """The largest size a result may have, see `parse_bytes`; free memory is not looked at for small results."""

    def __init__(self, value: int | str | None) -> None:
        self._is_auto = value == "auto"
        self._bytes = None if self._is_auto else parse_bytes(value)

    def check(self, size: int) -> None:
        """Refuse a result of `size` bytes where it exceeds the limit.

        Raises:
            ResultTooLarge: Names the ways out.
        """
        if self._is_auto and size > _SMALL_BYTES:
            self._bytes, self._is_auto = parse_bytes("auto"), False
        if self._bytes is not None and size > self._bytes:
            raise ResultTooLarge(
                f"The result takes at least {human_bytes(size)}, more than the {human_bytes(self._bytes)} allowed. "
                "Select fewer rows or columns, read it bit by bit with to='reader', or raise max_bytes.",
                size_bytes=size,
                max_bytes=self._bytes,
            )


def release_unused() -> None:
    """Give the system back what freed tables left in Arrow's pool, which keeps it for tables to come."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
