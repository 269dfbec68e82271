"""Targets held against figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from job import Target
    from measure import Figures

SIZE_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what was measured.

    Attributes:
        target: The target in words.
        contender: Whose target it is.
        beside: The other that counted, or None.
        measured: The ratio, or seconds; None where one side is missing.
        shown: The same as text.
        result: `reached`, `missed`, `not judged`, or why nothing could be measured.
    """

    target: str
    contender: str
    beside: str | None
    measured: float | None
    shown: str
    result: str


def judge(target: Target, figures: Sequence[Figures], *, quick: bool) -> Verdict:
    """Compare one target with the figures of its job; a quick run measures and does not judge."""
    by_name = {one.name: one for one in figures}
    own = by_name[target.contender]
    others = {name: by_name[name] for name in target.beside}
    if own.median is None:
        return Verdict(target.text, target.contender, None, None, "", own.state)
    able = {name: one for name, one in others.items() if one.median is not None and _fits(target, own, one)}
    if target.beside and not able:
        why = "; ".join(_missing(name, one) for name, one in others.items())
        return Verdict(target.text, target.contender, None, None, "", why)
    beside = min(able, key=lambda name: able[name].median or 0.0) if able else None
    measured = _value(target, own.median, (able[beside].median or 0.0) if beside else 0.0)
    is_reached = measured >= target.limit if target.kind == "speed" else measured <= target.limit
    shown = {
        "speed": f"{measured:.2f}x its speed",
        "time": f"{measured:.2f}x its time",
        "seconds": f"{measured * 1000:.2f} ms",
        "added": f"{measured * 1000:+.2f} ms",
    }[target.kind]
    result = "not judged" if quick else "reached" if is_reached else "missed"
    return Verdict(target.text, target.contender, beside, measured, shown, result)


def _value(target: Target, own: float, other: float) -> float:
    if target.kind == "speed":
        return other / own
    if target.kind == "time":
        return own / other
    return own - other if target.kind == "added" else own


def _fits(target: Target, own: Figures, other: Figures) -> bool:
    return not target.same_size or own.size is None or other.size is None or other.size <= own.size * SIZE_MARGIN


def _missing(name: str, one: Figures) -> str:
    return f"{name}: {'its files are larger' if one.state == 'measured' else one.state}"


def verdicts(targets: Sequence[Target], figures: Sequence[Figures], *, quick: bool) -> list[Verdict]:
    """Judge all targets of a job."""
    return [judge(target, figures, quick=quick) for target in targets]


def differing_rows(figures: Sequence[Figures]) -> Mapping[str, int]:
    """Return rows by contender where they do not agree, else nothing."""
    counts = {one.name: one.rows for one in figures if one.rows is not None}
    return counts if len(set(counts.values())) > 1 else {}
