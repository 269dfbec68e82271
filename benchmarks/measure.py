"""Times: every contender in turn, the order rotated from run to run, medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import child
import footprint
from bench import has
from job import Phases, Timed

if TYPE_CHECKING:
    from bench import Bench
    from job import Contender, Job

SHORT_SECONDS, QUICK_SHORT_SECONDS, MOST_CALLS = 0.2, 0.02, 20


@dataclass(slots=True)
class Figures:
    """What was measured of a contender.

    Attributes:
        name: The contender.
        state: `measured`, `not installed` or `failed: ...`.
        seconds: One time per run; of a short action, the median of several calls.
        cpu: The processor's seconds of each run, of all threads together; less than `seconds` where others used the
            machine or a disk was waited for, more where threads shared the work.
        phases: Further times, by phase, for actions of several parts.
        rows: Rows of the result, or of what was written.
        dtypes: Columns with their types.
        size: Bytes left on disk, or None.
        footprint: See `footprint.of`.
        note: What a reader should know.
    """

    name: str
    state: str = "measured"
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    phases: dict[str, list[float]] = field(default_factory=dict)
    rows: int | None = None
    dtypes: dict[str, str] = field(default_factory=dict)
    size: int | None = None
    footprint: dict[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def median_cpu(self) -> float | None:
        """The median of the processor's seconds; None where nothing was measured in this process."""
        return statistics.median(self.cpu) if self.cpu and not self.phases else None

    @property
    def median(self) -> float | None:
        """The median time in seconds, or None where nothing was measured."""
        return statistics.median(self.seconds) if self.seconds else None


def run_job(job: Job, bench: Bench, runs: int, *, in_process: bool) -> list[Figures]:
    """Measure all contenders of a job: times first, interleaved, then memory and bytes.

    Args:
        job: The job.
        bench: Where the data is.
        runs: How many runs of each contender.
        in_process: Whether to measure memory in this process, which is quick but understates it, as allocators keep
            what earlier runs used; otherwise each contender gets a process of its own.
    """
    contenders = job.contenders(bench)
    figures = {one.name: Figures(one.name, note=one.note) for one in contenders}
    able = [one for one in contenders if _starts(one, figures[one.name])]
    short = QUICK_SHORT_SECONDS if in_process else SHORT_SECONDS
    gc.freeze()  # what is loaded by now need not be searched for garbage before every run
    calls = {one.name: _calls(job, one, figures[one.name], short) for one in able}
    for run in range(runs):
        at = run % max(len(able), 1)
        _run(able[at:] + able[:at], figures, calls)
    for one in able:
        mine = figures[one.name]
        if mine.state == "measured" and not mine.phases:
            mine.footprint = _footprint(job, bench, one, in_process=in_process)
    gc.unfreeze()
    return list(figures.values())


def _starts(one: Contender, mine: Figures) -> bool:
    """Whether a contender is installed and can be made ready; if not, its figures say why."""
    if not has(one.needs):
        mine.state = "not installed"
        return False
    return _guarded(mine, one.ready)


def _guarded(mine: Figures, action: Callable[[], Any]) -> bool:
    try:
        action()
    except Exception as error:  # noqa: BLE001 - a contender that fails is reported and the others go on
        mine.state = f"failed: {type(error).__name__}: {error}".splitlines()[0]
        return False
    return True


def _calls(job: Job, one: Contender, mine: Figures, short: float) -> int:
    """Warm up once, note what comes out, and return how many calls make up a run."""
    taken: list[tuple[float, float]] = []
    if not job.is_warmed or not _guarded(mine, lambda: taken.append(_once(one, mine))) or not job.is_short:
        return 1
    return max(1, min(MOST_CALLS, int(short / max(taken[0][0], 1e-6))))


def _run(able: list[Contender], figures: dict[str, Figures], calls: dict[str, int]) -> None:
    """Run each contender: call after call in turn, so that what else goes on in the machine befalls all alike."""
    samples: dict[str, list[tuple[float, float]]] = {one.name: [] for one in able}
    gc.collect()
    for call in range(max(calls.values(), default=0)):
        for one in able:
            mine = figures[one.name]
            if mine.state == "measured" and call < calls[one.name]:
                _guarded(mine, lambda one=one, mine=mine: samples[one.name].append(_once(one, mine, keep=False)))
                if calls[one.name] == 1:
                    gc.collect()
    for name, taken in samples.items():
        if taken:
            figures[name].seconds.append(statistics.median(seconds for seconds, _ in taken))
            figures[name].cpu.append(statistics.median(busy for _, busy in taken))


def _once(one: Contender, mine: Figures, *, keep: bool = True) -> tuple[float, float]:
    """Run a contender once and return the seconds, and those of the processor; `keep` notes rows and dtypes."""
    one.before()
    try:
        begun, busy = time.perf_counter(), time.process_time()
        result = one.action()
        seconds, busy = time.perf_counter() - begun, time.process_time() - busy
        if isinstance(result, Timed):
            seconds, busy, result = result.seconds, result.busy, result.result
        if isinstance(result, Phases):
            seconds = next(iter(result.seconds.values()))
            for name, part in result.seconds.items() if not keep else ():
                mine.phases.setdefault(name, []).append(part)
        elif keep:
            mine.rows, mine.dtypes = describe(result)
            mine.size = one.size() if one.size else None
    finally:
        one.after()
    return seconds, busy


def _footprint(job: Job, bench: Bench, one: Contender, *, in_process: bool) -> dict[str, int]:
    try:
        return footprint.of(one) if in_process else child.call(bench, "footprint", job.name, one.name)
    except Exception as error:  # noqa: BLE001 - times stand without it
        print(f"    memory of {one.name}: {error}")
        return {}


def describe(result: Any) -> tuple[int | None, dict[str, str]]:
    """Return the rows of a frame, and its columns with their types."""
    if hasattr(result, "schema") and hasattr(result, "num_rows"):
        return result.num_rows, {field.name: str(field.type) for field in result.schema}
    if hasattr(result, "dtypes") and hasattr(result, "columns"):
        names = {str(name): str(kind) for name, kind in zip(result.columns, result.dtypes, strict=True)}
        index = getattr(result, "index", None)
        if index is not None and index.name is not None:
            names = {f"{index.name} (index)": str(index.dtype), **names}
        return len(result), names
    return (len(result), {}) if hasattr(result, "__len__") else (None, {})
