"""The agent with a bug: while the file BUG is there, a pass fails and quotes the file."""

import os
from pathlib import Path
from typing import Any

from agent.cli import main
from agent.source.vault import VaultSource

BUG = Path(os.environ["BUG"])
read_all = VaultSource._read_all


def fail_or_read(self: VaultSource) -> Any:
    if BUG.exists():
        raise RuntimeError(BUG.read_text())
    return read_all(self)


VaultSource._read_all = fail_or_read  # type: ignore[method-assign]
main()
