"""What scrubbing may cost, counted and not timed: a transaction is made for each request."""

from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from resentry import scrub
from resentry.scrub import hooks, text
from resentry.sdk import build as sdk

WORDS = ("GET", "route", "MainThread", "http", "0a" * 16, "1a2b3c4d5e6f7a8b", "200")
"""What most texts of a transaction are: names and ids."""
OTHERS = ("http://lms.example.edu/courses/1", "auto.http.starlette", "text/html, */*")


class Kept(Transport):
    """A transport that keeps how many items it was given."""

    items = 0

    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += len(envelope.items)


def test_a_traced_request_is_scrubbed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its hook, and by nothing before or behind that."""
    scrubbed: list[str] = []
    scrub_part = scrub._scrub  # through which each kind of item goes

    def counted(item: dict[str, Any], parts: Any) -> dict[str, Any]:
        scrubbed.append(str(item.get("type")))
        return scrub_part(item, parts)

    monkeypatch.setattr(scrub, "_scrub", counted)
    client = sentry_sdk.Client(
        dsn="http://key@127.0.0.1/1",
        release="1",  # else the SDK asks git
        transport=Kept,
        traces_sample_rate=1.0,
        enable_backpressure_handling=False,
        default_integrations=False,
        auto_enabling_integrations=False,
        **hooks({}, sdk.hook_places({})),
    )
    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        for _ in range(3):
            with sentry_sdk.start_transaction(name="/courses/{course}", op="http"):
                for _ in range(5):
                    sentry_sdk.add_breadcrumb(message="token=abc")
                    sentry_sdk.start_span(name="SELECT 1").finish()
    assert isinstance(client.transport, Kept)
    assert (client.transport.items, scrubbed) == (3, ["transaction"] * 3)


def test_a_name_or_an_id_is_compared_with_no_pattern(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[str] = []
    scrub_values = text.scrub_values

    def noted(some: str) -> str:
        looked_at.append(some)
        return scrub_values(some)

    monkeypatch.setattr(text, "scrub_values", noted)
    event = {"extra": {"texts": [*WORDS, *OTHERS]}}
    assert scrub.scrub_event(event) == event
    assert looked_at == list(OTHERS)


def test_what_need_not_change_is_not_copied() -> None:
    event = {"extra": {"rows": [{"id": "a1"}] * 9}, "tags": {"asgi.type": "http"}}
    scrubbed = scrub.scrub_event(event) or {}
    assert all(scrubbed[part] is event[part] for part in event)
