"""The boosts and ceilings of a snapshot, as every document shows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agent.domain.wishes import with_seconds_left
from agent.observe.converting import convert
from agent.observe.tuning_results import Boost, Ceiling, TuningFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resentry.contract import Snapshot


def boosts(current: Snapshot | None) -> list[Boost]:
    """Return the boosts of a snapshot that have not ended."""
    running = current.boosts if current else ()
    items = with_seconds_left(running, time.time())
    return [convert(boost, Boost) for boost in items]


def ceilings(current: Snapshot | None) -> list[Ceiling]:
    """Return the ceilings of a snapshot that have not ended."""
    running = current.ceilings if current else ()
    items = with_seconds_left(running, time.time())
    return [convert(ceiling, Ceiling) for ceiling in items]


def tuning_file(saved: Mapping[str, Any]) -> TuningFile | None:
    """Return what the agent says of the tuning file; `None` without one."""
    report = saved.get("tuning")
    return convert(report, TuningFile) if report else None
