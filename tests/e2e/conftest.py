"""Real servers and real processes, new for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.sink import Sink
from lab.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def system() -> Iterator[System]:
    with System() as system:
        yield system


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print, per process model, what was sent and what was received."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
    ]
    lines = [
        str(line)
        for report in reports
        for name, line in report.user_properties
        if name == "process model"
    ]
    if lines:
        terminalreporter.section("process models")
        for line in lines:
            terminalreporter.write_line(line)
