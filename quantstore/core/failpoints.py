"""Named steps of every operation that changes the store, where tests may crash it.

`reach()` is one global look-up and a comparison when no hook is set. A hook is set by `set_hook()`, or at import by
`QUANTSTORE_FAILPOINT=step[:n]`, which kills this process with SIGKILL the n-th time (default 1) the step is reached.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

Hook = Callable[[str], None]

STEPS: tuple[str, ...] = (
    "write.registered",
    "write.file.opened",
    "write.file.written",
    "write.file.synced",
    "write.file.renamed",
    "write.copied",
    "write.commit.begun",
    "write.commit.filled",
    "write.committed",
    "move.registered",
    "move.read",
    "move.copied",
    "move.verified",
    "move.commit.begun",
    "move.commit.filled",
    "move.committed",
    "compact.registered",
    "compact.read",
    "compact.copied",
    "compact.verified",
    "compact.commit.begun",
    "compact.commit.filled",
    "compact.committed",
    "history.begun",
    "history.filled",
    "history.committed",
    "expire.begun",
    "expire.filled",
    "expire.committed",
    "publish.begun",
    "publish.planned",
    "publish.listed",
    "publish.staged",
    "publish.written",
    "publish.committed",
    "publish.pointed",
    "publish.recorded",
    "pin.registered",
    "pin.copied",
    "pin.verified",
    "pin.commit.begun",
    "pin.commit.filled",
    "pin.committed",
    "pin.release.begun",
    "pin.released",
    "repair.registered",
    "repair.copied",
    "repair.verified",
    "repair.set.aside",
    "repair.put.back",
    "repair.commit.begun",
    "repair.commit.filled",
    "repair.committed",
    "sweep.reaped",
    "sweep.listed",
    "sweep.deleted",
    "sweep.forgotten",
    "sweep.done",
    "journal.written",
    "journal.base.copied",
    "journal.base.placed",
    "rebuild.replayed",
    "rebuild.moved_aside",
    "rebuild.placed",
)
"""Every step, in the order an operation passes it. Tests kill the process at each."""

_hook: Hook | None = None


def reach(step: str) -> None:
    """Announce that `step` was reached."""
    if _hook is not None:
        _hook(step)


def set_hook(hook: Hook | None) -> None:
    """Install `hook`, called with the name of each step; None removes it."""
    global _hook  # noqa: PLW0603 - one seam per process
    _hook = hook


def _kill_at(spec: str) -> Hook:
    step, _, count = spec.partition(":")
    left = int(count or 1)

    def hook(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


if spec := os.environ.get("QUANTSTORE_FAILPOINT"):
    _hook = _kill_at(spec)
