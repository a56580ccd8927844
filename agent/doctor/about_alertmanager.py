"""Rules on what the bridge writes: its store, and the Alertmanagers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.doctor.about_bridge import status_of
from agent.doctor.rule import Sight, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts


@rule(
    "RSN977",
    "alertmanager-refuses",
    "error",
    "bridge",
    "An Alertmanager does not take alerts",
    fix="check its address in RESENTRY_BRIDGE_ALERTMANAGERS, its log, and the network policy",
    causes=("RSN971",),
)
def alertmanager_refuses(facts: Facts) -> Iterator[Sight]:
    """Ask the bridge what came of the newest post to each Alertmanager.

    The bridge keeps open alerts, and posts them as soon as it can. Until then nobody hears
    of them by this Alertmanager.

    Wake who runs Alertmanager.
    """
    for each in status_of(facts)["alertmanagers"]:
        if each["reason"]:
            last = f"it took alerts last: {each['success'] or 'never'}"
            yield Sight(
                each["name"], f"{each['reason']}; {last}", since=each["success"] or ""
            )


@rule(
    "RSN978",
    "escalation-fails",
    "error",
    "bridge",
    "Critical alerts are not escalated",
    fix="let the bridge GET /api/v2/alerts of this Alertmanager, not only POST",
    causes=("RSN971", "RSN977"),
)
def escalation_fails(facts: Facts) -> Iterator[Sight]:
    """Ask the bridge whether it could read the critical alerts of each Alertmanager.

    The first level is called as before. If nobody acts, nobody else is called.
    """
    for each in status_of(facts)["escalations"]:
        if each["reason"]:
            yield Sight(each["name"], each["reason"])


@rule(
    "RSN979",
    "bridge-store",
    "error",
    "bridge",
    "The bridge cannot write its store",
    fix="free space on the volume of RESENTRY_BRIDGE_STORE, or correct its access rights",
    causes=("RSN971",),
)
def store_fails(facts: Facts) -> Iterator[Sight]:
    """Ask the bridge whether its newest transaction has succeeded.

    It answers 503 to Sentry until the store can be written, and Sentry does not send such
    webhooks again. Alerts that are open stay open.

    Wake who runs the bridge.
    """
    reason = status_of(facts)["store"]
    if reason:
        yield Sight(facts.settings.bridge_store, reason)
