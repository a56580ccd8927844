"""How the webhook's address answers what strangers and Sentry send."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from agent.bridge.metrics import BridgeMetrics
from agent.bridge.receive import Receiver
from agent.bridge.signature import secrets_of
from agent.bridge.store import Store
from lab import bridge as sentry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Ask = Callable[..., tuple[int, str, dict[bytes, bytes]]]

BODY = json.dumps(sentry.issue("5")).encode()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(str(tmp_path / "bridge.db"), 3600)
    yield opened
    opened.close()


@pytest.fixture
def metrics() -> BridgeMetrics:
    return BridgeMetrics("1")


@pytest.fixture
def receiver(store: Store, metrics: BridgeMetrics) -> Receiver:
    secrets = secrets_of("", sentry.SECRET)
    return Receiver(store, secrets, metrics)


@pytest.fixture
def ask(receiver: Receiver) -> Ask:
    def ask(
        resource: str = "issue", body: bytes = BODY, path: str = "/sentry", **other: str
    ) -> tuple[int, str, dict[bytes, bytes]]:
        """Send one request; return status, text and headers of the answer."""
        given = sentry.headers(resource, body, **other)
        scope = {
            "path": path,
            "method": "POST",
            "headers": [
                (name.lower().encode(), value.encode("latin-1"))
                for name, value in [*given.items(), ("Content-Length", str(len(body)))]
            ],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(receiver(scope, receive, send))
        start, end = sent
        return start["status"], end["body"].decode().strip(), dict(start["headers"])

    return ask


@pytest.mark.parametrize(
    "given", ["\xb2", "\xb9\xb2\xb3", "1e9", "-5", "9" * 13, "9" * 190]
)
def test_an_odd_time_is_a_bad_request(ask: Ask, given: str) -> None:
    """Some characters count as digits, but are no number: Python's `float` fails."""
    assert ask(Sentry_Hook_Timestamp=given)[0] == 400


def test_no_webhook_speaks_for_the_future(ask: Ask) -> None:
    """The time is not signed. An end of the future would make new events old ones."""
    event = sentry.event_alert("5")
    soon = str(int(time.time()) + 3000)
    assert ask(Sentry_Hook_Timestamp=soon)[1] == "ignored"
    later = str(int(time.time()) + 1)
    answer = ask("event_alert", json.dumps(event).encode(), Sentry_Hook_Timestamp=later)
    assert answer[:2] == (202, "opened")
    long = str(int(time.time())).zfill(12) + "9" * 100
    assert ask(Sentry_Hook_Timestamp=long)[0] == 400


def test_a_connection_ends_with_its_answer(ask: Ask) -> None:
    """Its limit of 10 s would otherwise end it within a later request."""
    wrong = sentry.headers("issue", BODY, "other")["Sentry-Hook-Signature"]
    answers = [ask(), ask(path="/"), ask(Sentry_Hook_Signature=wrong)]
    assert [status for status, _, _ in answers] == [200, 404, 401]
    assert {headers[b"connection"] for _, _, headers in answers} == {b"close"}


def test_an_unexpected_error_is_an_answer_that_counts(
    ask: Ask,
    receiver: Receiver,
    metrics: BridgeMetrics,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`_take` is replaced because no real request is known that fails so."""

    async def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(receiver, "_take", fail)
    with structlog.testing.capture_logs() as lines:
        answers = [ask()[:2] for _ in range(50)]
    assert set(answers) == {(500, "an unexpected error")}
    assert len(lines) == 1
    count = {"resource": "issue", "result": "error"}
    assert (
        metrics.registry.get_sample_value("resentry_bridge_webhooks_total", count) == 50
    )


def test_refusals_are_logged_once_a_minute_with_their_number(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each status by itself: a flood of one does not hide the other."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with structlog.testing.capture_logs() as lines:
        for _ in range(50):
            ask(Sentry_Hook_Signature="x")
        ask(Sentry_Hook_Timestamp="x")
        now += 61
        ask(Sentry_Hook_Signature="x")
    assert [(line["status"], line["number"]) for line in lines] == [
        *((401, 1), (400, 1), (401, 50))
    ]
