"""Who this process is, and whether another one is certainly dead."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one with the same number.

    Attributes:
        host: Host name, boot and process-number space; empty parts where the system does not tell.
        pid: Process number.
        started: When it started, in the kernel's own units; empty where the system does not tell.
    """

    host: str
    pid: int
    started: str


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


@lru_cache(maxsize=1)
def host_id() -> str:
    """Return a name for this boot of this machine, as seen from this container."""
    try:
        pid_space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        pid_space = ""
    return f"{socket.gethostname()}|{_read('/proc/sys/kernel/random/boot_id')}|{pid_space}"


def started_at(pid: int) -> str:
    """Return the start time of process `pid` in clock ticks since boot; empty where unknown or dead.

    Field 22 of /proc/PID/stat, see proc(5); a zombie counts as dead.
    """
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def this_process() -> ProcessId:
    """Return the identity of the calling process."""
    pid = os.getpid()
    return ProcessId(host_id(), pid, started_at(pid))


def is_dead(process: ProcessId) -> bool:
    """Whether `process` certainly no longer runs; False where this host cannot know."""
    if process.host != host_id():
        return False
    if Path("/proc/self/stat").exists():
        return started_at(process.pid) != process.started
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def author() -> str:
    """Return `user@host` for the record of who committed."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
