"""The bridge's status as a page of plain text, for a person with a browser or curl."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.bridge.duty import CanaryState
    from agent.bridge.status import BridgeStatus, OpenAlert

_HIDDEN = ("alertname", "severity", "source")
NEXT = "What is wrong, and what to type: resentry-agent doctor --area bridge\n"


def text_of(status: BridgeStatus) -> str:
    """Return the page. What does not work stands first on its line."""
    lines = [
        f"resentry bridge {status.version}",
        "",
        *_rows("webhooks", _webhooks(status)),
        *_rows("store", [f"FAILS: {status.store}" if status.store else "works"]),
        *_rows("alertmanagers", _alertmanagers(status)),
        *_rows("second level", _escalations(status)),
        *_rows("canary", [_canary(status.canary)]),
        *_rows("open alerts", [str(status.open)]),
        "",
        *map(_alert, status.alerts),
    ]
    return "\n".join([*lines, "", NEXT])


def _rows(title: str, texts: list[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield f"{'' if number else title:15}{text}"


def _webhooks(status: BridgeStatus) -> list[str]:
    rows = [
        f"{name}: {each.number}, the newest at {each.newest}"
        for name, each in status.webhooks.items()
    ]
    if status.wrong_signatures:
        rows.append(
            f"REFUSED: {status.wrong_signatures} with a wrong signature, the newest at "
            f"{status.wrong_signature_at}"
        )
    return rows or ["none has ever come"]


def _alertmanagers(status: BridgeStatus) -> list[str]:
    return [
        f"FAILS: {each.name}: {each.reason}; {each.behind} changes wait"
        if each.reason
        else f"{each.name}: took alerts last at {each.success or 'no time yet'}"
        for each in status.alertmanagers
    ]


def _escalations(status: BridgeStatus) -> list[str]:
    rows = [
        f"FAILS: {each.name}: {each.reason}"
        if each.reason
        else f"{each.name}: called for {each.escalated} alerts"
        for each in status.escalations
    ]
    return rows or ["is never called (RESENTRY_BRIDGE_ESCALATE_SECONDS is 0)"]


def _canary(canary: CanaryState | None) -> str:
    if canary is None:
        return "none is sent (RESENTRY_BRIDGE_CANARY_DSN_FILE)"
    last = f"the last one came back at {canary.arrived}" if canary.arrived else ""
    if canary.missing:
        why = canary.reason or "its webhook did not come"
        return f"MISSING: {why}; {last or 'none has ever come back'}"
    return f"{last}, after {canary.seconds:.1f} s" if last else "none has come back yet"


def _alert(alert: OpenAlert) -> str:
    labels = alert.labels
    places = " ".join(
        f"{name}={value}" for name, value in labels.items() if name not in _HIDDEN
    )
    severity = labels.get("severity", "")
    name = labels.get("alertname", "")
    return f"{severity:9} {name} {places}, since {alert.opened}: {alert.summary}"
