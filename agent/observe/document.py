"""A view as JSON: what `status`, `/status` and the state file show."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from agent.domain.wishes import boosts_with_seconds_left
from resentry.contract import time_text
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.domain.dsn_check import DsnReport
    from agent.domain.outcome import Outcome
    from agent.domain.passes import Passes
    from agent.domain.receiver import Delivery
    from agent.domain.rollout import LiveTarget, Rollout
    from agent.domain.view import View
    from resentry.contract import Snapshot

NO_PASS: dict[str, Any] = {
    "outcome": None,
    "error": "",
    "sentence": "no pass has ended yet",
    "hint": "",
    "notes": [],
    "fingerprint": None,
    "since": None,
    "failures": 0,
    "where": {},
    "last_success_at": None,
}


def whole(view: View) -> dict[str, Any]:
    """Return everything that is known as one JSON object."""
    return document(view.known.current, view.rollout, state(view))


def state(view: View) -> dict[str, Any]:
    """Return what only the daemon knows: the passes, the DSN checks, the receivers."""
    return {
        **_passes(view.passes),
        "where": dict(view.source),
        "dsn_checks": [_dsn_check(report) for report in view.dsn_checks],
        "notify": notify(view.deliveries),
    }


def decode_state(body: bytes | None) -> dict[str, Any]:
    """Return what the last agent wrote of `state`, as far as it can be read."""
    try:
        return NO_PASS | dict(json.loads(body or b"{}"))
    except (ValueError, TypeError):
        return NO_PASS


def document(
    current: Snapshot | None, rollout: Rollout, state: dict[str, Any]
) -> dict[str, Any]:
    """Return everything as one JSON object. The DSN is in its shown form.

    `state` is what only a daemon knows, of now or of its last moment.
    """
    return {
        "current": None if current is None else _current(current),
        "source": {key: value for key, value in state.items() if key in NO_PASS},
        "dsn_checks": state.get("dsn_checks", []),
        "notify": state.get("notify", []),
        "rollout": {
            "state": rollout.state,
            "sentence": rollout.sentence,
            "unknown": rollout.unknown,
            "targets": [_target(target, state) for target, state in rollout.targets],
        },
    }


def outcome_of(outcome: Outcome) -> dict[str, Any]:
    """Return a pass's outcome as every document shows it."""
    return {
        "outcome": outcome.kind,
        "sentence": outcome.sentence,
        "hint": outcome.hint,
        "notes": list(outcome.notes),
    }


def published_of(outcome: Outcome) -> dict[str, Any]:
    """The same, with what is published after it."""
    published = {"revision": outcome.revision, "sequence": outcome.sequence}
    return outcome_of(outcome) | published


def answer(outcome: Outcome, current: Snapshot | None) -> dict[str, Any]:
    """Return what an operator's request is answered with."""
    return {
        **published_of(outcome),
        "code": outcome.exit_code,
        "boosts": boosts_with_seconds_left(current.boosts, time.time())
        if current
        else [],
    }


def notify(deliveries: Sequence[Delivery]) -> list[dict[str, Any]]:
    """Return the receivers, as every document shows them."""
    return [
        {
            "receiver": delivery.receiver,
            "revision": delivery.revision,
            "sequence": delivery.sequence,
            "failures": delivery.failures,
            "error": delivery.error,
            "since": _time(delivery.since),
        }
        for delivery in deliveries
    ]


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they may be shown: the DSN masked."""
    return {
        key: show_dsn(value) if key == "SENTRY_DSN" else value
        for key, value in values.items()
    }


def _passes(passes: Passes) -> dict[str, Any]:
    success = {"last_success_at": _time(passes.last_success)}
    outcome = passes.outcome
    if outcome is None:
        return NO_PASS | success
    return {
        **outcome_of(outcome),
        "error": outcome.error,
        "fingerprint": outcome.fingerprint,
        "since": _time(passes.since),
        "failures": passes.failures,
        **success,
    }


def _dsn_check(report: DsnReport) -> dict[str, Any]:
    return {
        "dsn": report.dsn,
        "verdict": report.verdict,
        "settled": report.settled,
        "since": _time(report.since),
        "answers": report.answers,
        "sentence": report.sentence,
    }


def _target(target: LiveTarget, state: str) -> dict[str, Any]:
    receipt = target.receipt
    return {
        "id": receipt.id,
        "name": target.name,
        "role": receipt.role,
        "pid": receipt.pid or None,
        "main": target.main,
        "readable": target.readable,
        "state": state,
        "revision": receipt.revision,
        "sequence": receipt.sequence,
        "since": receipt.since,
        "swap_ms": receipt.swap_ms,
        "error": receipt.error,
        "dsn": receipt.dsn,
        "holders": [holder._asdict() for holder in receipt.holders],
        "ignored": list(receipt.ignored),
        "notes": target.notes,
    }


def _current(current: Snapshot) -> dict[str, Any]:
    return {
        "revision": current.revision,
        "sequence": current.sequence,
        "published_at": current.published_at,
        "settings": shown(current.settings),
        "roles": {role: shown(values) for role, values in current.roles.items()},
        "rules": len(current.rules),
        "boosts": boosts_with_seconds_left(current.boosts, time.time()),
        "provenance": dict(current.provenance),
    }


def _time(moment: float | None) -> str | None:
    return None if moment is None else time_text(moment)
