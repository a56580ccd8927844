"""Everything that is known at one moment, as one value.

Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.domain.value import Value
from agent.domain.wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.dsn_check import DsnReport
    from agent.domain.last import LastProcesses
    from agent.domain.passes import Passes
    from agent.domain.receiver import Delivery
    from agent.domain.rollout import Rollout
    from agent.domain.timeline import Timeline
    from agent.domain.tuned import Cut
    from resentry.contract import Snapshot


class Known(Value, frozen=True):
    """The published snapshot, and what it was made from."""

    current: Snapshot | None = None
    """The published snapshot."""
    last_good: Snapshot | None = None
    """`of_source` with the last good tuning on top."""
    of_source: Snapshot | None = None
    """The newest candidate of the source that passed the guard rails."""
    wishes: Wishes = Wishes()
    """What an operator asked for."""
    published_at: float = 0.0
    """When `current` was published, or was found on the volume at the start."""
    is_own: bool = False
    """Whether this agent has published `current`."""
    repairs: int = 0
    """How often this agent has repaired something on the volume."""
    repaired: tuple[str, ...] = ()
    """What the newest repairs were, in words."""


VOLUME = "RESENTRY_DIR"
"""The setting that a problem of the volume belongs to."""
TUNING_PATH = "RESENTRY_TUNING_PATH"
"""The setting that a problem of the tuning file belongs to."""


class Problem(Value, frozen=True):
    """Something that the agent was set to do and cannot do now. It tries again."""

    setting: str
    what: str
    hint: str


class View(Value, frozen=True):
    """Replaced by the loop's thread at each change. Other threads only read it."""

    known: Known
    passes: Passes
    began_at: float
    """When the agent began."""
    rollout: Rollout
    confirmed_at: float | None = None
    """When every target first ran the snapshot that this agent has published."""
    source: Mapping[str, Any] = {}
    """The source's own report."""
    tuning: Mapping[str, Any] = {}
    """The report of the tuning file; empty without one."""
    dsn_checks: tuple[DsnReport, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    problems: tuple[Problem, ...] = ()
    next_pass_at: float | None = None
    """When the next pass is planned, in seconds since the epoch."""
    last_processes: LastProcesses = ()
    """A process of each role: a live one, or the one that was seen last."""
    last_accepted: Mapping[str, float] = {}
    """When each published DSN was last accepted, in seconds since the epoch."""
    cuts: tuple[Cut, ...] = ()
    """The budgets that processes have reached."""
    timeline: Timeline = ()
    """What happened lately, the newest last."""

    @property
    def reports(self) -> tuple[object, ...]:
        """What is saved as soon as it changes."""
        return (
            self.dsn_checks,
            self.deliveries,
            self.problems,
            self.timeline,
            self.last_processes,
            self.tuning,
        )
