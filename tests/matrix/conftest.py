"""Prints what the rows of the matrix found, as one table, when all have run."""

from __future__ import annotations

import pytest

from lab.sides import ENVIRONMENT

TITLES = (
    "process model",
    "captured",
    "followed",
    "lost",
    "twice",
    "plain: lost",
    "twice",
    "receipts",
)


@pytest.fixture(autouse=True)
def _environment() -> None:
    """Say how to build the environment where it is missing."""
    if not (ENVIRONMENT.parent / ".ready").exists():
        pytest.fail("the servers of the matrix are not installed: make matrix")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line per process model."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
    ]
    found = [each for report in reports for each in report.user_properties]
    rows = [value for name, value in found if name == "matrix"]
    starts = [value for name, value in found if name == "matrix starts"]
    if not rows + starts:
        return
    table = [TITLES, *sorted(rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(TITLES))]
    terminalreporter.section("the matrix")
    for row in table if rows else ():
        cells = (
            str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)
        )
        terminalreporter.write_line("  ".join(cells).rstrip())
    for line in starts:
        terminalreporter.write_line(line)
