"""What the shell command prints: text tables, JSON, error lines; data can never steer the terminal."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

MAX_CELL = 80
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_WORDS = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escaped(text: str) -> str:
    r"""Return `text` with every character that steers a terminal, or turns text around, written out (`\x1b`)."""
    return _STEERING.sub(_written_out, text)


def one_line(text: str) -> str:
    """Return `text` on one line, safe to print."""
    return escaped(" ".join(text.split()))


def print_text(text: str) -> None:
    """Print lines of text, each made safe."""
    print("\n".join(escaped(line) for line in text.split("\n")))


def print_json(value: Any) -> None:
    """Print `value` as JSON; dataclasses become objects."""
    print(as_json(value))


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """Return `value` as JSON in ASCII; dataclasses become objects, bytes hexadecimal text, other things their text."""
    return json.dumps(value, indent=indent, default=_plain)


def text_table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows under their headers, columns aligned.

    Args:
        headers: Names of the columns.
        rows: Cells as text; made safe and cut to `MAX_CELL` characters here.
        right: Positions of columns aligned to the right.
    """
    lines = [[_cell(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(_width(line[at]) for line in lines) for at in range(len(headers))]
    ruled = [lines[0], ["─" * width for width in widths], *lines[1:]]
    return "\n".join(
        "  ".join(_padded(cell, widths[at], at_right=at in right) for at, cell in enumerate(line)).rstrip()
        for line in ruled
    )


def bar(share: float, width: int = 24) -> str:
    """Return a bar for a share between 0 and 1; anything above 0 shows."""
    return "█" * max(round(share * width), 1 if share > 0 else 0)


def stamp(ns: int) -> str:
    """Return nanoseconds since the epoch as date and time, the fraction only where there is one."""
    seconds, fraction = divmod(ns, 10**9)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{whole}.{fraction:09d}".rstrip("0") if fraction else whole


def complain(message: str, kind: str = "error", *, picture: str = "") -> None:
    """Write one line to standard error and, below it, the lines of a picture as they are."""
    lines = [f"{kind}: {one_line(message)}", *(escaped(line) for line in picture.splitlines())]
    print("\n".join(lines), file=sys.stderr)


def _written_out(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    return _WORDS.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _cell(text: str) -> str:
    safe = escaped(text)
    return safe if len(safe) <= MAX_CELL else safe[: MAX_CELL - 1] + "…"


def _width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def _padded(text: str, width: int, *, at_right: bool) -> str:
    room = " " * (width - _width(text))
    return room + text if at_right else text + room


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, set | frozenset) else str(value)
