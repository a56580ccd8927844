"""What is known: the one document behind `status`, `/status` and the state file."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.domain.backoff import RETRY_AFTER_CAP_SECONDS
from agent.domain.wishes import left
from resentry import formats
from resentry.contract import time_text
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.outcome import Outcome
    from agent.domain.rollout import Rollout, Target
    from resentry.contract import Snapshot

GOOD = ("published", "unchanged", "probing")
_NO_ERROR = ""
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


@dataclass
class Status:
    """What the daemon has seen. Written by it, read by the HTTP thread."""

    poll_seconds: float
    startup_seconds: float
    pass_seconds: float
    has_snapshot: bool = False
    outcome: Outcome | None = None
    since: float = 0.0
    """When the source turned good, or first failed in this way in this outage."""
    last_success: float | None = None
    """When the source was last read well, by this agent or an earlier one."""
    failures: int = 0
    outage: str = ""
    """What ended with the newest pass, if it did."""
    _started: float = field(default_factory=time.monotonic)
    _last_pass: float = field(default_factory=time.monotonic)
    _last_read: float | None = None
    _begun: dict[str, float] = field(default_factory=dict)
    """When each error of this outage was first met, or when it became good."""
    _told: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def resume(self, state: dict[str, Any]) -> None:
        """Take over what an earlier agent knew: a restart does not end an outage."""
        with contextlib.suppress(TypeError, ValueError):  # no time of ours
            if state["last_success_at"]:
                self.last_success = formats.moment(state["last_success_at"])
            if state["error"] and state["failures"]:
                self._begun = {str(state["error"]): formats.moment(state["since"])}

    def passed(self, outcome: Outcome) -> bool:
        """Take one pass's outcome in; say whether it is news.

        Of what fails on and on, each reason is news once, in whatever order they come.
        """
        with self._lock:
            self.outcome, self._last_pass = outcome, time.monotonic()
            self.has_snapshot = outcome.revision is not None
            good = outcome.kind in GOOD
            turned = good != (_NO_ERROR in self._begun)
            self.outage = ""
            if turned:
                if good and self._begun:
                    began = at(next(iter(self._begun.values())))
                    self.outage = f"passes had failed since {began}"
                self._begun = {}
            error = _NO_ERROR if good else outcome.error
            self.since = self._begun.setdefault(error, time.time())
            self.failures = 0 if good else self.failures + 1
            if good:
                self._last_read, self.last_success = self._last_pass, time.time()
            said = repr((outcome.kind, outcome.sentence, outcome.notes))
            news = said not in self._told
            self._told = {said} if good or turned else self._told | {said}
            return news

    @property
    def is_probing(self) -> bool:
        """Whether a candidate waits for the probe of its DSN."""
        return self.outcome is not None and self.outcome.kind == "probing"

    def live(self) -> tuple[bool, str]:
        """Whether passes still come to an end: no clock but the monotonic one counts."""
        silent = time.monotonic() - self._last_pass
        limit = 3 * self.poll_seconds + 2 * self.pass_seconds
        if self.outcome is not None and self.outcome.retry_after is not None:
            limit += RETRY_AFTER_CAP_SECONDS  # the source wants to be left alone
        return (
            silent < limit,
            f"last pass ended {silent:.0f} s ago, limit {limit:.0f} s",
        )

    def ready(self) -> tuple[bool, str]:
        """Whether a snapshot is published, and the source was read not long ago."""
        if not self.has_snapshot:
            return False, "nothing is published yet"
        if self._last_read is None:
            return False, "published by an earlier agent; the source was not read yet"
        age = time.monotonic() - self._last_read
        limit = 3 * self.poll_seconds + 30
        return age < limit, f"source last read {age:.0f} s ago, limit {limit:.0f} s"

    def started(self) -> tuple[bool, str]:
        """Whether applications may start: with a snapshot, or after a bounded wait."""
        if self.has_snapshot:
            return True, "a snapshot is published"
        waited = time.monotonic() - self._started
        if waited >= self.startup_seconds:
            return (
                True,
                f"no snapshot after {waited:.0f} s; environment variables serve",
            )
        return False, f"waiting for the first snapshot, {waited:.0f} s"

    def source(self) -> dict[str, Any]:
        """The part of the document that only the daemon knows."""
        with self._lock:
            outcome = self.outcome
            if outcome is None:
                return NO_PASS | {"last_success_at": at(self.last_success)}
            return {
                "outcome": outcome.kind,
                "error": outcome.error,
                "sentence": outcome.sentence,
                "hint": outcome.hint,
                "notes": list(outcome.notes),
                "fingerprint": outcome.fingerprint,
                "since": at(self.since),
                "failures": self.failures,
                "last_success_at": at(self.last_success),
            }


def decode_state(state: bytes | None) -> dict[str, Any]:
    """Return what the last agent wrote of its status, as far as it can be read."""
    try:
        return NO_PASS | dict(json.loads(state or b"{}"))
    except (ValueError, TypeError):
        return NO_PASS


def document(
    current: Snapshot | None, rollout: Rollout, state: dict[str, Any]
) -> dict[str, Any]:
    """Return everything as one JSON object. The DSN is in its shown form.

    `state` is what only the daemon knows: the source, its `probe` and its `notify`.
    """
    source = {key: value for key, value in state.items() if key in NO_PASS}
    return {
        "current": _current(current),
        "source": source,
        "probe": state.get("probe", []),
        "notify": state.get("notify", []),
        "rollout": {
            "state": rollout.state,
            "sentence": rollout.sentence,
            "unknown": rollout.unknown,
            "targets": [_target(target, state) for target, state in rollout.targets],
        },
    }


def _target(target: Target, state: str) -> dict[str, Any]:
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


def _current(current: Snapshot | None) -> dict[str, Any] | None:
    if current is None:
        return None
    return {
        "revision": current.revision,
        "sequence": current.sequence,
        "published_at": current.published_at,
        "settings": shown(current.settings),
        "roles": {role: shown(values) for role, values in current.roles.items()},
        "rules": len(current.rules),
        "boosts": left(current.boosts, time.time()),
        "provenance": dict(current.provenance),
    }


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they may be shown: the DSN masked."""
    return {
        key: show_dsn(value) if key == "SENTRY_DSN" else value
        for key, value in values.items()
    }


def at(moment: float | None) -> str | None:
    """A time in seconds since the epoch, as every document shows it."""
    return None if moment is None else time_text(moment)
