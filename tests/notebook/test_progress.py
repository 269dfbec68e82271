"""The line that tells how far a long operation has come."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from quantstore.core.events import Progress, announce
from quantstore.notebook.progress import ProgressLine, describe


class Seconds:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


def take_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal; called in the test itself, as pytest sets stderr anew after the fixtures."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    return made


def moved(done: int, total: int | None = 10) -> Progress:
    return Progress("migrate", "ticks", done, total, "segments")


def test_short_operations_show_nothing(clock: Seconds, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = take_terminal(monkeypatch)
    line = ProgressLine(is_notebook=False, clock=clock)
    line.begin_cell()
    for done in range(1, 11):
        announce(moved(done))
        clock.now += 0.09
    line.end_cell()
    assert terminal.getvalue() == ""


def test_long_operations_show_one_line_at_most_four_times_a_second(
    clock: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = take_terminal(monkeypatch)
    line = ProgressLine(is_notebook=False, clock=clock)
    line.begin_cell()
    for done in range(1, 101):
        announce(moved(done, 100))
        clock.now += 0.0625
    line.end_cell()
    lines = terminal.getvalue().split("\r\x1b[2K")[1:]
    assert lines[0] == "migrate ticks: 17 of 100 segments, 1.0 s"
    assert lines[-1] == "migrate ticks: 100 of 100 segments, 6.2 s, done\n"
    assert len(lines) <= 5.2 * 4 + 2


def test_an_interrupted_operation_says_where_it_stopped(clock: Seconds, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = take_terminal(monkeypatch)
    line = ProgressLine(is_notebook=False, clock=clock)
    line.begin_cell()
    announce(moved(1))
    clock.now += 2
    announce(moved(4))
    line.end_cell(SimpleNamespace(success=False))
    assert terminal.getvalue().endswith("migrate ticks: 4 of 10 segments, 2.0 s, stopped\n")


def test_a_stream_of_unknown_length_is_done_when_the_cell_is(clock: Seconds, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = take_terminal(monkeypatch)
    line = ProgressLine(is_notebook=False, clock=clock)
    line.begin_cell()
    announce(Progress("write", "ticks", 1_000, None, "rows"))
    clock.now += 3
    announce(Progress("write", "ticks", 250_000, None, "rows"))
    line.end_cell()
    assert terminal.getvalue().endswith("write ticks: 250,000 rows, 3.0 s, done\n")


def test_a_second_run_of_the_same_operation_starts_anew(clock: Seconds, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = take_terminal(monkeypatch)
    line = ProgressLine(is_notebook=False, clock=clock)
    line.begin_cell()
    announce(Progress("write", "ticks", 500, None, "rows"))
    clock.now += 0.9
    announce(Progress("write", "ticks", 100, None, "rows"))
    clock.now += 0.9
    announce(Progress("write", "ticks", 200, None, "rows"))
    line.end_cell()
    assert terminal.getvalue() == ""


def test_nothing_is_heard_after_the_cell(clock: Seconds, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = take_terminal(monkeypatch)
    line = ProgressLine(is_notebook=False, clock=clock)
    line.begin_cell()
    line.end_cell()
    announce(moved(1))
    clock.now += 5
    announce(moved(2))
    assert terminal.getvalue() == ""


def test_a_cell_that_awaits_ends_in_another_context(clock: Seconds) -> None:
    """The kernel runs such a cell in a context of its own; ending it outside must neither fail nor leave a listener."""
    import contextvars

    line = ProgressLine(is_notebook=False, clock=clock)
    contextvars.copy_context().run(line.begin_cell)
    line.end_cell()
    line.begin_cell()
    line.end_cell()


def test_where_output_is_no_terminal_nothing_is_written(clock: Seconds, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.StringIO()
    monkeypatch.setattr(sys, "stderr", plain)
    line = ProgressLine(is_notebook=False, clock=clock)
    line.begin_cell()
    announce(moved(1))
    clock.now += 5
    announce(moved(2))
    line.end_cell()
    assert plain.getvalue() == ""


def test_a_notebook_updates_one_display_in_place(clock: Seconds, one_shell: InteractiveShell) -> None:
    line = ProgressLine(is_notebook=True, clock=clock)
    with capture_output() as captured:
        line.begin_cell()
        announce(Progress("migrate", "<i>x", 1, 3, "segments"))
        clock.now += 2
        announce(Progress("migrate", "<i>x", 2, 3, "segments"))
        announce(Progress("migrate", "<i>x", 3, 3, "segments"))
        line.end_cell()
    assert len(captured.outputs) == 2
    first, last = (output.data["text/html"] for output in captured.outputs)
    assert "<progress value='2' max='3'>" in first
    assert "done" in last
    assert "<i>" not in last


def test_describe_leaves_out_what_is_not_known() -> None:
    assert describe(Progress("audit", "", 3, 10, "copies"), 0.5) == "audit: 3 of 10 copies, 500.0 ms"
