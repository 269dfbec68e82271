"""Say at the end how many cases of placement were compared."""

from __future__ import annotations

from asked_worlds import COUNTED


def pytest_terminal_summary(terminalreporter):
    """Print the number of cases, of all workers together."""
    reports = terminalreporter.stats.get("passed", [])
    counts = [value for report in reports for name, value in report.user_properties if name == COUNTED]
    if counts:
        terminalreporter.write_line(f"placement independence: {sum(counts):,} cases over {len(counts)} random worlds")
