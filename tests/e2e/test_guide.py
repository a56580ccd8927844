"""The configuration guide's own commands, as they stand there, against the example."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.process import eventually

if TYPE_CHECKING:
    from lab.sink import Sink
    from lab.system import System

pytestmark = pytest.mark.process


INIT_API = (
    "from app.core.observability import init_sentry_for_api; init_sentry_for_api()"
)
INIT_CELERY = (
    "from app.core.observability import init_sentry_for_celery; "
    "init_sentry_for_celery()"
)
GET_DSN = "from app.core.config import get_settings; print(get_settings().SENTRY_DSN)"


@pytest.mark.parametrize("line", [INIT_API, INIT_CELERY])
def test_initialisation_prints_host_and_project(
    system: System, sink: Sink, line: str
) -> None:
    """Section 4.1: the line says where events would go, without the key."""
    code, printed = system.run("python", "-c", line, SENTRY_DSN=sink.dsn(1))

    assert code == 0
    assert f"{sink.address}/1" in printed
    assert sink.dsn(1) not in printed


@pytest.mark.parametrize("line", [INIT_API, INIT_CELERY])
@pytest.mark.parametrize(
    ("dsn", "reason"),
    [
        ("", "SENTRY_DSN is required in production"),
        ("https://sentry.io/123456", "SENTRY_DSN is not a DSN"),
        ("http://0123456789abcdef@sentry.io/1", "SENTRY_DSN must be https"),
    ],
)
def test_failed_initialisation_says_why(
    system: System, line: str, dsn: str, reason: str
) -> None:
    """Section 7: "Failed to initialize Sentry", and the reason; nothing is raised."""
    code, printed = system.run("python", "-c", line, SENTRY_DSN=dsn)

    assert code == 0
    assert f"Failed to initialize Sentry: {reason}" in printed


def test_get_settings_prints_the_newest_dsn(system: System, sink: Sink) -> None:
    """Section 7: the environment's DSN without a snapshot, then the snapshot's."""
    _, before = system.run("python", "-c", GET_DSN, SENTRY_DSN=sink.dsn(1))
    system.write(SENTRY_DSN=sink.dsn(2))
    system.run("resentry-agent", "once")
    _, after = system.run("python", "-c", GET_DSN, SENTRY_DSN=sink.dsn(1))

    assert [sink.dsn(1), sink.dsn(2)] == [before.strip(), after.strip()]


def test_the_guides_script_sends_nothing_by_itself(system: System, sink: Sink) -> None:
    """Section 4.2: it initialises nothing, so nothing arrives."""
    code, _ = system.run("python", "test_sentry.py", SENTRY_DSN=sink.dsn(1))

    assert code == 0
    assert sink.event_ids() == []


def test_the_guides_script_reports_with_resentry_in_front(
    system: System, sink: Sink
) -> None:
    """Exception, message and transaction arrive, with environment and release."""
    system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="1")
    system.run("resentry-agent", "once")

    code, printed = system.run("python", "-m", "resentry", "test_sentry.py")

    assert code == 0, printed
    eventually(lambda: len(sink.events(1)) == 2, what="exception and message")
    eventually(lambda: len(sink.transactions(1)) == 1, what="the transaction")
    everything = [*sink.events(1), *sink.transactions(1)]
    assert {("production", "1.0.0")} == {(e.environment, e.release) for e in everything}
    messages = {event.message for event in everything}
    assert {"Test message from LMS backend", "test_transaction"} <= messages
    assert any("division by zero" in message for message in messages)
