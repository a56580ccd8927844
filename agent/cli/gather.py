"""The status as the volume tells it, also while no agent runs."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from agent.confirm.receipts import Receipts
from agent.observe import document
from agent.publish.memory import STATE
from agent.publish.volume import Volume
from resentry import formats

if TYPE_CHECKING:
    from agent.observe.results import Agent, StatusResult
    from agent.settings import Settings

LIVES: dict[bool | None, Agent] = {
    True: "running",
    False: "not running",
    None: "unknown",
}


def gather(settings: Settings) -> StatusResult:
    """Return the result of `status`. It only reads."""
    volume = Volume(settings.dir, settings.receipts_dir)
    current = volume.current()
    late = False
    if current is not None:
        with contextlib.suppress(ValueError):  # not the agent's own writing
            published = formats.moment(current.published_at)
            late = time.time() - published > settings.confirm_seconds
    receipts = Receipts(settings.receipts_dir)
    return document.status(
        LIVES[volume.is_open()],
        current,
        receipts.rollout(current, settings.min_targets, late=late),
        document.decode_state(volume.memory.read(STATE)),
    )
