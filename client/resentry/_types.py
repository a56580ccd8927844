"""The types of what the public functions return."""

from __future__ import annotations

from typing import Any, TypedDict


class Status(TypedDict):
    """What `resentry.status()` returns. Every key is always there."""

    role: str
    """The role of this process; empty before `init`."""
    revision: str | None
    """The snapshot that runs here; `None` if the environment variables decide."""
    sequence: int
    """The number of that snapshot on its volume; 0 without a snapshot."""
    phase: str
    """`running` after a swap; `drained` once nothing here sends by an older DSN."""
    since: str
    """When the current client began to serve, in UTC; empty before `init`."""
    error: str | None
    """What is wrong and what to do about it; `None` if nothing is wrong."""
    sdk: str
    """The version of sentry-sdk, and why swaps may lose events, if they may."""
    tally: dict[str, int]
    """Counts of envelopes that took an unusual way, and of faults in this library."""
    values: dict[str, Any]
    """The values that run here, by variable; the DSN without its secret part."""
    origins: dict[str, str]
    """Where each value came from: `role`, `snapshot`, `environment` or `default`."""


NO_STATUS = Status(
    role="",
    revision=None,
    sequence=0,
    phase="drained",
    since="",
    error="resentry.status failed; the log of resentry names the reason",
    sdk="",
    tally={},
    values={},
    origins={},
)
"""The answer where `status()` itself fails."""
