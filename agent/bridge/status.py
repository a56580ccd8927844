"""What the bridge says about itself at `/status`: no secret, and no personal data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from agent._version import __version__
from agent.bridge.duty import CanaryState, EscalationState
from agent.domain.receiver import receiver_names
from resentry.formats import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.bridge.duty import Duty
    from agent.bridge.receive import Receiver
    from agent.bridge.store import Store

ALERTS_LIMIT = 1000


class OpenAlert(Struct, frozen=True, kw_only=True):
    """One open alert."""

    subject: str
    labels: dict[str, str]
    summary: str
    opened: str
    renewed: str
    webhooks: int


class Resource(Struct, frozen=True, kw_only=True):
    """What came of one resource."""

    newest: str
    number: int


class AlertmanagerState(Struct, frozen=True, kw_only=True):
    """How it goes with one Alertmanager."""

    name: str
    success: str | None
    """When it last took what was posted."""
    reason: str
    """Why the newest post failed; empty if it did not."""
    behind: int
    """The number of openings and closings that it has not taken."""


class BridgeStatus(Struct, frozen=True, kw_only=True):
    """The bridge as a whole."""

    version: str
    open: int
    alerts: list[OpenAlert]
    """The open alerts, the oldest first; at most `ALERTS_LIMIT`."""
    webhooks: dict[str, Resource]
    alertmanagers: list[AlertmanagerState]
    escalations: list[EscalationState]
    """Empty if nothing is escalated."""
    canary: CanaryState | None
    """Null if no canary is sent."""
    wrong_signatures: int
    """The number of requests since the start that Sentry had not signed with our secret."""
    wrong_signature_at: str | None
    """When the newest of them came."""
    waiting: int
    """The number of webhooks that wait to be written."""
    store: str
    """Why the store cannot be written; empty if it can."""


def status_of(
    store: Store, urls: Sequence[str], duty: Duty, receiver: Receiver
) -> BridgeStatus:
    """Return what is known now."""
    reader = store.reader
    rows = reader.open_alerts(ALERTS_LIMIT)
    known = reader.alertmanagers()
    states = []
    for url, name in zip(urls, receiver_names(urls), strict=True):
        state = known.get(url)
        success = state.success if state else None
        states.append(
            AlertmanagerState(
                name=name,
                success=None if success is None else time_text(success),
                reason=state.reason if state else "",
                behind=reader.behind(state.posted if state else 0),
            )
        )
    return BridgeStatus(
        version=__version__,
        open=sum(reader.open_number().values()),
        alerts=[
            OpenAlert(
                subject=row.subject,
                labels=row.alert.labels,
                summary=row.alert.annotations.get("summary", ""),
                opened=time_text(row.opened),
                renewed=time_text(row.renewed),
                webhooks=row.webhooks,
            )
            for row in rows
        ],
        webhooks={
            each.resource: Resource(newest=time_text(each.newest), number=each.number)
            for each in reader.webhooks()
        },
        alertmanagers=states,
        escalations=duty.escalations(),
        canary=duty.canary(),
        wrong_signatures=receiver.wrong_signatures,
        wrong_signature_at=(
            time_text(receiver.wrong_signature_at)
            if receiver.wrong_signature_at
            else None
        ),
        waiting=store.waiting,
        store=store.reason,
    )
