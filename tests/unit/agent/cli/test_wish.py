"""`boost` and `throttle`: what they refuse before they ask the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from agent.cli import group
from agent.errors import PublishError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("command", ["boost", "throttle"])
def test_without_a_snapshot_nobody_knows_what_runs(
    command: str, tmp_path: Path
) -> None:
    """An empty list would be a false all-clear where the wrong volume is named."""
    words = [command, "--list", "--dir", str(tmp_path)]
    with pytest.raises(PublishError, match="no snapshot is published on the volume"):
        CliRunner().invoke(group, words, standalone_mode=False, catch_exceptions=False)


@pytest.mark.parametrize("command", ["boost", "throttle"])
@pytest.mark.parametrize(
    ("words", "alone"),
    [
        ("--end b1 --traces 0.2 --for 5m", "--end"),
        ("--list --end b1", "--list"),
        ("--list --role api", "--list"),
    ],
)
def test_what_begins_nothing_stands_alone(
    command: str, words: str, alone: str, tmp_path: Path
) -> None:
    """Else one of two wishes would be dropped without a word."""
    given = [command, *words.split(), "--dir", str(tmp_path)]
    ran = CliRunner().invoke(group, given)
    assert (ran.exit_code, f"{alone} stands alone" in ran.output) == (2, True)
