"""All that is known at one moment, as one value. Times are monotonic, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.domain.wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.dsn_check import DsnReport
    from agent.domain.passes import Passes
    from agent.domain.receiver import Delivery
    from agent.domain.rollout import Rollout
    from resentry.contract import Snapshot


@dataclass(frozen=True, slots=True)
class Known:
    """What stands on the volume, and what it was made from."""

    current: Snapshot | None = None
    """What is published."""
    last_good: Snapshot | None = None
    """The newest candidate of the source that passed the guard rails."""
    wishes: Wishes = field(default_factory=Wishes)
    """What an operator asked for."""
    published_at: float = 0.0
    """When `current` was published, or taken over from an earlier agent."""
    is_own: bool = False
    """Whether this agent has published `current`."""


@dataclass(frozen=True, slots=True)
class View:
    """Made anew by the loop's thread at each change; others only read it."""

    known: Known
    passes: Passes
    began_at: float
    """When the agent began."""
    rollout: Rollout
    confirmed_at: float | None = None
    """When every target first ran what this agent has published."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """What the source says of itself."""
    dsn_checks: tuple[DsnReport, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
