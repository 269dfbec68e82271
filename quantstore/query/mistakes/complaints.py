"""What the engine says when it refuses a statement, taken apart."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa

_EXCERPT = re.compile(r"\n+LINE \d+: (?P<line>.*)\n(?P<carets> *\^+)\s*$", re.DOTALL)
_ANY_EXCERPT = re.compile(r"\n+LINE \d+:.*", re.DOTALL)
_KIND = re.compile(r"(?:[A-Z]\w*)(?: \w+){0,2} Error: ")
_LABEL = "LINE 1: "
_LOCATION = re.compile(r"\[(\d+),(\d+)\]")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_CANDIDATES = re.compile(r"(?:Candidate (?:bindings|tables|Entries)|Did you mean):+ *(?P<names>.*)", re.DOTALL)
_INTERNAL = re.compile(r'"?__quantstore\w*"?')
_REMAINDER = re.compile(r"__ns_")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the engine found wrong.

    Attributes:
        kind: The engine's word for the kind of failure: `Parser`, `Binder`, `Catalog`, `Conversion`, ...
        message: What it says, without kind and excerpt.
        byte: Where in the statement it points, in bytes of UTF-8, or None.
        length: How many bytes it points at; 0 where it does not say.
        name: The name it does not know, or None.
        candidates: Names it would know instead.
        fragment: The words it points at, where it shows an excerpt; empty where it does not.
    """

    kind: str
    message: str
    byte: int | None = None
    length: int = 0
    name: str | None = None
    candidates: tuple[str, ...] = ()
    fragment: str = ""

    def moved(self, bytes_before: int) -> Complaint:
        """Return the complaint about the same statement without the `bytes_before` bytes put before it."""
        if self.byte is None:
            return self
        byte = self.byte - bytes_before
        return replace(self, byte=byte if byte >= 0 else None)


def is_engine_error(error: BaseException | None) -> bool:
    """Whether an error is the engine's own, be it handed over as Arrow's, as while a result is fetched."""
    if isinstance(error, duckdb.Error):
        return True
    return isinstance(error, OSError | pa.ArrowException) and _KIND.match(str(error)) is not None


def read_complaint(error: BaseException) -> Complaint:
    """Return what an engine's error says, be it text or (`errors_as_json`) JSON."""
    prefix, _, rest = str(error).strip().partition(": ")
    kind = prefix.removesuffix(" Error")
    if rest.lstrip().startswith("{"):
        try:
            return _from_json(kind, json.loads(rest))
        except (ValueError, KeyError, TypeError):
            pass
    if not prefix.endswith(" Error"):
        kind, rest = "", str(error).strip()
    message = _ANY_EXCERPT.sub("", rest).strip()
    return Complaint(kind, message, candidates=_candidates(message), fragment=_fragment(rest))


def scrub(text: str) -> str:
    """Return `text` without the names this package gives to what it hands to the engine."""
    return _REMAINDER.sub("", _INTERNAL.sub("the table", text))


def _from_json(kind: str, said: dict[str, Any]) -> Complaint:
    message = str(said["exception_message"]).strip()
    location = _LOCATION.fullmatch(str(said.get("location", "")))
    return Complaint(
        kind=str(said.get("exception_type", kind)),
        message=message,
        byte=int(said["position"]) if str(said.get("position", "")).isdigit() else None,
        length=int(location[2]) if location else 0,
        name=said.get("name"),
        candidates=_candidates(message),
    )


def _candidates(message: str) -> tuple[str, ...]:
    found = _CANDIDATES.search(message)
    return tuple(name.replace('""', '"') for name in _QUOTED.findall(found["names"])) if found else ()


def _fragment(text: str) -> str:
    """Return the words above the carets of an excerpt."""
    found = _EXCERPT.search(text)
    if found is None or not found["line"].isascii() or "\n" in found["line"]:
        return ""
    carets = found["carets"]
    first, last = len(carets) - carets.count("^") - len(_LABEL), len(carets) - len(_LABEL)
    return found["line"][max(first, 0) : last] if last - first > 1 else ""


def tidy(message: str) -> str:
    """Return an engine's message as one sentence, without names that nobody wrote."""
    text = scrub(message).replace("memory.main.", "").replace("temp.main.", "")
    text = re.sub(r"\s*\n\s*Candidate (?:functions|Entries|bindings).*", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*\n\s*", " ", text).strip().rstrip("!")
    return text if text.endswith((".", "?")) else text + "."
