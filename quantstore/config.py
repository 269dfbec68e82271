"""Where a store is: a value read once, when the store is opened.

Explicit arguments win over the environment, the environment over a file, a file over the default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantstore.errors import InvalidInputError, NotFoundError, UnsupportedError

FILE_NAME = "quantstore.toml"
FOLDER_NAME = ".quantstore"
ENVIRONMENT = "QUANTSTORE_STORE"
_PARTS = ("catalog", "hot", "warm", "cold")
_KEYS = {*_PARTS, "path"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What `open` needs to wire a store.

    Attributes:
        name: How the store is shown.
        parts: Path or URL of `catalog`, `hot`, `warm` and `cold`.
    """

    name: str
    parts: Mapping[str, str | Path] = field(default_factory=dict)


def resolve(target: str | os.PathLike[str] | None, overrides: Mapping[str, Any]) -> Settings:
    """Return the settings that `target` means.

    Args:
        target: A directory, a `quantstore.toml`, `"profile:name"`, or None: `$QUANTSTORE_STORE`, else
            `./quantstore.toml`, else `./.quantstore`.
        overrides: Parts given explicitly; None leaves one to the target.

    Raises:
        NotFoundError: A file or profile does not exist.
        InvalidInputError: A file has unknown keys or cannot be read, or the target is no folder.
        UnsupportedError: The target is a URL.
    """
    settings = _from_target(os.fspath(target) if target is not None else _default_target())
    given = {name: value for name, value in overrides.items() if value is not None}
    return Settings(settings.name, {**settings.parts, **given})


def _default_target() -> str:
    if chosen := os.environ.get(ENVIRONMENT):
        return chosen
    return FILE_NAME if Path(FILE_NAME).is_file() else FOLDER_NAME


def _from_target(target: str) -> Settings:
    if target.startswith("profile:"):
        return _from_file(Path(FILE_NAME), target.removeprefix("profile:"))
    if "://" in target:
        raise UnsupportedError(f"A store cannot be opened at {target!r}; give a folder on a local disk.")
    if not target.strip() or "\0" in target:
        raise InvalidInputError(f"{target!r} cannot be the place of a store; give a folder.")
    path = Path(target).expanduser()
    if path.suffix == ".toml":
        return _from_file(path, None)
    if os.path.isfile(path):  # noqa: PTH113 - of a path that cannot be one it says no instead of failing
        raise InvalidInputError(
            f"{target} is a file, and a store is a folder. Open a folder and write the file into one of its tables."
        )
    return _from_folder(path, target)


def _from_folder(path: Path, name: str) -> Settings:
    root = path.absolute()
    return Settings(
        name, {"catalog": root / "catalog.sqlite", "hot": root / "hot", "warm": root / "warm", "cold": root / "cold"}
    )


def _from_file(path: Path, profile: str | None) -> Settings:
    if not path.is_file():
        raise NotFoundError(f"There is no settings file {path}; write one or open a folder.")
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not valid TOML: {error}") from error
    section = content.get("store", {})
    if profile is not None:
        profiles = content.get("profiles", {})
        if profile not in profiles:
            known = ", ".join(sorted(profiles)) or "none"
            raise NotFoundError(f"{path} has no profile {profile!r}; it has: {known}.")
        section = profiles[profile]
    unknown = sorted(set(section) - _KEYS)
    if unknown:
        raise InvalidInputError(f"{path} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}.")
    base = path.absolute().parent
    folder = _from_folder(base / section.get("path", FOLDER_NAME), str(path))
    given = {
        name: section[name] if "://" in section[name] else base / section[name] for name in _PARTS if name in section
    }
    return Settings(f"profile:{profile}" if profile else str(path), {**folder.parts, **given})
