"""Records what a process does to the files below a folder, by tracing its system calls, and plays it to a disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from disk import ROOT, Disk
from harness import python_path

CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,fcntl,write,writev,pwrite64,pwritev,pwritev2,lseek,fsync,fdatasync,"
    "sync_file_range,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,ftruncate,truncate,"
    "fallocate,sendfile,copy_file_range"
)
LEFT_OUT = ("-shm",)
"""SQLite's index of its log is memory that processes share; SQLite makes it anew."""
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_BEFORE = re.compile(r"^(\d+) +(.*)$", re.DOTALL)
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)", re.DOTALL)
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)


def trace(script: str, arguments: list[str], output: Path) -> None:
    """Run Python code under strace.

    Raises:
        FileNotFoundError: There is no strace.
        PermissionError: It may not trace here.
        RuntimeError: The code failed.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise FileNotFoundError("strace is not installed (apt-get install strace)")
    environment = os.environ | {"PYTHONPATH": python_path(), "QUANTSTORE_CACHE": "off"}
    command = [strace, "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(output)]
    done = subprocess.run(
        [*command, sys.executable, "-W", "ignore", "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if "Operation not permitted" in done.stderr:
        raise PermissionError(done.stderr)
    if done.returncode:
        raise RuntimeError(done.stderr)


@dataclass(slots=True)
class _Open:
    node: int
    offset: int = 0
    appends: bool = False


@dataclass(slots=True)
class Player:
    """Plays recorded calls to a disk, one at a time.

    Attributes:
        root: The folder; what happens elsewhere is left out, but for what is told in the journal.
        told: The journal's file.
        lines: What was told so far.
        disk: The disk.
        unknown: Calls that could not be played.
    """

    root: str
    told: str
    disk: Disk = field(default_factory=Disk)
    lines: bytearray = field(default_factory=bytearray)
    unknown: list[str] = field(default_factory=list)
    _open: dict[int, _Open] = field(default_factory=dict)

    def play(self, trace: Path) -> Iterator[tuple[str, str]]:
        """Play all; yield name and path of each call that changed the disk, after it happened."""
        begun: dict[str, tuple[str, dict[int, int]]] = {}
        with trace.open() as lines:
            for line in lines:
                found = _BEFORE.match(line.rstrip("\n"))
                if found is None:
                    continue
                thread, text = found.groups()
                before: dict[int, int] | None = None
                if text.endswith("<unfinished ...>"):
                    begun[thread] = text.removesuffix("<unfinished ...>").rstrip(), self._pieces()
                    continue
                if resumed := _RESUMED.match(text):
                    start, before = begun.pop(thread, ("", {}))
                    text = start + resumed[2].lstrip() if resumed[2].lstrip().startswith(")") else start + resumed[2]
                call = _CALL.match(text)
                if call is not None and int(call[3]) >= 0:
                    path = self._apply(call[1], call[2], int(call[3]), before)
                    if path is not None:
                        yield call[1], path

    def _pieces(self) -> dict[int, int]:
        """Return how many writes of each file wait, so that a sync covers no write that came after it began."""
        return {node: len(file.pending) for node, file in self.disk.files.items() if file.pending}

    def _apply(self, name: str, arguments: str, result: int, before: dict[int, int] | None) -> str | None:
        player: Callable[..., str | None] | None = {
            "open": self._opened,
            "openat": self._opened,
            "creat": self._opened,
            "rename": self._renamed,
            "renameat": self._renamed,
            "renameat2": self._renamed,
            "unlink": self._removed,
            "unlinkat": self._removed,
            "rmdir": self._removed,
            "mkdir": self._made,
            "mkdirat": self._made,
        }.get(name)
        if player is not None:
            return player(arguments, result)
        descriptor = arguments.split("<", 1)[0].split(",", 1)[0]
        held = self._open.get(int(descriptor)) if descriptor.isdigit() else None
        if held is None:
            return None
        return self._on_descriptor(name, arguments, result, held, int(descriptor), before)

    def _on_descriptor(
        self, name: str, arguments: str, result: int, held: _Open, descriptor: int, before: dict[int, int] | None
    ) -> str | None:
        rest = re.sub(r"^\d+<[^>]*>,? ?", "", arguments)
        if name == "close":
            del self._open[descriptor]
        elif name == "lseek":
            held.offset = result
        elif name in {"dup", "dup2", "dup3"} or (name == "fcntl" and "F_DUPFD" in arguments):
            self._open[result] = held
        elif name in {"fsync", "fdatasync"}:
            self.disk.sync(held.node, None if before is None else before.get(held.node, 0))
            return _path(arguments)
        elif name in {"write", "pwrite64"}:
            return self._written(name, rest, result, held, arguments)
        elif name == "ftruncate":
            self.disk.files[held.node].truncate(int(rest))
            return _path(arguments)
        elif name != "fcntl":
            self.unknown.append(f"{name}({arguments[:200]}")
        return None

    def _written(self, name: str, rest: str, result: int, held: _Open, arguments: str) -> str | None:
        found = _STRING.match(rest)
        if found is None:
            self.unknown.append(f"{name}({arguments[:200]}")
            return None
        data = _bytes(found[1])[:result]
        if held.node < 0:
            self.lines += data
            return "told"
        file = self.disk.files[held.node]
        if name == "pwrite64":
            offset = int(rest.rsplit(",", 1)[1])
        else:
            offset = len(file.seen) if held.appends else held.offset
            held.offset = offset + len(data)
        file.write(offset, data)
        return _path(arguments)

    def _opened(self, arguments: str, result: int) -> str | None:
        self._open.pop(result, None)
        (path,) = _paths(arguments)
        if path == self.told:
            self._open[result] = _Open(-1)
        parts = self._parts(path)
        if parts is None:
            return None
        node = self.disk.find(parts)
        is_new = node is None
        if node is None:
            if "O_CREAT" not in arguments:
                return None
            folder = self.disk.find(parts[:-1])
            assert folder is not None, path
            node = self.disk.new_file(folder, parts[-1])
        elif "O_TRUNC" in arguments and node in self.disk.files:
            self.disk.files[node].truncate(0)
            is_new = True
        self._open[result] = _Open(node, appends="O_APPEND" in arguments)
        return path if is_new else None

    def _made(self, arguments: str, _: int) -> str | None:
        (path,) = _paths(arguments)
        parts = self._parts(path)
        if not parts:
            return None
        folder = self.disk.find(parts[:-1])
        assert folder is not None, path
        self.disk.new_folder(folder, parts[-1])
        return path

    def _removed(self, arguments: str, _: int) -> str | None:
        (path,) = _paths(arguments)
        parts = self._parts(path)
        if not parts:
            return None
        folder = self.disk.find(parts[:-1])
        assert folder is not None, path
        self.disk.remove(folder, parts[-1])
        return path

    def _renamed(self, arguments: str, _: int) -> str | None:
        source, target = _paths(arguments)
        old, new = self._parts(source), self._parts(target)
        if not old or not new:
            return None
        folders = self.disk.find(old[:-1]), self.disk.find(new[:-1])
        assert folders[0] is not None, source
        assert folders[1] is not None, target
        self.disk.rename(folders[0], old[-1], folders[1], new[-1])
        return target

    def _parts(self, path: str) -> tuple[str, ...] | None:
        """Return the parts of a path below the root; None elsewhere."""
        if path.endswith(LEFT_OUT):
            return None
        if path == self.root:
            return ()
        return tuple(path[len(self.root) + 1 :].split("/")) if path.startswith(f"{self.root}/") else None


def _paths(arguments: str) -> list[str]:
    """Return the paths that a call names, absolute; descriptors of directories come with theirs."""
    paths, folder = [], ""
    for found in re.finditer(r'<((?:\\x[0-9a-f]{2})*)>|"((?:\\x[0-9a-f]{2})*)"', arguments):
        if found[1] is not None:
            folder = _bytes(found[1]).decode()
        else:
            paths.append(os.path.normpath(os.path.join(folder or os.getcwd(), _bytes(found[2]).decode())))  # noqa: PTH109, PTH118
    return paths


def _path(arguments: str) -> str:
    found = re.match(r"\d+<((?:\\x[0-9a-f]{2})*)", arguments)
    return _bytes(found[1]).decode() if found else ""


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def root_is_synced(disk: Disk) -> None:
    """Make the root's own names durable, as of a store that was there before."""
    disk.sync(ROOT)
