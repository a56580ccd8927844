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
    rows = [
        value
        for report in reports
        for name, value in report.user_properties
        if name == "matrix"
    ]
    if not rows:
        return
    table = [TITLES, *sorted(rows)]
    widths = [max(len(str(row[at])) for row in table) for at in range(len(TITLES))]
    terminalreporter.section("the matrix")
    for row in table:
        cells = (str(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line("  ".join(cells).rstrip())
