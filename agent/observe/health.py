"""The health checks: pure functions of a view. Each returns its answer and the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.backoff import RETRY_AFTER_CAP_SECONDS

if TYPE_CHECKING:
    from agent.domain.view import View
    from agent.settings import Settings

Health = tuple[bool, str]


def live(view: View, settings: Settings, now: float) -> Health:
    """Whether passes still end. Only the monotonic clock counts."""
    passes = view.passes
    silent = now - passes.ended_at
    limit = 3 * settings.poll_seconds + 2 * settings.pass_seconds
    if passes.outcome is not None and passes.outcome.retry_after is not None:
        limit += RETRY_AFTER_CAP_SECONDS  # the source has asked for a pause
    return silent < limit, f"last pass ended {silent:.0f} s ago (limit {limit:.0f} s)"


def ready(view: View, settings: Settings, now: float) -> Health:
    """Whether a snapshot is published and the source was read recently."""
    if view.known.current is None:
        return False, "nothing is published yet"
    if view.passes.read_at is None:
        return (
            False,
            "an earlier agent has published; this one has not read the source yet",
        )
    age = now - view.passes.read_at
    limit = 3 * settings.poll_seconds + 30
    return age < limit, f"source last read {age:.0f} s ago (limit {limit:.0f} s)"


def started(view: View, settings: Settings, now: float) -> Health:
    """Whether applications may start: with a snapshot, or after a limited wait."""
    if view.known.current is not None:
        return True, "a snapshot is published"
    waited = now - view.began_at
    if waited >= settings.startup_seconds:
        return True, (
            f"no snapshot after {waited:.0f} s: applications start with their own "
            "environment variables"
        )
    return False, f"waiting for the first snapshot since {waited:.0f} s"
