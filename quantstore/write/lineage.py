"""Where rows came from: what was read to make them, and which code wrote them."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

_LONGEST_QUERY = 20_000
_POLARS_NOTE = "_quantstore_provenance"


def lineage_of(data: Any) -> dict[str, Any]:
    """Return what is known of the origin of rows: `inputs`, `version` and `query` of the read, and `code`."""
    noted = getattr(data, "attrs", None)
    note = noted.get("quantstore") if isinstance(noted, dict) else getattr(data, _POLARS_NOTE, None)
    found: dict[str, Any] = {}
    if isinstance(note, dict):
        found = {"inputs": note.get("tables", []), "version": note.get("version")}
        if query := note.get("query"):
            found["query"] = str(query)[:_LONGEST_QUERY]
    return found | code_lineage()


def code_lineage() -> dict[str, Any]:
    """Return `code`: the file and line, or notebook and cell, that called, and the git commit; empty where unknown."""
    frame = _caller()
    code = {} if frame is None else _reference(frame)
    return {"code": code} if code else {}


def _caller() -> FrameType | None:
    """Return the frame that called into this package."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the cheap way to one frame
    own = __name__.partition(".")[0]
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == own:
        frame = frame.f_back
    return frame


def _reference(frame: FrameType) -> dict[str, Any]:
    name = frame.f_code.co_filename
    if name.startswith("<") or f"{os.sep}ipykernel_" in name:
        return _notebook(frame)
    path = os.path.abspath(name)  # noqa: PTH100 - no object is needed
    folder = os.path.dirname(path)  # noqa: PTH120
    return {"file": path, "line": frame.f_lineno} | _located(folder, "file", path)


def _notebook(frame: FrameType) -> dict[str, Any]:
    """Return the notebook whose cell called, as the front end names it; empty outside one."""
    path = frame.f_globals.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    shell = sys.modules.get("IPython")
    if not path or shell is None:
        return {}
    path = os.path.abspath(str(path))  # noqa: PTH100
    found: dict[str, Any] = {"notebook": path}
    running = shell.get_ipython()
    if running is not None:
        found["cell"] = running.execution_count
    return found | _located(os.path.dirname(path), "notebook", path)  # noqa: PTH120


def _located(folder: str, kind: str, path: str) -> dict[str, Any]:
    """Return the path within its git repository, and the commit checked out there."""
    git = _git_folder(folder)
    if git is None:
        return {}
    root, place = git
    commit = _head(Path(place))
    return {kind: os.path.relpath(path, root).replace(os.sep, "/"), **({"commit": commit} if commit else {})}


@lru_cache(maxsize=256)
def _git_folder(folder: str) -> tuple[str, str] | None:
    """Return the root of the work tree that a folder is in, and its git folder."""
    try:
        for root in (Path(folder), *Path(folder).parents):
            place = root / ".git"
            if place.is_dir():
                return str(root), str(place)
            if place.is_file():  # of a linked work tree
                link = place.read_text().removeprefix("gitdir:").strip()
                return str(root), str(root / link)
    except (OSError, UnicodeError):
        pass
    return None


def _head(git: Path) -> str | None:
    """Return the commit that is checked out, read from git's own files."""
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        common = git / (git / "commondir").read_text().strip() if (git / "commondir").exists() else git
        for place in (git / name, common / name):
            if place.exists():
                return place.read_text().strip()
        for line in (common / "packed-refs").read_text().splitlines():
            commit, _, ref = line.partition(" ")
            if ref == name:
                return commit
    except (OSError, UnicodeError):
        pass
    return None
