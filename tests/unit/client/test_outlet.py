"""One outlet on its own, against a receiver that refuses: what it keeps, what it counts."""

import time
from collections.abc import Iterator

import pytest
import sentry_sdk
from arrivals import messages

from lab.process import eventually
from lab.sink import Sink
from resentry import parking
from resentry.outlet import Outlet
from resentry.process import here
from resentry.tally import Tally

pytestmark = pytest.mark.process


def make(dsn: str) -> sentry_sdk.Client:
    return sentry_sdk.Client(
        dsn=dsn,
        environment="here",
        transport=Outlet,
        default_integrations=False,
        auto_enabling_integrations=False,
    )


@pytest.fixture
def client(sink: Sink) -> Iterator[sentry_sdk.Client]:
    """A client that is not current; its DSN answers 403."""
    sink.answer(1, 403)
    here().tally = Tally()
    client = make(sink.dsn(1))
    yield client
    client.close()


@pytest.fixture
def current(sink: Sink) -> Iterator[sentry_sdk.Client]:
    """The client after it, of the same environment, and current."""
    scope = sentry_sdk.get_global_scope()
    before = scope.client
    after = make(sink.dsn(2))
    scope.set_client(after)
    yield after
    scope.set_client(before)
    after.close()


def capture(client: sentry_sdk.Client, *messages: str) -> None:
    for message in messages:
        client.capture_event({"message": message})
    client.flush(5)


def retire(client: sentry_sdk.Client, current: sentry_sdk.Client) -> None:
    assert isinstance(client.transport, Outlet)
    client.transport.retire()
    current.flush(5)


def test_parked_envelopes_are_limited_by_their_bytes(
    client: sentry_sdk.Client,
    current: sentry_sdk.Client,
    sink: Sink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest make room (the limit is lowered: 10 MiB take long to fill)."""
    monkeypatch.setattr(parking, "PARKED_BYTES", 30_000)
    large = [f"{number} {'x' * 9000}" for number in range(5)]
    capture(client, *large)

    retire(client, current)

    assert large[-3:] == messages(sink, 2)
    assert (here().tally.parked, here().tally.dropped, here().tally.rerouted) == (
        5,
        2,
        3,
    )


def test_one_envelope_that_is_larger_than_all_that_may_be_parked_is_dropped(
    client: sentry_sdk.Client,
    current: sentry_sdk.Client,
    sink: Sink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is parked beyond the limit, and later ones are parked as before."""
    monkeypatch.setattr(parking, "PARKED_BYTES", 5_000)
    capture(client, "small", "x" * 9000, "last")

    retire(client, current)

    assert messages(sink, 2) == ["last"]
    assert (here().tally.parked, here().tally.dropped, here().tally.rerouted) == (
        3,
        2,
        1,
    )


@pytest.fixture
def expired(client: sentry_sdk.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An envelope has been parked too long (the limit is lowered: 15 minutes)."""
    monkeypatch.setattr(parking, "PARKED_SECONDS", 0.1)
    capture(client, "old")
    then = time.monotonic() + 0.1
    eventually(lambda: time.monotonic() > then)
    monkeypatch.setattr(parking, "PARKED_SECONDS", 60)


@pytest.mark.usefixtures("expired")
def test_what_was_parked_too_long_is_dropped_when_more_is_parked(
    client: sentry_sdk.Client,
) -> None:
    """It does not occupy memory for longer."""
    capture(client, "young")

    assert isinstance(client.transport, Outlet)
    assert len(client.transport._line.parking.take()) == 1
    assert (here().tally.parked, here().tally.dropped) == (2, 1)


@pytest.mark.usefixtures("expired")
def test_what_was_parked_too_long_is_dropped_at_the_swap(
    client: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """An event of long ago would surprise the new project."""
    retire(client, current)

    assert messages(sink, 2) == []
    assert (here().tally.rerouted, here().tally.dropped) == (0, 1)


def test_losses_of_the_application_count_while_a_dsn_refuses(
    client: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """What is parked is no loss to report; what the application drops is one."""
    capture(client, "refused")
    assert client.transport is not None
    client.transport.record_lost_event("before_send", data_category="error")
    sink.answer(1, "ok")
    client.flush(5)

    retire(client, current)

    assert sink.client_reports() == {("before_send", "error"): 1}


def test_a_client_report_is_neither_parked_nor_sent_to_another_project(
    client: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """It tells one project what was lost on the way there."""
    assert client.transport is not None
    client.transport.record_lost_event("before_send", data_category="error")
    client.flush(5)
    client.transport.record_lost_event("before_send", data_category="error")

    retire(client, current)
    client.flush(5)

    assert sink.count("client_report") == 0
    assert (here().tally.parked, here().tally.rerouted, here().tally.dropped) == (
        0,
        0,
        0,
    )


def test_a_client_report_that_a_hung_dsn_holds_goes_nowhere(
    client: sentry_sdk.Client, current: sentry_sdk.Client, sink: Sink
) -> None:
    """Not to the new project either, and it is no event that is dropped."""
    sink.answer(1, "hang")
    assert isinstance(client.transport, Outlet)
    client.capture_event({"message": "in flight"})
    eventually(lambda: sink.connections)
    client.transport.record_lost_event("before_send", data_category="error")

    retire(client, current)
    client.transport.hand_over_queue()
    current.flush(5)

    assert sink.count("client_report") == 0
    assert (here().tally.rerouted, here().tally.dropped) == (0, 0)
    sink.drop_connections()
