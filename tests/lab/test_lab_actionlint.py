"""actionlint has nothing to say about the workflows. Building it takes a minute, once."""

import subprocess
from pathlib import Path

import pytest

from lab import golang

pytestmark = pytest.mark.process


PACKAGE = "github.com/rhysd/actionlint/cmd/actionlint"


def _complaints(*workflows: Path) -> str:
    folder = golang.REPOSITORY / "lab" / "actionlint"
    program = golang.built(folder, [PACKAGE], name="actionlint") / "actionlint"
    # Its own rules alone, also where shellcheck or pyflakes happen to be installed.
    command = [program, "-no-color", "-shellcheck=", "-pyflakes=", *workflows]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_actionlint_finds_nothing_in_the_workflows() -> None:
    """In any of them."""
    workflows = (golang.REPOSITORY / ".github" / "workflows").glob("*.yml")
    assert _complaints(*workflows) == ""


def test_actionlint_finds_a_job_that_is_needed_and_missing(tmp_path: Path) -> None:
    """So the silence above means something."""
    ci = (golang.REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    broken = tmp_path / "ci.yml"
    broken.write_text(ci.replace("    runs-on:", "    needs: nobody\n    runs-on:", 1))
    assert '"nobody"' in _complaints(broken)
