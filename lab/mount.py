"""A directory as kubelet mounts a Secret, written in kubelet's own order of steps."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Mount:
    """A directory whose files all change in one step.

    The steps are those of kubernetes/pkg/volume/util/atomic_writer.go: there are no
    flushes, and what is replaced is gone at once.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def write(self, **files: str | bytes) -> None:
        """Make the directory hold exactly these files."""
        link = self.directory / "..data"
        before = self.directory / os.readlink(link) if link.is_symlink() else None
        moment = time.strftime("%Y_%m_%d_%H_%M_%S")
        generation = self.directory / f"..{moment}.{secrets.randbelow(10**9)}"
        generation.mkdir(0o755)
        for name, content in files.items():
            body = content.encode() if isinstance(content, str) else content
            (generation / name).write_bytes(body)
            visible = self.directory / name
            if not visible.is_symlink():
                visible.symlink_to(f"..data/{name}")
        new_link = self.directory / "..data_tmp"
        new_link.symlink_to(generation.name)
        new_link.rename(link)
        if before is not None:
            for name in {file.name for file in before.iterdir()} - files.keys():
                (self.directory / name).unlink()
            shutil.rmtree(before)
