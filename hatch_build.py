"""Writes the commit that a distribution is built from into it, as `agent/commit.txt`.

`RESENTRY_COMMIT` names the commit where git is not at hand, as in the image's build. A
build from the source distribution keeps its commit. An editable install has none.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "agent/commit.txt"


class CommitHook(BuildHookInterface[Any]):
    """The hook that hatchling calls before it builds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to what is built."""
        if version == "editable" or Path(self.root, FILE).exists():
            return
        if commit := _commit(self.root):
            file = Path(tempfile.mkdtemp(), "commit.txt")
            file.write_text(f"{commit}\n")
            build_data["force_include"][str(file)] = FILE

    def finalize(
        self, _version: str, build_data: dict[str, Any], _artifact: str
    ) -> None:
        """Remove the file that was only made for this."""
        for path, name in build_data["force_include"].items():
            if name == FILE:
                Path(path).unlink()
                Path(path).parent.rmdir()


def _commit(root: str) -> str:
    """Return the commit, with `-dirty` if files differ from it; empty if it is not known."""
    if given := os.environ.get("RESENTRY_COMMIT", "").strip():  # noqa: TID251 - no setting of the agent
        return given
    if not Path(root, ".git").exists():  # git would look in the folders above
        return ""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)  # noqa: S603 - no input of others
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode().strip()
