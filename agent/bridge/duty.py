"""Makes what calls somebody else: the second level of on-call, and the canary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

from agent.bridge.canary import CLOSED_SECONDS, Canary, closed_row
from agent.bridge.escalate import Escalation
from agent.bridge.trips import ALIVE, MISSING
from agent.errors import SettingsError
from agent.source.login import credential
from resentry.formats import time_text
from resentry.values import split_dsn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.bridge.duty_metrics import DutyMetrics
    from agent.bridge.reading import Row
    from agent.bridge.store import Store
    from agent.settings import Settings


class EscalationState(Struct, frozen=True, kw_only=True):
    """How it goes with the critical alerts of one Alertmanager."""

    name: str
    escalated: int
    """For so many the second level is called."""
    reason: str
    """Why the Alertmanager could not be asked; empty if it could."""


class CanaryState(Struct, frozen=True, kw_only=True):
    """How it goes with the canary. A time is null if it has not happened."""

    sent: str | None
    arrived: str | None
    seconds: float
    """How long the newest one that came back took."""
    missing: bool
    reason: str
    """Why Sentry did not accept the newest canary; empty if it did."""


class Duty:
    """Raises `SettingsError` if it cannot start."""

    def __init__(
        self,
        settings: Settings,
        names: Sequence[str],
        store: Store,
        metrics: DutyMetrics,
    ) -> None:
        self._environment = settings.environment
        self._began = time.time()
        after = settings.bridge_escalate_seconds
        headers = settings.bridge_alertmanager_headers.headers
        urls = settings.bridge_alertmanagers if after else ()
        self._escalations = [
            Escalation(url, name, after, headers, metrics)
            for url, name in zip(urls, names, strict=False)
        ]
        dsn = _dsn(settings)
        self._canary = (
            Canary(
                dsn,
                settings.environment,
                every=settings.bridge_canary_seconds,
                limit=settings.bridge_canary_limit_seconds,
                store=store,
                metrics=metrics,
            )
            if dsn
            else None
        )

    def start(self) -> None:
        """Begin."""
        for escalation in self._escalations:
            escalation.start()
        if self._canary is not None:
            self._canary.start()

    def stop(self, seconds: float) -> None:
        """End, within about this time."""
        until = time.monotonic() + seconds
        for is_asked in (True, False):  # all of them end at once
            for each in (*self._escalations, self._canary):
                if each is not None:
                    each.stop(0 if is_asked else max(0.0, until - time.monotonic()))

    def rows(self) -> list[Row]:
        """Return the alerts of the canary, for whoever posts alerts.

        Without a canary nobody else would end what an earlier bridge has opened.
        """
        if self._canary is not None:
            return self._canary.rows()
        if time.time() - self._began > CLOSED_SECONDS:
            return []
        ended = (ALIVE, MISSING)
        return [closed_row(each, self._environment, self._began) for each in ended]

    def escalations(self) -> list[EscalationState]:
        """Return how it goes with each Alertmanager; nothing if nothing is escalated."""
        return [
            EscalationState(name=each.name, escalated=each.raised, reason=each.reason)
            for each in self._escalations
        ]

    def canary(self) -> CanaryState | None:
        """Return how it goes with the canary; `None` if none is sent."""
        if self._canary is None:
            return None
        known = self._canary.known()
        return CanaryState(
            sent=time_text(known.sent) if known.sent else None,
            arrived=time_text(known.arrived) if known.arrived else None,
            seconds=known.seconds,
            missing=self._canary.is_missing(),
            reason=self._canary.reason,
        )


def _dsn(settings: Settings) -> str:
    name = "bridge_canary_dsn_file"
    path = settings.bridge_canary_dsn_file
    dsn = credential(settings.bridge_canary_dsn, path, name).strip()
    try:
        if dsn:
            split_dsn(dsn)
    except ValueError as error:
        raise SettingsError(
            f"the DSN of the canary {error}", f"check RESENTRY_{name.upper()}"
        ) from None
    return dsn
