"""What the figures were measured on, and with what."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "quantstore",
    "pandas",
    "arcticdb",
    "duckdb",
    "polars",
    "pyarrow",
    "pyiceberg",
    "numpy",
    "sqlglot",
    "sqlalchemy",
    "matplotlib",
)


def versions() -> dict[str, str]:
    """Return the version of Python and of every package that matters, or `not installed`."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    revision = _revision()
    if revision:
        found["quantstore"] += f" ({revision})"
    return found


def describe(work: Path) -> dict[str, str]:
    """Return processor, cores, memory, system, the file system of `work` and how busy the machine is."""
    return {
        "processor": _first("/proc/cpuinfo", r"^model name\s*: (.*)$") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{int(_first('/proc/meminfo', r'^MemTotal: +([0-9]+) kB') or 0) / 2**20:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(work),
        "load before": load(),
    }


def load() -> str:
    """Return how many processes were running or waiting, over a minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _first(path: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


def _file_system(folder: Path) -> str:
    """Return the kind of the innermost mount that a folder lies on."""
    kind, longest = "unknown", 0
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return kind
    for mount in mounts:
        place, _, rest = mount.partition(" - ")
        point = place.split()[4]
        if len(point) >= longest and folder.resolve().is_relative_to(point):
            kind, longest = rest.split()[0], len(point)
    return kind


def _revision() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
