"""What the daemon starts after its first pass, and tries again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.services import Doors, Services

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings

pytestmark = pytest.mark.server


def test_a_file_in_the_place_of_the_receipts_is_not_watched(
    settings: Callable[..., Settings],
) -> None:
    """The pass says what is there: the node's inotify instances are not to blame."""
    made = settings(http_listen="off")
    receipts = Path(made.receipts_dir)
    receipts.parent.mkdir()
    receipts.touch()
    nobody: Doors = Doors(*[lambda *_: False] * len(Doors._fields))  # type: ignore[arg-type, list-item]
    services = Services(made, "1", nobody)
    try:
        with capture_logs() as logs:
            services.tend()
        assert (logs, services.is_watching) == ([], False)
        receipts.unlink()
        receipts.mkdir()
        services.tend()
        assert services.is_watching
    finally:
        services.stop()
