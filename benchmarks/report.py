"""The figures as Markdown and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job import OWN
from verdict import Verdict, differing_rows, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from data import Variant
    from job import Job
    from measure import Figures

LEAST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job on one variant of the data, measured."""

    job: Job
    variant: Variant
    figures: list[Figures]
    verdicts: list[Verdict]


@dataclass(slots=True)
class Report:
    """Everything measured so far, and under which circumstances."""

    rows: int
    runs: int
    quick: bool
    machine: dict[str, str]
    versions: dict[str, str]
    notes: list[str]
    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, job: Job, variant: Variant, figures: list[Figures]) -> Outcome:
        """Add a job's figures and judge them."""
        outcome = Outcome(job, variant, figures, verdicts(job.targets, figures, quick=self.quick))
        self.outcomes.append(outcome)
        return outcome

    def markdown(self) -> str:
        """Return the whole report."""
        parts = ["# Benchmark", self._head(), "## Targets", self._targets()]
        for outcome in self.outcomes:
            parts += [f"## {title(outcome)}", table(outcome)]
        return "\n\n".join(parts) + "\n"

    def save(self, folder: Path) -> None:
        """Write report.md and report.json."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.md").write_text(self.markdown())
        (folder / "report.json").write_text(json.dumps(self.plain(), indent=1))

    def plain(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "rows": self.rows,
            "runs": self.runs,
            "quick": self.quick,
            "machine": self.machine,
            "versions": self.versions,
            "notes": self.notes,
            "results": [
                {
                    "job": one.job.name,
                    "title": one.job.title,
                    "variant": one.variant.name,
                    "contenders": [
                        asdict(figures) | {"median": figures.median, "median_cpu": figures.median_cpu}
                        for figures in one.figures
                    ],
                    "targets": [asdict(verdict) for verdict in one.verdicts],
                }
                for one in self.outcomes
            ],
        }

    def _head(self) -> str:
        what = "one quick run, which measures and does not judge" if self.quick else "the targets are judged"
        lines = [
            f"{self.rows:,} ticks of 10 days and 500 symbols; median of {self.runs} interleaved runs; {what}.",
            "; ".join(f"{name} {value}" for name, value in self.machine.items()) + ".",
            "; ".join(f"{name} {value}" for name, value in self.versions.items()) + ".",
            *self.notes,
        ]
        return "\n".join(f"- {line}" for line in lines)

    def _targets(self) -> str:
        lines = ["| job | data | target | beside | measured | |", "| --- | --- | --- | --- | ---: | --- |"]
        for one in self.outcomes:
            for verdict in one.verdicts:
                target = verdict.target if verdict.contender == OWN else f"{verdict.contender}: {verdict.target}"
                cells = (one.job.name, one.variant.title, target, verdict.beside or "", verdict.shown, verdict.result)
                lines.append(row(cells))
        return "\n".join(lines)


def title(outcome: Outcome) -> str:
    """Return the heading of a job on one variant of the data."""
    return f"{outcome.job.title} ({outcome.job.name}; {outcome.variant.title})"


def table(outcome: Outcome) -> str:
    """Return the figures of a job: times, ratios with their targets, rows, memory, bytes, dtypes."""
    own = next((one for one in outcome.figures if one.name == OWN), None)
    lines = [
        row(("contender", "median", "range", "quantstore / it", "target", "cpu", "rows", *_BYTES, "note")),
        row(("---", "---:", "---:", "---:", "---", "---:", "---:", *("---:" for _ in _BYTES), "---")),
    ]
    lines += [_line(one, own, outcome.verdicts) for one in outcome.figures]
    return "\n".join([*lines, *_phases(outcome.figures), *_warnings(outcome), *_dtypes(outcome.figures)])


_BYTES = ("memory", "mapped", "read", "written", "on disk")


def _line(one: Figures, own: Figures | None, judged: list[Verdict]) -> str:
    if one.median is None:
        return row((one.name, one.state, *[""] * (len(_BYTES) + 5), one.note))
    ratio = ""
    if own is not None and own.median is not None and one is not own:
        ratio = f"{own.median / one.median:.2f}"
    mine = [verdict for verdict in judged if one.name == (verdict.beside or verdict.contender)]
    target = "; ".join(f"{verdict.target}: {verdict.shown}, {verdict.result}" for verdict in mine if verdict.shown)
    spread = f"{seconds(min(one.seconds))} to {seconds(max(one.seconds))}"
    cpu = "" if one.median_cpu is None else seconds(one.median_cpu)
    rows = "" if one.rows is None else f"{one.rows:,}"
    sizes = [megabytes(one.footprint.get(name)) for name in _BYTES[:-1]] + [megabytes(one.size)]
    note = one.note if one.state == "measured" else one.state
    return row((one.name, seconds(one.median), spread, ratio, target, cpu, rows, *sizes, note))


def _phases(figures: list[Figures]) -> list[str]:
    parted = [one for one in figures if one.phases]
    if not parted:
        return []
    import statistics

    names = list(parted[0].phases)
    lines = ["", row(("contender", *names)), row(("---", *("---:" for _ in names)))]
    return lines + [
        row((one.name, *(seconds(statistics.median(one.phases[name])) for name in names))) for one in parted
    ]


def _warnings(outcome: Outcome) -> list[str]:
    lines = []
    differing = differing_rows(outcome.figures)
    if differing:
        shown = ", ".join(f"{name} {rows:,}" for name, rows in differing.items())
        lines += ["", f"**The results differ in their rows:** {shown}."]
    fewest = min((one.rows for one in outcome.figures if one.rows is not None), default=LEAST_ROWS)
    if outcome.job.reads and fewest < LEAST_ROWS:
        lines += ["", f"The result has fewer than {LEAST_ROWS:,} rows ({fewest:,}): too few ticks for a fair question."]
    return lines


def _dtypes(figures: list[Figures]) -> list[str]:
    """Return lines with the columns and types, those with the same ones together."""
    groups: dict[str, list[str]] = {}
    for one in figures:
        if one.dtypes:
            groups.setdefault(", ".join(f"{name} {kind}" for name, kind in one.dtypes.items()), []).append(one.name)
    return [line for kinds, names in groups.items() for line in ("", f"dtypes of {'; '.join(names)}: {kinds}")]


def row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def seconds(value: float) -> str:
    """Return a time with four significant digits at most."""
    return f"{value:.3f} s" if value >= 1 else f"{value * 1000:.1f} ms" if value >= 0.1 else f"{value * 1000:.2f} ms"


def megabytes(value: int | None) -> str:
    """Return bytes as MB, or nothing."""
    return "" if value is None else f"{value / 1e6:,.1f} MB"
