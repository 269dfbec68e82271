"""How much room a disk has, for messages about disks that are full."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from quantstore.core.render import human_bytes
from quantstore.errors import CapacityError


def free_bytes(path: Path) -> int | None:
    """Return the bytes free where `path` is or would be; None where that cannot be told."""
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def disk_full(what: str, path: Path, reason: str = "no space left", **context: Any) -> CapacityError:
    """Return the error for something that no longer fits on a disk.

    Args:
        what: What was to be done, such as `write trades/1.arrow`.
        path: Where.
        reason: What the operating system says.
        context: What programs may want to know.
    """
    free = free_bytes(path)
    room = "" if free is None else f"; {human_bytes(free)} are free there"
    return CapacityError(
        f"No room to {what}: {reason} at {path}{room}. Free space and try again; nothing was changed.",
        path=str(path),
        free_bytes=free,
        **context,
    )
