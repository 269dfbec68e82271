"""Numbers as people read them."""

from __future__ import annotations


def human_bytes(size: float) -> str:
    """Return a size in bytes with a binary unit: `12.1 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_count(count: int) -> str:
    """Return a count with thousands separators: `184,928`."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 segment`, `2,000 segments`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def human_seconds(seconds: float) -> str:
    """Return a duration with a fitting unit: `3.2 ms`, `1.4 s`, `2 min 5 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
